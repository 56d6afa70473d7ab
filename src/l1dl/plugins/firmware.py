"""The RTL of an hls4ml ModelGraph: built once, simulated for whole batches, synthesised on request."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.card import CosimCard, RtlCard
from l1dl.convert.model_graph import read_model_graph
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.protocol import stream
from l1dl.cosim.result import CosimReport
from l1dl.cosim.verilate import Simulation
from l1dl.emulate.compare import require
from l1dl.errors import MismatchError
from l1dl.fixed import Codes, Values
from l1dl.graph import FixedGraph, check_design_name
from l1dl.nodes import Input
from l1dl.ports import Arrays, as_rows, count_values, decode_rows, encode_rows, split
from l1dl.rtl.delays import speed_grade
from l1dl.rtl.project import RtlDesign, build_rtl
from l1dl.synth.design import SynthDesign
from l1dl.synth.resources import Resources
from l1dl.synth.yosys import synthesise

BUILD_EVENTS = 2000
"""Random events of the co-simulation that a build makes."""


class Firmware:
    """The RTL of one hls4ml model.

    Parameters
    ----------
    model
        An ``hls4ml.model.ModelGraph`` after its optimiser passes.

    Raises
    ------
    UnsupportedError
        A layer or an option has no exact RTL.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self.graph = read_model_graph(model, check_design_name(config.get_project_name()))
        self.settings = RtlCard(clock_period_ns=float(config.get_config_value("ClockPeriod")))
        self._grade = speed_grade(str(config.get_config_value("Part")))
        self.directory = Path(config.get_output_dir())

    @cached_property
    def design(self) -> RtlDesign:
        """The pipelined design."""
        return build_rtl(self.graph, self.settings, grade=self._grade)

    @cached_property
    def _simulations(self) -> dict[str, Simulation]:
        return {}

    def simulation(self, design: RtlDesign) -> Simulation:
        """Return the verilated design, built when it is first asked for."""
        if design.top not in self._simulations:
            self._simulations[design.top] = Simulation(
                design.sources(), design.top, design.inputs, design.outputs, self.directory / "simulation"
            )
        return self._simulations[design.top]

    def run(self, x: Arrays) -> Values:
        """Stream real inputs through the RTL, an event in each cycle; return rows of real outputs."""
        return decode_rows(self._stream(self.design, self._rows(x)), self.graph.output_ports)

    def trace(self, x: Arrays) -> dict[str, npt.NDArray[np.float64]]:
        """Stream real inputs through an RTL that leads every layer to its outputs; return layer name → values."""
        ports = self._traced_design.outputs
        values = decode_rows(self._stream(self._traced_design, self._rows(x)), ports)
        return {port.name: part for port, part in zip(ports, split(values, ports), strict=True)}

    @cached_property
    def _traced_design(self) -> RtlDesign:
        layers = tuple(node.name for node in self.graph.nodes if not isinstance(node, Input) and "__" not in node.name)
        graph = FixedGraph(f"{self.graph.name}_trace", self.graph.nodes, layers, self.graph.producer)
        return build_rtl(graph, self.settings, grade=self._grade)

    def _rows(self, x: Arrays) -> Codes:
        """Return rows of input codes; as in hls4ml, one event may come without its batch axis."""
        ports = self.graph.input_ports
        if len(ports) == 1 and isinstance(x, np.ndarray) and x.shape == ports[0].shape:
            x = x[None]
        return encode_rows(as_rows(x, ports), ports)

    def _stream(self, design: RtlDesign, rows: Codes) -> Codes:
        outcome = self.simulation(design).run(rows, stream(len(rows), 2 * design.latency_cycles))
        if len(outcome.codes) != len(rows):
            msg = f"{len(outcome.codes)} of {len(rows)} events came out of the RTL of {design.top!r}"
            raise MismatchError(msg)
        return outcome.codes

    def prove(self) -> CosimReport:
        """Compare the RTL with the emulator on corners and random events; measure latency and interval.

        Raises
        ------
        MismatchError
            They differ.
        """
        settings = CosimCard(random_vectors=BUILD_EVENTS)
        nothing = np.zeros((0, count_values(self.graph.input_ports)), dtype=np.int64)
        report, _ = cosimulate(self.graph, self.design, nothing, self.directory / "simulation", settings=settings)
        require(report.agreement)
        return report

    def synthesise(self) -> Resources:
        """Return the resources by Yosys."""
        design = self.design
        synth = SynthDesign(
            design.top, design.stage_modules, design.sequential_modules, design.sources(), design.estimate
        )
        return synthesise(synth, work=self.directory / "synthesis", cache=self.directory / "cache")
