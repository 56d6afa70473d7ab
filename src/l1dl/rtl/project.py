"""The RTL of one network: from the FixedGraph to files, with a description of its interface."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l1dl.card import RtlCard
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph, spec_to_json
from l1dl.rtl.estimate import Estimate
from l1dl.rtl.lower import lower
from l1dl.rtl.passes import exact_passes
from l1dl.rtl.verilog import emit_constraints, emit_pipeline, emit_stages, emit_top, primitives

STAGE_SHARE = 0.9
"""Share of the clock period that the estimated delay of a stage may take where the card gives none."""


_CONSTANT = 5
"""alkaid's operation code of a constant."""


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
        Numbers of values at the ports.
    input_spec, output_spec
        Type of each value at the ports.
    clock_period_ns
        Target clock period in ns.
    estimate
        The RTL compiler's estimate of the resources.
    stage_delay_ns
        The compiler's estimate of the combinational delay of each stage, in ns.
    """

    top: str
    stages: tuple[Any, ...]
    inputs: int
    outputs: int
    input_spec: FixedSpec
    output_spec: FixedSpec
    clock_period_ns: float
    estimate: Estimate
    stage_delay_ns: tuple[float, ...]

    @property
    def latency_cycles(self) -> int:
        """Clock cycles from input to output by construction: one register before, between and behind the stages."""
        return len(self.stages) + 1

    @property
    def stage_modules(self) -> tuple[str, ...]:
        """Names of the combinational modules."""
        return tuple(f"{self.top}_stage{index}" for index in range(len(self.stages)))

    def sources(self, *, probes: bool = False) -> dict[str, str]:
        """Return file name → Verilog of all modules.

        Parameters
        ----------
        probes
            Lead all pipeline registers to a port ``probes`` (for debugging).
        """
        stages = emit_stages(self.top, self.stages)
        files = primitives(list(stages.values()))
        files.update({f"{module}.v": text for module, text in stages.items()})
        files[f"{self.top}_pipeline.v"] = emit_pipeline(self.top, self.stages, probes=probes)
        files[f"{self.top}.v"] = emit_top(self.top, self.stages, self.input_spec, self.output_spec, probes=probes)
        return files


def build_rtl(graph: FixedGraph, settings: RtlCard = RtlCard()) -> RtlDesign:  # noqa: B008  frozen
    """Compile a graph into a pipelined design.

    Raises
    ------
    UnsupportedError
        The graph has something that has no RTL.
    """
    from alkaid.trace.passes import add_surrogate, dead_code_elimin, fuse_ternary_adders

    # Ternary adders (one carry chain for three operands) are what UltraScale+ slices offer.
    lowered = lower(graph)
    if all(lowered.ops[index].opcode == _CONSTANT for index in lowered.out_idxs):
        msg = f"no output of {graph.name!r} depends on its inputs; there is nothing to build"
        raise UnsupportedError(msg)
    program = add_surrogate(dead_code_elimin(fuse_ternary_adders(lowered), keep_dead_inputs=True), _skip_op8_cost=True)
    stages = split_stages(program, stage_delay(settings))
    source, target = graph.inputs[0], graph[graph.outputs[0]]
    registers = int(stages[0].inp_kifs.sum()) + sum(int(stage.out_kifs.sum()) for stage in stages)
    from importlib.metadata import version

    return RtlDesign(
        top=graph.name,
        stages=stages,
        inputs=math.prod(source.shape),
        outputs=math.prod(target.shape),
        input_spec=source.result,
        output_spec=target.result,
        clock_period_ns=settings.clock_period_ns,
        estimate=Estimate(float(program.cost), registers + len(stages) + 1, f"estimated (alkaid {version('alkaid')})"),
        stage_delay_ns=tuple(_delays(stages)),
    )


def stage_delay(settings: RtlCard) -> float:
    """Return the estimated combinational delay that one stage may have, in ns."""
    return settings.stage_delay_ns or STAGE_SHARE * settings.clock_period_ns


def split_stages(program: Any, stage_delay_ns: float) -> tuple[Any, ...]:
    """Cut a combinational program into stages of about equal delay, about `stage_delay_ns` each.

    An operation across a cut stays whole, so that a stage may be longer by a part of one operation.
    """
    from alkaid.trace import to_pipeline

    with exact_passes():
        logic = to_pipeline(program, latency_cutoff=stage_delay_ns, verbose=False).logic
    stages = tuple(logic[name] for name in sorted(logic, key=lambda name: int(name.removeprefix("logic"))))
    for before, after in itertools.pairwise(stages):
        assert before.out_kifs.tolist() == after.inp_kifs.tolist(), "a stage reads what its predecessor does not write"
    return stages


def _delays(stages: Sequence[Any]) -> list[float]:
    """Return each stage's share of the estimated delay."""
    ends = [max(op.latency for op in stage.ops) for stage in stages]
    return [end - start for start, end in zip([0.0, *ends[:-1]], ends, strict=True)]


