"""The test benches of IP cores, run as a user would: right designs pass, and every fault is seen."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from graphs import random_graph, random_rows
from ip_cores import (
    KINDS,
    STREAM_LATENCY,
    core_texts,
    measured_latency,
    need_simulator,
    network,
    run_bench,
    texts_of,
    write_core,
)
from support import need_packages, need_tools

from l1dl.artifacts import write_files
from l1dl.cosim.fault import inject_fault
from l1dl.rtl.project import build_rtl
from l1dl.rtl.stream.design import StreamDesign

BENCHES = ("sv", "cocotb")


@pytest.fixture(autouse=True)
def _alkaid():
    need_packages("alkaid")


def changed_operator(kind: str) -> dict[str, str]:
    """Return a file of the core in which one operator of the Verilog does something else."""
    graph, design = network(kind)
    rows = random_rows(np.random.default_rng(2), graph.input_ports, 500)
    part = design
    if isinstance(design, StreamDesign):
        part = design.programs[max(design.programs)]
        rows = random_rows(np.random.default_rng(2), part.inputs, 500)
    right = part.sources()
    changed = {f"src/{name}": text for name, text in inject_fault(part, rows, 1).sources.items() if text != right[name]}
    assert len(changed) == 1
    return changed


def changed_word(kind: str) -> dict[str, str]:
    """Return the expected words with the last bit of the last one inverted."""
    *words, last = core_texts(kind)["tb/vectors/outputs.hex"].split()
    flipped = f"{int(last, 16) ^ 1:0{len(last)}x}"
    return {"tb/vectors/outputs.hex": "\n".join([*words, flipped, ""])}


def replaced(kind: str, file: str, old: str, new: str) -> dict[str, str]:
    """Return a file of the core with one text in place of another."""
    text = core_texts(kind)[file]
    assert text.count(old) == 1, (file, old)
    return {file: text.replace(old, new)}


@pytest.mark.parametrize(
    ("simulator", "bench", "kind"),
    [
        *(("icarus", bench, kind) for bench in BENCHES for kind in KINDS),
        ("verilator", "sv", "parallel"),
        ("verilator", "cocotb", "stream"),
        pytest.param("verilator", "sv", "stream", marks=pytest.mark.slow),
        pytest.param("verilator", "cocotb", "parallel", marks=pytest.mark.slow),
    ],
)
def test_right_designs_pass_and_faults_are_seen(simulator, bench, kind, tmp_path):
    need_simulator(bench, simulator)
    build = tmp_path / "build"  # kept from one to the next, so that only what changed is compiled again
    code, said = run_bench(write_core(tmp_path / "core", kind), bench, simulator, build)
    assert (code, "PASS: " in said) == (0, True), said
    for changed in (changed_word(kind), changed_operator(kind)):
        code, said = run_bench(write_core(tmp_path / "core", kind, changed), bench, simulator, build)
        assert code == 1, said
        assert "FAIL: " in said
        assert "PASS: " not in said


@pytest.mark.parametrize("seed", [0, 4, 7])
def test_random_networks_with_several_ports_pass(seed, tmp_path):
    need_simulator("sv", "icarus")
    graph = random_graph(seed)
    assert len(graph.input_ports) > 1
    assert len(graph.output_ports) > 1
    design = build_rtl(graph)
    write_files(tmp_path / "core", texts_of(graph, design, design.latency_cycles))
    code, said = run_bench(tmp_path / "core", "sv", "icarus", tmp_path / "build")
    assert code == 0, said


def other_latency(kind: str, bench: str) -> dict[str, str]:
    """Return what the bench expects with a latency of one cycle more."""
    content = json.loads(core_texts(kind)["ip.json"])
    latency = content["latency_cycles"]
    if bench == "sv":
        return replaced(kind, f"tb/tb_{content['name']}.sv", f"LATENCY = {latency};", f"LATENCY = {latency + 1};")
    return {"ip.json": json.dumps({**content, "latency_cycles": latency + 1})}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bench", BENCHES)
def test_a_wrong_latency_is_seen(bench, kind, tmp_path):
    need_simulator(bench, "icarus")
    code, said = run_bench(
        write_core(tmp_path / "core", kind, other_latency(kind, bench)), bench, "icarus", tmp_path / "build"
    )
    assert code == 1, said
    assert "latency" in said or "out_valid is wrong" in said


@pytest.mark.parametrize(
    ("kind", "file", "old", "new", "reason"),
    [
        ("parallel", "tiny.v", "out_valid = valid[2]", "out_valid = valid[1]", "wrong"),
        ("parallel", "tiny.v", "out_valid = valid[2]", "out_valid = 1'b0", "lost|out_valid is wrong"),
        ("parallel", "tiny.v", "out_valid = valid[2]", "out_valid = 1'bx", "undefined|invalid literal"),
        ("stream", "net.v", "m_axis_tlast = left == 0", "m_axis_tlast = 1'b0", "tlast"),
        ("stream", "net.v", "entered == 35)", "entered == 34)", "frame_error, although"),
        ("stream", "net_fifo.v", "out_valid = level != 0", "out_valid = level > 1", "the design stops"),
        ("stream", "net_fifo.v", "pop = out_valid & out_ready", "pop = out_valid", "withdrawn|stops|wrong|expected"),
        ("stream", "net.v", "m_axis_tvalid = have5", "m_axis_tvalid = have5 & m_axis_tready", "the design stops"),
    ],
)
@pytest.mark.parametrize("bench", BENCHES)
def test_each_check_sees_its_fault(bench, kind, file, old, new, reason, tmp_path):
    need_simulator(bench, "icarus")
    core = write_core(tmp_path / "core", kind, replaced(kind, f"src/{file}", old, new))
    code, said = run_bench(core, bench, "icarus", tmp_path / "build")
    assert code == 1, said
    assert re.search(reason, said), said


def test_the_latency_of_the_stream_is_what_the_co_simulation_measures(tmp_path):
    need_tools("verilator", "cxx")
    assert measured_latency(tmp_path) == STREAM_LATENCY
