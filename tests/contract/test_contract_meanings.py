"""The contract of the project: all meanings of one model agree in every output code, for every event."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import run_graph
from support import (
    RTL_OVERFLOWS,
    RTL_ROUNDINGS,
    need_packages,
    need_tools,
    random_codes,
    random_graph,
    small_net,
)

from l1dl.card import CosimCard
from l1dl.convert.convert import convert_model
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.stimuli import corner_codes
from l1dl.emulate.bounds import check_graph
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import exact_codes, keras_layers, keras_outputs
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Function, Input
from l1dl.rtl.lower import lower
from l1dl.rtl.project import build_rtl

EVENTS = 500


def keras_model(seed: int) -> Any:
    """Return a random quantised perceptron, with or without a frozen scaling behind its input."""
    from l1dl.models.backend import import_keras, import_qkeras

    keras, qkeras = import_keras(), import_qkeras()
    rng = np.random.default_rng(seed)
    features = int(rng.integers(2, 7))
    x = inputs = keras.Input((features,), name="features")
    bits = int(rng.integers(4, 17))
    x = qkeras.QActivation(qkeras.quantized_bits(bits, min(int(rng.integers(0, 4)), bits - 2), alpha=1), name="port")(x)
    if rng.integers(2):
        scaling = keras.layers.BatchNormalization(epsilon=0.0, trainable=False, name="scaling")
        scaling.build((None, features))
        scale = 2.0 ** rng.integers(-2, 3, features)
        offset = rng.integers(-16, 17, features) / 16
        scaling.set_weights([scale, offset, np.zeros(features), np.ones(features)])
        x = scaling(x)
        x = qkeras.QActivation(qkeras.quantized_bits(int(rng.integers(4, 9)), 2, alpha=1), name="scaled")(x)
    layers = int(rng.integers(1, 4))
    for index in range(layers):
        units = int(rng.integers(2, 11))
        weight_bits = int(rng.integers(2, 9))
        x = qkeras.QDense(
            units,
            kernel_quantizer=qkeras.quantized_bits(weight_bits, int(rng.integers(0, 2)), alpha=1),
            bias_quantizer=qkeras.quantized_bits(weight_bits, int(rng.integers(0, 2)), alpha=1),
            name=f"dense_{index}",
        )(x)
        if index < layers - 1:
            bits, integer = int(rng.integers(2, 9)), int(rng.integers(-1, 4))
            kind = qkeras.quantized_relu(bits, min(max(integer, 0), bits - 1))
            if rng.integers(3) == 0:
                kind = qkeras.quantized_bits(bits, min(integer, bits - 2), alpha=1)
            x = qkeras.QActivation(kind, name=f"act_{index}")(x)
    model = keras.Model(inputs, x, name=f"net{seed}")
    for layer in model.layers:
        if type(layer).__name__ == "QDense":
            layer.set_weights([rng.normal(0, 0.7, value.shape) for value in layer.get_weights()])
    return model


@pytest.fixture(scope="class")
def case(request, tmp_path_factory):
    need_packages("keras", "qkeras", "hls4ml", "jax", "alkaid")
    need_tools("cxx")
    work = tmp_path_factory.mktemp("contract")
    model = keras_model(request.param)
    conversion = convert_model(model, work / "hls")
    emulator = Emulator(conversion.graph)
    spec = emulator.input.result
    rng = np.random.default_rng(request.param)
    inputs = emulator.input.shape[0]
    beyond = 1.5 * 2.0 ** (spec.integer - 1)
    x = rng.uniform(-beyond, beyond, (EVENTS, inputs))
    x[::2] *= rng.choice([0.01, 0.1, 0.5], (len(x[::2]), 1))
    x = np.concatenate([x, decode(corner_codes(inputs, spec), spec)]).astype(np.float32)
    return model, conversion, emulator, x, work


class KerasContract:
    """What every quantised Keras model must pass."""

    def test_outputs_are_not_constant(self, case):
        _, _, emulator, x, _ = case
        outputs = emulator.run(emulator.encode(x))
        assert len(np.unique(outputs, axis=0)) > 1

    def test_keras_equals_emulator(self, case):
        model, conversion, emulator, x, _ = case
        np.testing.assert_array_equal(keras_outputs(model, x, conversion.graph), emulator.run(emulator.encode(x)))

    def test_every_keras_layer_equals_its_node(self, case):
        model, conversion, emulator, x, _ = case
        trace = emulator.trace(emulator.encode(x))
        layers = keras_layers(model, x, conversion.graph)
        assert set(trace) - set(layers) <= {emulator.input.name}
        # The input node is what the first quantiser of the Keras model yields.
        for name in set(layers) - {emulator.input.name}:
            np.testing.assert_array_equal(layers[name], trace[name], err_msg=name)

    def test_csim_equals_emulator(self, case):
        _, conversion, emulator, x, work = case
        codes = emulator.encode(x)
        real = decode(codes, emulator.input.result)
        csim = exact_codes(Csim(conversion.project, work / "csim").run(real), emulator.output.result)
        np.testing.assert_array_equal(csim, emulator.run(codes))

    def test_alir_equals_emulator(self, case):
        _, conversion, emulator, x, _ = case
        codes = emulator.encode(x)
        alir = lower(conversion.graph).predict(decode(codes, emulator.input.result), n_threads=1)
        np.testing.assert_array_equal(alir, emulator.decode(emulator.run(codes)))

    def test_emulator_equals_its_definition(self, case):
        _, conversion, emulator, x, _ = case
        codes = emulator.encode(x[:30])
        slow, _ = run_graph(conversion.graph, codes)
        for name, values in emulator.trace(codes).items():
            np.testing.assert_array_equal(values, slow[name], err_msg=name)

    def test_verilog_equals_emulator(self, case):
        need_tools("verilator")
        _, conversion, emulator, x, work = case
        report, _ = cosimulate(
            conversion.graph,
            build_rtl(conversion.graph),
            emulator.encode(x),
            work / "cosim",
            settings=CosimCard(random_vectors=2000),
            self_test=False,
        )
        assert report.agreement.mismatches == 0
        assert report.initiation_interval == 1


@pytest.mark.parametrize("case", [1, 2, 3], indirect=True, scope="class")
class TestKeras(KerasContract):
    """A few models in each run."""


@pytest.mark.slow
@pytest.mark.parametrize("case", range(10, 40), indirect=True, scope="class")
class TestManyKeras(KerasContract):
    """Many models."""


def check_alir(graph: FixedGraph, events: int = 200) -> None:
    emulator = Emulator(graph)
    rng = np.random.default_rng(1)
    spec = emulator.input.result
    codes = np.concatenate(
        [corner_codes(emulator.input.shape[0], spec), random_codes(rng, spec, (events, *emulator.input.shape))]
    )
    alir = lower(graph).predict(decode(codes, spec), n_threads=1)
    np.testing.assert_array_equal(alir, emulator.decode(emulator.run(codes)))


def check_verilog(graph: FixedGraph, work) -> None:
    emulator = Emulator(graph)
    codes = random_codes(np.random.default_rng(1), emulator.input.result, (500, *emulator.input.shape))
    settings = CosimCard(random_vectors=500)
    report, _ = cosimulate(graph, build_rtl(graph), codes, work, settings=settings, self_test=False)
    assert report.agreement.mismatches == 0, report.agreement.first


def conversions(rounding: Rounding, overflow: Overflow, *, source_signed: bool) -> FixedGraph:
    """Return a graph that converts 12 bits to a type narrower at both ends."""
    source = FixedSpec(source_signed, 10, 5, Rounding.RND, Overflow.SAT)
    target = FixedSpec(source_signed, 5, 3, rounding, overflow)
    nodes = (Input("x", (), (1,), source), Activation("y", ("x",), (1,), target, Function.LINEAR))
    return FixedGraph("net", nodes, ("y",), "test 1")


def varying_graph(seed):
    """Return the first random graph from `seed` on, in steps of 1000, whose outputs depend on its inputs.

    A constant network has no RTL (it is refused by name), so it can show nothing here.
    """
    for trial in range(seed, seed + 100_000, 1000):
        graph = random_graph(trial, roundings=RTL_ROUNDINGS, overflows=RTL_OVERFLOWS)
        source = graph.inputs[0]
        codes = random_codes(np.random.default_rng(trial), source.result, (200, *source.shape))
        if len(np.unique(Emulator(graph).run(codes), axis=0)) > 1:
            return graph
    raise AssertionError(seed)


class TestGraphs:
    """Emulator, RTL program and Verilog of graphs that no Keras model yields."""

    @pytest.fixture(autouse=True)
    def _alkaid(self):
        need_packages("alkaid")

    @pytest.mark.parametrize("layers", [1, 3])
    def test_random_graphs(self, layers):
        for seed in range(120):
            check_alir(random_graph(seed, layers=layers, roundings=RTL_ROUNDINGS, overflows=RTL_OVERFLOWS))

    @pytest.mark.parametrize(
        ("seed", "layers"),
        # Found by a search: alkaid's constants, halves to even, one-bit selections, products without a variable.
        [
            *((seed, 1) for seed in (401, 1156, 1756, 2038, 3960, 4036, 4947)),
            *((seed, 3) for seed in (11094, 11619, 13098, 15635)),
            *((seed, 4) for seed in (30285, 32899)),
        ],
    )
    def test_graphs_that_once_differed(self, seed, layers):
        check_alir(random_graph(seed, layers=layers, roundings=RTL_ROUNDINGS, overflows=RTL_OVERFLOWS))

    @pytest.mark.slow
    @pytest.mark.parametrize("start", range(100_000, 110_000, 500))
    def test_many_random_graphs(self, start):
        for seed in range(start, start + 500):
            check_alir(random_graph(seed, roundings=RTL_ROUNDINGS, overflows=RTL_OVERFLOWS), events=50)

    @pytest.mark.parametrize("signed", [True, False])
    @pytest.mark.parametrize("overflow", RTL_OVERFLOWS)
    @pytest.mark.parametrize("rounding", RTL_ROUNDINGS)
    def test_every_code_through_every_mode(self, rounding, overflow, signed):
        graph = conversions(rounding, overflow, source_signed=signed)
        emulator = Emulator(graph)
        spec = emulator.input.result
        codes = np.arange(spec.minimum_code, spec.maximum_code + 1)[:, None]
        slow, _ = run_graph(graph, codes)
        np.testing.assert_array_equal(emulator.run(codes), slow["y"])
        alir = lower(graph).predict(decode(codes, spec), n_threads=1)
        np.testing.assert_array_equal(alir, emulator.decode(slow["y"]))

    @pytest.mark.parametrize("rounding", [rounding for rounding in Rounding if rounding not in RTL_ROUNDINGS])
    def test_roundings_without_rtl_are_refused_by_name(self, rounding):
        graph = conversions(rounding, Overflow.WRAP, source_signed=True)
        with pytest.raises(UnsupportedError, match=rf"layer 'y': no RTL for type fixed<5,3,{rounding.value},WRAP>"):
            lower(graph)

    def test_overflows_without_rtl_are_refused_by_name(self):
        graph = conversions(Rounding.TRN, Overflow.SAT_ZERO, source_signed=True)
        with pytest.raises(UnsupportedError, match=r"layer 'y': no RTL for type fixed<5,3,TRN,SAT_ZERO>; the modes"):
            lower(graph)

    def test_constants_that_float32_cannot_hold_are_refused(self):
        source, wide = FixedSpec(True, 4, 4), FixedSpec(True, 30, 30)
        ones, big = np.ones(1, dtype=np.int64), np.array([2**25 + 1])
        affine = Affine("a", ("x",), (1,), wide, ones, FixedSpec(True, 2, 2), big, wide)
        with pytest.raises(UnsupportedError, match="layer 'a' has constants of more than 24 significant bits"):
            lower(FixedGraph("net", (Input("x", (), (1,), source), affine), ("a",), "test 1"))

    @pytest.mark.parametrize("seed", [7, 4947])
    def test_verilog_of_random_graphs(self, seed, tmp_path):
        need_tools("verilator", "cxx")
        check_verilog(random_graph(seed, layers=1, roundings=RTL_ROUNDINGS, overflows=RTL_OVERFLOWS), tmp_path)

    def test_verilog_of_a_small_network(self, tmp_path):
        need_tools("verilator", "cxx")
        check_graph(small_net())
        check_verilog(small_net(), tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(200, 224))
    def test_verilog_of_many_random_graphs(self, seed, tmp_path):
        need_tools("verilator", "cxx")
        check_verilog(varying_graph(seed), tmp_path)
