"""Streaming designs: what is cut where, what each element computes, how deep the queues are, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from graphs import random_rows
from image_graphs import (
    CODE,
    WIDE,
    ImageGraph,
    branching,
    convolution,
    dense,
    headed,
    net,
    random_branches,
    random_image_graph,
    skipping,
)
from stream_reference import run_plan
from stream_tokens import stops
from support import need_packages, small_net

from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.nodes import Input, Merge, Node, Operation, Rearrange, Reduce, Reduction, Window
from l1dl.rtl.stream.depths import least_depths, queue_depths
from l1dl.rtl.stream.design import build_stream
from l1dl.rtl.stream.elements import _column_case, _row_case
from l1dl.rtl.stream.plan import plan_stream
from l1dl.rtl.stream.project import stream_files
from l1dl.rtl.stream.streams import Accumulate, Collect, Multiply, Program, Sliding, Stream, slide


def divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]


@pytest.mark.parametrize("start", range(0, 120, 20))
def test_plans_of_random_graphs_compute_the_same(start):
    planned = 0
    for seed in range(start, start + 20):
        graph = random_image_graph(seed, layers=2 + seed % 5, head=seed % 4 != 0)
        rows = random_rows(np.random.default_rng(seed), graph.input_ports, 20)
        expected = Emulator(graph).run(rows)
        for pixels in divisors(graph.inputs[0].shape[-2]):
            for reuse in (None, 1):
                try:
                    plan = plan_stream(graph, pixels=pixels, reuse=reuse)
                except UnsupportedError as error:
                    assert pixels > 1 and "do not fit beats of" in str(error)  # noqa: PT017, PT018
                    continue
                planned += 1
                np.testing.assert_array_equal(run_plan(plan, rows), expected, err_msg=f"seed {seed}, {pixels} pixels")
    assert planned > 60


def test_one_program_for_each_layer():
    plan = plan_stream(headed(), reuse=1)
    kinds = [type(element) for element in plan.elements[1:]]
    assert kinds == [Sliding, Program, Collect, Program]
    assert plan.elements[2].graph.output_ports[0].shape == (1, 2)


def test_the_multipliers_fit_the_time():
    (element,) = (each for each in plan_stream(headed()).elements if isinstance(each, Multiply))
    assert element.weight.shape == (36, 1, 2, 3)
    assert element.reuse_factor == 36
    assert element.multipliers == 6
    (element,) = (each for each in plan_stream(headed(), reuse=72).elements if isinstance(each, Multiply))
    assert (element.reuse_factor, element.multipliers) == (72, 3)


@pytest.mark.parametrize(
    ("reuse", "text"),
    [
        (40, r"reuse factor 40 of layer 'head' does not fit .*; possible are 36 times 1 to 2"),
        (108, r"reuse factor 108 of layer 'head'"),
        (
            {"haed": 4},
            r"reuse is given for 'haed'; did you mean 'head'\?; it is for dense layers behind the image: head",
        ),
    ],
)
def test_reuse_factors_that_do_not_fit(reuse, text):
    with pytest.raises(InputError, match=text):
        plan_stream(headed(), reuse=reuse)


def test_pixels_that_do_not_fit():
    with pytest.raises(InputError, match="pixels_per_clock = 4 does not divide a row of 6 pixels"):
        plan_stream(headed(), pixels=4)
    with pytest.raises(UnsupportedError, match=r"layer 'taps' has 4 results in a row.*let 1 pixel or a whole row \(6"):
        plan_stream(net(*convolution(padding=0)), pixels=3)


def test_what_cannot_be_streamed():
    nodes = convolution()
    other = Input("other", (), (6, 6, 1), CODE)
    both = Merge("both", ("image", "other"), (6, 6, 1), WIDE, Operation.ADD)
    with pytest.raises(UnsupportedError, match="'net' has 2 inputs; a streaming design takes one"):
        plan_stream(net(nodes[0], other, both))
    behind = Reduce("total", ("conv",), (2,), WIDE, Reduction.SUM, (0, 1))
    with pytest.raises(UnsupportedError, match="the outputs conv, total come at different rates"):
        plan_stream(net(*nodes, behind, outputs=("conv", "total")))


def random_slide(seed: int) -> Sliding | None:
    """Return a random window over a small image, if it can slide."""
    rng = np.random.default_rng(seed)
    image = tuple(rng.integers(1, 6, 2).tolist())
    kernel, strides = rng.integers(1, 6, 2).tolist(), rng.integers(1, 4, 2).tolist()
    padding = rng.integers(0, 4, 4).tolist()
    if rng.random() < 0.5:  # as "same" pads
        padding = [part for length in kernel for part in ((length - 1) // 2, length // 2)]
    edges = [image[axis] + sum(padding[2 * axis : 2 * axis + 2]) - kernel[axis] for axis in range(2)]
    pixels = int(rng.choice(divisors(image[1])))
    counts = [edge // stride + 1 for edge, stride in zip(edges, strides, strict=True)]
    if min(edges) < 0 or image == (1, 1):
        return None
    node = Window("taps", ("image",), (*counts, *kernel), CODE, tuple(kernel), tuple(strides), tuple(padding), 0)
    try:
        return slide(node, Stream("image", image, pixels, (pixels, 1), CODE))
    except UnsupportedError as error:
        assert "let 1 pixel or a whole row" in str(error)  # noqa: PT017
        return None


def test_windows_come_when_they_are_complete():
    """The emitter's tables against the definition: the row and the beat that complete each window."""
    slid = flushed = 0
    for seed in range(1500):
        element = random_slide(seed)
        if element is None:
            continue
        rows = element.first_row + element.steps[0] * np.arange(element.outputs[0])
        beats = element.first_beat + element.beat_step * np.arange(element.result_row_beats)
        found = []
        for row, beat in np.ndindex(element.image[0], element.row_beats):
            late, column_ok, *_ = _column_case(element, beat)
            previous, row_ok, *_ = _row_case(element, row - late)
            if column_ok and row_ok:
                found.append(row * element.row_beats + beat + previous * element.source.beats)
        assert sorted(found) == (rows[:, None] * element.row_beats + beats).ravel().tolist(), (seed, element)
        slid, flushed = slid + 1, flushed + (element.delay > 0)
    assert min(slid - flushed, flushed) > 100


