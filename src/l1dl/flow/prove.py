"""The proofs about the network of a run directory as a streaming design."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from l1dl.card import RtlCard
from l1dl.flow.architectures import graph_of_run
from l1dl.formal.prove import Proof, prove_stream
from l1dl.rtl.stream.design import build_stream
from l1dl.tools import find_tool


def prove_run(
    run: Path,
    settings: RtlCard = RtlCard(),  # noqa: B008  frozen
    *,
    timeout_s: float = 900,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[tuple[Proof, ...], bool]:
    """Prove the handshakes of the network of a run directory, as a streaming design.

    What Yosys read and said stands in ``prove/`` there, with a trace of each counterexample.

    Returns
    -------
    The verdicts, and whether the Verilog is that of the run.

    Raises
    ------
    InputError
        The directory holds no graph, or the pixels per clock do not fit it.
    UnsupportedError
        The network cannot be streamed.
    ToolMissingError
        There is no Yosys.
    """
    find_tool("yosys")
    design = build_stream(
        graph_of_run(run), settings, pixels=settings.pixels_per_clock, reuse=settings.reuse_factor
    )  # fmt: skip
    sources = run / "rtl" / "src"
    same = all(
        (sources / name).is_file() and (sources / name).read_text() == text for name, text in design.sources().items()
    )
    return prove_stream(design, run / "prove", timeout_s=timeout_s, progress=progress), same
