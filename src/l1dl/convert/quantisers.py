"""Quantisers of QKeras, and `fixed_point`: which are types, which are tables, and which have no exact firmware.

A quantised constant is a finite dyadic number, so the weights of any deterministic quantiser are exact: it is
evaluated once, and the smallest type that holds all values is found (`quantise_constants`, `smallest_spec`).
A quantiser of activations takes one of four forms (`quantiser_form`): a type, with or without a ReLU or a hard
sigmoid before it, or a truth table over the codes of its input.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding

Role = Literal["weight", "activation", "input"]
"""What a quantiser quantises: constants (weights and biases), the values between layers, or the model's input."""

MAXIMUM_CONSTANT_WIDTH = 22
"""Widest type of a quantised constant or of a table's entries, in bits.

Less than the 24 of a float32, so that a value that Keras misses by a rounding error (0.99999994) is refused.
"""

QUANTISERS = (
    "quantized_bits", "quantized_relu", "quantized_ulaw", "quantized_tanh", "quantized_sigmoid", "quantized_po2",
    "quantized_relu_po2", "quantized_linear", "quantized_hswish", "fixed_point", "binary", "ternary",
    "stochastic_binary", "stochastic_ternary",
)  # fmt: skip
"""Quantisers that are deterministic at inference."""


_SIGNS = ("binary", "ternary", "stochastic_binary", "stochastic_ternary")

NEAREST = ("quantized_bits", "quantized_relu", "quantized_tanh", "quantized_sigmoid", "quantized_linear",
           "quantized_hswish")  # fmt: skip
"""Quantisers that round to a grid.

QKeras computes ``x + (q(x) - x)``. That is exactly q(x) if x has few bits, or if q(x) is close to x; so only behind
these may x be any float.
"""


class Form(Enum):
    """How a quantiser of activations becomes firmware."""

    LINEAR = "linear"
    """A conversion to its type."""
    RELU = "relu"
    """A ReLU with its type."""
    HARD_SIGMOID = "hard_sigmoid"
    """``clip(x / 2 + 1 / 2, 0, 1)`` with its type."""
    TABLE = "table"
    """A truth table over the codes of its input."""


def quantiser_form(quantiser: Any) -> Form:
    """Return the form of a quantiser; `Form.TABLE` for whatever is not known to be a type."""
    return _typed(quantiser)[0]


def quantiser_spec(quantiser: Any) -> FixedSpec:
    """Return the type that a quantiser of activations converts to.

    Raises
    ------
    UnsupportedError
        It is no conversion to a type, but a table (`quantiser_form`).
    """
    spec = _typed(quantiser)[1]
    if spec is None:
        msg = f"quantiser {_name(quantiser)} is no conversion to a type"
        raise UnsupportedError(msg)
    return spec


def check_quantiser(where: str, option: str, quantiser: Any, role: Role) -> None:
    """Refuse a quantiser that has no exact firmware.

    Parameters
    ----------
    where
        Names the layer in the error.
    option
        Name of the layer's argument that holds the quantiser.
    role
        What it quantises.

    Raises
    ------
    UnsupportedError
        The text names the layer, the quantiser and what to use instead.
    """
    name = _name(quantiser)
    if quantiser is None or (name not in QUANTISERS and (role == "weight" or not _is_qkeras_function(quantiser))):
        found = "no quantiser" if quantiser is None else f"quantiser {name}"
        why = "; it is random at inference too" if name == "bernoulli" else ""
        msg = f"{where} has {found} as {option}{why}; supported are {', '.join(QUANTISERS)}"
        raise UnsupportedError(msg)
    alpha: Any = getattr(quantiser, "alpha", None)
    if role != "weight" and (isinstance(alpha, str) or np.size(alpha) != 1):
        what = "a scale taken from each batch" if isinstance(alpha, str) else "a scale for each channel"
        msg = f"{where}: {name} with alpha={alpha!r} has {what} and no exact firmware; use alpha=1"
        raise UnsupportedError(msg)
    if role != "weight" and name in _SIGNS and alpha is None:
        msg = f"{where}: {name} with alpha=None computes 1 - tanh(x) + tanh(x), which floats round; use alpha=1"
        raise UnsupportedError(msg)
    if role == "input" and quantiser_form(quantiser) is not Form.LINEAR:
        msg = (
            f"{where} has quantiser {name} at the input, which is no conversion to a type; "
            "put QActivation(quantized_bits(bits, integer, alpha=1)) before it"
        )
        raise UnsupportedError(msg)


