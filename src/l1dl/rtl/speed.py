"""alkaid's symbols without what costs most time in networks of tens of thousands of operations.

Each function stands in for one of alkaid's while `fast_symbols` lasts, and returns the same.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any


@contextlib.contextmanager
def replaced(replacements: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Set attributes (owner, name, value) while the context lasts."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replacements]
    try:
        for owner, name, value in replacements:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


@contextlib.contextmanager
def fast_symbols() -> Iterator[None]:
    """Spend less on names, copies and ranges, while the context lasts; contexts may be nested.

    - Signals and terms of sums are told apart by random 128-bit numbers; counted ones do as well.
    - The range of a multiple by a power of two is that of the signal, scaled.
    - Operations whose operands stay in their places are not made anew.
    - What no output needs is found with bytes instead of NumPy's booleans, which are slow one by one.
    """
    from alkaid.trace import affine_interval, fixed_variable, passes, pipeline
    from alkaid.trace.affine_interval import AffineInterval
    from alkaid.trace.fixed_variable import FVariable
    from alkaid.trace.passes import cse, dce, null_op, order

    replacements: list[tuple[Any, str, Any]] = [
        (fixed_variable, "UUID", _number),
        (affine_interval, "uuid4", _number),
        (AffineInterval, "__mul__", _scaled(AffineInterval.__mul__)),
        (AffineInterval, "__neg__", lambda interval: interval * -1.0),
        (FVariable, "_with", _copied),
        *((module, "dead_code_elimin", _without_dead) for module in (passes, pipeline)),
        *((module, "_index_remap", _moved) for module in (cse, dce, null_op, order, pipeline)),
    ]
    with replaced(replacements):
        yield


_NUMBERS = itertools.count(1)


def _number(**_: Any) -> int:
    return next(_NUMBERS)


def _scaled(original: Callable[..., Any]) -> Callable[..., Any]:
    def multiply(interval: Any, factor: float) -> Any:
        result = original(interval, factor)
        known = interval.__dict__.get("qint")
        # Doubles are scaled by powers of two without rounding.
        if known is not None and result.coeffs and known.min < known.max and abs(math.frexp(factor)[0]) == 0.5:
            ends = (known.min * factor, known.max * factor)
            result.__dict__["qint"] = known._replace(min=min(ends), max=max(ends), step=known.step * abs(factor))
        return result

    return multiply


def _copied(signal: Any, renew_id: bool = True, **changes: Any) -> Any:
    if not changes:
        return signal
    copy = object.__new__(type(signal))
    copy.__dict__.update(signal.__dict__)
    copy.__dict__.update(changes)
    if renew_id:
        copy.id = _number()
    return copy


def _moved(op: Any, places: Mapping[int, int]) -> Any:
    """Return an operation that reads its operands at other places."""
    if op.opcode == -1:
        return op
    addresses = tuple([places.get(address, address) for address in op.addr])
    return op if addresses == op.addr else op._replace(addr=addresses)


def _without_dead(program: Any, keep_dead_inputs: bool = False) -> Any:  # noqa: ARG001  alkaid's signature
    """Return a program without the operations that no output needs; alkaid drops such inputs, too."""
    from alkaid.trace.passes.dce import remap_table_idxs

    ops = program.ops
    alive = bytearray(len(ops))
    for index in program.out_idxs:
        if index >= 0:
            alive[index] = 1
    for index in range(len(ops) - 1, -1, -1):
        if alive[index]:
            for address in ops[index].addr:
                alive[address] = 1
    kept = list(itertools.compress(range(len(ops)), alive))
    places = {old: new for new, old in enumerate(kept)}
    moved, tables = remap_table_idxs([_moved(ops[index], places) for index in kept], program.lookup_tables)
    outputs = [places[index] if index >= 0 else -1 for index in program.out_idxs]
    return program._replace(ops=moved, out_idxs=outputs, lookup_tables=tables)
