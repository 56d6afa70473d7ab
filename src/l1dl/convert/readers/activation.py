"""Read element-wise functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from l1dl.convert.readers.common import result_of, shape_of, sources_of
from l1dl.errors import UnsupportedError
from l1dl.nodes import Activation, Function, Node


def _read_activation(layer: Any) -> tuple[Node, ...]:
    name = layer.get_attr("activation").lower()
    functions = {function.value: function for function in Function}
    if name not in functions:
        msg = f"activation {name!r} of layer {layer.name!r} is not supported; supported are {', '.join(functions)}"
        raise UnsupportedError(msg)
    return (Activation(layer.name, sources_of(layer), shape_of(layer), result_of(layer), functions[name]),)


READERS: dict[str, Callable[[Any], tuple[Node, ...]]] = {
    "Activation": _read_activation,
}
