from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference import converted, is_outside, overflowed, rounded

from l1dl.errors import InputError
from l1dl.fixed import (
    MAXIMUM_WIDTH,
    FixedSpec,
    Overflow,
    Rounding,
    align,
    apply_overflow,
    count_overflows,
    decode,
    encode,
    requantise,
)

SPECS = st.builds(
    FixedSpec,
    st.booleans(),
    st.integers(1, MAXIMUM_WIDTH),
    st.integers(-80, 120),
    st.sampled_from(Rounding),
    st.sampled_from(Overflow),
)
NARROW = st.builds(
    FixedSpec,
    st.booleans(),
    st.integers(1, 10),
    st.integers(-5, 14),
    st.sampled_from(Rounding),
    st.sampled_from(Overflow),
)
INT64 = st.integers(-(2**63), 2**63 - 1)


@given(NARROW, st.integers(-(2**14), 2**14), st.integers(-4, 12))
def test_encode_of_dyadic_numbers_follows_the_definition(spec, numerator, fraction):
    value = Fraction(numerator) / Fraction(2) ** fraction
    assert encode(float(value), spec) == converted(value, spec)


@given(SPECS, st.floats(allow_nan=False, allow_infinity=False))
@example(FixedSpec(True, 62, 62), -1.0)
@example(FixedSpec(False, 62, 62), -3.0)
@example(FixedSpec(True, 8, 8, Rounding.RND_INF), -0.49999999999999994)
@example(FixedSpec(True, 8, 8, Rounding.RND_MIN_INF), -0.49999999999999994)
@example(FixedSpec(True, 8, 8, Rounding.RND_INF), -1e-300)
@example(FixedSpec(True, 8, -80), 1e308)
@example(FixedSpec(True, 8, -80, overflow=Overflow.SAT), -1e308)
@example(FixedSpec(True, 8, -80, overflow=Overflow.SAT_ZERO), -1e308)
@example(FixedSpec(True, 8, 120), -5e-324)
@example(FixedSpec(True, 8, 120, Rounding.RND), -5e-324)
@example(FixedSpec(True, 8, 8), 2.0**62 + 2.0**12)
@example(FixedSpec(True, 62, 62), -(2.0**62) - 2.0**12)
@example(FixedSpec(True, 62, 62, overflow=Overflow.SAT), 2.0**61)
@example(FixedSpec(False, 62, 62, overflow=Overflow.SAT), 2.0**62)
def test_encode_of_any_double_follows_the_definition(spec, value):
    assert encode(value, spec) == converted(Fraction(value), spec)


@given(SPECS, INT64, st.integers(-40, 140))
@example(FixedSpec(True, 8, 8), -1, 63)
@example(FixedSpec(True, 8, 8, Rounding.RND), 2**62, 63)
@example(FixedSpec(True, 8, 8, Rounding.RND_CONV), -(2**63), 64)
@example(FixedSpec(True, 8, 8, Rounding.RND_INF), -(2**63), 64)
@example(FixedSpec(True, 8, 8, Rounding.TRN_ZERO), -1, 130)
@example(FixedSpec(True, 8, 8, Rounding.RND_INF), -(2**63), 63)
@example(FixedSpec(True, 8, 8, Rounding.RND_MIN_INF), -(2**61), 62)
@example(FixedSpec(True, 8, 8, Rounding.RND_ZERO), 2**62 + 1, 63)
@example(FixedSpec(True, 8, -70), 0, 0)
@example(FixedSpec(True, 62, 62), 2**63 - 1, 0)
@example(FixedSpec(True, 62, 62), -(2**63), 0)
def test_requantise_is_exact(spec, code, fraction):
    codes = np.array([code], dtype=np.int64)
    expected = converted(Fraction(code) / Fraction(2) ** fraction, spec)
    try:
        result = requantise(codes, fraction, spec)
    except InputError as error:
        shift = spec.fraction - fraction
        assert shift > 0
        assert abs(code).bit_length() + shift > 63
        assert "cannot be shifted left" in str(error)  # noqa: PT017
        return
    assert result.dtype == np.int64
    assert result[0] == expected


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("drop", [1, 2, 61, 62, 63, 64, 65, 90, 124, 126, 127, 200])
def test_every_rounding_drops_any_number_of_bits(rounding, drop):
    edges = [0, 1, 2, 3, 2**61 - 1, 2**61, 2**61 + 1, 2**62 - 1, 2**62, 2**62 + 1, 3 * 2**61, 2**63 - 1]
    codes = [sign * edge for edge in edges for sign in (1, -1)] + [-(2**63)]
    spec = FixedSpec(True, 62, 62, rounding)
    expected = [rounded(Fraction(code, 2**drop), rounding) for code in codes]
    assert align(np.array(codes), drop, spec).tolist() == expected


