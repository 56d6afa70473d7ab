"""A fault on purpose: one operator of the RTL turned round, so that the check can prove that it sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.errors import InputError
from l1dl.fixed import Codes, decode
from l1dl.rtl.project import RtlDesign

_TRIALS = 50


@dataclass(frozen=True)
class Fault:
    """One adder that subtracts, or one subtractor that adds.

    Attributes
    ----------
    description
        What was changed, in words.
    sources
        File name → Verilog with the fault.
    """

    description: str
    sources: Mapping[str, str]


def inject_fault(design: RtlDesign, codes: Codes, seed: int) -> Fault:
    """Return the design with one flipped operator that changes an output for at least one of `codes`.

    Some operators can be flipped without any effect (their results are rounded away), so candidates
    are tried in the ALIR interpreter first.

    Parameters
    ----------
    codes
        Input codes of shape (events, inputs); some hundreds suffice.
    seed
        Chooses the operator.

    Raises
    ------
    InputError
        No operator with an effect was found.
    """
    sources = design.sources()
    values = decode(codes, design.input_spec)
    right = _run(design.stages, values)
    generator = np.random.default_rng(seed)
    for _ in range(_TRIALS):
        stage = int(generator.integers(len(design.stages)))
        adders = [index for index, op in enumerate(design.stages[stage].ops) if op.opcode in (0, 1)]
        if not adders:
            continue
        index = int(generator.choice(adders))
        name = f"{design.stage_modules[stage]}.v"
        text, count = re.subn(
            rf"(shift_adder #\([^)]*,)([01])(\) op_{index} )",
            lambda match: f"{match[1]}{1 - int(match[2])}{match[3]}",
            sources[name],
        )
        ops = list(design.stages[stage].ops)
        ops[index] = ops[index]._replace(opcode=1 - ops[index].opcode)
        faulty = [*design.stages]
        faulty[stage] = faulty[stage]._replace(ops=ops)
        if count == 1 and np.any(_run(faulty, values) != right):
            what = "adder made a subtractor" if ops[index].opcode else "subtractor made an adder"
            return Fault(f"{what}: op_{index} of {design.stage_modules[stage]}", {**sources, name: text})
    msg = f"flipping an adder of {design.top!r} changed no output in {_TRIALS} trials; is the output constant?"
    raise InputError(msg)


def _run(stages: Any, values: Any) -> Any:
    for stage in stages:
        values = stage.predict(values, n_threads=1)
    return values
