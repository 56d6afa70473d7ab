"""Memory: what a synthesis takes, and what the machine has left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from l1dl.errors import InputError

MIB = 1 << 20
_MEMINFO = Path("/proc/meminfo")
# YoWASP Yosys 0.70 took 176 MB for 4 kB of text, 307 MB for 117 kB and 877 MB for 589 kB; the estimate
# is about a quarter more.
_BASE_BYTES = 260 * MIB
_BYTES_PER_CHARACTER = 1500
WASM_LIMIT_BYTES = 4096 * MIB


def estimated_bytes(characters: int) -> int:
    """Return the memory that the synthesis of a module with so many characters of Verilog takes."""
    return _BASE_BYTES + _BYTES_PER_CHARACTER * characters


def available_bytes() -> int | None:
    """Return the memory that programs can still get, or None where the system does not say."""
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB$", _MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match.group(1)) * 1024 if match else None


def fitting_jobs(sizes: Sequence[tuple[str, int]], jobs: int, *, wasm: bool) -> int:
    """Return how many of the modules can be synthesised at the same time, at most `jobs`.

    Parameters
    ----------
    sizes
        Name and number of characters of each module.
    jobs
        Number of processes asked for.
    wasm
        Whether the program runs in WebAssembly, where it can address no more than 4 GiB.

    Raises
    ------
    InputError
        The biggest module does not fit.
    """
    name, characters = max(sizes, key=lambda size: size[1])
    need = estimated_bytes(characters)
    if wasm and need > WASM_LIMIT_BYTES:
        msg = (
            f"module {name!r} ({characters} characters) needs about {need // MIB} MiB to synthesise, and a "
            f"WebAssembly Yosys can use {WASM_LIMIT_BYTES // MIB} MiB; "
            "set L1DL_YOSYS to a native Yosys, or use more pipeline stages"
        )
        raise InputError(msg)
    needs = [(f"module {name!r} ({characters} characters)", estimated_bytes(characters)) for name, characters in sizes]
    return jobs_in_memory(needs, jobs, "synthesise")


def jobs_in_memory(needs: Sequence[tuple[str, int]], jobs: int, purpose: str) -> int:
    """Return how many processes, at most `jobs`, fit in the memory that is left, whichever of them run together.

    Parameters
    ----------
    needs
        What each process works on, and the bytes that it takes.
    purpose
        What it does with that, for the error.

    Raises
    ------
    InputError
        The biggest one does not fit.
    """
    available = available_bytes()
    if available is None:
        return jobs
    what, need = max(needs, key=lambda pair: pair[1])
    if need > available:
        msg = (
            f"{what} needs about {need // MIB} MiB to {purpose}, and "
            f"{available // MIB} MiB of memory are available; free some memory, or use more pipeline stages"
        )
        raise InputError(msg)
    total, fitting = 0, 0
    for each in sorted((need for _, need in needs), reverse=True)[:jobs]:
        total += each
        fitting += total <= available
    return max(1, fitting)
