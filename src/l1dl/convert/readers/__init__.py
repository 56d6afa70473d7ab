"""hls4ml node → FixedGraph nodes: one function for each hls4ml class, in the module of its kind.

A reader returns the nodes that one hls4ml node is composed of, in order. The last one carries the name of
the hls4ml node and its result; the ones before it are called ``<name>__<part>``.
"""

from collections.abc import Callable
from typing import Any

from l1dl.convert.readers import activation, core, element_types, merge, recurrent, softmax, spatial, structure
from l1dl.nodes import Node

READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {
    **core.READERS,
    **spatial.READERS,
    **structure.READERS,
    **merge.READERS,
    **activation.READERS,
    **softmax.READERS,
    **recurrent.READERS,
    **element_types.READERS,
}
"""hls4ml class name → its reader."""
