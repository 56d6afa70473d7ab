"""Every QKeras quantiser, as weights and as activations: exact, or refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.convert.quantisers import (
    MAXIMUM_CONSTANT_WIDTH,
    QUANTISERS,
    Form,
    check_quantiser,
    quantise_constants,
    quantiser_form,
    quantiser_spec,
    smallest_spec,
)
from l1dl.convert.truth_table import reduced
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode, encode, requantise
from l1dl.models.backend import import_keras, import_qkeras

need_packages("keras", "qkeras")

TYPED = [
    "quantized_bits(6, 1, alpha=1)", "quantized_bits(6, 1)", "quantized_bits(6, 1, 1, alpha=1)",
    "quantized_bits(5, 2, keep_negative=False, alpha=1)", "quantized_bits(3, 2, alpha=1)",
    "quantized_bits(4, 5, alpha=1)",
    "quantized_bits(4, 0, alpha=1, use_stochastic_rounding=True)", "quantized_relu(6, 2)", "quantized_relu(2, 2)",
    "quantized_relu(6, 2, relu_upper_bound=3.0)", "quantized_tanh(6)", "quantized_tanh(6, symmetric=True)",
    "quantized_sigmoid(6)", "quantized_linear(6, 1)", "quantized_linear(6, 1, 0, alpha=0.5)",
    "quantized_linear(5, 1, keep_negative=False)",
]  # fmt: skip
"""Quantisers of activations that are conversions to a type."""

TABLES = [
    "quantized_bits(1, 0, alpha=1)", "quantized_bits(4, 0, alpha=2)", "quantized_relu(6, 1, use_sigmoid=1)",
    "quantized_relu(6, 1, negative_slope=0.25)", "quantized_relu(6, 3, negative_slope=0.25)",
    "quantized_relu(6, 2, relu_upper_bound=3.0, is_quantized_clip=False)", "quantized_tanh(6, use_real_tanh=True)",
    "quantized_sigmoid(6, symmetric=True)", "quantized_sigmoid(6, use_real_sigmoid=True)", "quantized_po2(4)",
    "quantized_po2(4, max_value=2)", "quantized_relu_po2(4)", "quantized_relu_po2(4, negative_slope=0.125)",
    "quantized_linear(1, 0)", "quantized_hswish(8, 2)", "binary(alpha=1)", "binary(alpha=0.5)",
    "binary(use_01=True, alpha=1)", "ternary(alpha=1)", "ternary(alpha=1, threshold=0.5)",
    "stochastic_binary(alpha=1)", "stochastic_ternary(alpha=1)", "binary_tanh",
]  # fmt: skip
"""Quantisers of activations that become truth tables."""

WEIGHTS = [
    *TYPED, *(each for each in TABLES if each != "binary_tanh"), "quantized_bits(6, 0, alpha='auto_po2')",
    "quantized_linear(6, 0, alpha='auto_po2')", "binary(alpha='auto_po2')", "ternary(alpha='auto_po2')",
    "stochastic_binary(alpha='auto_po2')", "stochastic_ternary(alpha='auto_po2')", "quantized_po2(8)",
    "quantized_relu_po2(4, max_value=1)", "binary()", "ternary()", "stochastic_binary()", "stochastic_ternary()",
]  # fmt: skip
"""Quantisers of weights."""

DATA_DEPENDENT = [
    "quantized_bits(6, 0, alpha='auto')", "quantized_bits(6, 0, alpha='auto_po2')", "binary(alpha='auto')",
    "ternary(alpha='auto_po2')", "stochastic_ternary(alpha='auto')", "quantized_linear(6, alpha='auto')",
    "quantized_hswish(6, 2, alpha='auto')",
]  # fmt: skip
"""Quantisers whose scale depends on the data: no firmware as activations."""


def make(text: str):
    """Return a quantiser."""
    import qkeras.quantizers

    import_qkeras()
    return eval(text, vars(qkeras.quantizers))


def evaluated(quantiser, x: np.ndarray) -> np.ndarray:
    """Return what Keras makes of values."""
    result = import_keras().ops.convert_to_numpy(quantiser(x.astype(np.float32)))
    return np.asarray(result, dtype=np.float64)


@pytest.mark.parametrize("text", TYPED)
def test_a_type_is_what_keras_computes(text):
    quantiser = make(text)
    x = np.arange(-(2**11), 2**11) / 2**6
    before = {
        Form.LINEAR: x,
        Form.RELU: np.maximum(x, 0),
        Form.HARD_SIGMOID: np.clip(x / 2 + 0.5, 0, 1),
    }[quantiser_form(quantiser)]
    spec = quantiser_spec(quantiser)
    np.testing.assert_array_equal(decode(encode(before, spec), spec), evaluated(quantiser, x))


@pytest.mark.parametrize("text", TABLES)
def test_a_table_is_no_type(text):
    assert quantiser_form(make(text)) is Form.TABLE
    with pytest.raises(UnsupportedError, match="is no conversion to a type"):
        quantiser_spec(make(text))


def test_another_sigmoid_makes_a_table():
    import qkeras.quantizers

    qkeras.quantizers.set_internal_sigmoid("smooth")
    try:
        assert quantiser_form(make("quantized_tanh(6)")) is Form.TABLE
        assert quantiser_form(make("quantized_sigmoid(6)")) is Form.TABLE
    finally:
        qkeras.quantizers.set_internal_sigmoid("hard")


@pytest.mark.parametrize("text", WEIGHTS)
def test_weights_are_what_keras_computes(text):
    quantiser = make(text)
    check_quantiser("layer 'a' (QDense)", "kernel_quantizer", quantiser, "weight")
    kernel = np.random.default_rng(4).normal(0, 0.7, (12, 6)).astype(np.float32)
    constants = quantise_constants("layer 'a'", quantiser, kernel)
    np.testing.assert_array_equal(constants, evaluated(make(text), kernel))
    spec = smallest_spec(constants)
    assert spec.width <= MAXIMUM_CONSTANT_WIDTH
    np.testing.assert_array_equal(decode(encode(constants, spec), spec), constants)


@pytest.mark.parametrize(
    "text", ["quantized_bits(6, 0, alpha='auto')", "ternary(alpha='auto')", "quantized_ulaw(6, 1)"]
)
def test_weights_without_a_short_type_are_refused(text):
    kernel = np.random.default_rng(4).normal(0, 0.7, (12, 6))
    with pytest.raises(UnsupportedError, match=r"values that need \d+ bits, more than 22; use a quantiser with fewer"):
        quantise_constants("layer 'a' weights", make(text), kernel)


@pytest.mark.parametrize("role", ["weight", "activation", "input"])
def test_a_random_quantiser_is_refused(role):
    with pytest.raises(UnsupportedError, match="bernoulli as kernel_quantizer; it is random at inference too"):
        check_quantiser("layer 'a'", "kernel_quantizer", make("bernoulli()"), role)


@pytest.mark.parametrize("role", ["weight", "activation", "input"])
def test_a_missing_quantiser_is_refused(role):
    with pytest.raises(
        UnsupportedError, match="layer 'a' has no quantiser as bias_quantizer; supported are quantized_bits"
    ):
        check_quantiser("layer 'a'", "bias_quantizer", None, role)


@pytest.mark.parametrize("text", DATA_DEPENDENT)
def test_activations_scaled_by_their_batch_are_refused(text):
    with pytest.raises(UnsupportedError, match="a scale taken from each batch and no exact firmware; use alpha=1"):
        check_quantiser("layer 'a'", "activation", make(text), "activation")


def test_activations_scaled_by_channel_are_refused():
    quantiser = make("quantized_bits(6, 0, alpha=1)")
    quantiser.alpha = np.array([1.0, 2.0])
    with pytest.raises(UnsupportedError, match="a scale for each channel"):
        check_quantiser("layer 'a'", "activation", quantiser, "activation")


@pytest.mark.parametrize("text", ["quantized_relu(6, 2)", "quantized_sigmoid(6)", "binary(alpha=1)"])
def test_the_input_needs_a_type(text):
    with pytest.raises(UnsupportedError, match="at the input, which is no conversion to a type"):
        check_quantiser("layer 'a'", "activation", make(text), "input")


@pytest.mark.parametrize("text", ["binary()", "ternary()", "stochastic_binary()", "stochastic_ternary()"])
def test_activations_through_a_tangent_are_refused(text):
    # Compiled by XLA, binary() yields -0.99999994 for some inputs.
    with pytest.raises(UnsupportedError, match="which floats round; use alpha=1"):
        check_quantiser("layer 'a'", "activation", make(text), "activation")


def test_functions_of_others_are_refused():
    with pytest.raises(UnsupportedError, match="quantiser sqrt as activation"):
        check_quantiser("layer 'a'", "activation", np.sqrt, "activation")


def test_the_smallest_type_is_the_smallest():
    rng = np.random.default_rng(0)
    for _ in range(200):
        spec = FixedSpec(bool(rng.integers(2)), int(rng.integers(1, 24)), int(rng.integers(-9, 30)))
        codes = rng.integers(spec.minimum_code, spec.maximum_code, 4, endpoint=True)
        values = decode(codes, spec)
        found = smallest_spec(values)
        assert found.width <= spec.width
        np.testing.assert_array_equal(decode(encode(values, found), found), values)
        if found.width > 1 + found.signed:
            for integer in (found.integer, found.integer - 1):
                smaller = FixedSpec(found.signed, found.width - 1, integer)
                assert np.any(decode(encode(values, smaller), smaller) != values)


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "ufixed<1,1>"), (-1.0, "fixed<1,1>"), (0.75, "ufixed<2,0>"), (-6.0, "fixed<3,4>")]
)
def test_smallest_types(value, text):
    assert str(smallest_spec([value])) == text


def test_an_index_drops_what_the_table_does_not_tell_apart():
    rng = np.random.default_rng(1)
    for _ in range(100):
        spec = FixedSpec(bool(rng.integers(2)), int(rng.integers(1, 9)), int(rng.integers(-3, 8)))
        codes = np.arange(spec.minimum_code, spec.maximum_code + 1)
        edges = np.sort(rng.integers(spec.minimum_code, spec.maximum_code + 1, 2))
        values = np.digitize(codes >> int(rng.integers(0, 3)), edges).astype(np.float64)
        index = reduced(values, spec)
        kept = dict(zip(range(index.minimum_code, index.maximum_code + 1), [None] * 2**index.width, strict=True))
        saturating = FixedSpec(index.signed, index.width, index.integer, Rounding.TRN, Overflow.SAT)
        for code, value in zip(requantise(codes, spec.fraction, saturating), values, strict=True):
            assert kept[int(code)] in (None, value)
            kept[int(code)] = value
        assert index.width <= spec.width


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_activations_agree_in_keras_csim_and_emulator(tmp_path, compiled):
    need_packages("hls4ml")
    if compiled:
        need_tools("cxx")
    from side_by_side import Bench, check_all, every_value

    bench = Bench((32,), "ap_fixed<9,4>")
    bench.source = bench.qkeras.QActivation(make("quantized_bits(9, 3, alpha=1)"), name="quantised")(bench.input)
    for index, text in enumerate([*TYPED, *TABLES]):
        bench.add(bench.qkeras.QActivation(make(text), name=f"q{index}"))
    check_all(bench.run(tmp_path, every_value(10, 6, (32,)), exact=True, compiled=compiled), keras=True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("quantized_ulaw(6, 1)", r"has values that need \d+ bits"),
        ("quantized_po2(8)", r"has values that need \d+ bits"),
    ],
)
def test_tables_without_a_short_type_are_refused(tmp_path, text, why):
    need_packages("hls4ml")
    from side_by_side import Bench

    bench = Bench((4,), "ap_fixed<9,4>")
    bench.source = bench.qkeras.QActivation(make("quantized_bits(9, 3, alpha=1)"), name="quantised")(bench.input)
    bench.add(bench.qkeras.QActivation(make(text), name="q"))
    with pytest.raises(UnsupportedError, match=r"the table of q.* has values that need \d+ bits"):
        bench.convert(tmp_path, exact=True)


def test_every_quantiser_stands_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "quantisers.md").read_text()
    for name in (*QUANTISERS, "bernoulli"):
        assert re.search(rf"^\| `{name}`", text, re.MULTILINE), name
