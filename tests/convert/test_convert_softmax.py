"""hls4ml's softmax: all implementations, types and axes equal its compiled C++."""

from __future__ import annotations

import numpy as np
import pytest
from keras_models import perceptron
from side_by_side import Bench, check_all
from support import need_packages, need_tools

from l1dl.convert.convert import convert_model
from l1dl.convert.softmax import before_softmax, graph_before_softmax, softmax_axes
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_outputs
from l1dl.errors import UnsupportedError
from l1dl.fixed import Overflow, Rounding
from l1dl.models.backend import import_keras, import_qkeras, predict_arrays
from l1dl.nodes import Merge, Reduce
from l1dl.ports import decode_rows
from l1dl.rtl.lower import lower

need_packages("keras", "qkeras", "hls4ml")


def add_softmax(work: Bench, name: str, implementation: str, *, axis: int = -1, source=None, **config) -> None:
    """Add a softmax layer."""
    result = config.pop("result", "ap_ufixed<12,1,AP_RND,AP_SAT>")
    layer = work.keras.layers.Softmax(axis=axis, name=name)
    work.add(layer, source, implementation=implementation, Precision={"result": result}, **config)


def inputs(shape: tuple[int, ...], *, seed: int = 0) -> np.ndarray:
    """Return values from small to beyond the type."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-10, 10, (300, *shape))
    x[::3] /= 8
    x[::7] = np.round(x[::7])
    return np.concatenate([np.floor(x * 2**8) / 2**8, np.zeros((1, *shape))])


@pytest.mark.slow
def test_every_implementation_equals_csim(tmp_path):
    need_tools("cxx")
    work = Bench((4, 3), "ap_fixed<14,4>")
    flat = work.keras.layers.Flatten()(work.input)
    for implementation in ("stable", "latency", "legacy", "argmax"):
        add_softmax(work, f"flat_{implementation}", implementation, source=flat)
        add_softmax(work, f"rows_{implementation}", implementation, result="ap_fixed<9,2>")
        add_softmax(work, f"columns_{implementation}", implementation, axis=1)
    sizes = {"exp_table_size": 256, "inv_table_size": 64}
    types = {"exp_table_t": "ap_fixed<12,2,AP_RND,AP_SAT>", "inv_table_t": "ap_fixed<14,3>",
             "accum_t": "ap_fixed<10,3,AP_TRN,AP_SAT>", "inv_inp_t": "ap_ufixed<9,3,AP_RND,AP_SAT>"}  # fmt: skip
    add_softmax(work, "small", "stable", **sizes, **types)
    add_softmax(work, "small_latency", "latency", **sizes, **types)
    add_softmax(work, "normed", "stable", inp_norm_t="ap_ufixed<8,4,AP_RND,AP_SAT>", exp_table_size=256)
    add_softmax(work, "odd_legacy", "legacy", exp_table_size=300, inv_table_size=777, result="ap_fixed<16,2>")
    work.add(work.keras.layers.Activation("softmax", name="function"))
    check_all(work.run(tmp_path, inputs((4, 3)), exact=False), keras=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_random_types_equal_csim(tmp_path, seed):
    need_tools("cxx")
    rng = np.random.default_rng(seed)
    work = Bench((5,), "ap_fixed<12,4>")

    def kind(low: int, high: int, integers: tuple[int, int]) -> str:
        modes = rng.choice([each.value for each in Rounding]), rng.choice([each.value for each in Overflow])
        integer, sign = rng.integers(*integers), "u" if rng.integers(2) else ""
        return f"ap_{sign}fixed<{rng.integers(low, high)},{integer},AP_{modes[0]},AP_{modes[1]}>"

    for index in range(10):
        add_softmax(
            work, f"s{index}", ("stable", "latency")[index % 2], result=kind(8, 16, (1, 3)),
            exp_table_t=kind(9, 16, (1, 6)), inv_table_t=kind(9, 16, (1, 4)), accum_t=kind(9, 16, (2, 6)),
            inv_inp_t=kind(9, 16, (2, 6)), exp_table_size=2 ** int(rng.integers(5, 12)),
            inv_table_size=2 ** int(rng.integers(5, 10)),
        )  # fmt: skip
    results = work.run(tmp_path, inputs((5,), seed=seed), exact=False)
    for name, (compiled, emulated, _) in results.items():
        np.testing.assert_array_equal(emulated, compiled, err_msg=name)
    assert sum(len(np.unique(emulated)) > 1 for _, emulated, _ in results.values()) > 5


def test_a_sum_whose_order_counts_is_a_tree(tmp_path):
    work = Bench((5,), "ap_fixed<12,4>")
    for name, accumulator in (("tree", "ap_fixed<8,4,AP_RND,AP_SAT>"), ("line", "ap_fixed<8,4>")):
        add_softmax(work, name, "latency", exp_table_t="ap_fixed<7,3>", accum_t=accumulator, exp_table_size=64)
    _, graph = work.convert(tmp_path, exact=False)
    assert isinstance(graph["tree__sum"], Merge)
    assert isinstance(graph["line__sum"], Reduce)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"exp_table_size": 1000}, "has a softmax table of 1000 entries .* use a power of two"),
        ({"inv_table_size": 2**17}, "table of 131072 entries"),
        ({"exp_table_size": 4096, "inv_table_size": 4096, "inv_inp_t": "ap_fixed<10,4>"}, "at most 1024"),
    ],
)
def test_tables_that_cpp_reads_outside_of_are_refused(tmp_path, config, text):
    work = Bench((5,), "ap_fixed<16,4>")
    add_softmax(work, "s", "latency", **config)
    with pytest.raises(UnsupportedError, match=text):
        work.convert(tmp_path, exact=False)


def test_a_table_type_that_hls4ml_ignores_is_refused(tmp_path):
    work = Bench((5,), "ap_fixed<16,4>")
    add_softmax(work, "s", "legacy", table_t="ap_fixed<12,4>")
    with pytest.raises(UnsupportedError, match="legacy softmax always takes fixed<18,8>"):
        work.convert(tmp_path, exact=False)


class TestAtTheEndOfAModel:
    """A softmax that was kept: Keras on what it reads, everything else on the softmax itself."""

    @pytest.mark.parametrize("size", [2, 5, pytest.param(8, marks=pytest.mark.slow)])
    def test_vectors(self, size, tmp_path):
        self.check(self.logits((4,), size), -1, tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("axis", [1, 2])
    def test_matrices(self, axis, tmp_path):
        self.check(self.logits((3, 4), 4), axis, tmp_path)

    def logits(self, shape, size):
        need_packages("jax", "alkaid")
        keras, qkeras = import_keras(), import_qkeras()
        keras.utils.set_random_seed(size)
        bits = qkeras.quantized_bits(6, 1, alpha=1)
        inputs = keras.Input(shape, name="port")
        x = qkeras.QActivation(qkeras.quantized_bits(8, 3, alpha=1), name="entry")(inputs)
        return inputs, qkeras.QDense(size, kernel_quantizer=bits, bias_quantizer=bits, name="dense")(x)

    def check(self, pair, axis, work):
        need_tools("cxx")
        inputs, logits = pair
        keras = import_keras()
        model = keras.Model(inputs, keras.layers.Softmax(axis=axis, name="chances")(logits), name="net")
        conversion = convert_model(model, work / "hls")
        graph, emulator = conversion.graph, Emulator(conversion.graph)
        x = np.random.default_rng(1).uniform(-9, 9, (500, *inputs.shape[1:])).astype(np.float32)
        x[:9] = 0
        rows = emulator.encode(x)
        emulated = emulator.run(rows)
        assert len(np.unique(emulated)) > 50
        before = graph_before_softmax(graph)
        assert before.outputs == ("dense",)
        np.testing.assert_array_equal(keras_outputs(before_softmax(model), x, before), Emulator(before).run(rows))
        values = decode_rows(rows, graph.input_ports)
        compiled = Csim(conversion.project, work / "csim", optimise=0).run(values)
        np.testing.assert_array_equal(exact_rows(compiled, graph.output_ports), emulated)
        np.testing.assert_array_equal(exact_rows(lower(graph).predict(values), graph.output_ports), emulated)
        (wanted,) = predict_arrays(model, [x])
        assert np.abs(emulator.decode(emulated).reshape(wanted.shape) - wanted).max() < 2**-6


def test_without_a_softmax_model_and_graph_stay(tmp_path):
    model = perceptron(1)
    graph = convert_model(model, tmp_path).graph
    assert before_softmax(model) is model
    assert graph_before_softmax(graph) is graph
    assert softmax_axes(model) == [None]
