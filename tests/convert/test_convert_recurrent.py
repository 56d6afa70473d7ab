"""LSTM and GRU equal hls4ml's compiled C++, QLSTM and QGRU also Keras; all are unrolled."""

from __future__ import annotations

import numpy as np
import pytest
from side_by_side import Bench, check_all
from support import need_packages, need_tools

from l1dl.convert import rules, unroll
from l1dl.convert.convert import convert_model
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.errors import UnsupportedError
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.ports import as_rows

need_packages("keras", "qkeras", "hls4ml")

WEIGHT = "ap_fixed<8,2>"


def add_recurrent(work: Bench, kind: str, name: str, units: int, *, source=None, seed: int = 0, **options):
    """Add a layer with random weights; return its output."""
    hls = {key: options.pop(key) for key in list(options) if key in ("accum_t", "table_t", "table_size")}
    precision = dict.fromkeys(("weight", "bias", "recurrent_weight", "recurrent_bias"), WEIGHT)
    precision["result"] = options.pop("result", "ap_fixed<14,4>")
    hls.setdefault("accum_t", "ap_fixed<14,4>")
    layer = getattr(work.keras.layers, kind)(units, name=name, **options)
    result = work.add(layer, source, Precision=precision, static=False, **hls)
    rng = np.random.default_rng(seed)
    layer.set_weights([rng.integers(-60, 60, each.shape) / 64 for each in layer.get_weights()])
    return result


def inputs(shape: tuple[int, ...]) -> np.ndarray:
    """Return values from small to the ends of the type."""
    rng = np.random.default_rng(7)
    x = rng.uniform(-8, 8, (250, *shape))
    x[::2] /= 6
    return np.floor(x * 2**10) / 2**10


@pytest.mark.slow
def test_recurrent_layers_equal_csim(tmp_path):
    need_tools("cxx")
    work = Bench((5, 3), "ap_fixed<14,4>")
    add_recurrent(work, "LSTM", "lstm", 3)
    small = {"table_t": "ap_fixed<12,2>", "table_size": 512}
    sequence = add_recurrent(work, "LSTM", "lstm_sequence", 2, return_sequences=True, use_bias=False, **small)
    add_recurrent(work, "LSTM", "lstm_relu", 2, activation="relu", recurrent_activation="sigmoid", seed=1)
    add_recurrent(work, "GRU", "gru", 3, accum_t="ap_fixed<16,5,AP_RND>", table_t="ap_fixed<12,2,AP_RND,AP_SAT>")
    add_recurrent(work, "GRU", "gru_sequence", 2, source=sequence, return_sequences=True, table_size=100, seed=2)
    narrow = {"accum_t": "ap_fixed<12,4>", "result": "ap_fixed<9,2,AP_RND_CONV,AP_SAT>"}
    add_recurrent(work, "GRU", "gru_types", 2, seed=3, **narrow)
    results = work.run(tmp_path, inputs((5, 3)), exact=False)
    check_all(results, keras=False)
    emulated, wanted = results["lstm"][1:]
    assert np.median(np.abs(emulated - wanted)) < 0.02  # the same function as in Keras, with coarser numbers


def test_twenty_steps_are_unrolled(tmp_path):
    work = Bench((20, 2), "ap_fixed<14,4>")
    add_recurrent(work, "GRU", "gru", 2)
    _, graph = work.convert(tmp_path, exact=False)
    assert "gru__19_state" in {node.name for node in graph.nodes}
    work = Bench((21, 2), "ap_fixed<14,4>")
    add_recurrent(work, "GRU", "gru", 2)
    with pytest.raises(UnsupportedError, match="has 21 time steps; at most 20 are unrolled"):
        work.convert(tmp_path, exact=False)


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("GRU", {"reset_after": False}, "has reset_after=False, which hls4ml's C\\+\\+ computes as if it were True"),
        ("GRU", {"recurrent_activation": "hard_sigmoid"}, "has recurrent_activation='hard_sigmoid'; hls4ml has relu"),
        ("LSTM", {"activation": "softsign"}, "has activation='softsign'; hls4ml has relu, sigmoid, tanh there"),
        ("LSTM", {"result": "ap_fixed<12,4>"}, "has different types of result, input and accumulator"),
        ("LSTM", {"accum_t": "ap_fixed<15,4>"}, "has different types of result, input and accumulator"),
    ],
)
def test_what_cpp_does_otherwise_is_refused(tmp_path, kind, options, text):
    work = Bench((3, 2), "ap_fixed<14,4>")
    add_recurrent(work, kind, "r", 2, **options)
    with pytest.raises(UnsupportedError, match=text):
        work.convert(tmp_path, exact=False)


