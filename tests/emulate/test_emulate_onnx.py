"""ONNX models give the codes of the emulator in onnxruntime, optimised or not, with any number of threads."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys

import numpy as np
import pytest
from graphs import KINDS, graph_of, random_codes, random_graph, random_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from image_graphs import random_image_graph
from support import dense_graph, need_packages, small_net

import l1dl
from l1dl.cosim.stimuli import corner_codes
from l1dl.emulate.bounds import check_graph
from l1dl.emulate.engine import Emulator
from l1dl.emulate.onnx import Real, export_onnx
from l1dl.emulate.onnx.export import build_model
from l1dl.emulate.onnx.gather import longest_run
from l1dl.emulate.onnx.session import OnnxEmulator
from l1dl.errors import InputError, StorageError, ToolMissingError, UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding, encode
from l1dl.graph import FixedGraph
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Clip,
    Function,
    Input,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Rearrange,
    Reduce,
    Reduction,
    Table,
    Window,
)
from l1dl.ports import decode_rows, encode_rows, join, split

BYTE = FixedSpec(True, 8, 8)
FLOATS = {"tensor(float)": np.float32, "tensor(double)": np.float64}


@pytest.fixture(autouse=True, scope="module")
def _installed():
    need_packages("onnx", "onnxruntime")


def start(content: bytes, *, optimised: bool = True, threads: int = 1):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def feed(graph: FixedGraph, rows: np.ndarray, session) -> dict[str, np.ndarray]:
    """Return the real values of rows of input codes."""
    ports = graph.input_ports
    values = split(decode_rows(rows, ports), ports)
    return {
        entry.name: part.astype(FLOATS[entry.type]) for entry, part in zip(session.get_inputs(), values, strict=True)
    }


def codes_of(graph: FixedGraph, outputs: list[np.ndarray]) -> np.ndarray:
    """Return rows of output codes; each real value must be one."""
    parts = []
    for values, port in zip(outputs, graph.output_ports, strict=True):
        assert values.shape[1:] == port.shape
        scaled = np.ldexp(values.astype(np.float64), port.spec.fraction)
        codes = scaled.astype(np.int64)
        np.testing.assert_array_equal(codes, scaled)
        parts.append(codes)
    return join(parts)


def rows_for(graph: FixedGraph, seed: int, events: int = 30) -> np.ndarray:
    """Return random rows behind the corners."""
    return np.concatenate(
        [corner_codes(graph.input_ports), random_rows(np.random.default_rng(seed), graph.input_ports, events)]
    )


def enterable(graph: FixedGraph, rows: np.ndarray) -> np.ndarray:
    """Return the rows without codes that no real value has: symmetric types never give their lowest one."""
    return encode_rows(decode_rows(rows, graph.input_ports), graph.input_ports)


def check(graph: FixedGraph, seed: int = 0, *, events: int = 30, real: Real | None = None, rows=None) -> np.ndarray:
    """Compare onnxruntime with the emulator, and return the codes."""
    rows = enterable(graph, rows_for(graph, seed, events) if rows is None else rows)
    content = build_model(graph, real=real)
    expected = Emulator(graph).run(rows)
    for optimised in (True, False):
        session = start(content, optimised=optimised)
        codes = codes_of(graph, session.run(None, feed(graph, rows, session)))
        np.testing.assert_array_equal(codes, expected, err_msg=f"optimised: {optimised}")
    return expected


def operators(content: bytes) -> list[str]:
    import onnx

    return [node.op_type for node in onnx.load_model_from_string(content).graph.node]


def dtypes(content: bytes) -> set[str]:
    """Return the names of the float and int64 dtypes that constants have."""
    import onnx

    tensors = onnx.load_model_from_string(content).graph.initializer
    return {onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name for tensor in tensors}


# --- random networks


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_kind_gives_the_codes_of_the_emulator(kind, seed):
    check(graph_of(kind, seed), seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_kind_knows_every_mode(kind, rounding):
    for overflow in Overflow:
        check(graph_of(kind, 1, roundings=(rounding,), overflows=(overflow,)), events=20)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 8))
def test_random_graphs_give_the_codes_of_the_emulator(seed, layers):
    check(random_graph(seed, layers=layers), seed)


@pytest.mark.parametrize("seed", range(8))
def test_images_give_the_codes_of_the_emulator(seed):
    check(random_image_graph(seed, head=seed % 2 == 0), seed)


@pytest.mark.slow
@pytest.mark.parametrize("start_at", range(0, 4000, 100))
def test_many_networks_give_the_codes_of_the_emulator(start_at):
    for seed in range(start_at, start_at + 100):
        check(random_graph(seed, layers=seed % 9), seed)
    for seed in range(start_at // 20, start_at // 20 + 5):
        check(random_image_graph(seed), seed)


def test_the_engine_takes_codes_and_real_values():
    graph = random_graph(3, layers=6)
    engine, emulator = OnnxEmulator(graph), Emulator(graph)
    rows = enterable(graph, rows_for(graph, 3, 6000))
    np.testing.assert_array_equal(engine.run(rows), emulator.run(rows))
    # Halves of a step that float32 cannot hold are rounded once.
    values = decode_rows(rows, graph.input_ports) * (1 + 2.0**-40)
    np.testing.assert_array_equal(engine.predict(values), emulator.predict(values))
    with pytest.raises(InputError, match="do not fit"):
        engine.predict(values[:, 1:])
    values[0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        engine.predict(values)


def widened(graph: FixedGraph, seed: int) -> FixedGraph:
    """Return the graph with wider types, and constants over all of their ranges."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        changes = {}
        for field in dataclasses.fields(node):
            if field.type == "FixedSpec" and field.name != "index":
                spec = getattr(node, field.name)
                most = 53 if isinstance(node, Input) or node.name in graph.outputs else 62
                width = int(rng.integers(spec.width, min(most, spec.width + 50), endpoint=True))
                integer = int(rng.integers(spec.integer - 20, spec.integer + 30, endpoint=True))
                changes[field.name] = dataclasses.replace(spec, width=width, integer=integer)
        wide = dataclasses.replace(node, **changes)
        constants = wide.constants([nodes[name] for name in wide.inputs])
        codes = {name: random_codes(rng, spec, shape) for name, (shape, spec) in constants.items()}
        nodes[node.name] = dataclasses.replace(wide, **codes)
    return dataclasses.replace(graph, nodes=tuple(nodes.values()))


