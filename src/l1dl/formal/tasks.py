"""What there is to prove of a streaming design, module by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from l1dl.formal.checks import Checks, Claim, with_checks
from l1dl.formal.elements import (
    QUEUE_INVARIANTS,
    check_accumulate,
    check_collect,
    check_multiply,
    check_program,
    check_queue,
    program_registers,
    wire_stage,
)
from l1dl.formal.top import any_element, check_top
from l1dl.formal.window import check_sliding
from l1dl.rtl.layout import register_widths
from l1dl.rtl.stream.design import StreamDesign
from l1dl.rtl.stream.streams import Accumulate, Collect, Multiply, Program, Sliding, results_of, sources_of

QUEUE_WIDTH = 4
"""Bits of the beats in a queue that is proved; it only passes them on, so that more of them change nothing."""


@dataclass(frozen=True)
class Task:
    """One module with its claims.

    Attributes
    ----------
    name
        Name for reports and files.
    top
        The module.
    texts
        Module → Verilog of all that it needs.
    checks
        Module → claims about it; those of `top` are what is proved.
    depth
        Clock cycles of the search for a counterexample where no induction closes.
    abstraction
        What stands in place of the real thing; empty if nothing does.
    parameters
        Parameters of `top`.
    registers
        Wire that the checks declare → register below that it shows.
    """

    name: str
    top: str
    texts: Mapping[str, str]
    checks: Mapping[str, Checks]
    depth: int
    abstraction: str = ""
    parameters: Mapping[str, int] = field(default_factory=dict)
    registers: Mapping[str, str] = field(default_factory=dict)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What is proved."""
        return tuple(self.checks[self.top].claims)

    def sources(self, claims: Sequence[Claim], *, helpers: bool) -> str:
        """Return the Verilog with the assertions of some claims, and the helpers."""
        parts = []
        for name, text in self.texts.items():
            if name == self.top:
                parts.append(with_checks(text, self.checks[name], claims, helpers=helpers))
            elif name in self.checks and helpers:
                parts.append(with_checks(text, self.checks[name], (), helpers=True))
            else:
                parts.append(text)
        return "\n".join(parts)


def proof_tasks(design: StreamDesign, sources: Mapping[str, str] | None = None) -> tuple[Task, ...]:
    """Return what there is to prove of a design.

    Parameters
    ----------
    sources
        File name → Verilog, in place of the design's own.
    """
    texts = {name.removesuffix(".v"): text for name, text in (sources or design.sources()).items()}
    queue = f"{design.top}_fifo"
    tasks = [_queue_task(queue, texts[queue], depth) for depth in sorted({each.depth for each in design.queues})]
    tasks += [_element_task(design, number, texts) for number in range(1, len(design.plan.elements))]
    return (*tasks, _top_task(design, texts))


def _queue_task(name: str, text: str, depth: int) -> Task:
    parameters = {"WIDTH": QUEUE_WIDTH, "DEPTH": depth, "BITS": depth.bit_length()}
    return Task(
        f"{name}_depth{depth}", name, {name: text}, {name: check_queue(QUEUE_WIDTH, depth)}, 2 * depth + 4,
        f"beats of {QUEUE_WIDTH} bits", parameters,
    )  # fmt: skip


def _element_task(design: StreamDesign, number: int, texts: Mapping[str, str]) -> Task:
    element, name = design.plan.elements[number], design.module(number)
    if isinstance(element, Program):
        rtl = design.programs[number]
        widths, below = register_widths(rtl.stages), f"{name}_pipeline"
        stages = {
            f"{name}_stage{index}": wire_stage(f"{name}_stage{index}", *widths[index : index + 2])
            for index in range(len(widths) - 1)
        }
        checks = check_program(rtl, *_widths(design, number))
        needed = {name: texts[name], below: texts[below], **stages}
        return Task(
            name, name, needed, {name: checks}, 2 * rtl.latency_cycles + 6, "wires for the stages",
            registers=program_registers(rtl),
        )  # fmt: skip
    if isinstance(element, Sliding):
        checks, depth = check_sliding(element), 2 * element.source.beats + element.delay + 4
    elif isinstance(element, Collect):
        checks, depth = check_collect(element), 2 * element.source.beats + 4
    elif isinstance(element, Accumulate):
        checks, depth = check_accumulate(element), 2 * element.source.beats + 4
    else:
        assert isinstance(element, Multiply)
        checks, depth = check_multiply(element), 2 * element.reuse_factor + 8
    return Task(name, name, {name: texts[name]}, {name: checks}, depth)


def _top_task(design: StreamDesign, texts: Mapping[str, str]) -> Task:
    top, queue = design.top, f"{design.top}_fifo"
    elements = {
        design.module(number): any_element(design.module(number), *_widths(design, number))
        for number in range(1, len(design.plan.elements))
    }
    depth = 2 * max(design.plan.input.beats, *(each.depth for each in design.queues)) + 6
    return Task(
        top, top, {top: texts[top], queue: texts[queue], **elements},
        {top: check_top(design), queue: Checks({}, helpers=QUEUE_INVARIANTS)}, depth,
        "elements that may do anything that the handshake allows",
    )  # fmt: skip


def _widths(design: StreamDesign, number: int) -> tuple[int, int]:
    element = design.plan.elements[number]
    return (
        sum(stream.width for stream in sources_of(element)),
        sum(stream.width for stream in results_of(element)),
    )