@given(SPECS, INT64)
def test_overflow_modes_over_the_whole_of_int64(spec, code):
    assert apply_overflow(np.array([code]), spec)[0] == overflowed(code, spec)


@given(NARROW, st.lists(st.integers(-(2**14), 2**14), min_size=1, max_size=20), st.integers(-4, 8))
def test_overflows_are_counted(spec, codes, fraction):
    expected = sum(is_outside(Fraction(code) / Fraction(2) ** fraction, spec) for code in codes)
    assert count_overflows(np.array(codes), fraction, spec) == expected


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM])
@pytest.mark.parametrize("rounding", Rounding)
@given(st.booleans(), st.integers(1, 12), st.integers(-4, 14), st.integers(0, 2**31))
def test_agrees_with_the_quantizers_library(rounding, overflow, signed, width, integer, seed):
    quantizers = pytest.importorskip("quantizers")
    spec = FixedSpec(signed, width, integer, rounding, overflow)
    rng = np.random.default_rng(seed)
    # On a grid of a quarter of a step, so that ties are frequent; a float64 holds all of it exactly.
    values = np.ldexp(rng.integers(-(2**15), 2**15, 50).astype(np.float64), -spec.fraction - 2)
    theirs = quantizers.get_fixed_quantizer_np(rounding.value, overflow.value)
    wanted = theirs(values, np.float64(signed), np.float64(integer - signed), np.float64(spec.fraction))
    assert decode(encode(values, spec), spec).tolist() == wanted.tolist()


@given(SPECS.filter(lambda spec: spec.width <= 53), st.data())
def test_codes_survive_decode_and_encode(spec, data):
    low = -spec.maximum_code if spec.overflow is Overflow.SAT_SYM and spec.signed else spec.minimum_code
    codes = np.array(data.draw(st.lists(st.integers(low, spec.maximum_code), min_size=1)))
    assert encode(decode(codes, spec), spec).tolist() == codes.tolist()


def test_negative_zero_is_zero():
    for rounding in Rounding:
        for overflow in Overflow:
            assert encode([-0.0], FixedSpec(True, 4, 2, rounding, overflow)).tolist() == [0]


@pytest.mark.parametrize("overflow", Overflow)
def test_nan_and_infinity_are_refused_with_their_number(overflow):
    spec = FixedSpec(True, 8, 4, overflow=overflow)
    with pytest.raises(InputError, match=r"^2 values are NaN or infinite and have no fixed-point code"):
        encode([1.0, np.nan, -np.inf], spec)


def test_shapes_and_dtypes_are_kept():
    spec = FixedSpec(True, 8, 4)
    assert encode(np.zeros((2, 3), dtype=np.float32), spec).shape == (2, 3)
    assert encode(np.zeros((0, 3)), spec).shape == (0, 3)
    assert encode(np.zeros(3), spec).dtype == np.int64
    assert requantise(np.zeros((0,), dtype=np.int64), 0, FixedSpec(True, 8, -60)).shape == (0,)


@pytest.mark.parametrize("width", [0, -1, 63, 1000])
def test_widths_outside_the_range_are_refused(width):
    with pytest.raises(InputError, match=rf"width {width} is not supported; allowed are 1 to 62 bits"):
        FixedSpec(True, width, 1)


def test_properties_and_text():
    spec = FixedSpec(True, 10, 4, Rounding.RND_CONV, Overflow.SAT)
    assert (spec.fraction, spec.step, spec.minimum_code, spec.maximum_code) == (6, 2.0**-6, -512, 511)
    assert str(spec) == "fixed<10,4,RND_CONV,SAT>"
    assert str(FixedSpec(False, 6, 0)) == "ufixed<6,0>"
    assert FixedSpec(False, 62, 62).maximum_code == 2**62 - 1
