"""FixedGraph: the one description of a quantised network that every back end reads.

A graph is a list of nodes in topological order. Each node names its inputs, and carries the exact
types and the integer codes that define its arithmetic, so that the C++ of hls4ml, the NumPy emulator
and the RTL can agree in every bit. Graphs are immutable, saved as JSON (structure) and NPZ (codes),
and identified by a digest of both.
"""

from __future__ import annotations

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from l1dl.artifacts import digest_array, digest_json, read_json, write_json, write_npz
from l1dl.errors import InputError, did_you_mean
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding
from l1dl.reserved import RESERVED

GRAPH_VERSION = 1
"""Version of the file format; a graph of another version is refused."""

_UNREADABLE = (
    OSError, ValueError, TypeError, AttributeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy raises on files that are not what it wrote."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def check_identifier(name: str) -> str:
    """Return `name` if it can stand in Verilog, C++ and file names.

    Raises
    ------
    InputError
        It cannot.
    """
    if not _IDENTIFIER.fullmatch(name):
        msg = f"name {name!r} is not allowed; use a letter followed by up to 63 letters, digits or underscores"
        raise InputError(msg)
    return name


def check_design_name(name: str) -> str:
    """Return `name` if a design or a port may be called so: an identifier, and no word of Verilog or C++.

    Raises
    ------
    InputError
        It may not.
    """
    if check_identifier(name) in RESERVED:
        msg = f"name {name!r} is a keyword of the generated Verilog or C++; choose another"
        raise InputError(msg)
    return name


class Function(Enum):
    """The element-wise function of an `Activation`."""

    LINEAR = "linear"
    RELU = "relu"


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of the network.

    Attributes
    ----------
    name
        Unique identifier.
    inputs
        Names of the nodes whose results it reads.
    shape
        Shape of its result, without the batch axis.
    result
        Type of its result.
    """

    kind: ClassVar[str]

    name: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    result: FixedSpec


@dataclass(frozen=True, eq=False)
class Input(Node):
    """A model input: real values are converted to `result`, with its rounding and overflow."""

    kind = "input"


@dataclass(frozen=True, eq=False)
class Dense(Node):
    """A fully connected layer: ``result(accumulator(bias) + sum_i accumulator(x_i * weight_ij))``.

    Each product, the bias and each partial sum are converted to `accumulator`, as in hls4ml's
    latency strategy; the sum is converted to `result`.

    Attributes
    ----------
    weight
        Codes of type `weight_spec`, shape (n_in, n_out).
    bias
        Codes of type `bias_spec`, shape (n_out,).
    """

    kind = "dense"

    weight: Codes
    weight_spec: FixedSpec
    bias: Codes
    bias_spec: FixedSpec
    accumulator: FixedSpec


@dataclass(frozen=True, eq=False)
class Affine(Node):
    """A scale and an offset for each channel: ``result(x * scale + offset)``, without an intermediate rounding.

    Attributes
    ----------
    scale, offset
        Codes of type `scale_spec` and `offset_spec`, of the shape of the result.
    """

    kind = "affine"

    scale: Codes
    scale_spec: FixedSpec
    offset: Codes
    offset_spec: FixedSpec


@dataclass(frozen=True, eq=False)
class Activation(Node):
    """An element-wise function, followed by the conversion to `result`."""

    kind = "activation"

    function: Function


NODE_KINDS: dict[str, type[Node]] = {kind.kind: kind for kind in (Input, Dense, Affine, Activation)}


@dataclass(frozen=True, eq=False)
class FixedGraph:
    """A quantised network.

    Attributes
    ----------
    name
        Identifier of the model.
    nodes
        Operations in topological order.
    outputs
        Names of the nodes whose results leave the network.
    producer
        Name and version of what made the graph.
    """

    name: str
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    producer: str

    def __post_init__(self) -> None:
        """Check names, order and shapes."""
        check_design_name(self.name)
        known: dict[str, Node] = {}
        for node in self.nodes:
            check_identifier(node.name)
            if node.name in known:
                msg = f"two nodes are called {node.name!r}"
                raise InputError(msg)
            for source in node.inputs:
                if source not in known:
                    msg = f"node {node.name!r} reads {source!r}, which is not computed before it"
                    raise InputError(msg)
            _check_arity(node, known)
            _check_codes(node, known)
            known[node.name] = node
        missing = [name for name in self.outputs if name not in known]
        if missing or not self.outputs:
            msg = f"outputs {missing} are not nodes of the graph" if missing else "the graph has no output"
            raise InputError(msg)

    def __getitem__(self, name: str) -> Node:
        """Return the node called `name`."""
        for node in self.nodes:
            if node.name == name:
                return node
        msg = f"no node is called {name!r}{did_you_mean(name, [node.name for node in self.nodes])}"
        raise KeyError(msg)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The input nodes, in the order of the model's arguments."""
        return tuple(node for node in self.nodes if isinstance(node, Input))

    @property
    def digest(self) -> str:
        """SHA-256 of structure and codes."""
        structure, arrays = _to_parts(self)
        return digest_json([structure, {name: digest_array(array) for name, array in sorted(arrays.items())}])


def save_graph(graph: FixedGraph, path: Path) -> None:
    """Write a graph as `path` (JSON) and, beside it, the codes with the suffix ``.npz``."""
    structure, arrays = _to_parts(graph)
    write_npz(path.with_suffix(".npz"), arrays)
    write_json(path, {**structure, "digest": graph.digest})


def load_graph(path: Path) -> FixedGraph:
    """Read a graph that `save_graph` wrote.

    Raises
    ------
    InputError
        A file is missing or damaged, or of another version, or its digest does not fit its content.
    """
    structure = read_json(path)
    codes_path = path.with_suffix(".npz")
    try:
        with np.load(codes_path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except _UNREADABLE as error:
        msg = f"cannot read the codes of the graph, {codes_path}: {error}"
        raise InputError(msg) from None
    try:
        version = structure["version"]
        if version != GRAPH_VERSION:
            msg = f"{path} has graph version {version}; this l1dl reads {GRAPH_VERSION}: convert the model again"
            raise InputError(msg)
        nodes = tuple(_node_from_json(fields, arrays) for fields in structure["nodes"])
        graph = FixedGraph(structure["name"], nodes, tuple(structure["outputs"]), structure["producer"])
        digest = structure["digest"]
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{path} is not a graph: {error!r}; convert the model again"
        raise InputError(msg) from None
    if graph.digest != digest:
        msg = f"{path} and {codes_path.name} do not belong together (the digest differs); convert the model again"
        raise InputError(msg)
    return graph


def spec_to_json(spec: FixedSpec) -> dict[str, Any]:
    """Return a type as JSON."""
    return {
        "signed": spec.signed,
        "width": spec.width,
        "integer": spec.integer,
        "rounding": spec.rounding.value,
        "overflow": spec.overflow.value,
    }


def spec_from_json(value: Mapping[str, Any]) -> FixedSpec:
    """Read what `spec_to_json` returned."""
    return FixedSpec(
        bool(value["signed"]),
        int(value["width"]),
        int(value["integer"]),
        Rounding(value["rounding"]),
        Overflow(value["overflow"]),
    )


def _to_parts(graph: FixedGraph) -> tuple[dict[str, Any], dict[str, Codes]]:
    arrays: dict[str, Codes] = {}
    nodes = []
    for node in graph.nodes:
        fields: dict[str, Any] = {"kind": node.kind}
        for field in dataclasses.fields(node):
            value = getattr(node, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{node.name}.{field.name}"] = value
            elif isinstance(value, FixedSpec):
                fields[field.name] = spec_to_json(value)
            elif isinstance(value, Enum):
                fields[field.name] = value.value
            else:
                fields[field.name] = list(value) if isinstance(value, tuple) else value
        nodes.append(fields)
    structure = {
        "version": GRAPH_VERSION,
        "name": graph.name,
        "producer": graph.producer,
        "nodes": nodes,
        "outputs": list(graph.outputs),
    }
    return structure, arrays


def _node_from_json(fields: dict[str, Any], arrays: Mapping[str, Codes]) -> Node:
    kind = NODE_KINDS.get(fields["kind"])
    if kind is None:
        msg = f"node kind {fields['kind']!r} is unknown{did_you_mean(fields['kind'], NODE_KINDS)}"
        raise InputError(msg)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.type == "Codes":
            values[field.name] = arrays[f"{fields['name']}.{field.name}"]
        elif field.type == "FixedSpec":
            values[field.name] = spec_from_json(fields[field.name])
        elif field.type == "Function":
            values[field.name] = Function(fields[field.name])
        else:
            value = fields[field.name]
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _check_arity(node: Node, known: Mapping[str, Node]) -> None:
    """Check the number of a node's inputs, and its shape where that of its input decides it."""
    wanted = 0 if isinstance(node, Input) else 1
    if len(node.inputs) != wanted:
        plural = "" if wanted == 1 else "s"
        msg = f"node {node.name!r} ({node.kind}) must read {wanted} node{plural}, it reads {len(node.inputs)}"
        raise InputError(msg)
    if isinstance(node, (Affine, Activation)) and node.shape != known[node.inputs[0]].shape:
        msg = f"node {node.name!r} has shape {node.shape}, its input {known[node.inputs[0]].shape}"
        raise InputError(msg)


def _check_codes(node: Node, known: Mapping[str, Node]) -> None:
    """Check that the codes of a node have the shapes and the ranges that its types promise."""
    expected: dict[str, tuple[tuple[int, ...], FixedSpec]] = {}
    if isinstance(node, Dense):
        size = known[node.inputs[0]].shape[-1]
        expected["weight"] = ((size, node.shape[-1]), node.weight_spec)
        expected["bias"] = ((node.shape[-1],), node.bias_spec)
    elif isinstance(node, Affine):
        expected["scale"] = (node.shape, node.scale_spec)
        expected["offset"] = (node.shape, node.offset_spec)
    for name, (shape, spec) in expected.items():
        codes: Codes = getattr(node, name)
        if codes.shape != shape or codes.dtype != np.int64:
            msg = f"{node.name}.{name} must be int64 of shape {shape}, got {codes.dtype} of shape {codes.shape}"
            raise InputError(msg)
        if codes.size and (codes.min() < spec.minimum_code or codes.max() > spec.maximum_code):
            msg = f"{node.name}.{name} has codes outside {spec}: {codes.min()} to {codes.max()}"
            raise InputError(msg)
        codes.flags.writeable = False