def quantised(kind: str, units: int, **options):
    """Return a QLSTM or QGRU with quantisers."""
    qkeras = import_qkeras()
    weight = qkeras.quantized_bits(5, 0, alpha=1)
    settings = {
        "kernel_quantizer": weight, "recurrent_quantizer": weight, "bias_quantizer": weight,
        "state_quantizer": qkeras.quantized_bits(6, 1, alpha=1), "activation": qkeras.quantized_tanh(6),
        "recurrent_activation": qkeras.quantized_sigmoid(5),
    }  # fmt: skip
    return getattr(qkeras, kind)(units, **{**settings, **options})


def sequence_model(layers, *, steps: int = 4, seed: int = 0):
    """Return a model of recurrent layers side by side, behind an input quantiser."""
    keras, qkeras = import_keras(), import_qkeras()
    port = keras.Input((steps, 3), name="port")
    x = qkeras.QActivation(qkeras.quantized_bits(6, 1, alpha=1), name="quantised")(port)
    model = keras.Model(port, [layer(x) for layer in layers], name="sequences")
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.4, each.shape) for each in model.get_weights()])
    return model


@pytest.fixture
def unrolled(monkeypatch):
    """Let the conversion know the rules of recurrent layers."""
    for kind, rule in unroll.RULES.items():
        monkeypatch.setitem(rules.RULES, kind, rule)


@pytest.mark.usefixtures("unrolled")
@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_quantised_layers_equal_keras(tmp_path, compiled):
    qkeras = import_qkeras()
    real = {"activation": qkeras.quantized_tanh(5, use_real_tanh=True), "recurrent_activation": "hard_sigmoid"}
    layers = [
        quantised("QLSTM", 3), quantised("QLSTM", 2, return_sequences=True, **real),
        quantised("QGRU", 3, reset_after=True), quantised("QGRU", 2, return_sequences=True, go_backwards=True),
        quantised("QGRU", 2, reset_after=False, use_bias=False),
        quantised("QLSTM", 2, use_bias=False, go_backwards=True),
    ]  # fmt: skip
    model = sequence_model(layers)
    conversion = convert_model(model, tmp_path / "hls")
    emulator = Emulator(conversion.graph)
    x = np.random.default_rng(1).uniform(-2.5, 2.5, (300, 4, 3)).astype(np.float32)
    found = emulator.decode(emulator.run(emulator.encode(x)))
    wanted = np.concatenate([np.reshape(y, (len(x), -1)) for y in model.predict(x, verbose=0)], axis=1)
    np.testing.assert_array_equal(found, wanted)
    assert np.all(found.min(axis=0) < found.max(axis=0))
    if compiled:
        need_tools("cxx")
        values = as_rows(x, conversion.graph.input_ports)
        np.testing.assert_array_equal(Csim(conversion.project, tmp_path / "work").run(values), found)


@pytest.mark.usefixtures("unrolled")
@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("QLSTM", {"state_quantizer": None}, "has no state_quantizer, so that its states get longer at each step"),
        ("QLSTM", {"activation": "tanh"}, "has quantiser tanh as activation"),
        ("QGRU", {"kernel_quantizer": None}, "has no quantiser as kernel_quantizer"),
        ("QGRU", {"state_quantizer": "binary(alpha=1)"}, "has a state_quantizer that changes the initial state"),
        ("QGRU", {"kernel_quantizer": "bernoulli()"}, "has quantiser bernoulli as kernel_quantizer"),
    ],
)
def test_quantised_layers_that_are_not_exact_are_refused(tmp_path, kind, options, text):
    with pytest.raises(UnsupportedError, match=text):
        convert_model(sequence_model([quantised(kind, 2, **options)]), tmp_path / "hls")


@pytest.mark.usefixtures("unrolled")
def test_long_sequences_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="has 21 time steps; between 1 and 20 are unrolled"):
        convert_model(sequence_model([quantised("QGRU", 2)], steps=21), tmp_path / "hls")
