"""The lookup tables of hls4ml's C++ (``nnet_activation.h``): their entries and how they are indexed.

The C++ fills its tables at start-up with the float functions of the C library, so the same ones are called here.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.readers.common import spec_of
from l1dl.convert.readers.exact import BIT, scalar, signed, unsigned
from l1dl.errors import UnsupportedError
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding, encode
from l1dl.nodes import MAXIMUM_INDEX_WIDTH, Affine, Node, Table

Floats = npt.NDArray[np.float64]
"""Values of C++ floats or doubles."""

INT_BITS = 31
"""Bits of an ``int`` besides its sign."""

_HUGE = 2.0**1000
"""Stands for infinity, which ap_fixed converts in the same way: saturated, or wrapped to zero."""


def as_float(values: npt.ArrayLike) -> Floats:
    """Round doubles to C++ floats."""
    return np.asarray(values, dtype=np.float64).astype(np.float32).astype(np.float64)


def exp_float(values: Floats) -> Floats:
    """Return ``std::exp`` of floats."""
    function = _library().expf
    return np.array([function(value) for value in values.ravel()], dtype=np.float64).reshape(values.shape)


def _tanh(values: Floats) -> Floats:
    function = _library().tanh
    return np.array([function(value) for value in values], dtype=np.float64)


def _log(values: Floats) -> Floats:
    return np.array([math.log(value) for value in values], dtype=np.float64)


def _sigmoid(values: Floats) -> Floats:
    return as_float(1.0 / as_float(1.0 + exp_float(-values)))


def _softplus(values: Floats) -> Floats:
    return as_float(_log(exp_float(values) + 1.0))


def _softsign(values: Floats) -> Floats:
    return as_float(values / (np.abs(values) + 1.0))


def _elu(values: Floats) -> Floats:
    return as_float(exp_float(values) - 1.0)


def _selu(values: Floats) -> Floats:
    scale, alpha = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
    return as_float(scale * (alpha * (exp_float(values) - 1.0)))


FUNCTIONS: dict[str, tuple[Callable[[Floats], Floats], int]] = {
    "sigmoid": (_sigmoid, 4),
    "tanh": (_tanh, 3),
    "softplus": (_softplus, 4),
    "softsign": (_softsign, 4),
    "elu": (_elu, 3),
    "selu": (_selu, 3),
}
"""Activation → its function and the logarithm of the range that its table covers."""

_ONE_SIDED = ("elu", "selu")
"""Activations whose table covers negative values only."""


def entries(name: str, size: int) -> Floats:
    """Return the table of an activation before its conversion to ``table_t``."""
    function, log_range = FUNCTIONS[name]
    index = np.arange(size, dtype=np.float64)
    if name in _ONE_SIDED:
        return function(as_float(-8.0 * index / size))
    return function(as_float(2.0**log_range * (index - size / 2.0) / size))


def table_codes(values: Floats, spec: FixedSpec) -> Codes:
    """Convert floats to codes of a table as C++ does; infinities saturate or wrap to zero."""
    return encode(np.clip(values, -_HUGE, _HUGE), spec)


def table_of(layer: Any) -> tuple[int, FixedSpec]:
    """Return the size of an activation's table and the type of its entries."""
    return int(layer.get_attr("table_size")), spec_of(layer.get_attr("table_t").precision)


@dataclass(frozen=True)
class Lookup:
    """A table and how C++ indexes it: ``codes[clip(int(x * size / 2 ** log_range) + offset)]``.

    ``int`` drops the fraction; the index is clipped to the table.
    """

    codes: Codes
    spec: FixedSpec
    size: int
    log_range: int
    offset: int


def activation_lookup(name: str, size: int, spec: FixedSpec) -> Lookup:
    """Return the lookup of an activation that covers both signs (a key of `FUNCTIONS`)."""
    return Lookup(table_codes(entries(name, size), spec), spec, size, FUNCTIONS[name][1], size // 2)


def lookup_nodes(
    part: str, source: str, spec: FixedSpec, shape: tuple[int, ...], lookup: Lookup, result: FixedSpec
) -> tuple[Node, ...]:
    """Return the nodes of a lookup; the last one is called `part`.

    Parameters
    ----------
    source, spec
        The node that is read, and its type.

    Raises
    ------
    UnsupportedError
        The table is too large, or the C++ would overflow an ``int``.
    """
    last, size = len(lookup.codes) - 1, lookup.size
    if spec.integer + size.bit_length() - lookup.log_range > INT_BITS:
        msg = f"node {part!r}: its input type {spec} overflows the int that hls4ml's C++ uses as index"
        raise UnsupportedError(msg)
    width = 1 + max(lookup.offset - 1, last - lookup.offset, 1).bit_length()
    if width > MAXIMUM_INDEX_WIDTH:
        msg = f"node {part!r} has a table of {last + 1} entries; use at most {2 ** (MAXIMUM_INDEX_WIDTH - 1)}"
        raise UnsupportedError(msg)
    half = 1 << (width - 1)
    table = lookup.codes[np.clip(np.arange(-half, half) + lookup.offset, 0, last)]
    shift = (size & -size).bit_length() - 1
    odd, fraction = size >> shift, shift - lookup.log_range
    if odd == 1:  # multiplying by a power of two only moves the binary point
        index = signed(width, width - fraction, Rounding.TRN_ZERO, Overflow.SAT)
        return (Table(part, (source,), shape, result, index, table, lookup.spec),)
    index = signed(width, width, Rounding.TRN_ZERO, Overflow.SAT)
    scale = unsigned(odd.bit_length(), odd.bit_length() + fraction)
    return (
        Affine(f"{part}__index", (source,), shape, index, scalar(odd), scale, scalar(0), BIT),
        Table(part, (f"{part}__index",), shape, result, index, table, lookup.spec),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    library.expf.argtypes, library.expf.restype = [ctypes.c_float], ctypes.c_float
    library.tanh.argtypes, library.tanh.restype = [ctypes.c_double], ctypes.c_double
    return library
