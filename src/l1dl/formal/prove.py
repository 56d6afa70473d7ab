"""Prove the handshakes of a streaming design with Yosys: k-induction, or a bounded search that calls itself one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from l1dl.artifacts import write_files
from l1dl.errors import ToolFailedError, ToolMissingError
from l1dl.formal.checks import Claim
from l1dl.formal.tasks import Task, proof_tasks
from l1dl.rtl.stream.depths import least_depths
from l1dl.rtl.stream.design import StreamDesign
from l1dl.tools import Tool, find_tool, run_parallel, run_tool

LONGEST_INDUCTION = 4
"""Cycles that an induction may look back."""


class Verdict(Enum):
    """What is known of a claim."""

    PROVED = "proved"
    BOUNDED = "bounded"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True)
class Proof:
    """The verdict on one claim about one module.

    Attributes
    ----------
    module
        The module, or the instance of it.
    claim
        What was asked.
    verdict
        ``PROVED``: by induction, for all inputs, all stalls and all times after a reset. ``BOUNDED``: no
        counterexample in the first `depth` cycles, which is no proof. ``FAILED``: there is a counterexample.
        ``OPEN``: nothing is known.
    depth
        Cycles: of the induction, of the search, or of the counterexample.
    seconds
        Time that it took; claims that are proved together share it.
    reason
        What the proof abstracts from, what it rests on, where the counterexample is, or why there is no verdict.
    """

    module: str
    claim: Claim
    verdict: Verdict
    depth: int
    seconds: float
    reason: str

    def __str__(self) -> str:
        """Return one line."""
        verdict = f"bounded, {self.depth} cycles" if self.verdict is Verdict.BOUNDED else self.verdict.value
        return f"{self.module}: {self.claim.value}: {verdict}" + (f" ({self.reason})" if self.reason else "")


def prove_stream(
    design: StreamDesign,
    work: Path,
    *,
    sources: Mapping[str, str] | None = None,
    jobs: int = 2,
    timeout_s: float = 900,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Proof, ...]:
    """Prove that a streaming design keeps the handshake, loses and doubles no beat, and does not stop.

    Each module is proved on its own, for an environment that obeys the handshake and resets it once; at the top level
    the elements are replaced by ones that may do all that was proved of them. That the whole design never stops follows
    where all of this is proved and the queues are as deep as `l1dl.rtl.stream.depths.least_depths` says.

    Parameters
    ----------
    work
        Directory for the Verilog with assertions, the logs and the traces of counterexamples.
    sources
        File name → Verilog, in place of the design's own.
    timeout_s
        Limit for each run of Yosys in s.
    progress
        Called with the number of modules that are done, and of all.

    Returns
    -------
    One verdict for each module and claim, and the last one on the whole design. Where Yosys is missing, all are
    ``OPEN`` and say how to get it.

    Raises
    ------
    ToolFailedError
        Yosys cannot read the Verilog.
    """
    tasks = proof_tasks(design, sources)
    try:
        tool = find_tool("yosys")
    except ToolMissingError as error:
        parts = tuple(_open(task.name, claim, str(error)) for task in tasks for claim in task.claims)
        return (*parts, _conclude(design, parts))
    work_of = [lambda task=task: run_task(task, tool, work, timeout_s=timeout_s) for task in tasks]
    say = progress or (lambda _done, _total: None)
    found = run_parallel(work_of, jobs=jobs, finished=lambda done: say(done, len(tasks)))
    parts = tuple(proof for proofs in found for proof in proofs)
    return (*parts, _conclude(design, parts))


def run_task(
    task: Task, tool: Tool, work: Path, *, claims: Sequence[Claim] | None = None, timeout_s: float = 900
) -> tuple[Proof, ...]:
    """Prove the claims about one module.

    All are proved together, with their helpers. If that fails, each is tried on its own, and a counterexample to it
    searched if no induction closes.

    Parameters
    ----------
    work
        Directory for the files of this task.
    claims
        Only these; by default all.

    Returns
    -------
    One verdict for each claim.
    """
    claims = task.claims if claims is None else claims
    run = _solve(task, tool, work, claims, timeout_s, induction=True)
    if run.proved:
        return tuple(_proof(task, claim, Verdict.PROVED, run, task.abstraction) for claim in claims)
    return tuple(_try_one(task, claim, tool, work, timeout_s, alone=len(claims) == 1) for claim in claims)


def _try_one(task: Task, claim: Claim, tool: Tool, work: Path, timeout_s: float, *, alone: bool) -> Proof:
    if not alone:
        run = _solve(task, tool, work, [claim], timeout_s, induction=True)
        if run.proved:
            return _proof(task, claim, Verdict.PROVED, run, task.abstraction)
    run = _solve(task, tool, work, [claim], timeout_s, induction=False)
    if run.failed:
        reason = f"fails {run.depth} cycles after the start; see {run.trace}"
        return _proof(task, claim, Verdict.FAILED, run, reason)
    reasons = [task.abstraction, "no induction closes", run.problem]
    verdict = Verdict.BOUNDED if run.depth else Verdict.OPEN
    return _proof(task, claim, verdict, run, "; ".join(filter(None, reasons)))


@dataclass(frozen=True)
class _Run:
    """What one run of Yosys found."""

    proved: bool
    failed: bool
    depth: int
    seconds: float
    trace: Path
    problem: str


def _solve(task: Task, tool: Tool, work: Path, claims: Sequence[Claim], timeout_s: float, *, induction: bool) -> _Run:
    what = "_".join(claim.name.lower() for claim in claims)
    folder = work / f"{task.name}_{'induction' if induction else 'search'}_{what}"
    trace, log = folder / "trace.vcd", folder / "yosys.log"
    script = _script(task, LONGEST_INDUCTION if induction else task.depth, induction=induction)
    write_files(folder, {"checked.sv": task.sources(claims, helpers=induction), "prove.ys": script})
    start, problem = time.perf_counter(), ""
    try:
        run_tool(tool, ["-Q", "prove.ys"], cwd=folder, log=log, timeout_s=timeout_s)
    except ToolFailedError as error:
        if "ran past its limit" not in str(error):
            raise
        problem = f"ended after {timeout_s:.0f} s"
    text = log.read_text(errors="replace")
    passed = [int(step) for step in re.findall(r"^Base case for induction length (\d+) proven", text, re.MULTILINE)]
    tried = [int(step) for step in re.findall(r"^\[base case (\d+)\]", text, re.MULTILINE)]
    failed = "model found for base case: FAIL!" in text
    proved = "Induction step proven: SUCCESS!" in text
    depth = tried[-1] if failed else max(passed, default=0)
    return _Run(proved, failed, depth, time.perf_counter() - start, trace, problem)


def _script(task: Task, steps: int, *, induction: bool) -> str:
    """Return the commands for Yosys: its own SAT solver proves the assertions, from the cycle after the reset on."""
    parameters = " ".join(f"-set {key} {value}" for key, value in task.parameters.items())
    return "\n".join([
        "read_verilog -formal -sv checked.sv",
        *([f"chparam {parameters} {task.top}"] if parameters else []),
        f"hierarchy -check -top {task.top}",
        "proc",
        "flatten",
        *(f"connect -set {wire} {register}" for wire, register in task.registers.items()),
        f"prep -top {task.top}",
        "memory_map",
        "async2sync",
        "dffunmap",
        "setundef -undriven -anyseq",
        "chformal -lower",
        "opt -full",
        f"sat -prove-asserts -set-assumes -seq 1 {'-tempinduct' if induction else '-tempinduct-baseonly'} "
        f"-maxsteps {steps} -show-public -dump_vcd trace.vcd",
        "",
    ])  # fmt: skip


def _proof(task: Task, claim: Claim, verdict: Verdict, run: _Run, reason: str) -> Proof:
    return Proof(task.name, claim, verdict, run.depth, run.seconds, reason)


def _open(module: str, claim: Claim, reason: str) -> Proof:
    return Proof(module, claim, Verdict.OPEN, 0, 0.0, reason)


def _conclude(design: StreamDesign, parts: Sequence[Proof]) -> Proof:
    """Return the verdict on the whole design: it never stops if no part does and all queues are deep enough."""
    name, least = f"{design.top} with all its elements", least_depths(design.plan)
    reasons = [
        f"the queue {queue.name!r} holds {queue.depth} beats, and needs {least[queue.element, queue.place]}"
        for queue in design.queues
        if queue.depth < least[queue.element, queue.place]
    ]
    unproved = [proof for proof in parts if proof.verdict is not Verdict.PROVED]
    reasons += [f"{len(unproved)} claims about its parts are not proved"] if unproved else []
    if reasons:
        return _open(name, Claim.PROGRESS, "; ".join(reasons))
    reason = "no part stops, and the queues hold what must wait in them"
    return Proof(name, Claim.PROGRESS, Verdict.PROVED, max(part.depth for part in parts), 0.0, reason)
