"""Compile the C++ of an hls4ml project and run it over batches of events."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np

from l1dl.artifacts import atomic_path, digest_json, digest_path
from l1dl.convert.convert import HlsProject
from l1dl.errors import InputError
from l1dl.fixed import Values
from l1dl.ports import count_values
from l1dl.tools import find_tool, run_parallel, run_tool

COMPILE_LIMIT_S = 1800
"""Time limit of one compilation, in s."""

BATCH = 10_000
"""Events between two reports of progress."""


class Csim:
    """The compiled C++ of one project, loaded under a name of its own with hidden symbols.

    Parameters
    ----------
    project
        The project to compile.
    work
        Directory for the library and the compiler's logs; an up-to-date library is used again.
    optimise
        Level of the compiler's optimisation, 0 to 3: the library runs faster, its compilation takes longer.

    Raises
    ------
    ToolMissingError
        There is no C++ compiler.
    ToolFailedError
        The project does not compile.
    """

    def __init__(self, project: HlsProject, work: Path, *, optimise: int = 3) -> None:
        self.project = project
        library = ctypes.CDLL(str(_build(project, work, f"-O{optimise}")))
        pointer = np.ctypeslib.ndpointer(np.float64, flags="C_CONTIGUOUS")
        self._function = library.l1dl_csim
        self._function.argtypes = [pointer, pointer, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_uint]
        self._function.restype = None

    def run(self, values: Values, progress: Callable[[int, int], None] | None = None) -> Values:
        """Return rows of real outputs for rows of real inputs, both float64 of shape (events, values).

        Raises
        ------
        InputError
            The shape does not fit the project.
        """
        rows = np.ascontiguousarray(values, dtype=np.float64)
        inputs, outputs = count_values(self.project.inputs), count_values(self.project.outputs)
        if rows.ndim != 2 or rows.shape[1] != inputs:
            msg = f"inputs of shape {rows.shape} do not fit the project's inputs (events, {inputs})"
            raise InputError(msg)
        results = np.empty((len(rows), outputs))
        for start in range(0, len(rows), BATCH):
            part, result = rows[start : start + BATCH], results[start : start + BATCH]
            self._function(part, result, len(part), inputs, outputs, os.cpu_count() or 1)
            if progress is not None:
                progress(start + len(part), len(rows))
        return results


def _arguments(project: HlsProject) -> list[str]:
    """Return the macros that tell the driver where each port begins in the row of an event, and of streams."""
    places = []
    for pointer, ports in (("in", project.inputs), ("out", project.outputs)):
        start = 0
        for port in ports:
            places.append(f"{pointer} + {start}")
            start += port.size
    parameters = ",".join(["double*"] * len(places))
    macros = [f"-DL1DL_PARAMETERS={parameters}", f"-DL1DL_ARGUMENTS={','.join(places)}"]
    header = (project.directory / "firmware" / f"{project.top}.h").read_text(encoding="utf-8")
    return [*macros, "-DL1DL_STREAMS"] if "hls::stream<" in header else macros


def _build(project: HlsProject, work: Path, level: str) -> Path:
    """Return the path of the compiled library; its name carries a digest of the sources and the compiler."""
    compiler, work = find_tool("cxx"), work.resolve()
    driver = resources.files("l1dl.emulate") / "csim_batch.cpp"
    sources_digest = digest_path(project.directory / "firmware")
    arguments = _arguments(project)
    key = digest_json([sources_digest, driver.read_text(), arguments, level, compiler.command, compiler.version])
    library = work / f"{project.top}-{key[:16]}.so"
    if library.exists():
        return library
    firmware = project.directory.resolve() / "firmware"
    # NDEBUG: the headers assert that a bit exists which they then do not use, where all of a value is rounded away.
    flags = [
        level, "-DNDEBUG", "-fPIC", "-std=c++17", "-w", "-fvisibility=hidden", f"-I{firmware / 'ap_types'}",
        f'-DWEIGHTS_DIR="{firmware / "weights"}"', f"-DL1DL_TOP={project.top}_double", *arguments,
    ]  # fmt: skip
    with atomic_path(library) as temporary, resources.as_file(driver) as driver_path:
        sources = {
            "firmware": firmware / f"{project.top}.cpp",
            "bridge": project.directory.resolve() / f"{project.top}_bridge.cpp",
            "driver": driver_path,
        }
        objects = {name: work / f"{library.stem}-{name}.o" for name in sources}

        def compile_one(name: str) -> None:
            run_tool(
                compiler,
                [*flags, "-c", sources[name], "-o", objects[name]],
                cwd=work,
                log=work / f"csim-{name}.log",
                timeout_s=COMPILE_LIMIT_S,
            )

        try:
            run_parallel([functools.partial(compile_one, name) for name in sources], jobs=os.cpu_count() or 1)
            run_tool(
                compiler,
                ["-shared", "-pthread", *objects.values(), "-o", temporary],
                cwd=work,
                log=work / "csim-link.log",
                timeout_s=COMPILE_LIMIT_S,
            )
        finally:
            for path in objects.values():
                path.unlink(missing_ok=True)
    return library
