"""IP cores of small networks, fully parallel and streaming, and their test benches as processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from graphs import random_rows
from image_graphs import headed
from support import absent, need_packages, need_tools, small_net

from l1dl.artifacts import write_files
from l1dl.cosim.stimuli import corner_codes
from l1dl.cosim.stream import StreamSimulation
from l1dl.emulate.engine import Emulator
from l1dl.fixed import Codes
from l1dl.graph import FixedGraph
from l1dl.ip.core import CoreName, read_core
from l1dl.ip.package import core_files
from l1dl.rtl.build import Design, design_files
from l1dl.rtl.project import build_rtl
from l1dl.rtl.stream.design import StreamDesign, build_stream

KINDS = ("parallel", "stream")

STREAM_LATENCY = 56
"""Latency of the streaming network, in cycles; a test measures it."""


@cache
def network(kind: str) -> tuple[FixedGraph, Design]:
    """Return a small network and its design."""
    graph = headed() if kind == "stream" else small_net()
    return graph, build_stream(graph) if kind == "stream" else build_rtl(graph)


def vectors(graph: FixedGraph) -> dict[str, tuple[Codes, Codes]]:
    """Return some events and corners with the codes that must come out."""
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 20)
    corners = corner_codes(graph.input_ports)[:20]
    run = Emulator(graph).run
    return {"test": (rows, run(rows)), "corner": (corners, run(corners))}


def texts_of(graph: FixedGraph, design: Design, latency: int) -> dict[str, str]:
    """Return the files of the IP core of a design."""
    files = design_files(design)
    interface = json.loads(files["interface.json"])
    core = read_core(interface, graph.digest, CoreName(), latency_cycles=latency, initiation_interval=None)
    ports = graph.input_ports, graph.output_ports
    return core_files(core, design.sources(), files["interface.md"], ports, vectors(graph))


@cache
def core_texts(kind: str) -> dict[str, str]:
    """Return the files of a small IP core."""
    graph, design = network(kind)
    return texts_of(graph, design, STREAM_LATENCY if isinstance(design, StreamDesign) else design.latency_cycles)


def write_core(directory: Path, kind: str, changed: dict[str, str] | None = None) -> Path:
    """Write the IP core with some files changed."""
    texts = core_texts(kind)
    assert not set(changed or {}) - set(texts), "a changed file is none of the core's"
    write_files(directory, {**texts, **(changed or {})})
    return directory


def measured_latency(work: Path) -> int:
    """Return the cycles from the first beat of a frame that enters alone to the last one of its result."""
    graph, design = network("stream")
    assert isinstance(design, StreamDesign)
    passage = StreamSimulation(design, work).run(vectors(graph)["test"][0][:1])
    return int(passage.left[-1] - passage.entered[0])


def need_simulator(bench: str, simulator: str) -> None:
    """Skip unless the simulator, and cocotb where the bench is in Python, are there."""
    if simulator == "icarus" and shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed (apt-get install iverilog); Verilator runs the same benches")
    if simulator == "verilator":
        need_tools("verilator", "cxx")
        missing = [name for name in ("make", "perl") if shutil.which(name) is None]
        if missing:
            absent(f"Verilator's own build needs {' and '.join(missing)}, which is not installed")
    if bench == "cocotb":
        need_packages("cocotb")


def run_bench(core: Path, bench: str, simulator: str, build: Path) -> tuple[int, str]:
    """Run a test bench as a user would; return its exit code and what it said."""
    command = [sys.executable, core / "tb" / "run.py", bench, "--simulator", simulator, "--build", build]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False
    )
    return done.returncode, done.stdout
