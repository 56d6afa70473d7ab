"""Streaming designs in simulation: bit-exact with stalls, without gaps, and every fault is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graphs import random_rows
from image_graphs import branching, convolution, headed, net, random_image_graph, skipping
from support import need_packages, need_tools

from l1dl.card import CosimCard
from l1dl.cosim.stream import StreamSimulation, cosimulate_stream
from l1dl.emulate.engine import Emulator
from l1dl.errors import MismatchError, UnsupportedError
from l1dl.rtl.stream.design import build_stream

FEW = CosimCard(random_vectors=2000)


@pytest.fixture(autouse=True)
def _tools():
    need_packages("alkaid")
    need_tools("verilator", "cxx")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A directory for all tests, so that Verilator's run-time library is compiled once."""
    return tmp_path_factory.mktemp("streams")


def rows_of(graph, frames=150):
    return random_rows(np.random.default_rng(1), graph.input_ports, frames)


CASES = {
    "padding, a head with multipliers": (headed, {}),
    "a skip, two pixels per clock": (skipping, {"pixels": 2}),
    "a row per clock, strides": (lambda: net(*convolution(stride=2)), {"pixels": 6}),
}


@pytest.mark.parametrize("case", CASES)
def test_streams_are_exact_and_have_no_gaps(case, work):
    make, options = CASES[case]
    graph = make()
    design = build_stream(graph, **options)
    report, codes = cosimulate_stream(graph, design, rows_of(graph), work, settings=FEW)
    assert report.agreement.mismatches == 0
    np.testing.assert_array_equal(codes, Emulator(graph).run(rows_of(graph)))
    assert len(np.unique(codes, axis=0)) > 100
    assert report.stream.frame_beats == 36 // options.get("pixels", 1)
    assert report.initiation_interval == report.stream.frame_beats
    assert report.latency_cycles >= report.stream.frame_beats
    assert all(0 < queue.highest <= queue.depth for queue in report.stream.queues)
    assert report.self_test.mismatches > 0
    assert report.stream.stalled_frames > 100


def test_a_design_without_arithmetic_has_no_self_test(work):
    image, taps, _ = convolution()
    graph = net(image, taps)
    report, _ = cosimulate_stream(graph, build_stream(graph), rows_of(graph), work, settings=FEW)
    assert report.agreement.mismatches == 0
    assert report.self_test is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed, work):
    graph = random_image_graph(seed, layers=2 + seed % 5, head=seed % 4 != 0)
    width = graph.inputs[0].shape[-2]
    pixels = [each for each in range(1, width + 1) if width % each == 0]
    try:
        design = build_stream(graph, pixels=pixels[seed % len(pixels)], reuse=(None, 1)[seed % 2])
    except UnsupportedError as error:
        pytest.skip(f"has no streaming form: {error}")
    report, _ = cosimulate_stream(graph, design, rows_of(graph, 60), work, settings=FEW, self_test=False)
    assert report.agreement.mismatches == 0
    assert report.initiation_interval == report.stream.frame_beats


FAULTS = {
    "a queue that takes more than it holds": (
        "net_fifo",
        "assign in_ready = level != DEPTH;",
        "assign in_ready = 1'b1;",
    ),
    "a queue that drops a beat": ("net_fifo", "if (push) tail <=", "if (push & ~pop) tail <="),
    "a pipeline that does not stand still": ("net_program2_pipeline", "if (enable) begin", "begin"),
    "a window that forgets the frame before": ("net_window1", "& (~previous | primed)", "& ~previous"),
    "a window that never flushes": ("net_window1", "flushing <= 1;", "flushing <= 0;"),
    "a window that takes what is outside": ("net_window1", "row_inside[0] &", "1'b1 &"),
    "a matrix that never starts anew": ("net_multiply3", "first[2] ? part0 :", "1'b0 ? part0 :"),
    "a last beat that is not marked": ("net", "m_axis_tlast = left == 0", "m_axis_tlast = left == 1"),
}


QUICK = ("a queue that drops a beat", "a window that never flushes")


@pytest.mark.parametrize("fault", [pytest.param(f, marks=[] if f in QUICK else pytest.mark.slow) for f in FAULTS])
def test_faults_are_seen(fault, work):
    graph = headed()
    design = build_stream(graph)
    module, before, after = FAULTS[fault]
    sources = design.sources()
    assert before in sources[f"{module}.v"]
    sources[f"{module}.v"] = sources[f"{module}.v"].replace(before, after)
    try:
        report, _ = cosimulate_stream(graph, design, rows_of(graph), work, settings=FEW, sources=sources)
    except MismatchError:
        return
    assert report.agreement.mismatches > 0


def test_a_queue_that_is_too_small_stops_the_design(work):
    graph = skipping()
    design = build_stream(graph)
    deepest = max(design.queues, key=lambda queue: queue.depth)
    queues = tuple(replace(queue, depth=min(queue.depth, 2)) for queue in design.queues)
    small = replace(design, queues=queues)
    assert deepest.depth > 2
    with pytest.raises(MismatchError, match=r"the design stops: \d+ of 360 beats are in, \d+ of 360 out"):
        StreamSimulation(small, work).run(rows_of(graph, 10))
    right = StreamSimulation(design, work).run(rows_of(graph, 10))
    assert right.levels[design.queues.index(deepest)] > 2


@pytest.mark.slow
def test_windows_that_step_on_by_themselves_stop_no_others(work):
    graph = branching(16, (7, 3))
    design = build_stream(graph)
    rows, stalls = rows_of(graph, 300), (128, 128)
    _run_all(StreamSimulation(design, work), rows, stalls)
    # As deep as the queues must be if no window steps on by itself.
    depths = {"wide to program5": 2, "near to program5": 37}
    queues = tuple(replace(queue, depth=depths.get(queue.name, queue.depth)) for queue in design.queues)
    assert queues != design.queues
    small = StreamSimulation(replace(design, queues=queues), work)
    with pytest.raises(MismatchError, match="the design stops"):
        _run_all(small, rows, stalls)


def _run_all(simulation, rows, stalls):
    for seed in range(12):
        simulation.run(rows, stalls=stalls, seed=seed)


def test_a_wrong_last_beat_is_reported(work):
    graph = headed()
    simulation = StreamSimulation(build_stream(graph), work)
    simulation.run(rows_of(graph, 5))
    whole = simulation._design.plan.input.beats
    assert whole == 36