def window(source: Node, kernel: tuple[int, ...], padding: tuple[int, ...], strides: tuple[int, ...] = ()) -> Window:
    """Return a window whose values stand side by side."""
    strides = strides or (1,) * len(kernel)
    draft = Window("taps", (source.name,), (1,), source.result, kernel, strides, padding, 0)
    return replace(draft, shape=(*draft.positions(source), math.prod(kernel) * source.shape[-1]))


def shaped(source: Node, shape: tuple[int, ...]) -> Rearrange:
    return Rearrange("shaped", (source.name,), shape, source.result, np.arange(source.size).reshape(shape))


def convolved(*nodes: Node, kernel: tuple[int, ...], padding: tuple[int, ...], strides: tuple[int, ...] = ()):
    """Return a network that ends in a window and a layer behind it."""
    taps = window(nodes[-1], kernel, padding, strides)
    return net(*nodes, taps, dense("conv", taps, 2, np.random.default_rng(1)))


def image(*shape: int) -> Input:
    return Input("image", (), shape, CODE)


SHAPES = {
    "a row with padding above": (convolved(image(1, 4, 1), kernel=(3, 3), padding=(1, 1, 1, 1)), Collect),
    "a kernel larger than the image": (convolved(image(2, 2, 1), kernel=(5, 5), padding=(2, 2, 2, 2)), Collect),
    "windows in the padding": (
        convolved(image(4, 4, 1), kernel=(3, 1), padding=(0, 0, 1, 1), strides=(2, 3)), Collect,
    ),
    "a long kernel on a short line": (convolved(image(2, 1), kernel=(7,), padding=(3, 3)), Collect),
    "more results than pixels": (convolved(image(6, 6, 1), kernel=(3, 3), padding=(2, 2, 2, 2)), Collect),
    "an axis for the channel": (
        convolved(image(8, 8), shaped(image(8, 8), (8, 8, 1)), kernel=(3, 3), padding=(1, 1, 1, 1)), Sliding,
    ),
    "other rows": (
        convolved(image(4, 4, 1), shaped(image(4, 4, 1), (2, 8, 1)), kernel=(2, 2), padding=(0, 0, 0, 0)), Sliding,
    ),
    "a line of an image": (
        convolved(image(4, 4, 2), shaped(image(4, 4, 2), (16, 2)), kernel=(3,), padding=(1, 1)), Sliding,
    ),
    "columns as channels": (
        convolved(image(8, 8, 1), shaped(image(8, 8, 1), (8, 8)), kernel=(3,), padding=(1, 1)), Collect,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_images_of_any_shape(name):
    graph, kind = SHAPES[name]
    plan = plan_stream(graph)
    kinds = {type(element) for element in plan.elements}
    assert kind in kinds
    assert len(kinds & {Collect, Sliding}) == 1
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 30)
    np.testing.assert_array_equal(run_plan(plan, rows), Emulator(graph).run(rows))


def test_what_no_output_needs_is_left_out():
    nodes = convolution()
    dead = replace(nodes[1], name="dead")
    plan = plan_stream(net(*nodes, dead, outputs=("conv",)))
    assert len(plan.elements) == len(plan_stream(net(*nodes)).elements)


@pytest.mark.parametrize("source", [FixedSpec(True, 3, -1), FixedSpec(False, 3, -4), FixedSpec(True, 1, 1)])
@pytest.mark.parametrize("integer", [4, 6, 8])
def test_sums_of_small_values_in_coarse_types(source, integer):
    total = Reduce("total", ("image",), (1,), FixedSpec(source.signed, 4, integer), Reduction.SUM, (0, 1))
    graph = net(Input("image", (), (4, 4, 1), source), total)
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 50)
    np.testing.assert_array_equal(run_plan(plan_stream(graph), rows), Emulator(graph).run(rows))


