"""The RTL of one network: from the FixedGraph to files, with a description of its interface."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from l1dl.card import RtlCard
from l1dl.errors import UnsupportedError
from l1dl.graph import FixedGraph, spec_to_json
from l1dl.ports import Port, Ports
from l1dl.rtl.cost import layer_estimates, with_ternary_adders
from l1dl.rtl.delays import GRADES
from l1dl.rtl.estimate import Estimate, LayerEstimate
from l1dl.rtl.layout import port_width, register_widths
from l1dl.rtl.lower import trace_layers
from l1dl.rtl.matrix import MatrixSolver
from l1dl.rtl.pipeline import schedule, split_stages
from l1dl.rtl.verilog import emit_constraints, emit_pipeline, emit_stages, emit_tables, emit_top, primitives
from l1dl.rtl.vhdl import check_vhdl_name, emit_vhdl

STAGE_SHARE = 0.97
"""Share of the clock period that the estimated delay of a stage may take where the card gives none."""


@dataclass(frozen=True, eq=False)
class RtlDesign:
    """A pipelined design.

    Attributes
    ----------
    top
        Name of the top module, with the ports ``clk, rst, in_valid, in_data, out_valid, out_data``.
    stages
        The combinational stages, as ALIR programs.
    inputs, outputs
        What stands in ``in_data`` and ``out_data``: a slot for each value, in the order of a row, the first one lowest.
    clock_period_ns
        Target clock period in ns.
    estimate
        The RTL compiler's estimate of the resources.
    stage_delay_ns
        The estimated delay of each stage, from register to register, in ns.
    language
        ``vhdl``: the design is also written in VHDL.
    """

    top: str
    stages: tuple[Any, ...]
    inputs: Ports
    outputs: Ports
    clock_period_ns: float
    estimate: Estimate
    stage_delay_ns: tuple[float, ...]
    language: str = "verilog"

    @property
    def latency_cycles(self) -> int:
        """Clock cycles from input to output by construction: one register before, between and behind the stages."""
        return len(self.stages) + 1

    @property
    def stage_modules(self) -> tuple[str, ...]:
        """Names of the combinational modules."""
        return tuple(f"{self.top}_stage{index}" for index in range(len(self.stages)))

    @property
    def sequential_modules(self) -> tuple[str, ...]:
        """Names of the modules that hold registers."""
        return f"{self.top}_pipeline", self.top

    def sources(self, *, probes: bool = False) -> dict[str, str]:
        """Return file name → Verilog of all modules.

        Parameters
        ----------
        probes
            Lead all pipeline registers to a port ``probes`` (for debugging).
        """
        return {
            **self.logic,
            f"{self.top}_pipeline.v": emit_pipeline(self.top, self.stages, probes=probes),
            f"{self.top}.v": emit_top(self.top, self.stages, self.inputs, self.outputs, probes=probes),
        }

    @cached_property
    def logic(self) -> dict[str, str]:
        """File name → Verilog of everything without registers."""
        stages = emit_stages(self.top, self.stages)
        modules = {**emit_tables(self.stages), **stages}
        return {**primitives(stages.values()), **{f"{module}.v": text for module, text in modules.items()}}

    def vhdl_sources(self) -> dict[str, str]:
        """Return file name → VHDL of all entities, each before those that use it; empty unless `language` asks for it.

        The ports are those of the Verilog.
        """
        return emit_vhdl(self.top, self.stages, self.inputs, self.outputs) if self.language == "vhdl" else {}


def build_rtl(
    graph: FixedGraph,
    settings: RtlCard = RtlCard(),  # noqa: B008  frozen
    *,
    grade: int = 2,
    matrices: MatrixSolver | None = None,
) -> RtlDesign:
    """Compile a graph into a pipelined design.

    Parameters
    ----------
    grade
        Speed grade of the part, for the estimated delays of the stages.
    matrices
        What has solved the matrices of similar graphs, for speed.

    Raises
    ------
    UnsupportedError
        The graph has something that has no RTL.
    InputError
        The card asks for VHDL, and the name of the graph is not allowed there.
    """
    if settings.language == "vhdl":
        check_vhdl_name(graph.name)
    return cut(compile_graph(graph, matrices), settings, grade=grade)


@dataclass(frozen=True, eq=False)
class Compiled:
    """A graph as one combinational program.

    Attributes
    ----------
    program
        An ``alkaid.types.CombLogic`` with costs.
    layers
        The compiler's estimate for each layer.
    """

    graph: FixedGraph
    program: Any
    layers: tuple[LayerEstimate, ...]


def compile_graph(graph: FixedGraph, matrices: MatrixSolver | None = None) -> Compiled:
    """Compile a graph into one combinational program.

    Parameters
    ----------
    matrices
        What has solved the matrices of similar graphs, for speed.

    Raises
    ------
    UnsupportedError
        The graph has something that has no RTL.
    """
    traced = trace_layers(graph, matrices)
    if all(interval.min == interval.max for interval in traced.program.out_qint):
        msg = f"no output of {graph.name!r} depends on its inputs; there is nothing to build"
        raise UnsupportedError(msg)
    return Compiled(graph, with_ternary_adders(traced.program), layer_estimates(traced))


def cut(compiled: Compiled, settings: RtlCard, *, grade: int) -> RtlDesign:
    """Cut the program of a graph into stages.

    Parameters
    ----------
    grade
        Speed grade of the part.
    """
    from importlib.metadata import version

    graph, program, limit = compiled.graph, compiled.program, stage_delay(settings)
    plan = schedule(
        program,
        [each / GRADES[grade] for each in limit] if isinstance(limit, tuple) else limit / GRADES[grade],
    )
    stages = split_stages(program, plan.stage)
    # Every register bit, and the valid chain.
    flip_flops = sum(register_widths(stages)) + len(stages) + 1
    return RtlDesign(
        top=graph.name,
        stages=stages,
        inputs=graph.input_ports,
        outputs=graph.output_ports,
        clock_period_ns=settings.clock_period_ns,
        estimate=Estimate(float(program.cost), flip_flops, f"estimated (alkaid {version('alkaid')})", compiled.layers),
        stage_delay_ns=tuple(GRADES[grade] * delay for delay in plan.delay_ns),
        language=settings.language,
    )


def stage_delay(settings: RtlCard) -> float | tuple[float, ...]:
    """Return the longest estimated delay that a stage may have, from register to register, in ns; or that of each."""
    given = settings.stage_delay_ns
    return tuple(given) if isinstance(given, list) else given or STAGE_SHARE * settings.clock_period_ns


def describe_interface(design: RtlDesign, names: Sequence[str] = (), classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the ports, the bit range of every value and the protocol, as JSON.

    Parameters
    ----------
    names, classes
        Names of the values at the inputs and outputs, in the order of a row, where known.
    """
    in_width, out_width = port_width(design.inputs), port_width(design.outputs)
    return {
        "top": design.top,
        "clock_period_ns": design.clock_period_ns,
        "latency_cycles": design.latency_cycles,
        "initiation_interval": 1,
        "ports": describe_ports(
            ("clk", "input", 1, "clock; everything happens at its rising edge"),
            ("rst", "input", 1, "synchronous reset, active high: clears the valid chain"),
            ("in_valid", "input", 1, "in_data holds an event in this cycle"),
            ("in_data", "input", in_width, "all inputs of one event"),
            ("out_valid", "output", 1, f"out_data holds a result, {design.latency_cycles} cycles after in_valid"),
            ("out_data", "output", out_width, "all outputs of one event"),
        ),
        "inputs": describe_groups(design.inputs, names),
        "outputs": describe_groups(design.outputs, classes),
    }


