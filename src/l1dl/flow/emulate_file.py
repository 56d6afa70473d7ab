"""Scores of any number of events, from file to file, as the firmware gives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from l1dl.data.blocks import read_events, write_events
from l1dl.fixed import Values
from l1dl.flow.architectures import graph_of_run
from l1dl.graph import FixedGraph, load_graph
from l1dl.ports import as_rows, split

BLOCK = 1 << 16
"""Most events that are in memory together."""

Predict = Callable[[Values], Values]
"""Rows of real inputs → rows of real outputs, shape (events, values)."""


def find_graph(model: Path) -> FixedGraph:
    """Return the network of a run directory, or of a ``graph.json``.

    Raises
    ------
    InputError
        There is none.
    """
    return load_graph(model) if model.suffix == ".json" else graph_of_run(model)


def emulate_file(
    graph: FixedGraph,
    predict: Predict,
    source: Path,
    target: Path,
    *,
    block: int = BLOCK,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the outputs of a network for all events of a file, bit by bit those of the firmware.

    Memory does not grow with the number of events. Without an error the file is whole, else it is not there.

    Parameters
    ----------
    source, target
        As in `l1dl.data.blocks.read_events` and `write_events`.
    progress
        Called with the events that are done, and all of them.

    Returns
    -------
    The number of events.

    Raises
    ------
    InputError
        A file, or a value in it, is not what the network needs.
    StorageError
        The outputs cannot be written.
    """
    inputs, outputs = graph.input_ports, graph.output_ports
    with read_events(source, inputs) as events, write_events(target, outputs, events.count) as write:
        done = 0
        for values in events.blocks(block):
            parts: Sequence[Values] = split(predict(as_rows(values, inputs)), outputs)
            write(parts)
            done += len(parts[0])
            if progress is not None:
                progress(done, events.count)
    return done
