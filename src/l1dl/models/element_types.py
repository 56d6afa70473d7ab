"""Types that differ from value to value, as the quantisers of HGQ2 train them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import UnsupportedError
from l1dl.fixed import MAXIMUM_WIDTH, FixedSpec, Overflow, Rounding
from l1dl.models.backend import import_keras

ElementTypes = tuple[FixedSpec | None, ...]
"""A type for each value of a flattened tensor; None for a value without bits, which is zero."""

_MODES = ("WRAP", "SAT", "SAT_SYM")
_ROUNDINGS = ("TRN", "RND", "RND_CONV")
_Bits = npt.NDArray[np.integer[Any]]


def types_of_bits(signs: _Bits, widths: _Bits, integers: _Bits, rounding: Rounding, overflow: Overflow) -> ElementTypes:
    """Return types from arrays of one shape: whether there is a sign, all bits, and integer bits with the sign."""
    return tuple(
        FixedSpec(bool(sign), int(width), int(integer), rounding, overflow) if width > 0 else None
        for sign, width, integer in zip(signs.flat, widths.flat, integers.flat, strict=True)
    )


def element_types(quantiser: Any, shape: tuple[int, ...]) -> ElementTypes:
    """Return the types that a quantiser of HGQ2 (a `hgq.quantizer.Quantizer`) converts a tensor to.

    Parameters
    ----------
    shape
        Shape of the tensor, without the batch axis.

    Raises
    ------
    UnsupportedError
        It is no conversion to fixed-point types, or one of its types is too wide; the text names it.
    """
    where, inner = f"quantiser {quantiser.name!r}", quantiser.quantizer
    if not hasattr(inner, "kif") or quantiser.scaler is not None or quantiser.affine is not None:
        what = "a scaler or an affine map" if hasattr(inner, "kif") else f"the type {quantiser.q_type!r}"
        msg = f"{where} has {what}; supported are fixed-point quantisers ('kif', 'kbi') without them"
        raise UnsupportedError(msg)
    rounding, overflow = inner.round_mode.removeprefix("S_"), inner.overflow_mode
    if rounding not in _ROUNDINGS or overflow not in _MODES:
        msg = f"{where} has the modes {rounding} and {overflow}; supported are {_ROUNDINGS} and {_MODES}"
        raise UnsupportedError(msg)
    to_numpy, full = import_keras().ops.convert_to_numpy, (1, *shape)
    signs, whole, fraction = (
        np.rint(to_numpy(inner.bw_mapper.bw_to_x(bits, full))).astype(np.int64)[0] for bits in inner.kif
    )
    widths = signs + whole + fraction
    if widths.size and widths.max() > MAXIMUM_WIDTH:
        msg = f"{where} has a type of {widths.max()} bits, more than {MAXIMUM_WIDTH}; limit its bits"
        raise UnsupportedError(msg)
    return types_of_bits(signs, widths, signs + whole, Rounding[rounding], Overflow[overflow])


def single_type(types: ElementTypes) -> FixedSpec | None:
    """Return the type that all values have; None if they differ or have no bits."""
    return types[0] if types and all(each == types[0] for each in types) else None