def rounds_to_nearest(quantiser: Any) -> bool:
    """Say whether a quantiser yields exact results for any float, and not only for numbers of few bits.

    Floats that a function rounds stand for their neighbours too, so that a quantiser must not truncate them.
    """
    if _name(quantiser) == "fixed_point":
        return quantiser.spec.rounding not in (Rounding.TRN, Rounding.TRN_ZERO)
    return _name(quantiser) in NEAREST and getattr(quantiser, "bits", 1) > 1


def quantise_constants(where: str, quantiser: Any, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return constants quantised as Keras does it at inference.

    Parameters
    ----------
    where
        Names the layer and the constants in the error.
    quantiser
        The layer's quantiser; `None` keeps the values.
    values
        The trained weights.

    Raises
    ------
    UnsupportedError
        The values need more than `MAXIMUM_CONSTANT_WIDTH` bits, or the quantiser cannot be evaluated.
    """
    from l1dl.models.backend import import_keras

    real = np.asarray(values, dtype=np.float32)
    if quantiser is not None:
        try:
            real = import_keras().ops.convert_to_numpy(quantiser(real))
        except (TypeError, ValueError, AssertionError, AttributeError) as error:
            msg = f"{where}: quantiser {_name(quantiser)} cannot be evaluated: {error}"
            raise UnsupportedError(msg) from error
    quantised = np.asarray(real, dtype=np.float64)
    check_width(f"{where}, quantised by {_name(quantiser)},", quantised)
    return quantised


def check_width(what: str, values: npt.NDArray[np.float64]) -> FixedSpec:
    """Return the smallest type of constants; refuse them if it is wider than `MAXIMUM_CONSTANT_WIDTH`."""
    if not np.all(np.isfinite(values)):
        msg = f"{what} has values that are NaN or infinite"
        raise UnsupportedError(msg)
    width, fraction, signed = _needed_bits(values)
    if width > MAXIMUM_CONSTANT_WIDTH:
        msg = (
            f"{what} has values that need {width} bits, more than {MAXIMUM_CONSTANT_WIDTH}; "
            "use a quantiser with fewer bits and a scale that is a power of two (alpha=1 or 'auto_po2')"
        )
        raise UnsupportedError(msg)
    return FixedSpec(signed, width, width - fraction)


def smallest_spec(values: npt.ArrayLike) -> FixedSpec:
    """Return the smallest type that holds finite values exactly; unsigned if none is negative.

    Raises
    ------
    InputError
        It would be wider than `l1dl.fixed.MAXIMUM_WIDTH`.
    """
    width, fraction, signed = _needed_bits(np.asarray(values, dtype=np.float64))
    return FixedSpec(signed, width, width - fraction)


def _needed_bits(values: npt.NDArray[np.float64]) -> tuple[int, int, bool]:
    """Return width, fractional bits and sign of the smallest type that holds `values`."""
    nonzero = values[values != 0].ravel()
    if not nonzero.size:
        return 1, 0, False
    mantissa, exponent = np.frexp(nonzero)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1] - 1  # the lowest set bit
    fraction = int(np.max(53 - exponent - zeros))
    low, high = (int(math.ldexp(float(end), fraction)) for end in (nonzero.min(), nonzero.max()))
    signed = low < 0
    width = max(high.bit_length() if high > 0 else 0, (-low - 1).bit_length() if signed else 0) + signed
    return max(width, 1), fraction, signed


def _typed(quantiser: Any) -> tuple[Form, FixedSpec | None]:
    """Return the form of a quantiser and, unless it is a table, its type."""
    rule = _RULES.get(_name(quantiser))
    found = None if rule is None or getattr(quantiser, "qnoise_factor", 1) != 1 else rule(quantiser)
    return (Form.TABLE, None) if found is None else found


def _bits(q: Any) -> tuple[Form, FixedSpec] | None:
    signed = bool(q.keep_negative)
    if not _is_number(q.alpha, 1) or q.bits - signed <= 0:
        return None
    return Form.LINEAR, _spec(q.bits, q.integer + signed, signed=signed, symmetric=q.symmetric)


def _linear(q: Any) -> tuple[Form, FixedSpec] | None:
    signed, alpha = bool(q.keep_negative), 1.0 if q.alpha is None else q.alpha
    if isinstance(alpha, str) or np.size(alpha) != 1 or q.bits - signed <= 0:
        return None
    mantissa, exponent = math.frexp(float(np.asarray(alpha).item()))
    if mantissa != 0.5:
        return None
    return Form.LINEAR, _spec(q.bits, q.integer + signed + exponent - 1, signed=signed, symmetric=q.symmetric)


def _relu(q: Any) -> tuple[Form, FixedSpec] | None:
    if q.use_sigmoid or q.negative_slope or (q.relu_upper_bound and not q.is_quantized_clip):
        return None
    return Form.RELU, _spec(q.bits, q.integer)


def _tanh(q: Any) -> tuple[Form, FixedSpec] | None:
    if q.use_real_tanh or not _sigmoid_is_hard():
        return None
    return Form.LINEAR, _spec(q.bits, 1, signed=True, symmetric=q.symmetric)


def _sigmoid(q: Any) -> tuple[Form, FixedSpec] | None:
    if q.use_real_sigmoid or q.symmetric or not _sigmoid_is_hard():
        return None
    return Form.HARD_SIGMOID, _spec(q.bits, 0)


def _fixed_point(q: Any) -> tuple[Form, FixedSpec] | None:
    return Form.LINEAR, q.spec


_RULES = {
    "fixed_point": _fixed_point,
    "quantized_bits": _bits,
    "quantized_linear": _linear,
    "quantized_relu": _relu,
    "quantized_tanh": _tanh,
    "quantized_sigmoid": _sigmoid,
}
"""Quantiser → the function that returns its form and type, or None if its options make it a table."""


def _spec(bits: Any, integer: Any, *, signed: bool = False, symmetric: Any = False) -> FixedSpec:
    overflow = Overflow.SAT_SYM if symmetric and signed else Overflow.SAT
    return FixedSpec(signed, int(bits), int(integer), Rounding.RND_CONV, overflow)


def _is_number(alpha: Any, value: float) -> bool:
    return alpha is None or (not isinstance(alpha, str) and np.size(alpha) == 1 and bool(np.all(alpha == value)))


def _name(quantiser: Any) -> str:
    return str(getattr(quantiser, "__name__", type(quantiser).__name__))


def _is_qkeras_function(quantiser: Any) -> bool:
    """Say whether a quantiser is one of QKeras's deterministic functions, such as ``binary_tanh``."""
    name = getattr(quantiser, "__name__", "stochastic")
    return not isinstance(quantiser, type) and not name.startswith("stochastic") and _module(quantiser) == "qkeras"


def _module(quantiser: Any) -> str:
    return str(getattr(quantiser, "__module__", "")).partition(".")[0]


def _sigmoid_is_hard() -> bool:
    """Say whether QKeras's global choice of sigmoid (``set_internal_sigmoid``) is the default one."""
    import qkeras.quantizers

    return qkeras.quantizers._sigmoid is qkeras.quantizers.hard_sigmoid
