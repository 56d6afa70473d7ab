"""alkaid's optimiser, with what changes results in alkaid 0.8 corrected.

Each correction stands in for one function of alkaid while `exact_passes` lasts; docs/decisions.md has the cases.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from l1dl.errors import UnsupportedError
from l1dl.rtl.speed import fast_symbols, replaced

_ADDED_BITS = 31
"""Bits of the constant that an addition of alkaid can hold, without the sign."""

_ROUNDS = 3
"""Most rounds of optimisation; rarely a second one changes anything."""

_ADDITION = "cadd"
_MUX, _LOOKUP = 6, 8


@lru_cache(maxsize=1 << 16)
def lowest_bit(value: float) -> int:
    """Return the exponent of the lowest bit of a double; 127 for zero, as alkaid has it."""
    if value == 0:
        return 127
    mantissa, exponent = math.frexp(value)
    whole = int(math.ldexp(mantissa, 53))
    return exponent - 54 + (whole & -whole).bit_length()


def simplify(program: Any) -> Any:
    """Join what is equal in a program, and drop what has no effect, once."""
    from alkaid.trace import passes

    return passes._fast_optimize(program, keep_dead_inputs=True)


def optimise(program: Any) -> Any:
    """Simplify a program until nothing changes any more.

    alkaid's own loop gives up with an error where the rounds do not converge; every round is valid.
    """
    from alkaid.trace import passes

    for _ in range(_ROUNDS):
        before = passes.canonical_sort(simplify(program))
        program = passes.canonical_sort(simplify(passes._retrace(before)))
        if program == before:
            break
    program = passes.canonical_sort(passes.add_surrogate(program))
    return passes.topo_bandwidth_sort(program)


@contextlib.contextmanager
def exact_passes() -> Iterator[None]:
    """Correct what changes results in alkaid 0.8, while the context lasts; contexts may be nested.

    - Its pass ``canonicalize_msb_wraps`` drops the shift of a one-bit selection whose bit has the weight
      of the source's top bit *before* that shift, and so selects another bit; it is left out (a selection
      costs no logic).
    - Where equal operations are joined, the range is narrowed to what both had, but not in what reads it;
      here operations are equal only if their ranges are.
    - A constant that is wrapped to an unsigned type keeps one bit too many.
    - The lowest bit of a constant is searched in float32: of more than 24 bits the lower ones are lost.
    - Constants that are added one after the other are joined, and cut to 32 bits.
    - A selection whose key is the negative of selected bits goes by the highest of these bits, not by the sign.
    - Signals are gathered by recursion, which is too deep for a network of hundreds of operations in a row.
    - Where a pass finds a narrower range for a signal, selections by its highest bit and negations of
      constant bits go by the new highest bit.
    """
    from alkaid.trace import affine_interval, fixed_variable, tracer
    from alkaid.trace.fixed_variable import FVariable
    from alkaid.trace.ops import bit_oprs
    from alkaid.trace.passes import canon, cse, surrogate
    from alkaid.types import CombLogic

    replacements: list[tuple[Any, str, Any]] = [
        (canon, "canonicalize_msb_wraps", lambda program: program),
        (cse, "to_key", lambda op: op[:4]),
        (tracer, "_recursive_gather", _gather),
        # Right, but slow: the cost of a table is counted anew wherever it is read.
        (surrogate, "cost_lat_lut", lru_cache(maxsize=4096)(surrogate.cost_lat_lut)),
        (FVariable, "quantize", _exact_quantize(FVariable.quantize)),
        (FVariable, "_const_add", _exact_const_add(FVariable._const_add)),
        (FVariable, "msb_mux", _exact_mux(FVariable.msb_mux)),
        (CombLogic, "exec_op", _exact_exec(CombLogic.exec_op)),
        (bit_oprs, "unary_bit_op", _exact_unary(bit_oprs.unary_bit_op)),
        *((module, "get_lsb_loc", lowest_bit) for module in (affine_interval, fixed_variable, tracer, canon)),
    ]
    with replaced(replacements), fast_symbols():
        yield


def _gather(signal: Any, gathered: dict[Any, Any]) -> None:
    """Add a signal, and before it all that it is made of, to `gathered` by identifier."""
    pending = [(signal, False)]
    while pending:
        current, complete = pending.pop()
        if complete:
            gathered.setdefault(current.id, current)
        elif current.id not in gathered:
            pending.append((current, True))
            pending.extend((source, False) for source in reversed(current._from))


def _exact_quantize(original: Callable[..., Any]) -> Callable[..., Any]:
    def quantize(signal: Any, k: int, i: int, f: int, overflow_mode: str = "WRAP", round_mode: str = "TRN") -> Any:
        if signal.low == signal.high and (overflow_mode, round_mode) == ("WRAP", "TRN"):
            step, low = 2.0**-f, -(2.0**i) if k else 0.0
            wrapped = (math.floor(signal.low / step) * step - low) % 2.0 ** (i + bool(k)) + low
            return signal.from_const(wrapped, hwconf=signal.hwconf)
        return original(signal, k, i, f, overflow_mode, round_mode)

    return quantize


def _exact_const_add(original: Callable[..., Any]) -> Callable[..., Any]:
    def const_add(signal: Any, value: float | None) -> Any:
        if not value:
            return signal
        added = float(value)
        _check_sum(signal._affine.bias, added)
        if signal.opr != _ADDITION:
            if _fits(added):
                return original(signal, added)
        elif _fits(_pending(signal) + added):
            return original(signal, added)
        elif _fits(added):
            return _addition(signal, added)
        exponent = math.frexp(added)[1] - _ADDED_BITS + 5
        upper = math.ldexp(round(math.ldexp(added, -exponent)), exponent)
        return const_add(const_add(signal, upper), added - upper)

    return const_add


def _check_sum(a: float, b: float) -> None:
    """Refuse constants whose sum no double is (the error of a sum is exact: D. Knuth, TAOCP vol. 2, 4.2.2)."""
    total = a + b
    if (a - (total - (total - a))) + (b - (total - a)):
        msg = "the sum of two constants needs more than 53 bits, the most that the RTL compiler handles"
        raise UnsupportedError(msg)


def _fits(value: float) -> bool:
    """Say whether alkaid can add a constant in one step."""
    return value == 0 or math.frexp(value)[1] - lowest_bit(value) <= _ADDED_BITS


def _pending(signal: Any) -> float:
    """Return the constant that the addition which made a signal adds, in the scale of the signal."""
    code = ((signal._data & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    shift = ((signal._data >> 32 & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    return math.ldexp(code * signal._factor, -shift)


def _addition(signal: Any, value: float) -> Any:
    """Return a sum with a constant that is not joined with the one that the signal already has."""
    from alkaid.trace import FVariable

    scaled = value / signal._factor
    shift = -lowest_bit(scaled)
    return FVariable(
        _affine=signal._affine + value,
        _from=(signal,),
        _factor=signal._factor,
        _data=shift << 32 | (int(math.ldexp(scaled, shift)) & 0xFFFFFFFF),
        opr=_ADDITION,
        hwconf=signal.hwconf,
    )


def _exact_mux(original: Callable[..., Any]) -> Callable[..., Any]:
    def msb_mux(key: Any, a: Any, b: Any, qint: tuple[float, float, float] | None = None) -> Any:
        kind = key.opr
        if kind == "wrap" and key._factor < 0:
            key.opr = "negated"  # so that it is not looked through
        try:
            return original(key, a, b, qint)
        finally:
            key.opr = kind

    return msb_mux


def _exact_exec(original: Callable[..., Any]) -> Callable[..., Any]:
    from alkaid.trace import FVariable

    def exec_op(program: Any, op: Any, buffer: Any, inputs: Any) -> Any:
        if op.opcode == _MUX and isinstance(buffer[op.addr[2]], FVariable):
            chosen = _known_choice(program, op, buffer[op.addr[2]])
            if chosen is not None:
                value = buffer[op.addr[chosen]] * 2.0 ** (op.data[0] if chosen else 0)
                return value.quantize(*op.qint.kif) if isinstance(value, FVariable) else value
        if op.opcode == _LOOKUP and isinstance(buffer[op.addr[0]], FVariable):
            return _look_up(program, op, buffer[op.addr[0]])
        return original(program, op, buffer, inputs)

    return exec_op


def _known_choice(program: Any, op: Any, key: Any) -> int | None:
    """Return which of two values a selection takes always, if the range of its key says so."""
    interval = program.ops[op.addr[2]].qint
    # The highest bit is the sign of a signed key, and the bit of weight `edge` of an unsigned one.
    signed = interval.min < 0
    edge = 0.0 if signed else 2.0 ** (interval.kif[1] - 1)
    if key.high < edge:
        return 0 if signed else 1
    if key.low >= edge:
        return 1 if signed else 0
    return None


def _look_up(program: Any, op: Any, key: Any) -> Any:
    """Look up in a table that was made for another range of the key; entries beyond it are never read."""
    interval, entries = program.ops[op.addr[0]].qint, program.lookup_tables[op.data[0]].float_table
    count = 1 if key.low == key.high else round((key.high - key.low) / key.step) + 1
    places = np.floor((key.low + np.arange(count) * (key.step if count > 1 else 1.0) - interval.min) / interval.step)
    picked = entries[np.clip(places, 0, len(entries) - 1).astype(np.int64)]
    return key.from_const(picked[0], hwconf=key.hwconf) if count == 1 else key.lookup(picked)


def _exact_unary(original: Callable[..., Any]) -> Callable[..., Any]:
    from alkaid.trace import FVariable

    def unary_bit_op(value: Any, code: int, source: Any, target: Any) -> Any:
        if code == 0 and isinstance(value, FVariable) and value.low == value.high and sum(target.kif) == 1:
            return value.from_const(0.0 if value.low else target.max or target.min, hwconf=value.hwconf)
        return original(value, code, source, target)

    return unary_bit_op
