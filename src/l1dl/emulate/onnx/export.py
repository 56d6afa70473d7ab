"""The ONNX model of a graph: real values in, quantised inside, real values out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path

import numpy as np

import l1dl
from l1dl.artifacts import write_bytes
from l1dl.emulate.bounds import Operand, check_graph
from l1dl.emulate.onnx.builder import (
    FLOAT32,
    FLOAT64,
    INT64,
    SIGNIFICAND,
    Builder,
    DType,
    Source,
    Tensor,
    is_thin,
    magnitude,
)
from l1dl.emulate.onnx.conversions import encode
from l1dl.emulate.onnx.model import RealPort, as_note, import_onnx, serialise
from l1dl.emulate.onnx.steps import add_node, wanted_fraction
from l1dl.errors import UnsupportedError
from l1dl.graph import FixedGraph
from l1dl.nodes import Input

FARTHEST_POINT = {FLOAT32: 100, FLOAT64: 900}
"""The most places between the binary point and a code, so that no real value comes near the ends of its exponents."""


class Real(Enum):
    """The dtype of real inputs and outputs."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"


def export_onnx(graph: FixedGraph, path: Path, *, real: Real | None = None) -> None:
    """Write a graph as an ONNX model that onnxruntime computes bit by bit like the emulator, on CPUs.

    The model has an input for each input of the graph and an output for each of its outputs, called like the nodes:
    real values of the shape (batch, *shape). It quantises its inputs itself. Only operators of the default domain
    occur. The same graph gives the same bytes.

    Parameters
    ----------
    graph
        The network.
    path
        The file; it is replaced as a whole.
    real
        The dtype of all inputs and outputs. By default each one has its own: float32, or float64 where a code has
        more than 24 significant bits.

    Raises
    ------
    UnsupportedError
        The codes of an input or output have more significant bits than the dtype (float64: 53), or the graph has
        arithmetic that cannot be exact.
    ToolMissingError
        The package `onnx` is not installed.
    """
    import_onnx()
    write_bytes(path, build_model(graph, real=real))


def build_model(graph: FixedGraph, *, real: Real | None = None) -> bytes:
    """Return the ONNX model that `export_onnx` writes."""
    known = check_graph(graph)
    builder = Builder()
    inputs = tuple(RealPort(node.name, _input_dtype(node, real), node.shape) for node in graph.inputs)
    dtypes = {port.name: port.dtype for port in inputs}
    wanted = _wanted(graph)
    results: dict[str, Source] = {}
    for node in graph.nodes:
        builder.scope = node.name
        if isinstance(node, Input):
            tensor = _quantised(builder, node, dtypes[node.name])
        else:
            tensor = add_node(builder, node, [results[name] for name in node.inputs], wanted[node.name])
        results[node.name] = Source(tensor, known[node.name])
    leaving, outputs = [], []
    for place, name in enumerate(graph.outputs):
        builder.scope = f"{name}/output"
        dtype = _output_dtype(name, known[name], real)
        # Where an output is an input as well, or there twice, its name is taken.
        own = name if name not in dtypes and name not in graph.outputs[:place] else f"{name}/output_{place}"
        leaving.append((_real_values(builder, results[name], dtype), own))
        outputs.append(RealPort(own, dtype, graph[name].shape))
    notes = _notes(graph, inputs, outputs)
    return serialise(graph.name, builder.finish(leaving), builder.constants, inputs, outputs, notes, l1dl.__version__)


def _quantised(builder: Builder, node: Input, dtype: DType) -> Tensor:
    """Quantise an input."""
    if not is_thin(node.shape):
        return encode(builder, node.name, dtype, node.result)
    tensor = encode(builder, builder.reshape(node.name, (node.size,)), dtype, node.result)
    return replace(tensor, name=builder.reshape(tensor.name, node.shape))


def _wanted(graph: FixedGraph) -> dict[str, int | None]:
    """Return for each node the fractional bits that suit all who read it and have a wish."""
    wishes: dict[str, set[int]] = {node.name: set() for node in graph.nodes}
    for name in graph.outputs:
        wishes[name].add(0)
    found: dict[str, int | None] = {}
    for node in reversed(graph.nodes):
        own = wishes[node.name]
        found[node.name] = next(iter(own)) if len(own) == 1 else None
        for source in graph.sources(node):
            wish = wanted_fraction(node, source, found[node.name])
            if wish is not None:
                wishes[source.name].add(wish)
    return found


def _real_values(builder: Builder, source: Source, dtype: DType) -> str:
    """Turn a result into real values."""
    name, held = source.tensor.name, source.tensor.dtype
    if held == INT64 or SIGNIFICAND[held] < SIGNIFICAND[dtype]:
        name, held = builder.apply("Cast", name, to=dtype), dtype
    if source.tensor.fraction:
        name = builder.apply("Mul", name, np.array(np.ldexp(1.0, -source.tensor.fraction), held))
    return name if held == dtype else builder.apply("Cast", name, to=dtype)


def _input_dtype(node: Input, real: Real | None) -> DType:
    spec = node.result
    bits = spec.width - spec.signed
    dtype = _real(bits, spec.fraction, real)
    # Codes of more than 53 bits exist, but each double that enters still has one, and it is exact.
    if dtype is None and real is not Real.FLOAT32 and abs(spec.fraction) <= FARTHEST_POINT[FLOAT64]:
        dtype = FLOAT64
    return _checked(dtype, f"input {node.name!r} has the type {spec}", real)


def _output_dtype(name: str, operand: Operand, real: Real | None) -> DType:
    bits = (magnitude(operand.codes) - 1).bit_length()
    dtype = _real(bits, operand.fraction, real)
    return _checked(dtype, f"output {name!r} of type {operand.spec} has codes of {bits} bits", real)


def _real(bits: int, fraction: int, real: Real | None) -> DType | None:
    """Return the narrowest allowed dtype that holds codes of so many bits as real values."""
    return next(
        (
            dtype for dtype, significand in SIGNIFICAND.items()
            if (real is None or real.value == dtype.name) and bits <= significand
            and abs(fraction) <= FARTHEST_POINT[dtype]
        ),
        None,
    )  # fmt: skip


def _checked(dtype: DType | None, what: str, real: Real | None) -> DType:
    if dtype is not None:
        return dtype
    remedy = "; export with float64" if real is Real.FLOAT32 else "; use a narrower type"
    msg = f"{what}, which {'float32' if real is Real.FLOAT32 else 'float64'} cannot hold exactly{remedy}"
    raise UnsupportedError(msg)


def _notes(graph: FixedGraph, inputs: tuple[RealPort, ...], outputs: list[RealPort]) -> Mapping[str, str]:
    """Return the metadata: what the model is, and the fixed-point types behind the real values."""
    return {
        "l1dl_version": l1dl.__version__,
        "graph_name": graph.name,
        "graph_digest": graph.digest,
        "graph_producer": graph.producer,
        "inputs": as_note({port.name: str(graph[port.name].result) for port in inputs}),
        "outputs": as_note({
            port.name: str(graph[name].result) for port, name in zip(outputs, graph.outputs, strict=True)
        }),
    }  # fmt: skip
