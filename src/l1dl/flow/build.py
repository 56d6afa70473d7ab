"""A finished run through a vendor tool: here, or as an archive for another machine and the reports that come back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from l1dl.artifacts import RunDirectory, digest_json
from l1dl.card import HlsCard
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.flow.architectures import graph_of_run
from l1dl.flow.job import Paths
from l1dl.flow.results import read_result, write_result
from l1dl.graph import FixedGraph
from l1dl.synth.resources import Resources
from l1dl.vendor.archive import Read, check_inputs, open_results, write_archive
from l1dl.vendor.collect import collect
from l1dl.vendor.project import DIGESTS, SETTINGS, hls_project, rtl_project
from l1dl.vendor.result import BuildResult, State, StepResult
from l1dl.vendor.run import StepListener, run_steps
from l1dl.vendor.settings import QUARTUS_PART, BuildSettings, Step, Vendor
from l1dl.vendor.sources import bench_events, hls_variables, read_hls, read_rtl


@dataclass(frozen=True)
class Project:
    """A run as a vendor tool sees it.

    Attributes
    ----------
    settings
        What is built.
    files
        Path → text of the project folder.
    graph
        The network.
    outputs
        The emulator's output codes for the events of the test bench; None without one.
    """

    settings: BuildSettings
    files: dict[str, str]
    graph: FixedGraph
    outputs: Codes | None = None


def vendor_project(run: Path, vendor: Vendor, *, part: str | None = None, hls: Path | None = None) -> Project:
    """Return the project of a finished run for a vendor tool.

    Parameters
    ----------
    part
        The device; that of the card by default, for Quartus `QUARTUS_PART`.
    hls
        The HLS project, where it is not where the run has written it.

    Raises
    ------
    InputError
        Files of the run are missing or damaged.
    """
    graph = graph_of_run(run)
    if vendor is Vendor.VITIS:
        place = hls or _hls_directory(run)
        source = read_hls(place)
        settings = BuildSettings(vendor, source.top, "ap_clk", part or source.part, source.clock_period_ns)
        rows, outputs = bench_events(graph, place / "tb_data" / "tb_input_features.dat")
        return Project(settings, hls_project(settings, source, graph, rows, outputs), graph, outputs)
    rtl = read_rtl(Paths(run, run).rtl)
    usual = QUARTUS_PART if vendor is Vendor.QUARTUS else _part_of_card(run, hls)
    settings = BuildSettings(vendor, rtl.top, "clk", part or usual, rtl.clock_period_ns)
    return Project(settings, rtl_project(settings, rtl), graph)


def build_run(project: Project, run: Path, *, until: str | None, limit_s: float, listen: StepListener) -> BuildResult:
    """Run the vendor tool, read its reports, and write ``build/<tool>.json``.

    Parameters
    ----------
    until
        Last step; all by default.
    limit_s
        Time limit of each step, in s.

    Raises
    ------
    ToolMissingError
        A program is absent.
    InputError
        There is no such step.
    """
    settings, directory = project.settings, run / "build" / project.settings.vendor.value
    done = run_steps(directory, project.files, _steps(settings, until), limit_s=limit_s, listen=listen)
    reports = directory / "project" / "reports"
    return _finish(project, run, done, lambda name: (reports / name).read_text(errors="replace"), imported=False)


def import_results(run: Path, source: Path, *, hls: Path | None = None) -> BuildResult:
    """Read the reports that another machine made of an archive of this very run; write ``build/<tool>.json``.

    Parameters
    ----------
    source
        The folder in which ``run.sh`` ran, or its ``results.tar.gz``.

    Raises
    ------
    InputError
        They are no results, or results of something else.
    """
    read = open_results(source)
    try:
        facts = json.loads(read(SETTINGS) or "")
        vendor, part = Vendor(facts["tool"]), str(facts["part"])
    except (ValueError, KeyError, TypeError):
        msg = f"{source} holds no {SETTINGS} of l1dl; give the folder in which run.sh ran, or its results.tar.gz"
        raise InputError(msg) from None
    project = vendor_project(run, vendor, part=part, hls=hls)
    check_inputs(read, project.files[DIGESTS])
    done = tuple(_imported(step, read) for step in project.settings.steps)
    return _finish(project, run, done, lambda name: read(f"reports/{name}"), imported=True)


def export_project(project: Project, path: Path) -> None:
    """Write the project as an archive for another machine."""
    settings = project.settings
    write_archive(path, f"{settings.top}_{settings.vendor.value}", project.files)


def yosys_resources(run: Path) -> Resources | None:
    """Return what Yosys found for the Verilog of a run; None where it was not synthesised."""
    path = Paths(run, run).resources
    return read_result(path, Resources) if path.exists() else None


def read_builds(run: Path) -> tuple[BuildResult, ...]:
    """Return what vendor tools found for the firmware as it stands in a run directory; not what is out of date.

    Raises
    ------
    InputError
        A result is damaged.
    """
    found = []
    for vendor in Vendor:
        path = run / "build" / f"{vendor.value}.json"
        if path.exists():
            result = read_result(path, BuildResult)
            try:
                inputs = _digest(vendor_project(run, vendor, part=result.part))
            except InputError:  # the firmware is not there
                continue
            found += [result] if result.inputs == inputs else []
    return tuple(found)


def _digest(project: Project) -> str:
    return digest_json(project.files[DIGESTS])


def _finish(project: Project, run: Path, done: tuple[StepResult, ...], read: Read, *, imported: bool) -> BuildResult:
    settings = project.settings
    steps = tuple(
        collect(settings, step, lambda name: read(name) or "", project.graph, project.outputs) for step in done
    )
    result = BuildResult(
        settings.vendor.value, settings.top, settings.part, settings.clock_period_ns,
        _digest(project), imported, steps,
    )  # fmt: skip
    write_result(run / "build" / f"{settings.vendor.value}.json", result)
    return result


def _imported(step: Step, read: Read) -> StepResult:
    lacking = [name for name in step.reports if read(f"reports/{step.name}/{name}") is None]
    if not lacking and read(f"reports/{step.name}/finished") is not None:
        return StepResult(step.name, State.FINISHED)
    tail = "\n".join((read(f"logs/{step.name}.log") or "").splitlines()[-12:])
    if not tail:
        return StepResult(step.name, State.NOT_RUN, "there is no log of it")
    what = f"did not write {', '.join(lacking)}" if lacking else "did not finish"
    return StepResult(step.name, State.FAILED, f"the step {what}. Last lines of its log:\n{tail}")


def _steps(settings: BuildSettings, until: str | None) -> tuple[Step, ...]:
    names = [step.name for step in settings.steps]
    if until is None:
        return settings.steps
    if until not in names:
        msg = f"{settings.vendor.value} has no step {until!r}; its steps are {', '.join(names)}"
        raise InputError(msg)
    return settings.steps[: names.index(until) + 1]


def _hls_directory(run: Path) -> Path:
    """Return where the stage convert has written the HLS project."""
    record = RunDirectory(run).stages().get("convert")
    places = [run / name for name in record.outputs if Path(name).name == "project.tcl"] if record else []
    if not places or not places[0].exists():
        msg = f"{run} does not say where its HLS project is, or it is gone; give --hls, or run the stage convert"
        raise InputError(msg)
    return places[0].parent


def _part_of_card(run: Path, hls: Path | None) -> str:
    """Return the device of the HLS project, which is the card's; the usual one where there is no project."""
    try:
        return hls_variables(hls or _hls_directory(run))["part"]
    except (InputError, KeyError):
        return HlsCard().part