def check_widened(kind: str, seeds) -> int:
    exact = 0
    for seed in seeds:
        graph = widened(graph_of(kind, seed), seed)
        try:
            check_graph(graph)
        except UnsupportedError:
            continue
        check(graph, seed, events=8)
        exact += 1
    return exact


@pytest.mark.parametrize("kind", KINDS)
def test_wide_types_are_exact(kind):
    assert check_widened(kind, range(16)) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_wide_types_are_exact(kind):
    assert check_widened(kind, range(16, 400)) >= 30


# --- conversions and the bounds of the dtypes


def convert_graph(source: FixedSpec, *results: FixedSpec, function: Function = Function.LINEAR) -> FixedGraph:
    """Return a graph that converts its input to each of some types."""
    nodes = [Activation(f"n{place}", ("x",), (1,), spec, function) for place, spec in enumerate(results)]
    return FixedGraph("net", (Input("x", (), (1,), source), *nodes), tuple(node.name for node in nodes), "test 1")


def telling_codes(spec: FixedSpec) -> np.ndarray:
    """Return codes around zero, around the ends and around all powers of two and their halves, as rows."""
    powers = [1 << bit for bit in range(spec.width)]
    near = {sign * (power + power // 2 * more) + step
            for power, more, sign, step in itertools.product(powers, (0, 1), (-1, 1), (-1, 0, 1))}  # fmt: skip
    near |= {spec.minimum_code, spec.maximum_code, *range(-20, 21)}
    return np.array(sorted(code for code in near if spec.minimum_code <= code <= spec.maximum_code))[:, None]


@pytest.mark.parametrize("function", Function)
@pytest.mark.parametrize("width", [8, 24, 25, 40, 53, 54])
@pytest.mark.parametrize("signed", [True, False])
def test_all_conversions_are_exact(width, signed, function):
    source = FixedSpec(signed, width, width // 2)
    rows = telling_codes(source)
    for drop in (-3, 0, 1, 2, width // 2, width - 1, width, width + 3, 70):
        specs = []
        for rounding, overflow, to_signed in itertools.product(Rounding, Overflow, (True, False)):
            to_width = min(max(1, width - max(drop, 0) - 2), 53)
            fraction = source.fraction - drop
            specs.append(FixedSpec(to_signed, to_width, to_width - fraction, rounding, overflow))
        check(convert_graph(source, *specs, function=function), rows=rows[np.abs(rows[:, 0]) <= 1 << 53])


@pytest.mark.parametrize("function", Function)
def test_types_of_one_bit_are_exact(function):
    specs = [FixedSpec(signed, 1, integer, rounding, overflow) for signed, integer, rounding, overflow
             in itertools.product((True, False), (0, 1, 2), Rounding, Overflow)]  # fmt: skip
    check(convert_graph(FixedSpec(True, 5, 3), *specs, function=function), rows=np.arange(-16, 16)[:, None])


@pytest.mark.parametrize(
    ("total", "dtype"),
    [
        ((1 << 24) - 1, "float32"),
        (1 << 24, "float32"),
        ((1 << 24) + 1, "float64"),
        ((1 << 53) - 1, "float64"),
        (1 << 53, "float64"),
        ((1 << 53) + 1, "int64"),
        ((1 << 60) + 1, "int64"),
    ],
)
def test_sums_that_just_fit_are_exact(total, dtype):
    # Large values of both signs, which cancel in any order but the proved one, and the smallest one.
    largest = total // 8
    weight = [[largest] * 2, [-largest] * 2, [largest, 1], [1, -largest], [largest, largest - 1], [total % 8 + 3, 5],
              [largest, 0]]  # fmt: skip
    rest = total - max(sum(abs(row[column]) for row in weight) for column in range(2))
    weight.append([rest, 0])
    source = FixedSpec(True, 2, 2, overflow=Overflow.SAT_SYM)
    shifted = FixedSpec(True, 53, 53)
    graph = dense_graph(weight, source=source, accumulator=FixedSpec(True, 62, 62))
    sums = graph["dense"]
    # The source reaches -2, so that each weight is halved to bound the sum by `total`; the result keeps the low bits.
    one = Input("x", (), (8,), FixedSpec(False, 1, 1))
    wrapped = Activation("low", ("dense",), (2,), FixedSpec(True, 20, 20), Function.LINEAR)
    high = Activation("high", ("dense",), (2,), dataclasses.replace(shifted, width=40, integer=62), Function.LINEAR)
    graph = FixedGraph("net", (one, sums, wrapped, high), ("low", "high"), "test 1")
    content = build_model(graph)
    assert dtype in dtypes(content)
    rows = np.array(list(itertools.product((0, 1), repeat=8)))
    codes = check(graph, rows=rows)
    exact = rows.astype(object) @ np.array(weight, dtype=object)
    np.testing.assert_array_equal(codes[:, 2:], exact >> 22)
    np.testing.assert_array_equal(codes[:, :2], (exact + (1 << 19)) % (1 << 20) - (1 << 19))
    assert np.abs(exact).max() <= total


def test_biases_count():
    """A bias of one code more than fits float32 asks for float64."""
    for bias, dtype in (((1 << 24) - 3, "float32"), ((1 << 24) - 2, "float64")):
        graph = dense_graph([[3]], source=FixedSpec(False, 1, 1), accumulator=FixedSpec(True, 40, 40), bias=[bias])
        content = build_model(graph)
        assert (dtype in dtypes(content), "float64" in dtypes(content)) == (True, dtype == "float64")
        assert check(graph, rows=np.array([[0], [1]])).tolist() == [[bias], [bias + 3]]


# --- real inputs


def real_values(spec: FixedSpec, dtype) -> np.ndarray:
    """Return numbers on and off the grid, ties, and very small and very large ones."""
    info = np.finfo(dtype)
    codes = telling_codes(FixedSpec(True, min(spec.width + 3, 62), 0)).ravel().astype(np.float64)
    grid = np.ldexp(np.concatenate([codes, codes + 0.5, codes + 0.25, codes / 3]), -spec.fraction).astype(dtype)
    around = [np.nextafter(grid, dtype(sign * np.inf)) for sign in (-1, 1)]
    extremes = np.array([info.max, info.max / 2, info.max / 3, info.tiny, info.smallest_subnormal, 1e-38, 1e30, 0.0])
    halves = np.ldexp(np.array([0.5, 1.5, 2.5, 8388607.5, 8388608.0, 16777217.0, 1e9]), -spec.fraction)
    rng = np.random.default_rng(1)
    sizes = np.ldexp(rng.random(200) - 0.5, rng.integers(info.minexp, info.maxexp, 200))
    values = np.concatenate([grid, *around, halves, -halves, extremes, -extremes, sizes]).astype(dtype)
    return values[np.isfinite(values)]


def input_graph(spec: FixedSpec) -> FixedGraph:
    """Return a graph whose output is its quantised input, without the bits that a double cannot hold."""
    narrow = FixedSpec(spec.signed, min(spec.width, 52), spec.integer)
    low = FixedSpec(False, min(spec.width, 20), min(spec.width, 20) - spec.fraction)
    nodes = [Activation(name, ("x",), (), to, Function.LINEAR) for name, to in (("high", narrow), ("low", low))]
    return FixedGraph("net", (Input("x", (), (), spec), *nodes), ("high", "low"), "test 1")


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("signed", [True, False])
def test_any_real_input_is_quantised_like_the_emulator_does(rounding, overflow, signed):
    shapes = [(1, 1), (8, 3), (8, 12), (8, -4), (24, 10), (25, 5), (30, 80), (53, 20), (54, 10), (62, 62), (62, -30)]
    for width, integer in shapes:
        spec = FixedSpec(signed, width, integer, rounding, overflow)
        graph = input_graph(spec)
        for real in Real:
            try:
                session = start(build_model(graph, real=real))
            except UnsupportedError:
                assert (real, width > 24) == (Real.FLOAT32, True)
                continue
            values = real_values(spec, np.dtype(real.value).type)
            expected = Emulator(graph).run(encode(values, spec)[:, None])
            codes = codes_of(graph, session.run(None, {"x": values}))
            np.testing.assert_array_equal(codes, expected, err_msg=f"{spec} {real}")


def test_an_input_may_be_an_output_and_an_output_be_there_twice():
    a = Input("a", (), (2,), BYTE)
    relu = Activation("relu", ("a",), (2,), FixedSpec(False, 7, 7), Function.RELU)
    same = Activation("same", ("relu",), (2,), FixedSpec(True, 9, 9), Function.LINEAR)
    graph = FixedGraph("net", (a, relu, same), ("relu", "a", "same"), "test 1")
    check(graph)
    session = start(build_model(graph))
    assert [port.name for port in session.get_outputs()] == ["relu", "a/output_1", "same"]
    assert [part.tolist() for part in session.run(None, {"a": np.array([[-3.5, 200]], np.float32)})] == [
        [[0, 0]], [[-4, -56]], [[0, 0]],
    ]  # fmt: skip


def test_infinite_inputs_saturate():
    graph = FixedGraph("net", (Input("x", (), (1,), FixedSpec(True, 8, 8, Rounding.RND, Overflow.SAT)),), ("x",), "t 1")
    values = np.array([[np.inf], [-np.inf]], np.float32)
    assert start(build_model(graph)).run(None, {"x": values})[0].tolist() == [[127], [-128]]


# --- single kinds


def test_the_first_maximum_wins_also_among_zeros_of_both_signs():
    relu = Activation("relu", ("x",), (4,), FixedSpec(True, 8, 7, Rounding.TRN_ZERO), Function.LINEAR)
    hot = ArgMax("hot", ("relu",), (4,), FixedSpec(True, 4, 2))
    graph = FixedGraph("net", (Input("x", (), (4,), FixedSpec(True, 12, 7)), relu, hot), ("hot",), "test 1")
    rows = np.array([[-3, 0, 3, -1], [0, -3, 1, 2], [5, 5, 5, 5], [-99, -99, -90, -90]])
    assert check(graph, rows=rows)[:3].tolist() == [[4, 0, 0, 0]] * 3


def test_every_kind_works_on_many_axes_and_on_none():
    source = Input("x", (), (), BYTE)
    wide = FixedSpec(True, 20, 16)
    one = np.array(3)
    nodes = [
        source,
        Affine("a", ("x",), (), wide, one, BYTE, one, BYTE),
        Activation("b", ("a",), (), BYTE, Function.RELU),
        Clip("c", ("x",), (), wide, -1.5, 7.25),
        LeakyRelu("d", ("c",), (), wide, one, FixedSpec(True, 4, 2)),
        Merge("e", ("d", "a"), (), wide, Operation.AVERAGE),
        Table("f", ("x",), (3,), BYTE, FixedSpec(True, 2, 4), np.arange(12).reshape(4, 3), BYTE),
        Merge("g", ("f", "e"), (3,), wide, Operation.MAXIMUM),
        Rearrange("h", ("g", "x"), (2, 2, 2), wide, np.array([[[0, 1], [3, -1]], [[2, 2], [3, 0]]])),
        Reduce("i", ("h",), (), FixedSpec(True, 30, 26), Reduction.SUM, (0, 1, 2)),
        Reduce("j", ("h",), (2,), BYTE, Reduction.MAXIMUM, (0, 1)),
        Window("k", ("h",), (1, 1, 8), BYTE, (2, 2), (1, 1), (0, 0, 0, 0), 0),
    ]
    graph = FixedGraph("net", tuple(nodes), ("b", "e", "i", "j", "k"), "test 1")
    check(graph, rows=np.arange(-128, 128)[:, None])


WRONG_ON_WHOLE = {"Clip", "Max", "Min", "Sign", "Abs", "Relu", "ReduceMax", "ReduceSum", "Gemm", "BitShift"}
"""Operators whose int64 kernels in onnxruntime 1.31 are wrong for large numbers, or do not exist."""


def test_kernels_that_are_wrong_for_large_whole_numbers_are_avoided():
    import onnx

    met = set()
    for kind, seed in itertools.product(KINDS, range(12)):
        try:
            content = build_model(widened(graph_of(kind, seed), seed))
        except UnsupportedError:
            continue
        graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content)).graph
        elements = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
        whole = {node.op_type for node in graph.node
                 if onnx.TensorProto.INT64 in [elements.get(name) for name in node.input]}  # fmt: skip
        assert not whole & WRONG_ON_WHOLE
        met |= whole
    assert {"MatMul", "Where", "Greater", "BitwiseAnd", "Div"} <= met


@pytest.mark.parametrize("operation", Operation)
def test_merges_of_large_whole_numbers_are_exact(operation):
    """Numbers whose upper halves are equal, which Max and Min of onnxruntime confuse."""
    product = operation is Operation.MULTIPLY
    sources = [FixedSpec(True, 30, 30)] * 2 if product else [FixedSpec(True, 50, 50), FixedSpec(True, 50, 44)]
    fraction = 0 if product else 6
    nodes = [Input(name, (), (1,), spec) for name, spec in zip("xy", sources, strict=True)]
    merge = Merge("n", ("x", "y"), (1,), FixedSpec(True, 62, 62 - fraction), operation)
    low = Activation("low", ("n",), (1,), FixedSpec(True, 50, 50, Rounding.TRN, Overflow.SAT), Function.LINEAR)
    high = Activation("high", ("n",), (1,), FixedSpec(True, 32, 32 - fraction), Function.LINEAR)
    graph = FixedGraph("net", (*nodes, merge, low, high), ("low", "high"), "test 1")
    rng = np.random.default_rng(1)
    rows = rng.integers(-(1 << 29), 1 << 29, (500, 2))
    rows[::2, 1] = rows[::2, 0] + rng.integers(-(1 << 20), 1 << 20, 250)
    rows = rows.clip(-(1 << 29), (1 << 29) - 1)
    if not product:
        rows[:, 1] <<= 6
        rows <<= rng.integers(0, 14, (500, 1))
    assert "int64" in dtypes(build_model(graph))
    assert len(np.unique(check(graph, rows=rows))) > 400


@pytest.mark.parametrize("operation", Reduction)
def test_reductions_of_large_whole_numbers_are_exact(operation):
    source, wide = Input("x", (), (3, 4, 2), FixedSpec(True, 53, 53)), FixedSpec(True, 59, 59)
    double = Merge("double", ("x", "x"), (3, 4, 2), FixedSpec(True, 54, 54), Operation.ADD)
    reduce = Reduce("n", ("double",), (4,), wide, operation, (0, 2))
    low = Activation("low", ("n",), (4,), FixedSpec(True, 30, 30), Function.LINEAR)
    high = Activation("high", ("n",), (4,), FixedSpec(True, 30, 59), Function.LINEAR)
    graph = FixedGraph("net", (source, double, reduce, low, high), ("low", "high"), "test 1")
    rng = np.random.default_rng(1)
    rows = rng.integers(-(1 << 52), 1 << 52, (400, 24)) >> rng.integers(0, 30, (400, 1))
    assert len(np.unique(check(graph, rows=rows))) > 400


def test_runs_of_values_move_together():
    rows = np.arange(24).reshape(6, 4)
    assert longest_run(rows[[2, 1, 5]].ravel(), 24) == 12 // 3
    assert longest_run(rows[:, [1, 0, 2, 3]].ravel(), 24) == 1
    assert longest_run(np.concatenate([rows[3], np.full(4, -1)]), 24) == 4
    assert longest_run(np.arange(1, 5), 24) == 1


def test_conversions_take_few_operators():
    """The binary point is moved in the constants of the matrices."""
    assert operators(build_model(small_net())) == ["Mul", "Round", "Clip", "Gemm", "Round", "Clip", "Gemm"]


# --- the file


def test_only_standard_operators_are_used_and_the_standard_defines_them():
    """Compare with the evaluator of the standard, which is written in NumPy."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    for kind, seed in itertools.product(KINDS, range(3)):
        graph = widened(graph_of(kind, seed), seed) if seed == 2 else graph_of(kind, seed)
        try:
            content = build_model(graph)
        except UnsupportedError:
            continue
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model, full_check=True)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        rows = enterable(graph, rows_for(graph, seed, 4))
        values = feed(graph, rows, start(content))
        with np.errstate(all="ignore"):
            outputs = ReferenceEvaluator(model).run(None, values)
        np.testing.assert_array_equal(codes_of(graph, outputs), Emulator(graph).run(rows), err_msg=f"{kind} {seed}")


def test_the_same_graph_gives_the_same_bytes(tmp_path):
    for seed in range(5):
        paths = [tmp_path / f"{seed}_{place}.onnx" for place in range(2)]
        for path in paths:
            export_onnx(random_graph(seed, layers=6), path)
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_file_says_what_it_is(tmp_path):
    import onnx

    graph = small_net("tiny")
    export_onnx(graph, tmp_path / "deep" / "tiny.onnx")
    model = onnx.load(tmp_path / "deep" / "tiny.onnx")
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert (model.graph.name, model.producer_name, model.producer_version) == ("tiny", "l1dl", l1dl.__version__)
    assert (notes["graph_digest"], notes["l1dl_version"]) == (graph.digest, l1dl.__version__)
    assert json.loads(notes["inputs"]) == {"x": "fixed<6,3,RND_CONV,SAT>"}
    assert json.loads(notes["outputs"]) == {"logits": "fixed<16,9>"}
    session = start(model.SerializeToString())
    (inputs,), (outputs,) = session.get_inputs(), session.get_outputs()
    assert (inputs.name, inputs.shape, inputs.type) == ("x", ["batch", 3], "tensor(float)")
    assert (outputs.name, outputs.shape, outputs.type) == ("logits", ["batch", 2], "tensor(float)")


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.onnx"
    export_onnx(small_net(), path)
    before = path.read_bytes()
    with pytest.raises(UnsupportedError):
        export_onnx(convert_graph(FixedSpec(True, 40, 20), BYTE), path, real=Real.FLOAT32)
    assert (path.read_bytes(), [entry.name for entry in tmp_path.iterdir()]) == (before, ["net.onnx"])
    with pytest.raises(StorageError, match="cannot write"):
        export_onnx(small_net(), path / "below")


def test_each_port_takes_the_dtype_that_its_codes_need():
    wide = FixedSpec(True, 40, 20)
    graph = convert_graph(FixedSpec(True, 30, 20), BYTE, wide)
    ports = {real: start(build_model(graph, real=real)) for real in (None, Real.FLOAT64)}
    assert [port.type for port in ports[None].get_inputs()] == ["tensor(double)"]
    assert [port.type for port in ports[None].get_outputs()] == ["tensor(float)", "tensor(double)"]
    assert {port.type for port in ports[Real.FLOAT64].get_outputs()} == {"tensor(double)"}
    check(graph, real=Real.FLOAT64)


def test_ports_that_no_real_value_holds_are_refused_by_name():
    narrow, wide, wider = (FixedSpec(True, width, 20) for width in (20, 40, 60))
    with pytest.raises(UnsupportedError, match=r"input 'x' .*fixed<40,20>.* float32 .*export with float64"):
        build_model(convert_graph(wide, narrow), real=Real.FLOAT32)
    with pytest.raises(UnsupportedError, match=r"output 'n1' .*fixed<40,20> has codes of 39 bits"):
        build_model(convert_graph(narrow, narrow, FixedSpec(True, 40, 20)), real=Real.FLOAT32)
    with pytest.raises(UnsupportedError, match=r"output 'n0' .*60,20.* float64"):
        build_model(convert_graph(wider, wider))
    with pytest.raises(UnsupportedError, match=r"input 'x' .*-990"):
        build_model(convert_graph(FixedSpec(True, 8, -990), FixedSpec(True, 8, -990)))


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ToolMissingError, match=r"pip install 'l1dl\[onnx\]'"):
        export_onnx(small_net(), tmp_path / "net.onnx")


@pytest.mark.parametrize("events", [0, 1, 3, 5000])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_batches_and_threads_do_not_matter(events, threads):
    for graph in (small_net(), random_graph(7, layers=6), random_image_graph(3)):
        rows = enterable(graph, random_rows(np.random.default_rng(1), graph.input_ports, events))
        session = start(build_model(graph), threads=threads)
        codes = codes_of(graph, session.run(None, feed(graph, rows, session)))
        np.testing.assert_array_equal(codes, Emulator(graph).run(rows))
        assert events < 5000 or len(np.unique(codes, axis=0)) > 50


def test_the_binary_point_stays_near_however_many_products_follow_each_other():
    """Values of a few significant bits with distant binary points, through products, slopes, scales and matrices."""
    for integer in (-90, -40, 0, 40, 95):
        spec = FixedSpec(True, 3, integer)
        nodes: list[Node] = [Input("x", (), (2,), spec)]
        for place in range(5):
            source = nodes[-1]
            far = FixedSpec(True, 6, 6 - source.result.fraction - spec.fraction)
            nodes.append(Merge(f"m{place}", (source.name, "x"), (2,), far, Operation.MULTIPLY))
        last = nodes[-1]
        slope = FixedSpec(True, 3, 1)
        sloped = FixedSpec(True, 9, last.result.integer + slope.integer)
        scale = FixedSpec(True, 3, -last.result.integer)
        nodes += [
            LeakyRelu("leaky", (last.name,), (2,), sloped, np.array([3, -2]), slope),
            Affine("near", (last.name,), (2,), FixedSpec(True, 12, 6, Rounding.RND), np.array([1, -3]), scale,
                   np.array([1, 2]), FixedSpec(True, 4, 2)),
            Affine("back", ("leaky",), (2,), FixedSpec(True, 12, 6), np.array(3),
                   FixedSpec(True, 3, -sloped.integer), np.array(1), FixedSpec(True, 3, 3)),
        ]  # fmt: skip
        graph = FixedGraph("net", tuple(nodes), ("near", "back"), "test 1")
        assert len(np.unique(check(graph, rows=np.array(list(itertools.product(range(-4, 4), repeat=2)))))) > 5