def test_a_vector_passes_as_one_beat():
    graph = small_net()
    plan = plan_stream(graph, reuse=1)
    assert [stream.beats for stream in (plan.input, *plan.outputs)] == [1, 1]
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 50)
    np.testing.assert_array_equal(run_plan(plan, rows), Emulator(graph).run(rows))


def test_sums_over_an_image_are_accumulated():
    nodes = convolution()
    graph = net(*nodes, Reduce("total", ("conv",), (2,), WIDE, Reduction.SUM, (0, 1)))
    assert any(isinstance(element, Accumulate) for element in plan_stream(graph).elements)


def test_the_queue_of_a_skip_holds_what_the_window_waits_for():
    plan = plan_stream(skipping())
    latencies = [0] * len(plan.elements)
    depths = queue_depths(plan, latencies)
    merging = next(
        number for number, each in enumerate(plan.elements) if isinstance(each, Program) and len(each.sources) > 1
    )
    # A window of 3x3 with padding is complete one row and one pixel later: 7 beats; 2 more keep it flowing.
    assert sorted(depths[merging, place] for place in range(2))[-1] >= 7 + 2
    assert sorted(depths[merging, place] for place in range(2))[0] <= 4


def test_designs_with_the_least_depths_never_stop():
    stopped = 0
    for seed in range(60):
        plan = plan_stream(random_branches(seed))
        depths = least_depths(plan)
        assert not stops(plan, depths, frames=5, seed=seed), seed
        stopped += stops(plan, {place: -(-depth // 2) for place, depth in depths.items()}, frames=5, seed=seed)
    assert stopped > 20


@pytest.mark.parametrize("kernels", [(5, 3), (7, 1), (3, 5)])
def test_windows_that_step_on_by_themselves_stop_no_others(kernels):
    plan = plan_stream(branching(7, kernels))
    depths = least_depths(plan)
    assert not any(stops(plan, depths, frames=6, seed=seed) for seed in range(30))
    deepest = max(depths, key=depths.__getitem__)
    less = depths | {deepest: depths[deepest] - 5}
    assert any(stops(plan, less, frames=6, seed=seed) for seed in range(30))


@pytest.fixture
def design():
    need_packages("alkaid")
    return build_stream(headed())


def test_the_project_describes_its_streams(design):
    files = stream_files(design, ["a", "b", "c"])
    interface = json.loads(files["interface.json"])
    assert interface["input"]["beats"] == 36
    assert interface["input"]["tdata_bits"] == 8
    (head,) = interface["output"]["streams"]
    assert [value["name"] for value in head["values"]] == ["a", "b", "c"]
    assert head["values"][2]["bits"] == [47, 32]
    assert head["type"]["width"] == 16
    assert {port["name"] for port in interface["ports"]} >= {"clk", "s_axis_tdata", "m_axis_tready", "frame_error"}
    assert any("6 multipliers, each used 36 times" in element["what"] for element in interface["elements"])
    assert "A frame of the input is 6 x 6, in 36 beats of 1 pixel" in files["interface.md"]
    modules = [name for name in files if name.endswith(".v")]
    assert len(modules) == len(set(modules))
    for name in (*design.stage_modules, *design.sequential_modules):
        assert f"src/{name}.v" in files


def test_the_same_design_twice_is_the_same_text(design):
    assert build_stream(headed()).sources() == design.sources()
    assert "levels" not in design.sources()["net.v"]
    assert "levels" in design.sources(levels=True)["net.v"]


def test_random_images_reach_all_elements():
    found = set()
    for seed in range(60):
        graph = random_image_graph(seed, layers=2 + seed % 5, head=seed % 4 != 0)
        for reuse in (None, 1):
            found |= {type(element) for element in plan_stream(graph, reuse=reuse).elements}
    assert found >= {Program, Sliding, Collect, Accumulate, Multiply}
    assert isinstance(ImageGraph(1).nodes[0], Input)
