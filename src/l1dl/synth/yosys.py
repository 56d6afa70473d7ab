"""Licence-free synthesis for UltraScale+ with Yosys, stage by stage, in parallel and cached by content."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from l1dl.artifacts import digest_json, read_json, write_files, write_json
from l1dl.errors import InputError, ToolFailedError
from l1dl.rtl.delays import GRADES, ULTRASCALE_PLUS
from l1dl.synth.cells import count_cells
from l1dl.synth.design import SynthDesign
from l1dl.synth.memory import fitting_jobs
from l1dl.synth.paths import VERSION, StageTiming, longest_path
from l1dl.synth.resources import REGISTERS, Resources
from l1dl.synth.verilog import black_box, index_modules, may_multiply, needed_modules
from l1dl.tools import Tool, find_tool, run_parallel, run_tool

logger = logging.getLogger(__name__)

_SCHEMA = 2
_FIRST_START_S = 600.0
_PASSES = "passes.log"
_NETLIST = "netlist.json"


@dataclass(frozen=True)
class _Job:
    """One run of Yosys: a stage, or all registers with the stages as black boxes."""

    name: str
    module: str
    files: Mapping[str, str]
    script: str
    black_boxes: tuple[str, ...] = ()

    @property
    def characters(self) -> int:
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class _Mapped:
    """What a run gave: how many cells there are of each kind, and the longest path of a stage."""

    cells: Mapping[str, int]
    timing: StageTiming | None


@dataclass(frozen=True)
class _Machine:
    """The program, its directories and its time limit."""

    tool: Tool
    work: Path
    cache: Path
    timeout_s: float

    def entry(self, job: _Job) -> Path:
        timing = [VERSION, vars(ULTRASCALE_PLUS)]
        key = digest_json([_SCHEMA, timing, job.module, dict(job.files), job.script, self.tool.version])
        return self.cache / f"yosys-{key}.json"

    def stored(self, job: _Job) -> _Mapped | None:
        path = self.entry(job)
        if not path.exists():
            return None
        try:
            entry = read_json(path)
            timing = None if entry["timing"] is None else StageTiming(**entry["timing"])
            return _Mapped(_cell_counts(entry["cells"]), timing)
        except (InputError, KeyError, TypeError):
            logger.warning("cache entry %s is damaged; %s is synthesised again", path, job.name)
            return None

    def store(self, job: _Job, mapped: _Mapped) -> None:
        timing = None if mapped.timing is None else vars(mapped.timing)
        entry = {"module": job.module, "yosys": self.tool.version, "cells": mapped.cells, "timing": timing}
        write_json(self.entry(job), entry)


def synthesise(
    design: SynthDesign,
    *,
    work: Path,
    cache: Path,
    jobs: int = 2,
    timeout_s: float = 900,
    speed_grade: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Resources:
    """Synthesise each stage on its own, and the registers around them, and add up their cells.

    A stage is combinational between two ranks of registers, so little can be optimised across its
    border. The sequential modules are synthesised with the stages as black boxes, which keeps every
    flip-flop and counts it once. What is lost is the removal of registers that the next stage does
    not read or that are equal to others: on a jet tagger of 41,000 LUT the sum over its nine stages
    is 0.4 % more LUT and 5 % more flip-flops than one flat synthesis. What counts as what is said
    in `l1dl.synth.cells.count_cells`.

    Parameters
    ----------
    design
        The Verilog and the names of its modules.
    work
        Directory for the inputs and the log of each run of Yosys, one directory per module.
    cache
        Directory with the cell counts of everything synthesised before, named by the digest of
        the Verilog, the script and the version of Yosys. With everything in it, no program starts.
    jobs
        Number of Yosys processes at a time; fewer run when they would not fit in memory together.
    timeout_s
        Time limit of one run of Yosys, in seconds.
    speed_grade
        1, 2 or 3, for the estimated delays.
    progress
        Called with the number of modules done and of all modules.

    Returns
    -------
    Resources
        The totals, the same by stage, and last the registers as a stage called ``registers``.

    Raises
    ------
    ToolMissingError
        Yosys is absent or too old.
    ToolFailedError
        Yosys failed on a stage or ran past `timeout_s`, or left a cell of an unknown kind. What
        was finished by then stays in the cache.
    InputError
        The design is inconsistent, a stage is not instantiated exactly once, or memory is short.
    """
    if jobs < 1 or timeout_s <= 0:
        msg = f"jobs={jobs} and timeout_s={timeout_s} must be positive"
        raise InputError(msg)
    machine = _Machine(find_tool("yosys"), work.resolve(), cache.resolve(), timeout_s)
    plan = _plan(design)
    mapped = {job.name: found for job in plan if (found := machine.stored(job)) is not None}
    # The biggest first, so that no core is idle at the end; the registers are more work than their
    # text is long.
    missing = sorted((job for job in plan if job.name not in mapped), key=lambda job: -job.characters)
    missing.sort(key=lambda job: job.name != REGISTERS)
    known = len(mapped)

    def finished(number: int) -> None:
        if progress:
            progress(known + number, len(plan))

    finished(0)
    if missing:
        mapped |= _run(missing, machine, jobs, finished)
    return _add_up(design, plan, mapped, machine.tool, speed_grade)


def not_synthesised(design: SynthDesign, reason: str) -> Resources:
    """Return resources without figures, for a design that could not be or was not to be synthesised."""
    return Resources(None, None, None, None, "not synthesised", reason, (), design.estimate, "not estimated")


def _plan(design: SynthDesign) -> list[_Job]:
    plan = [_stage_job(design, stage) for stage in design.stages]
    names = [job.name for job in plan]
    if design.sequential:
        if REGISTERS in names:
            msg = f"a stage is called {REGISTERS!r}, which is the name of the sum of the sequential modules; rename it"
            raise InputError(msg)
        plan.append(_registers_job(design))
    return plan


def _stage_job(design: SynthDesign, stage: str) -> _Job:
    needed = needed_modules(design.files, stage)
    nested = sorted(needed & {*design.stages, *design.sequential} - {stage})
    if nested:
        msg = f"stage {stage!r} uses {nested[0]!r}, which is itself a stage or sequential and would be counted twice"
        raise InputError(msg)
    files = _files_of(design, needed)
    return _Job(stage, stage, files, _script(stage, files, with_memory=False))


def _registers_job(design: SynthDesign) -> _Job:
    needed = needed_modules(design.files, design.top, leaves=design.stages)
    for name in (*design.sequential, *design.stages):
        if name not in needed:
            msg = f"module {name!r} is not used below the top module {design.top!r}"
            raise InputError(msg)
    where = index_modules(design.files)
    boxes = {where[stage]: black_box(design.files[where[stage]], stage) for stage in design.stages}
    files = {**_files_of(design, needed - set(design.stages)), **boxes}
    return _Job(REGISTERS, design.top, files, _script(design.top, files, with_memory=True), design.stages)


def _files_of(design: SynthDesign, modules: set[str]) -> dict[str, str]:
    where = index_modules(design.files)
    return {file: design.files[file] for file in sorted({where[module] for module in modules})}


def _script(module: str, files: Mapping[str, str], *, with_memory: bool) -> str:
    """Return the Yosys script for one module.

    Against plain ``synth_xilinx -flatten`` it halves the time at the same number of LUTs: ABC runs its
    fast script, and the 35,000 lines that describe DSP blocks, block RAM, transceivers and the like
    are not read for a module in which none can be inferred.
    """
    multiplies = may_multiply(files.values())
    extra = "read_verilog -lib +/xilinx/cells_xtra.v\n" if multiplies or with_memory else ""
    dsp = "" if multiplies else " -nodsp"
    read = "\n".join(f"read_verilog {file}" for file in files)
    return (
        "scratchpad -copy abc9.script.default.fast abc9.script\n"
        "read_verilog -lib -specify +/xilinx/cells_sim.v\n"
        f"{extra}{read}\n"
        f"hierarchy -check -top {module}\n"
        f"synth_xilinx -family xcup -noiopad -noclkbuf -flatten{dsp} -top {module} -run prepare:check\n"
        "tee -q -o stat.json stat -json\n"
    ) + ("" if with_memory else f"select {module}\nwrite_json -selected {_NETLIST}\n")


def _cell_counts(value: object) -> dict[str, int]:
    if not isinstance(value, dict) or not all(type(number) is int for number in value.values()):
        msg = "not a table of cell kinds and numbers"
        raise TypeError(msg)
    return {str(kind): number for kind, number in value.items()}


def _run(missing: list[_Job], machine: _Machine, jobs: int, finished: Callable[[int], None]) -> dict[str, _Mapped]:
    tool, work = machine.tool, machine.work
    wasm = any("yowasp" in part for part in tool.command)
    jobs = fitting_jobs([(job.name, job.characters) for job in missing], min(jobs, len(missing)), wasm=wasm)
    work.mkdir(parents=True, exist_ok=True)
    if wasm:
        # The first start on a machine compiles Yosys for up to a minute; processes that start
        # together would all do it, within the time limit of their stages.
        run_tool(tool, ["-V"], cwd=work, log=work / "version.log", timeout_s=_FIRST_START_S)
    work_list = [functools.partial(_synthesise_one, job, machine) for job in missing]
    results = run_parallel(work_list, jobs=jobs, finished=finished)
    return {job.name: mapped for job, mapped in zip(missing, results, strict=True)}


def _synthesise_one(job: _Job, machine: _Machine) -> _Mapped:
    directory = machine.work / job.name
    write_files(directory, {**job.files, "synth.ys": job.script})
    # A killed YoWASP leaves its temporary directory behind, so let it be in the working directory.
    # Paths are relative since its /tmp is not the machine's, and Yosys writes its own log since
    # what YoWASP sends to a redirected output ends with the call of ABC.
    tool = replace(machine.tool, environment={**machine.tool.environment, "TMPDIR": str(directory)})
    arguments = ["-q", "-l", _PASSES, "-s", "synth.ys"]
    try:
        run_tool(tool, arguments, cwd=directory, log=directory / "yosys.log", timeout_s=machine.timeout_s)
    except ToolFailedError as error:
        raise ToolFailedError(_failure(job, error, directory / _PASSES)) from error
    mapped = _Mapped(_read_stat(job, directory), _read_timing(job, directory))
    machine.store(job, mapped)
    return mapped


def _read_timing(job: _Job, directory: Path) -> StageTiming | None:
    """Return the longest path of a stage; the netlist goes, since it is a thousand times as large."""
    netlist = directory / _NETLIST
    if not netlist.exists():
        return None
    timing = longest_path(read_json(netlist), job.module)
    netlist.unlink()
    return timing


def _failure(job: _Job, error: ToolFailedError, log: Path) -> str:
    """Name the stage, and show where Yosys was unless its own error is in the text already."""
    what = f"synthesis of {'the registers' if job.name == REGISTERS else f'stage {job.name!r}'}: {error}"
    end = "\n".join(log.read_text(errors="replace").splitlines()[-12:]) if log.exists() else ""
    return what if not end or "ERROR" in what else f"{what}. Its last lines:\n{end}"


def _read_stat(job: _Job, directory: Path) -> dict[str, int]:
    stat = directory / "stat.json"
    try:
        return _cell_counts(read_json(stat)["modules"][f"\\{job.module}"]["num_cells_by_type"])
    except (InputError, KeyError, TypeError) as error:
        msg = (
            f"synthesis of {job.name!r}: Yosys ended without cell counts in {stat} ({error}); see {directory / _PASSES}"
        )
        raise ToolFailedError(msg) from error


def _add_up(
    design: SynthDesign, plan: list[_Job], mapped: Mapping[str, _Mapped], tool: Tool, speed_grade: int
) -> Resources:
    stages = []
    for job in plan:
        cells, timing = mapped[job.name].cells, mapped[job.name].timing
        for stage in job.black_boxes:
            number = cells.get(stage, 0)
            if number != 1:
                msg = f"stage {stage!r} is instantiated {number} times below {design.top!r}; exactly once is allowed"
                raise InputError(msg)
        own = {kind: number for kind, number in cells.items() if kind not in job.black_boxes}
        counted = count_cells(job.name, own)
        if timing is not None:
            counted = replace(counted, levels=timing.levels, delay_ns=GRADES[speed_grade] * timing.delay_ns)
        stages.append(counted)
    match = re.match(r"\d+\.\d+", tool.version)
    return Resources(
        lut=sum(stage.lut for stage in stages),
        ff=sum(stage.ff for stage in stages),
        dsp=sum(stage.dsp for stage in stages),
        bram=sum(stage.bram for stage in stages),
        origin=f"synthesised (Yosys {match.group(0) if match else tool.version}, UltraScale+ xcup, stage by stage)",
        reason="",
        delay_origin=f"estimated (Yosys netlist, typical delays of UltraScale+, speed grade -{speed_grade})",
        stages=tuple(stages),
        estimate=design.estimate,
    )
