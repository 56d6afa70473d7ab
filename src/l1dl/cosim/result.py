"""What the co-simulation measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from l1dl.emulate.compare import Agreement


@dataclass(frozen=True)
class SelfTest:
    """A fault put into the RTL on purpose, which the co-simulation must see.

    Attributes
    ----------
    fault
        What was changed, in words.
    events
        Number of events simulated with the fault.
    mismatches
        Number of output codes that differed; the test passed when this is not zero.
    """

    fault: str
    events: int
    mismatches: int


@dataclass(frozen=True)
class VhdlCheck:
    """The verdict on the VHDL of the design.

    Attributes
    ----------
    agreement
        Emulator against VHDL; None if the VHDL was written but not simulated.
    reason
        Why it was not simulated; None if it was.
    vectors
        Number of events of each kind of stimulus, a part of those of the Verilog; empty if it was not simulated.
    simulator
        Program and version; None if it was not simulated.
    seconds
        Time that analysis and simulation took, in s; None if it was not simulated.
    """

    agreement: Agreement | None
    reason: str | None
    vectors: dict[str, int] = field(default_factory=dict)
    simulator: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class QueueLevel:
    """How full a queue of a streaming design became.

    Attributes
    ----------
    name
        What it holds, and who takes it.
    bits
        Bits of each beat.
    depth
        Beats that it has room for.
    highest
        Most beats that were in it, over all runs; None if the top module was changed by hand.
    """

    name: str
    bits: int
    depth: int
    highest: int | None


@dataclass(frozen=True)
class StreamCheck:
    """What is known of a streaming design besides.

    Attributes
    ----------
    frame_beats
        Beats of a frame: no interval between frames can be smaller.
    stalled_frames
        Frames of the runs with random stalls on both sides; each must come out with the same codes.
    queues
        The queues, and how full they became.
    """

    frame_beats: int
    stalled_frames: int
    queues: tuple[QueueLevel, ...]


@dataclass(frozen=True)
class CosimReport:
    """The verdict of the cycle-accurate simulation of the RTL.

    Attributes
    ----------
    agreement
        Emulator against RTL over all vectors.
    vectors
        Number of events of each kind of stimulus: ``test``, ``corner``, ``random``, ``shuffled``.
    latency_cycles
        Clock cycles from the cycle in which an input is presented to the cycle in which its output
        is valid, measured on every event. Of a streaming design: from the first beat of a frame that
        enters alone to the last beat of its result.
    initiation_interval
        Smallest number of cycles between two inputs in a row that were both answered rightly; None if
        no two were.
    cycles
        Number of clock cycles simulated, with bubbles and resets.
    bubbles
        Number of cycles without valid input that were put between events.
    resets
        Number of resets in mid-flight; every event under way at a reset must vanish.
    events_per_s
        Rate of the simulation, on one core.
    build_s
        Time that Verilator and the C++ compiler took, in s.
    self_test
        The injected fault; None if the test was not run.
    vhdl
        The verdict on the VHDL; None if the design is in Verilog only.
    stream
        What is known of a streaming design besides; None for one that takes an event in each cycle.
    """

    agreement: Agreement
    vectors: dict[str, int]
    latency_cycles: int
    initiation_interval: int | None
    cycles: int
    bubbles: int
    resets: int
    events_per_s: float
    build_s: float
    self_test: SelfTest | None
    vhdl: VhdlCheck | None = None
    stream: StreamCheck | None = None
