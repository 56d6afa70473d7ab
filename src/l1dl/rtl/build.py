"""The RTL of a network in the architecture that its card asks for."""

from __future__ import annotations

from collections.abc import Sequence

from l1dl.card import RtlCard
from l1dl.graph import FixedGraph
from l1dl.rtl.project import RtlDesign, build_rtl, project_files
from l1dl.rtl.stream.design import StreamDesign, build_stream
from l1dl.rtl.stream.project import stream_files

Design = RtlDesign | StreamDesign


def build_design(graph: FixedGraph, settings: RtlCard, *, grade: int = 2) -> Design:
    """Compile a graph, fully parallel or streaming.

    Parameters
    ----------
    grade
        Speed grade of the part, for the estimated delays of the stages.

    Raises
    ------
    UnsupportedError
        The graph has something that has no RTL in this architecture.
    InputError
        A setting does not fit the graph.
    """
    if settings.architecture == "stream":
        return build_stream(graph, settings, pixels=settings.pixels_per_clock, reuse=settings.reuse_factor, grade=grade)
    return build_rtl(graph, settings, grade=grade)


def design_files(design: Design, names: Sequence[str] = (), classes: Sequence[str] = ()) -> dict[str, str]:
    """Return file name → text of the whole RTL project.

    Parameters
    ----------
    names, classes
        Names of the values at the inputs and outputs, in the order of a row, where known.
    """
    if isinstance(design, StreamDesign):
        return stream_files(design, classes)
    return project_files(design, names, classes)
