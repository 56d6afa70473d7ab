"""Run the steps of a vendor flow on this machine, and go on behind the last finished one."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from l1dl.artifacts import RunDirectory, digest_json, write_files
from l1dl.errors import ToolFailedError
from l1dl.tools import Tool, find_tool, run_tool
from l1dl.vendor.project import DIGESTS
from l1dl.vendor.result import State, StepResult
from l1dl.vendor.settings import Step

StepListener = Callable[[str, str, float], None]
"""Told the name of a step, what became of it, and the time that it took in s."""


def run_steps(
    directory: Path, files: Mapping[str, str], steps: tuple[Step, ...], *, limit_s: float, listen: StepListener
) -> tuple[StepResult, ...]:
    """Run steps in ``directory/project``; one that is finished, with the same files and the same tool, is skipped.

    A failure ends the flow; the steps behind it are not run.

    Parameters
    ----------
    files
        Path → text of the project.
    limit_s
        Time limit of each step, in s.

    Raises
    ------
    ToolMissingError
        A program is absent; nothing was run then.
    """
    tools = {step.program: find_tool(step.program) for step in steps}
    project = directory / "project"
    results: list[StepResult] = []
    with RunDirectory(directory) as done:
        if not _holds(project, files):
            write_files(project, files)
        key, failed = digest_json(files[DIGESTS]), ""
        for step in steps:
            if failed:
                results.append(StepResult(step.name, State.NOT_RUN, f"{failed} failed"))
                continue
            tool = tools[step.program]
            key = digest_json([key, step.name, tool.version])
            if done.is_current(step.name, key):
                listen(step.name, "up to date", done.stages()[step.name].seconds)
                results.append(StepResult(step.name, State.FINISHED))
            else:
                listen(step.name, "started", 0)
                start = time.monotonic()
                results.append(_run_step(step, tool, project, limit_s))
                seconds = time.monotonic() - start
                listen(step.name, results[-1].state.value, seconds)
                if results[-1].state is State.FAILED:
                    failed = step.name
                    continue
                done.record(step.name, key, seconds, [project / "reports" / step.name])
            key = digest_json([key, done.stages()[step.name].outputs])  # what the steps behind it read
    return tuple(results)


def _run_step(step: Step, tool: Tool, project: Path, limit_s: float) -> StepResult:
    reports, log = project / "reports" / step.name, project / "logs" / f"{step.name}.log"
    shutil.rmtree(reports, ignore_errors=True)  # a report of an earlier run is none of this one
    result = StepResult(step.name, State.FAILED)
    try:
        run_tool(tool, _arguments(tool, f"{step.name}.tcl"), cwd=project, log=log, timeout_s=limit_s)
    except ToolFailedError as error:
        return replace(result, reason=str(error))
    lacking = [name for name in step.reports if not (reports / name).is_file()]
    if lacking:
        return replace(result, reason=f"{tool.name} ended well, but did not write {', '.join(lacking)}; see {log}")
    return replace(result, state=State.FINISHED)


def _arguments(tool: Tool, script: str) -> list[str]:
    program = Path(tool.command[0]).name
    if program.startswith("vitis-run"):
        return ["--mode", "hls", "--tcl", script]
    if tool.name == "vitis":
        return ["-f", script]
    if tool.name == "vivado":
        return ["-mode", "batch", "-nojournal", "-nolog", "-source", script]
    return ["-t", script]


def _holds(project: Path, files: Mapping[str, str]) -> bool:
    """Say whether a folder holds these files, unchanged."""
    return all(
        (project / name).is_file() and (project / name).read_bytes() == text.encode() for name, text in files.items()
    )
