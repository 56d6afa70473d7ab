"""The C++ of whole networks: their nodes in order, and what leads events in and results out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from l1dl.emulate.bounds import Operand, check_graph
from l1dl.emulate.cpp.nodes import Code, Stored, lanes_name, make_code
from l1dl.emulate.cpp.numbers import INT32, INT64, integer_type, overflow_arguments
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Input, Node
from l1dl.ports import Ports, count_values

HEADERS = ("algorithm", "cmath", "cstdint", "cstring", "limits", "type_traits")
"""Standard headers that ``arithmetic.h`` and the networks need."""

_CODED_IN_32_BITS = 30
"""Widest type of an input whose saturations fit 32 bits on the way."""


def read_text(name: str) -> str:
    """Return a C++ file of this package."""
    return (resources.files("l1dl.emulate.cpp") / name).read_text(encoding="utf-8")


def network_text(graph: FixedGraph, name: str) -> str:
    """Return the structure called `name` that computes a network, and the definitions before it.

    The text belongs behind that of ``arithmetic.h``, in the same namespace. The structure has the constants
    ``inputs`` and ``outputs`` (values of one event) and, for any number L of lanes, ``Buffers<L>`` and the functions
    ``load`` (rows of codes or real values into buffers; false where a value is refused), ``run`` and ``store``.

    Raises
    ------
    UnsupportedError
        The graph has arithmetic that cannot be emulated exactly.
    """
    parts = _compile(graph)
    definitions = "".join(
        f"\n// {node.name}: {node.kind}, {node.result}\n{code.definitions}" for node, code in parts.codes
    )
    members = [f"alignas(64) {kind} {place}[{size}][L];" for place, (kind, size) in parts.arrays.items()]
    calls = [f"{call};" for _, code in parts.codes for call in code.calls]
    return (
        f"{definitions}\n// {graph.name}\nstruct {name} {{\n"
        f"    [[maybe_unused]] static constexpr int inputs = {count_values(graph.input_ports)};\n"
        f"    [[maybe_unused]] static constexpr int outputs = {count_values(graph.output_ports)};\n\n"
        f"    template <int L> struct Buffers {{\n{_lines(members, 8)}    }};\n\n"
        "    template <int L, class X> static bool load(const X *const (&rows)[L], Buffers<L> &b) {\n"
        f"        return {_loads(graph.input_ports, parts)};\n    }}\n\n"
        f"    template <int L> static void run({'' if calls else '[[maybe_unused]] '}Buffers<L> &b) {{\n"
        f"{_lines(calls, 8)}    }}\n\n"
        "    template <int L, class Y> static void store(const Buffers<L> &b, Y *const (&rows)[L], int lanes) {\n"
        f"{_lines(_stores(graph.output_ports, parts), 8)}    }}\n}};\n"
    )


@dataclass(frozen=True)
class _Parts:
    """The C++ of all nodes, where each result is, and the type and size of each array."""

    codes: tuple[tuple[Node, Code], ...]
    stored: dict[str, Stored]
    arrays: dict[str, tuple[str, int]]


def _compile(graph: FixedGraph) -> _Parts:
    known = check_graph(graph)
    codes: list[tuple[Node, Code]] = []
    stored: dict[str, Stored] = {}
    arrays: dict[str, tuple[str, int]] = {}
    for number, node in enumerate(graph.nodes):
        target = _target(node, f"n{number}", known[node.name])
        stored[node.name] = target
        if not isinstance(node, Input):
            sources = [stored[name] for name in node.inputs]
            code = make_code(node, target, sources)
            if code.same:
                stored[node.name] = Stored(sources[0].name, sources[0].integer, known[node.name])
                continue
            codes.append((node, code))
            if code.lanes:
                kind, size = code.lanes
                place = lanes_name(kind)
                arrays[place] = kind, max(size, arrays.get(place, (kind, 0))[1])
        arrays[target.name] = target.integer, node.size
    return _Parts(tuple(codes), stored, arrays)


def _target(node: Node, name: str, operand: Operand) -> Stored:
    if isinstance(node, Input):
        integer = INT32 if node.result.width <= _CODED_IN_32_BITS else INT64
    else:
        integer = integer_type([operand.codes])
    return Stored(name, integer, operand)


def _loads(ports: Ports, parts: _Parts) -> str:
    calls, first = [], 0
    for port in ports:
        stored = parts.stored[port.name]
        calls.append(f"load_values<{_port(port.spec, stored.integer)}, {first}>(rows, {stored.place})")
        first += port.size
    return " && ".join(calls)


def _port(spec: FixedSpec, integer: str) -> str:
    """Return the C++ type of an input."""
    overflow, low, high = overflow_arguments(spec)
    arguments = [
        integer, spec.width, spec.fraction, f"Rounding::{spec.rounding.value}",
        overflow, low, high, spec.minimum_code, spec.maximum_code,
    ]  # fmt: skip
    return f"Port<{', '.join(map(str, arguments))}>"


def _stores(ports: Ports, parts: _Parts) -> list[str]:
    calls, first = [], 0
    for port in ports:
        calls.append(f"store_values<{port.spec.fraction}, {first}>({parts.stored[port.name].place}, rows, lanes);")
        first += port.size
    return calls


def _lines(lines: Sequence[str], indent: int) -> str:
    return "".join(f"{' ' * indent}{line}\n" for line in lines)
