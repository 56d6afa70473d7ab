"""Resources of the firmware: each figure with its origin, and a reason where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from l1dl.rtl.estimate import Estimate

REGISTERS = "registers"
"""Name of what stands for all registers among the stages."""


@dataclass(frozen=True)
class StageResources:
    """Resources of one pipeline stage (or of the registers between the stages).

    Attributes
    ----------
    levels, delay_ns
        LUTs and carry chains on the longest path, and its estimated delay in ns (`l1dl.synth.paths`); None for the
        registers, and for a stage with cells whose delay is not known, such as DSPs.
    """

    name: str
    lut: int
    ff: int
    dsp: int
    bram: int
    carry: int
    levels: int | None = None
    delay_ns: float | None = None


@dataclass(frozen=True)
class Resources:
    """LUT, flip-flops, DSP and block RAM.

    Attributes
    ----------
    lut, ff, dsp, bram
        Counts, of block RAM those of 36 kb, in Altera's devices of 20 kb; None where the tool gave no figure.
    origin
        How the figures were obtained, e.g. ``synthesised (Yosys 0.70, xcup, stage by stage)``.
    reason
        Why a figure is None; empty otherwise.
    stages
        The same by pipeline stage.
    estimate
        The compiler's own estimate; None where the tool read other sources than ours.
    delay_origin
        How the delays of the stages were obtained.
    alm
        Adaptive logic modules, which Altera's devices have in place of LUTs; None of other devices.
    """

    lut: int | None
    ff: int | None
    dsp: int | None
    bram: int | None
    origin: str
    reason: str
    stages: tuple[StageResources, ...] = ()
    estimate: Estimate | None = None
    delay_origin: str = "not estimated"
    alm: int | None = None

    @property
    def slowest(self) -> StageResources | None:
        """The stage with the longest estimated delay; None where a stage has none, or there is no stage."""
        stages = [stage for stage in self.stages if stage.name != REGISTERS]
        delays = [stage.delay_ns for stage in stages if stage.delay_ns is not None]
        return stages[delays.index(max(delays))] if stages and len(delays) == len(stages) else None

    def to_json(self) -> dict[str, Any]:
        """Return the resources as they stand in ``report.json``."""
        return {
            "lut": self.lut,
            "ff": self.ff,
            "dsp": self.dsp,
            "bram": self.bram,
            "origin": self.origin,
            "reason": self.reason or None,
            "stages": [vars(stage) for stage in self.stages],
            "estimate": self.estimate.to_json() if self.estimate else None,
            "delay_origin": self.delay_origin,
        }
