"""The firmware as synthesis sees it: Verilog texts, and which modules are stages and which hold registers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from l1dl.errors import InputError, did_you_mean
from l1dl.rtl.estimate import Estimate
from l1dl.synth.verilog import index_modules

_FILE_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")


@dataclass(frozen=True)
class SynthDesign:
    """A pipelined design whose logic and registers are in separate modules.

    Attributes
    ----------
    top
        The top module; one of `sequential`, or the only stage of a design without registers.
    stages
        The combinational modules, in the order of the pipeline. Each is instantiated exactly once.
    sequential
        The modules that hold the registers and instantiate the stages.
    files
        File name to Verilog text, for every module of the design. A file that defines a stage
        defines nothing else.
    estimate
        The RTL compiler's own estimate, passed on to the report.

    Raises
    ------
    InputError
        A module is missing, named twice, or defined beside another in a stage's file.
    """

    top: str
    stages: tuple[str, ...]
    sequential: tuple[str, ...]
    files: Mapping[str, str]
    estimate: Estimate

    def __post_init__(self) -> None:
        """Check the names against the texts."""
        named = (*self.stages, *self.sequential)
        if not named:
            msg = "the design names no module; give its stages and its sequential modules"
            raise InputError(msg)
        repeated = sorted({name for name in named if named.count(name) > 1})
        if repeated:
            msg = f"module {repeated[0]!r} is named twice; a module is either one stage or sequential"
            raise InputError(msg)
        if self.top not in (self.sequential or self.stages[:1]) or (not self.sequential and len(self.stages) > 1):
            msg = f"top module {self.top!r} is not among the sequential modules: {', '.join(self.sequential) or 'none'}"
            raise InputError(msg)
        for name in self.files:
            if not _FILE_NAME.fullmatch(name):
                msg = f"file name {name!r} is not usable in a Yosys script; letters, digits and . _ + - / are"
                raise InputError(msg)
        self._check_definitions(named)

    def _check_definitions(self, named: tuple[str, ...]) -> None:
        where = index_modules(self.files)
        for name in named:
            if name not in where:
                msg = f"module {name!r} is defined in none of the {len(self.files)} files{did_you_mean(name, where)}"
                raise InputError(msg)
        for stage in self.stages:
            beside = [name for name, file in where.items() if file == where[stage] and name != stage]
            if beside:
                msg = f"{where[stage]} defines stage {stage!r} and also {beside[0]!r}; a stage needs a file of its own"
                raise InputError(msg)
