"""Where the registers of a pipeline stand: few stages, about equally long, with delays that the clock allows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from l1dl.rtl.arrivals import Arrival, Arrivals, Opcode
from l1dl.rtl.passes import exact_passes

_HALVINGS = 5
"""Steps of the search for the shortest delay that needs no stage more."""


@dataclass(frozen=True)
class Schedule:
    """The stage of each operation of a program.

    Attributes
    ----------
    stage
        By operation, from 0.
    delay_ns
        By stage: from register to register, for speed grade -1.
    """

    stage: tuple[int, ...]
    delay_ns: tuple[float, ...]


def schedule(program: Any, limit_ns: float | Sequence[float]) -> Schedule:
    """Put each operation into the earliest stage in which it ends in time.

    With one limit for all stages, the shortest one that needs no stage more is searched, so that no stage is much
    longer than the others.

    Parameters
    ----------
    program
        An ``alkaid.types.CombLogic``.
    limit_ns
        Longest estimated delay of a stage, from register to register, for speed grade -1: one for all, or one for each
        stage, the last of which holds for those behind it, too. An operation that takes longer gets a stage of its own.
    """
    arrivals = Arrivals(program)
    if not isinstance(limit_ns, float | int):
        return _earliest(program, arrivals, limit_ns)
    best = _earliest(program, arrivals, [limit_ns])
    long, short = max(best.delay_ns), sum(best.delay_ns) / len(best.delay_ns) / 2
    for _ in range(_HALVINGS):
        middle = (long + short) / 2
        found = _earliest(program, arrivals, [middle])
        if len(found.delay_ns) == len(best.delay_ns) and max(found.delay_ns) <= max(best.delay_ns):
            best, long = found, middle
        else:
            short = middle
    return best


def _earliest(program: Any, arrivals: Arrivals, limits_ns: Sequence[float]) -> Schedule:
    stages: list[int] = []
    values: list[Arrival] = []
    delays = [0.0]
    for index, op in enumerate(program.ops):
        if op.opcode in (Opcode.INPUT, Opcode.CONSTANT):
            stages.append(0)
            values.append(arrivals.registered(index))
            continue

        def operand(address: int) -> Arrival:
            return values[address] if stages[address] == stage else arrivals.registered(address)  # noqa: B023

        stage = max(stages[address] for address in op.addr)
        value = arrivals.computed(index, operand)
        end = arrivals.at_register(index, value)
        if end > limits_ns[min(stage, len(limits_ns) - 1)]:
            stage += 1
            later = arrivals.computed(index, operand)
            if arrivals.at_register(index, later) < end:
                value, end = later, arrivals.at_register(index, later)
            else:
                stage -= 1
        stages.append(stage)
        values.append(value)
        delays += [0.0] * (stage + 1 - len(delays))
        delays[stage] = max(delays[stage], end)
    return Schedule(tuple(stages), tuple(delays))


def split_stages(program: Any, stages: Sequence[int]) -> tuple[Any, ...]:
    """Cut a combinational program into one program for each stage.

    Parameters
    ----------
    stages
        The stage of each operation; none is behind those that read it.
    """
    from alkaid.trace import to_pipeline

    # alkaid cuts where the latencies pass whole numbers if the last one is the number of stages.
    ops = [op._replace(latency=float(stage + 1)) for op, stage in zip(program.ops, stages, strict=True)]
    with exact_passes():
        logic = to_pipeline(program._replace(ops=ops), n_stages=max(stages) + 1, verbose=False).logic
    programs = tuple(logic[name] for name in sorted(logic, key=lambda name: int(name.removeprefix("logic"))))
    for before, after in itertools.pairwise(programs):
        assert before.out_kifs.tolist() == after.inp_kifs.tolist(), "a stage reads what its predecessor does not write"
    return programs