def describe_ports(*ports: tuple[str, str, int, str]) -> list[dict[str, Any]]:
    """Return name, direction, width and meaning of each port, as JSON."""
    return [dict(zip(("name", "direction", "width", "meaning"), port, strict=True)) for port in ports]


def describe_groups(ports: Ports, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return shape, type and bit ranges of each input or output of the network."""
    groups, low, first = [], 0, 0
    for port in ports:
        width = port.spec.width
        groups.append({
            "name": port.name,
            "shape": list(port.shape),
            "type": spec_to_json(port.spec),
            "bits": [low + port.size * width - 1, low],
            "values": [
                {
                    "index": index,
                    "name": labels[first + index] if first + index < len(labels) else _value_name(port, index),
                    "bits": [low + (index + 1) * width - 1, low + index * width],
                }
                for index in range(port.size)
            ],
        })  # fmt: skip
        low, first = low + port.size * width, first + port.size
    return groups


def _value_name(port: Port, index: int) -> str:
    """Return for example ``image[2][3][0]``; `index` counts in C order."""
    place = []
    for size in reversed(port.shape):
        index, rest = divmod(index, size)
        place.append(f"[{rest}]")
    return port.name + "".join(reversed(place))


def interface_text(interface: Mapping[str, Any]) -> str:
    """Return the interface as a page of Markdown."""
    lines = [f"# Interface of `{interface['top']}`", "", *port_lines(interface["ports"])]
    lines += [
        "",
        f"Latency: {interface['latency_cycles']} cycles of {interface['clock_period_ns']} ns. "
        f"Initiation interval: {interface['initiation_interval']}: a new event may enter in every cycle; "
        "there is no back-pressure.",
    ]
    for side, port in (("input", "in_data"), ("output", "out_data")):
        for group in interface[f"{side}s"]:
            lines += group_lines(side, port, group)
    return "\n".join([*lines, ""])


def port_lines(ports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table of the ports."""
    return [
        "| port | direction | bits | meaning |",
        "|---|---|---|---|",
        *(f"| `{port['name']}` | {port['direction']} | {port['width']} | {port['meaning']} |" for port in ports),
    ]


def group_lines(side: str, port: str, group: Mapping[str, Any]) -> list[str]:
    """Return type and bit ranges of an input or output of the network."""
    spec = group["type"]
    sign = "signed (two's complement)" if spec["signed"] else "unsigned"
    shape = " x ".join(map(str, group["shape"])) or "1"
    return [
        "",
        f"## {side.capitalize()} `{group['name']}`: `{port}[{group['bits'][0]}:{group['bits'][1]}]`",
        "",
        f"Shape {shape}, the last axis fastest. Each value is {sign}, {spec['width']} bits, "
        f"{spec['integer']} of them left of the binary point: value = code * 2^{spec['integer'] - spec['width']}.",
        "",
        f"| {side} | name | bits |",
        "|---|---|---|",
        *(
            f"| {value['index']} | {value['name']} | {value['bits'][0]}:{value['bits'][1]} |"
            for value in group["values"]
        ),
    ]


def project_files(design: RtlDesign, names: Sequence[str] = (), classes: Sequence[str] = ()) -> dict[str, str]:
    """Return file name → text of the whole RTL project: Verilog in ``src/``, VHDL where asked for in ``vhdl/``."""
    interface = describe_interface(design, names, classes)
    files = {f"src/{name}": text for name, text in design.sources().items()}
    files.update({f"vhdl/{name}": text for name, text in design.vhdl_sources().items()})
    files[f"{design.top}.xdc"] = emit_constraints(design.clock_period_ns)
    files["interface.json"] = json.dumps(interface, indent=2) + "\n"
    files["interface.md"] = interface_text(interface)
    return files
