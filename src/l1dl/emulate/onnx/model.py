"""The ONNX file: this module is the only one that knows the package `onnx`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from l1dl.emulate.onnx.builder import Array, Attribute, DType, Op
from l1dl.errors import ToolMissingError

OPSET = 18
"""Version of the operators: the first one with BitwiseAnd, so that old versions of onnxruntime (1.14) read it."""

IR_VERSION = 8
"""Version of the file format that belongs to it."""


@dataclass(frozen=True)
class RealPort:
    """An input or output of the model: real values of the shape (batch, *shape)."""

    name: str
    dtype: DType
    shape: tuple[int, ...]


def import_onnx() -> Any:
    """Import `onnx` and return the module.

    Raises
    ------
    ToolMissingError
        It is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        msg = f"onnx cannot be imported ({error}); install it: pip install 'l1dl[onnx]'"
        raise ToolMissingError(msg) from error
    return onnx


def serialise(
    name: str,
    ops: Sequence[Op],
    constants: Mapping[str, Array],
    inputs: Sequence[RealPort],
    outputs: Sequence[RealPort],
    notes: Mapping[str, str],
    version: str,
) -> bytes:
    """Return the file: the same bytes for the same arguments.

    Parameters
    ----------
    name
        Name of the graph.
    ops, constants
        Its content.
    inputs, outputs
        Its ports.
    notes
        Metadata, key → text.
    version
        That of l1dl.
    """
    onnx = import_onnx()
    helper = onnx.helper

    def attribute(value: Attribute) -> Any:
        return value if isinstance(value, (int, tuple)) else helper.np_dtype_to_tensor_dtype(value)

    def port(value: RealPort) -> Any:
        element = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(value.name, element, ["batch", *value.shape])

    nodes = [
        helper.make_node(
            op.kind, op.inputs, [op.output], name=op.output,
            **{key: attribute(value) for key, value in op.attributes},
        )
        for op in ops
    ]  # fmt: skip
    tensors = [onnx.numpy_helper.from_array(content, key) for key, content in constants.items()]
    graph = helper.make_graph(nodes, name, [port(value) for value in inputs], [port(value) for value in outputs],
                              initializer=tensors)  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                              producer_name="l1dl", producer_version=version)  # fmt: skip
    helper.set_model_props(model, dict(notes))
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def as_note(value: Any) -> str:
    """Return a JSON value as metadata."""
    return json.dumps(value, sort_keys=True)
