"""The firmware of a finished run as an IP core."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from l1dl.artifacts import RunDirectory, read_json, write_files
from l1dl.cosim.result import CosimReport
from l1dl.cosim.stimuli import corner_codes
from l1dl.emulate.compare import compare, require
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.flow.architectures import graph_of_run
from l1dl.flow.job import Paths
from l1dl.flow.results import read_result
from l1dl.ip.core import CoreName, read_core
from l1dl.ip.package import core_files


def export_ip(run: Path, directory: Path, *, name: CoreName = CoreName(), events: int = 100) -> list[str]:  # noqa: B008
    """Write the firmware of a finished run as an IP core: what was co-simulated, with vectors that show it.

    Parameters
    ----------
    directory
        A new directory, or one that holds an IP that l1dl has written: it is replaced.
    events
        Number of test events of the run in the vectors; and of corners of the input space, at most.

    Returns
    -------
    The names of the files.

    Raises
    ------
    InputError
        The run is not finished, or was changed by hand since; or the directory holds something else.
    MismatchError
        The Verilog of the run is not bit-exact.
    """
    _check_target(directory)
    if events < 1:
        msg = f"events = {events} is not allowed; give 1 or more"
        raise InputError(msg)
    paths = Paths(run, run / "hls")
    _check_finished(run)
    graph, verdict = graph_of_run(run), read_result(paths.cosim, CosimReport)
    require(verdict.agreement)
    core = read_core(
        read_json(paths.rtl / "interface.json"), graph.digest, name,
        latency_cycles=verdict.latency_cycles, initiation_interval=verdict.initiation_interval,
    )  # fmt: skip
    emulator = Emulator(graph)
    test, simulated = _test_events(paths, events)
    expected = emulator.run(test)
    require(compare("emulator_rtl", expected, simulated))
    corners = corner_codes(graph.input_ports)[:events]
    files = core_files(
        core,
        paths.verilog(),
        (paths.rtl / "interface.md").read_text(),
        (graph.input_ports, graph.output_ports),
        {"test": (test, expected), "corner": (corners, emulator.run(corners))},
    )
    write_files(directory, files)
    return sorted(files)


def _check_target(directory: Path) -> None:
    """Refuse to replace a directory that l1dl has not written."""
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        msg = f"{directory} is no directory; choose another for the IP"
        raise InputError(msg)
    if not directory.exists() or not any(directory.iterdir()):
        return
    try:
        ours = read_json(directory / "ip.json")["schema"] == "l1dl-ip/1"
    except (InputError, KeyError, TypeError):
        ours = False
    if not ours:
        msg = f"{directory} holds other files, which an IP would replace; choose a new directory"
        raise InputError(msg)


def _check_finished(run: Path) -> None:
    """Refuse a run whose Verilog is not what was co-simulated."""
    directory = RunDirectory(run)
    stages = directory.stages()
    for name in ("rtl", "cosim"):
        if name not in stages:
            msg = f"the stage {name} of {run} is not finished; finish the run first"
            raise InputError(msg)
        if not directory.is_current(name, stages[name].key):
            msg = f"what the stage {name} wrote to {run} was changed by hand; run the stage again"
            raise InputError(msg)
    if stages["cosim"].finished < stages["rtl"].finished:
        msg = f"the Verilog of {run} is newer than its co-simulation; run the stage cosim again with --force"
        raise InputError(msg)


def _test_events(paths: Paths, events: int) -> tuple[Codes, Codes]:
    """Return rows of input codes of test events, and the output codes that the Verilog gave."""
    with np.load(paths.cosim_outputs, allow_pickle=False) as file:
        if "inputs" not in file.files:
            msg = f"{paths.cosim_outputs} holds no inputs; run the stage cosim again with --force"
            raise InputError(msg)
        inputs = file["inputs"][:events]
        return inputs, file["codes"][: len(inputs)]
