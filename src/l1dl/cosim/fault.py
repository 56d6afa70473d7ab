"""A fault on purpose: one operator or wire of the RTL changed, so that the check can prove that it sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError
from l1dl.fixed import Codes
from l1dl.ports import decode_rows
from l1dl.rtl.project import RtlDesign

_TRIALS = 50

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fault:
    """One operator that does something else, or one inverted wire.

    Attributes
    ----------
    description
        What was changed, in words.
    sources
        File name → Verilog with the fault.
    """

    description: str
    sources: Mapping[str, str]


@dataclass(frozen=True)
class _Change:
    """A change of one stage.

    Attributes
    ----------
    description
        In words.
    pattern, replace
        The change of the Verilog; the pattern must occur once.
    run
        The changed stage, from its input values to its output values.
    """

    description: str
    pattern: str
    replace: Callable[[re.Match[str]], str]
    run: Callable[[Values], Values]


def inject_fault(design: RtlDesign, codes: Codes, seed: int) -> Fault:
    """Return the design with one fault that changes an output for at least one of `codes`.

    An adder is made a subtractor, or the reverse; in a design without adders, or where no such change
    has an effect, a wire between or behind the stages is inverted. Many operators can be changed without any
    effect (their results are rounded away), so candidates are tried in the ALIR interpreter first.

    Parameters
    ----------
    codes
        Rows of input codes; some hundreds suffice.
    seed
        Chooses the operator.

    Raises
    ------
    InputError
        No change with an effect was found.
    """
    sources = design.sources()
    values = [decode_rows(codes, design.inputs)]
    for stage in design.stages:
        values.append(stage.predict(values[-1], n_threads=1))
    generator = np.random.default_rng(seed)
    for propose in (_flipped_adder, _inverted_wire):
        for _ in range(_TRIALS):
            index = int(generator.integers(len(design.stages)))
            change = propose(design.stages[index], generator)
            if change is None:
                continue
            name = f"{design.stage_modules[index]}.v"
            text, count = re.subn(change.pattern, change.replace, sources[name])
            if count == 1 and _has_effect(change, design.stages[index + 1 :], values[index], values[-1]):
                return Fault(f"{change.description} of {design.stage_modules[index]}", {**sources, name: text})
    msg = (
        f"neither a flipped adder nor an inverted wire of {design.top!r} changed an output of {len(codes)} events in "
        f"{_TRIALS} trials each; is the output constant?"
    )
    raise InputError(msg)


def _has_effect(change: _Change, behind: Sequence[Any], values: Values, right: Values) -> bool:
    """Say whether a changed stage changes what comes out of the last one.

    Behind the change a table may be read where it has no entry: what happens there is not defined, so
    that such a change proves nothing.
    """
    try:
        values = change.run(values)
        for stage in behind:
            values = stage.predict(values, n_threads=1)
    except RuntimeError:
        return False
    return bool(np.any(values != right))


def _flipped_adder(stage: Any, generator: np.random.Generator) -> _Change | None:
    """Return an adder made a subtractor, or the reverse; also one of a constant or of three operands."""
    adders = [index for index, op in enumerate(stage.ops) if op.opcode in _ADDERS]
    if not adders:
        return None
    index = int(generator.choice(adders))
    op = stage.ops[index]
    flipped, position, what = _ADDERS[op.opcode](op)
    faulty = _with_operation(stage, index, flipped)
    return _Change(
        f"{what}: op_{index}",
        rf"((?:shift|ternary)_adder #\((?:[^,)]*,){{{position}}})([01])([^)]*\) op_{index} )",
        lambda match: f"{match[1]}{1 - int(match[2])}{match[3]}",
        lambda values: faulty.predict(values, n_threads=1),
    )


def _flip_two(op: Any) -> tuple[Any, int, str]:
    what = "subtractor made an adder" if op.opcode else "adder made a subtractor"
    return op._replace(opcode=1 - op.opcode), 7, what


def _flip_constant(op: Any) -> tuple[Any, int, str]:
    what = "subtractor made an adder" if op.data[0] < 0 else "adder made a subtractor"
    return op._replace(data=(-op.data[0], *op.data[1:])), 7, f"constant {what}"


def _flip_three(op: Any) -> tuple[Any, int, str]:
    return op._replace(data=(int(not op.data[0]), *op.data[1:])), 2, "first operand of a sum of three negated"


_ADDERS: Mapping[int, Callable[[Any], tuple[Any, int, str]]] = {
    0: _flip_two,
    1: _flip_two,
    4: _flip_constant,
    11: _flip_three,
}
"""alkaid's operation code → flipped operation, place of the flag among the module's parameters, words."""

_QUANTISE = 3
"""alkaid's operation code of a conversion, which drops bits at both ends."""


def _with_operation(stage: Any, index: int, flipped: Any) -> Any:
    """Return a stage with one operation changed, whose result is wrapped to the bits that the wires have."""
    op = stage.ops[index]
    moved = [
        later._replace(addr=tuple(source + (source >= index) for source in later.addr))
        for later in stage.ops[index + 1 :]
    ]
    wide = flipped.qint._replace(min=-(2.0**40) * op.qint.step, max=2.0**40 * op.qint.step)
    wrap = op._replace(addr=(index,), opcode=_QUANTISE, data=(0,))
    ops = [*stage.ops[:index], flipped._replace(qint=wide), wrap, *moved]
    return stage._replace(ops=ops, out_idxs=[place + (place >= index) for place in stage.out_idxs])


def _inverted_wire(stage: Any, generator: np.random.Generator) -> _Change | None:
    """Return the lowest bit of one result of a stage, inverted."""
    kifs = np.asarray(stage.out_kifs, dtype=int)
    widths = kifs.sum(axis=0)
    candidates = np.flatnonzero(widths)
    if not len(candidates):
        return None
    index = int(generator.choice(candidates))
    low, scale = int(widths[:index].sum()), 2.0 ** float(kifs[2, index])

    def run(values: Values) -> Values:
        result: Values = stage.predict(values, n_threads=1)
        result[:, index] = ((result[:, index] * scale).astype(np.int64) ^ 1) / scale
        return result

    return _Change(
        f"bit {low} of the result inverted: value {index}",
        rf"(assign model_out\[\d+:{low}\] = )(.*);",
        lambda match: f"{match[1]}{match[2]} ^ {widths[index]}'d1;",
        run,
    )
