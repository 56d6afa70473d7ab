"""What a vendor tool is asked for: the design, the device, the clock, and the steps to its figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from l1dl.errors import InputError
from l1dl.graph import check_design_name


class Vendor(Enum):
    """The vendor flows, by the name of their tool."""

    VITIS = "vitis"
    VIVADO = "vivado"
    QUARTUS = "quartus"


@dataclass(frozen=True)
class Step:
    """One program call.

    Attributes
    ----------
    name
        Its script is ``<name>.tcl``, its reports go to ``reports/<name>/``, its log is ``logs/<name>.log``.
    program
        Which program runs it, as `l1dl.tools.find_tool` knows it.
    reports
        The files that it must leave in its report folder, all of them with figures.
    """

    name: str
    program: str
    reports: tuple[str, ...]


_IMPLEMENT = (
    Step("synth", "vivado", ("utilization.rpt",)),
    Step("implement", "vivado", ("utilization.rpt", "timing.rpt")),
)

STEPS: Mapping[Vendor, tuple[Step, ...]] = {
    Vendor.VITIS: (
        Step("csynth", "vitis", ("csynth.xml",)),
        Step("cosim", "vitis", ("cosim.rpt", "outputs.log")),
        *_IMPLEMENT,
    ),
    Vendor.VIVADO: _IMPLEMENT,
    Vendor.QUARTUS: (Step("implement", "quartus", ("design.fit.summary", "design.sta.summary")),),
}
"""The steps of each flow, in their order."""

QUARTUS_PART = "AGFB014R24B2E2V"
"""The device of Altera that is taken where none is given: the Agilex 7 of its F-series development kit."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class BuildSettings:
    """What is built, and for what.

    Attributes
    ----------
    vendor
        The flow.
    top
        Name of the top module.
    clock
        Name of its clock port.
    part
        The device, in full.
    clock_period_ns
        Clock constraint, in ns.

    Raises
    ------
    InputError
        A value is not allowed; all of them end up in Tcl.
    """

    vendor: Vendor
    top: str
    clock: str
    part: str
    clock_period_ns: float

    def __post_init__(self) -> None:
        """Refuse what could be more than a name or a number in a script."""
        check_design_name(self.top)
        check_design_name(self.clock)
        if not _PART.fullmatch(self.part):
            msg = f"part {self.part!r} is no name of a device; letters, digits, - and _ are allowed"
            raise InputError(msg)
        if not 0.1 <= self.clock_period_ns <= 1000:
            msg = f"clock period {self.clock_period_ns!r} ns is not allowed; give 0.1 to 1000"
            raise InputError(msg)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of the flow."""
        return STEPS[self.vendor]