def describe_interface(design: RtlDesign, names: Sequence[str] = (), classes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the ports, the bit range of every value and the protocol, as JSON.

    Parameters
    ----------
    names, classes
        Names of the inputs and outputs, where known.
    """

    def slots(count: int, spec: FixedSpec, labels: Sequence[str]) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "name": labels[index] if index < len(labels) else f"value {index}",
                "bits": [index * spec.width + spec.width - 1, index * spec.width],
            }
            for index in range(count)
        ]

    def port(name: str, direction: str, width: int, meaning: str) -> dict[str, Any]:
        return {"name": name, "direction": direction, "width": width, "meaning": meaning}

    in_width, out_width = design.inputs * design.input_spec.width, design.outputs * design.output_spec.width
    return {
        "top": design.top,
        "clock_period_ns": design.clock_period_ns,
        "latency_cycles": design.latency_cycles,
        "initiation_interval": 1,
        "ports": [
            port("clk", "input", 1, "clock; everything happens at its rising edge"),
            port("rst", "input", 1, "synchronous reset, active high: clears the valid chain"),
            port("in_valid", "input", 1, "in_data holds an event in this cycle"),
            port("in_data", "input", in_width, "all inputs of one event"),
            port("out_valid", "output", 1, f"out_data holds a result, {design.latency_cycles} cycles after in_valid"),
            port("out_data", "output", out_width, "all outputs of one event"),
        ],
        "inputs": {"type": spec_to_json(design.input_spec), "values": slots(design.inputs, design.input_spec, names)},
        "outputs": {
            "type": spec_to_json(design.output_spec),
            "values": slots(design.outputs, design.output_spec, classes),
        },
    }


def interface_text(interface: Mapping[str, Any]) -> str:
    """Return the interface as a page of Markdown."""
    lines = [f"# Interface of `{interface['top']}`", "", "| port | direction | bits | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{port['name']}` | {port['direction']} | {port['width']} | {port['meaning']} |"
        for port in interface["ports"]
    ]
    lines += [
        "",
        f"Latency: {interface['latency_cycles']} cycles of {interface['clock_period_ns']} ns. "
        f"Initiation interval: {interface['initiation_interval']}: a new event may enter in every cycle; "
        "there is no back-pressure.",
    ]
    for side in ("inputs", "outputs"):
        spec = interface[side]["type"]
        sign = "signed (two's complement)" if spec["signed"] else "unsigned"
        lines += [
            "",
            f"## {side.capitalize()}",
            "",
            f"Each value is {sign}, {spec['width']} bits, "
            f"{spec['integer']} of them left of the binary point: value = code * 2^{spec['integer'] - spec['width']}.",
            "",
            f"| {side[:-1]} | name | bits |",
            "|---|---|---|",
        ]
        lines += [
            f"| {value['index']} | {value['name']} | {value['bits'][0]}:{value['bits'][1]} |"
            for value in interface[side]["values"]
        ]
    return "\n".join([*lines, ""])


def project_files(design: RtlDesign, names: Sequence[str] = (), classes: Sequence[str] = ()) -> dict[str, str]:
    """Return file name → text of the whole RTL project."""
    interface = describe_interface(design, names, classes)
    files = {f"src/{name}": text for name, text in design.sources().items()}
    files[f"{design.top}.xdc"] = emit_constraints(design.clock_period_ns)
    files["interface.json"] = json.dumps(interface, indent=2) + "\n"
    files["interface.md"] = interface_text(interface)
    return files
