"""The result of a vendor flow: what each step gave, each figure with its origin or the reason for its absence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from l1dl.emulate.compare import Agreement
from l1dl.synth.resources import Resources
from l1dl.synth.timing import Timing


class State(Enum):
    """What became of a step."""

    FINISHED = "finished"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Cycles:
    """Latency and initiation interval of a design, in clock cycles.

    Attributes
    ----------
    latency, interval
        The smallest and the largest; None where the tool gave no figure.
    origin
        How they were obtained.
    reason
        Why a figure is None; empty otherwise.
    """

    latency: tuple[int, int] | None
    interval: tuple[int, int] | None
    origin: str
    reason: str = ""


@dataclass(frozen=True)
class StepResult:
    """What one step gave.

    Attributes
    ----------
    name
        The step.
    state
        Whether it ran to its end.
    reason
        Why it did not, with the end of its log; empty otherwise.
    resources, timing, cycles
        The figures of the kinds that the step has.
    agreement
        The outputs of the co-simulation against those of the emulator.
    """

    name: str
    state: State
    reason: str = ""
    resources: Resources | None = None
    timing: Timing | None = None
    cycles: Cycles | None = None
    agreement: Agreement | None = None


@dataclass(frozen=True)
class BuildResult:
    """What a vendor flow gave.

    Attributes
    ----------
    tool
        ``vitis``, ``vivado`` or ``quartus``.
    top, part, clock_period_ns
        What was built, for which device, and its clock constraint.
    inputs
        Digest of sources, constraints and scripts.
    imported
        Whether the reports came from another machine.
    steps
        The steps in their order.
    """

    tool: str
    top: str
    part: str
    clock_period_ns: float
    inputs: str
    imported: bool
    steps: tuple[StepResult, ...]
