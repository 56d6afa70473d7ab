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
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.artifacts import digest_array, digest_json, read_json, write_json, write_npz
from l1dl.errors import InputError, did_you_mean
from l1dl.fixed import Codes, FixedSpec, Overflow, Rounding
from l1dl.nodes import NODE_KINDS, Function, Input, Node, Operation, Reduction, check_node
from l1dl.ports import Port, Ports
from l1dl.reserved import RESERVED

GRAPH_VERSION = 2
"""Version of the file format; a graph of another version is refused."""

_UNREADABLE = (
    OSError, ValueError, TypeError, AttributeError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy raises on files that are not what it wrote."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")


def check_identifier(name: str) -> str:
    """Return `name` if it can stand in Verilog, C++ and file names.

    Raises
    ------
    InputError
        It cannot.
    """
    if not _IDENTIFIER.fullmatch(name):
        msg = f"name {name!r} is not allowed; use a letter followed by up to 127 letters, digits or underscores"
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
            check_node(node, [known[source] for source in node.inputs])
            known[node.name] = node
        missing = [name for name in self.outputs if name not in known]
        if missing or not self.outputs:
            msg = f"outputs {missing} are not nodes of the graph" if missing else "the graph has no output"
            raise InputError(msg)
        if not self.input_ports:
            msg = "the graph has no input"
            raise InputError(msg)

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def __getitem__(self, name: str) -> Node:
        """Return the node called `name`."""
        if name not in self._by_name:
            msg = f"no node is called {name!r}{did_you_mean(name, self._by_name)}"
            raise KeyError(msg)
        return self._by_name[name]

    def sources(self, node: Node) -> tuple[Node, ...]:
        """Return the nodes that `node` reads."""
        return tuple(self[name] for name in node.inputs)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The input nodes, in the order of the model's arguments."""
        return tuple(node for node in self.nodes if isinstance(node, Input))

    @property
    def input_ports(self) -> Ports:
        """Where events enter, in the order of the model's arguments."""
        return tuple(Port(node.name, node.shape, node.result) for node in self.inputs)

    @property
    def output_ports(self) -> Ports:
        """Where results leave."""
        return tuple(Port(name, self[name].shape, self[name].result) for name in self.outputs)

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


_ENUMS: dict[Any, type[Enum]] = {kind.__name__: kind for kind in (Function, Operation, Reduction)}


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
        elif field.type in _ENUMS:
            values[field.name] = _ENUMS[field.type](fields[field.name])
        else:
            value = fields[field.name]
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
