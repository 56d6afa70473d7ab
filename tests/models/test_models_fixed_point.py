"""The quantiser of any fixed-point type: exactly `encode`, compiled or not; and saved in models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import need_packages

from l1dl.errors import InputError, UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding, decode, encode, parse_spec
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.fixed_point import EXACT_BITS, fixed_point
from l1dl.models.load import load_any
from l1dl.models.quantiser_config import make_quantiser

TINY = float(np.finfo(np.float32).tiny)


@pytest.fixture(autouse=True)
def _keras() -> None:
    need_packages("keras", "qkeras", "jax")


def quantised(spec: FixedSpec, x: np.ndarray) -> np.ndarray:
    return np.asarray(import_keras().ops.convert_to_numpy(fixed_point(spec)(x)), dtype=np.float64)


def check(spec: FixedSpec, x: np.ndarray) -> None:
    np.testing.assert_array_equal(quantised(spec, x), decode(encode(x, spec), spec), err_msg=str(spec))


@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("rounding", Rounding)
def test_every_mode_at_ties_and_ends(rounding: Rounding, overflow: Overflow) -> None:
    for signed in (True, False):
        for width, integer in ((1, 1), (1, 0), (2, 2), (6, 3), (6, -2), (5, 9), (24, 4), (24, 24), (9, 90), (9, -90)):
            spec = FixedSpec(signed, width, integer, rounding, overflow)
            quarters = np.arange(-4 * 2 ** min(width, 9), 4 * 2 ** min(width, 9)) * spec.step / 4
            ends = np.array([spec.minimum_code, spec.maximum_code, 2**width]) * spec.step
            near = (ends[:, None] + np.arange(-6, 7) * spec.step / 4).ravel()
            check(spec, np.concatenate([quarters, near]).astype(np.float32))


@given(
    signed=st.booleans(), width=st.integers(1, EXACT_BITS), integer=st.integers(-60, 60),
    rounding=st.sampled_from(Rounding), overflow=st.sampled_from(Overflow),
    values=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False), min_size=8, max_size=8
    ),
    scale=st.integers(-40, 40),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_type_and_any_float(
    signed: bool, width: int, integer: int, rounding: Rounding, overflow: Overflow, values: list[float], scale: int
) -> None:
    spec = FixedSpec(signed, width, integer, rounding, overflow)
    real = np.array(values, dtype=np.float32)
    near = np.ldexp(np.float32(1) + np.arange(8, dtype=np.float32) / 8, scale - spec.fraction).astype(np.float32)
    near = near[np.isfinite(near) & (near >= TINY)]
    check(spec, np.concatenate([real, near, -near]))


def test_the_gradient_is_that_of_the_identity() -> None:
    if import_keras().backend.backend() != "jax":
        pytest.skip("needs JAX's gradient")
    import jax

    slope = jax.grad(lambda x: fixed_point("fixed<6,2,RND_ZERO,SAT_SYM>")(x).sum())
    assert np.array_equal(slope(np.float32([-9, -0.3, 0, 1e-9, 0.7, 9])), np.ones(6))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fixed<30,8>", "the type fixed<30,8> has 30 bits; Keras computes in float32, which is exact up to 24 bits"),
        ("ufixed<8,200>", "beyond float32"),
        ("fixed<4,-200,RND,SAT>", "beyond float32"),
    ],
)
def test_what_is_no_float_is_refused(text: str, words: str) -> None:
    with pytest.raises(UnsupportedError) as error:
        fixed_point(text)
    assert words in str(error.value)


def model() -> Any:
    """Return a model with the quantiser as activation, of weights and of biases."""
    keras, qkeras = import_keras(), import_qkeras()
    keras.utils.set_random_seed(2)
    inputs = keras.Input((4,), name="x")
    x = qkeras.QActivation(fixed_point("fixed<7,3,TRN_ZERO,SAT_SYM>"), name="entry")(inputs)
    x = qkeras.QDense(
        3, kernel_quantizer=fixed_point("fixed<5,1,RND_CONV,SAT>"), bias_quantizer=fixed_point("fixed<6,2>"),
        bias_initializer="he_normal", activation=fixed_point("ufixed<6,2,RND,SAT_ZERO>"), name="dense",
    )(x)  # fmt: skip
    return keras.Model(inputs, x, name="typed")


@pytest.mark.parametrize("form", ["keras", "h5", "json"])
def test_a_saved_model_computes_the_same(form: str, tmp_path: Path) -> None:
    before, path, weights = model(), tmp_path / f"model.{form}", None
    if form == "json":
        path.write_text(before.to_json())
        before.save(weights := tmp_path / "whole.h5")
    else:
        before.save(path)
    after = load_any(path, weights).model
    x = np.random.default_rng(1).normal(0, 3, (200, 4)).astype(np.float32)
    expected = before.predict(x, verbose=0)
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(after.predict(x, verbose=0), expected)
    assert after.get_layer("dense").kernel_quantizer_internal.spec == parse_spec("fixed<5,1,RND_CONV,SAT>")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"spec": "fixed<5>"}, "'fixed<5>' is no fixed-point type"),
        ({"spec": "fixed<40,5>"}, "40 bits"),
        ({"spek": "fixed<5,2>"}, "fixed_point has no option 'spek'; did you mean 'spec'?"),
        ({}, "fixed_point cannot be made"),
    ],
)
def test_a_damaged_configuration_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        make_quantiser({"class_name": "fixed_point", "config": config}, "layer 'a': activation")
    assert words in str(error.value)


def test_the_name_in_another_module_is_refused(tmp_path: Path) -> None:
    import zipfile

    model().save(tmp_path / "good.keras")
    old = b'"module": "l1dl.models.fixed_point", "class_name": "fixed_point"'
    for new, words in (
        (b'"module": "os", "class_name": "fixed_point"', "(fixed_point) is of a class that l1dl does not load"),
        (b'"module": "l1dl.models.fixed_point", "class_name": "check_exact"', "'check_exact'"),
    ):
        with zipfile.ZipFile(tmp_path / "good.keras") as good, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
            for name in good.namelist():
                content = good.read(name)
                assert name != "config.json" or old in content
                bad.writestr(name, content.replace(old, new))
        with pytest.raises(InputError) as error:
            load_any(tmp_path / "bad.keras")
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("fixed<8,3>", FixedSpec(True, 8, 3)),
        ("ufixed<6, -2>", FixedSpec(False, 6, -2)),
        ("ap_fixed<8,3,AP_RND,AP_SAT>", FixedSpec(True, 8, 3, Rounding.RND, Overflow.SAT)),
        (" ap_ufixed< 10 , 12 , rnd_conv >", FixedSpec(False, 10, 12, Rounding.RND_CONV)),
    ],
)
def test_texts_of_types(text: str, spec: FixedSpec) -> None:
    assert parse_spec(text) == spec
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fixed<8>", "'fixed<8>' is no fixed-point type; give width, integer bits"),
        ("float<8,3>", "is no fixed-point type"),
        ("fixed<8,3", "is no fixed-point type"),
        ("fixed<a,3>", "is no fixed-point type"),
        ("fixed<8,3,RND,SAT,1>", "is no fixed-point type"),
        ("fixed<8,3,RND_CNV,SAT>", "has the rounding 'RND_CNV'; did you mean 'RND_CONV'?; known are TRN, "),
        ("fixed<8,3,RND,CLIP>", "has the overflow 'CLIP'; known are WRAP, SAT, SAT_ZERO, SAT_SYM"),
        ("fixed<0,0>", "width 0 is not supported"),
        ("fixed<99,0>", "width 99 is not supported"),
    ],
)
def test_texts_that_are_no_types(text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        parse_spec(text)
    assert words in str(error.value)
