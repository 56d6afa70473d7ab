"""FixedGraph → elements that pass beats to each other: programs of one beat, line buffers, and what ends an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from l1dl.errors import InputError, UnsupportedError, did_you_mean
from l1dl.fixed import FixedSpec, Overflow, requantise
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input, Node, Rearrange, Reduce, Reduction, Window
from l1dl.rtl.stream.local import leading_axes, localise
from l1dl.rtl.stream.streams import (
    Accumulate,
    Collect,
    Element,
    Multiply,
    Program,
    Source,
    Stream,
    StreamPlan,
    slide,
)

ONE = FixedSpec(signed=False, width=1, integer=1)
"""The type of the constant one."""


def plan_stream(graph: FixedGraph, *, pixels: int = 1, reuse: Mapping[str, int] | int | None = None) -> StreamPlan:
    """Cut a network into the elements of a streaming design.

    Parameters
    ----------
    pixels
        Pixels that enter with each clock cycle; they must divide a row of the image.
    reuse
        How often each multiplier of a dense layer behind the image is used for one frame: 1 for a multiplication by
        constants, all at once. One number for all such layers, or layer name → number; by default as often as the
        stream leaves time for.

    Raises
    ------
    UnsupportedError
        The network has a part that cannot be streamed; the text names it.
    InputError
        `pixels` or `reuse` does not fit the network.
    """
    return _Planner(_living(graph), pixels, reuse).plan()


def check_pixels(pixels: int, shape: tuple[int, ...]) -> None:
    """Check that pixels per clock fit an input.

    Parameters
    ----------
    shape
        That of one event.

    Raises
    ------
    InputError
        They do not divide a row.
    """
    if len(shape) in (2, 3) and (pixels < 1 or shape[-2] % pixels):
        msg = f"pixels_per_clock = {pixels} does not divide a row of {shape[-2]} pixels"
        raise InputError(msg)


def _living(graph: FixedGraph) -> FixedGraph:
    """Return the graph without the nodes that no output needs."""
    needed = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed |= set(node.inputs)
    nodes = tuple(node for node in graph.nodes if node.name in needed or isinstance(node, Input))
    return replace(graph, nodes=nodes)


@dataclass
class _Growing:
    """A program that nodes are added to."""

    sources: tuple[Stream, ...]
    nodes: list[Node] = field(default_factory=list)
    results: list[Stream] = field(default_factory=list)


@dataclass(frozen=True)
class _Value:
    """Where the values of a node can be read: in a program, or as a stream."""

    stream: Stream
    home: _Growing | None


class _Planner:
    def __init__(self, graph: FixedGraph, pixels: int, reuse: Mapping[str, int] | int | None) -> None:
        self._graph, self._pixels, self._reuse = graph, pixels, reuse
        self._elements: list[Element | _Growing] = []
        self._values: dict[str, _Value] = {}
        self._frames: dict[str, _Value] = {}
        self._programs: dict[frozenset[Stream], _Growing] = {}
        self._cycles = 1
        self._multiplied = self._choose_multiplied()

    def plan(self) -> StreamPlan:
        """Return the elements."""
        graph = self._graph
        if len(graph.inputs) != 1:
            msg = f"{graph.name!r} has {len(graph.inputs)} inputs; a streaming design takes one"
            raise UnsupportedError(msg)
        for node in graph.nodes:
            self._add(node)
        outputs = tuple(self._export(self._values[name]) for name in graph.outputs)
        if len({(math.prod(each.positions), each.beat) for each in outputs}) > 1:
            msg = f"the outputs {', '.join(graph.outputs)} come at different rates; a streaming design has one stream"
            raise UnsupportedError(msg)
        elements = tuple(_finished(each, graph) if isinstance(each, _Growing) else each for each in self._elements)
        return StreamPlan(graph.name, elements, outputs)

    def _add(self, node: Node) -> None:
        if isinstance(node, Input):
            self._add_input(node)
        elif node.name in self._multiplied:
            self._multiply(node)
        elif node.name not in self._multiplied.values() and not self._stream(node):
            # What a multiplication reads is no node of its own: it reads the image itself.
            self._place(node, [self._collected(source.name) for source in self._graph.sources(node)], (), 1)

    def _stream(self, node: Node) -> bool:
        """Compute a node beat by beat; say whether that is possible."""
        sources = self._graph.sources(node)
        values = [self._values[source.name] for source in sources]
        layouts = {(value.stream.positions, value.stream.beat) for value in values}
        if len(layouts) > 1:
            return False
        ((positions, beat),) = layouts
        if isinstance(node, Rearrange) and node.shape[:-1] != positions and self._reshape(node, values):
            return True
        local = localise(node, sources, positions, beat)
        if local is not None:
            self._place(local, values, positions, beat)
            return True
        if isinstance(node, Window):
            return sources[0].shape[:-1] == positions and self._slide(node, values[0])
        if isinstance(node, Reduce) and node.axes == tuple(range(leading_axes(sources[0].shape, positions) or 0)):
            self._accumulate(node, values[0])
            return True
        return False

    def _add_input(self, node: Input) -> None:
        positions = node.shape[:-1] if len(node.shape) in (2, 3) else ()
        check_pixels(self._pixels, node.shape)
        beat = self._pixels if positions else 1
        shape = (beat, node.shape[-1]) if math.prod(positions) > 1 else node.shape
        stream = Stream(node.name, positions, beat, shape, node.result)
        self._elements.append(Source(stream))
        self._values[node.name] = _Value(stream, None)
        self._cycles = stream.beats

    def _place(self, node: Node, values: Sequence[_Value], positions: tuple[int, ...], beat: int) -> None:
        """Put a node into the program of what it reads, or into a new one."""
        homes = {id(value.home): value.home for value in values}
        home = next(iter(homes.values()))
        if len(homes) > 1 or home is None:
            streams = dict.fromkeys(map(self._export, values))
            key = frozenset(streams)
            if key not in self._programs:
                self._programs[key] = _Growing(tuple(streams))
                self._elements.append(self._programs[key])
            home = self._programs[key]
        home.nodes.append(node)
        self._values[node.name] = _Value(Stream(node.name, positions, beat, node.shape, node.result), home)

    def _export(self, value: _Value) -> Stream:
        """Return the stream of a value; that of a program becomes one of its results."""
        if value.home is not None and value.stream not in value.home.results:
            value.home.results.append(value.stream)
        return value.stream

    def _slide(self, node: Window, value: _Value) -> bool:
        """Slide a window over the values as they are, and convert them behind it; say whether that is possible."""
        kept = node.result == value.stream.spec
        plain = node if kept else replace(node, name=f"{node.name}__values", result=value.stream.spec)
        element = slide(plain, value.stream)
        if element is None:
            return False
        self._export(value)
        self._elements.append(element)
        self._values[plain.name] = _Value(element.result, None)
        if not kept:
            result = element.result
            converted = Activation(node.name, (plain.name,), result.shape, node.result, Function.LINEAR)
            self._place(converted, [self._values[plain.name]], result.positions, result.beat)
        return True

    def _reshape(self, node: Rearrange, values: Sequence[_Value]) -> bool:
        """Take the same beats for an image of another shape; say whether they hold whole parts of its rows."""
        stream, positions = values[0].stream, node.shape[:-1]
        beat, rest = divmod(math.prod(positions), stream.beats)
        if len(values) > 1 or len(positions) not in (1, 2) or rest or positions[-1] % max(beat, 1):
            return False
        if not np.array_equal(node.index.ravel(), np.arange(node.size)):
            return False
        shape = (beat, node.shape[-1])
        index = np.arange(math.prod(shape)).reshape(shape)
        self._place(replace(node, shape=shape, index=index), values, positions, beat)
        return True

    def _collected(self, name: str) -> _Value:
        """Return the values of a node as a whole frame."""
        value = self._values[name]
        if value.stream.beats == 1:
            return value
        if name not in self._frames:
            node = self._graph[name]
            frame = Stream(name, (), 1, node.shape, node.result)
            # The program that reads it knows it by the node's name; as a stream it has one of its own.
            self._elements.append(Collect(self._export(value), frame))
            self._frames[name] = _Value(frame, None)
        return self._frames[name]

    def _accumulate(self, node: Reduce, value: _Value) -> None:
        """Reduce within each beat, over the beats of a frame, and convert the result."""
        source = self._graph[node.inputs[0]]
        exact = _exact_sum(node, source)
        name, beat = node.name, value.stream.beat
        payload = value.stream.shape[1:]
        part = Reduce(f"{name}__beat", node.inputs, payload, exact, node.operation, (0,))
        rounded = _rounded(node, value.stream)
        if rounded is not None:
            self._place(rounded, [value], value.stream.positions, beat)
            value = self._values[rounded.name]
            part = replace(part, inputs=(rounded.name,))
        single = (*value.stream.positions[:-1], value.stream.positions[-1] // beat)
        self._place(part, [value], single, 1)
        total = Stream(f"{name}__frame", (), 1, node.shape, exact)
        self._elements.append(Accumulate(node, self._export(self._values[part.name]), total))
        self._values[total.name] = _Value(total, None)
        result = Activation(name, (total.name,), node.shape, node.result, Function.LINEAR)
        self._place(result, [self._values[total.name]], (), 1)

    def _choose_multiplied(self) -> dict[str, str]:
        """Return dense layer → the rearrangement that it reads an image through, or its own name."""
        if self._reuse == 1:
            return {}
        graph, chosen = self._graph, {}
        for node in graph.nodes:
            if isinstance(node, Dense) and len(node.shape) == 1 and node.groups == 1 and _is_exact(node, graph):
                (source,) = graph.sources(node)
                readers = sum(source.name in other.inputs for other in graph.nodes)
                only = readers == 1 and source.name not in graph.outputs
                chosen[node.name] = source.name if only and _is_permutation(source, graph) else ""
        if isinstance(self._reuse, Mapping):
            unknown = [name for name in self._reuse if name not in chosen]
            if unknown:
                hint = did_you_mean(unknown[0], chosen)
                known = ", ".join(chosen) or "none here"
                msg = f"reuse is given for {unknown[0]!r}{hint}; it is for dense layers behind the image: {known}"
                raise InputError(msg)
            chosen = {name: source for name, source in chosen.items() if self._reuse.get(name, 0) != 1}
        return chosen

    def _multiply(self, node: Node) -> None:
        """Multiply a frame, beat by beat and chunk by chunk, and add bias and conversions behind it."""
        assert isinstance(node, Dense)
        (source,) = self._graph.sources(node)
        weight = node.weight
        if self._multiplied[node.name]:
            assert isinstance(source, Rearrange)
            weight = np.empty_like(weight)
            weight[source.index.ravel()] = node.weight
            source = self._graph.sources(source)[0]
        stream = self._export(self._values[source.name])
        weight = weight.reshape(stream.beats, stream.size, -1)
        chunks = self._chunks(node.name, stream)
        length = -(-stream.size // chunks)
        padded = np.zeros((stream.beats, chunks * length, weight.shape[-1]), dtype=np.int64)
        padded[:, : stream.size] = weight
        total = _sum_stream(node, source)
        self._elements.append(
            Multiply(node, stream, total, padded.reshape(stream.beats, chunks, length, weight.shape[-1]))
        )
        value = self._values[total.name] = _Value(total, None)
        bias = requantise(node.bias, node.bias_spec.fraction, node.accumulator)
        biased = Affine(
            f"{node.name}__biased", (total.name,), node.shape, node.accumulator,
            np.ones((), dtype=np.int64), ONE, bias, node.accumulator,
        )  # fmt: skip
        self._place(biased, [value], (), 1)
        result = Activation(node.name, (biased.name,), node.shape, node.result, Function.LINEAR)
        self._place(result, [self._values[biased.name]], (), 1)

    def _chunks(self, name: str, stream: Stream) -> int:
        """Return in how many chunks a beat is multiplied."""
        asked = self._reuse.get(name) if isinstance(self._reuse, Mapping) else self._reuse
        if asked is None:
            return max(1, min(stream.size, self._cycles // stream.beats))
        if asked % stream.beats or not 1 <= asked // stream.beats <= stream.size:
            options = f"{stream.beats} times 1 to {stream.size}"
            msg = f"reuse factor {asked} of layer {name!r} does not fit the stream before it; possible are {options}"
            raise InputError(msg)
        return asked // stream.beats


def _finished(program: _Growing, graph: FixedGraph) -> Program:
    """Return the program as a graph of one beat."""
    inputs = [Input(stream.name, (), stream.shape, stream.spec) for stream in program.sources]
    names = tuple(stream.name for stream in program.results)
    whole = FixedGraph(graph.name, (*inputs, *program.nodes), names, graph.producer)
    return Program(whole, program.sources, tuple(program.results))


def _is_exact(node: Dense, graph: FixedGraph) -> bool:
    """Say whether no product loses bits on its way into the accumulator, so that only the sum counts."""
    (source,) = graph.sources(node)
    wraps = node.accumulator.overflow is Overflow.WRAP
    return wraps and node.accumulator.fraction >= source.result.fraction + node.weight_spec.fraction


def _is_permutation(node: Node, graph: FixedGraph) -> bool:
    """Say whether a node only changes the order of all values of one other node."""
    if not isinstance(node, Rearrange) or len(node.inputs) != 1:
        return False
    (source,) = graph.sources(node)
    return source.result == node.result and np.array_equal(np.sort(node.index.ravel()), np.arange(source.size))


def _sum_stream(node: Dense, source: Node) -> Stream:
    """Return the stream of the exact sums of products."""
    largest = max(abs(source.result.minimum_code), abs(source.result.maximum_code))
    peak = largest * int(np.abs(node.weight).sum(axis=0).max(initial=1))
    width = max(1, peak).bit_length() + 1
    fraction = source.result.fraction + node.weight_spec.fraction
    return Stream(f"{node.name}__sum", (), 1, node.shape, FixedSpec(signed=True, width=width, integer=width - fraction))


def _exact_sum(node: Reduce, source: Node) -> FixedSpec:
    """Return the type of the exact sum (or the maximum) over an image, with the fraction of the terms."""
    if node.operation is Reduction.MAXIMUM:
        return FixedSpec(source.result.signed, source.result.width, source.result.integer)
    term = _term(source.result, min(source.result.fraction, node.result.fraction))
    integer = term.integer + (source.size // node.size - 1).bit_length()
    return FixedSpec(term.signed, integer + term.fraction, integer)


def _rounded(node: Reduce, stream: Stream) -> Activation | None:
    """Return the rounding of each term, where the sum has fewer fractional bits; `check_graph` allows no other."""
    if node.operation is not Reduction.SUM or node.result.fraction >= stream.spec.fraction:
        return None
    spec = replace(_term(stream.spec, node.result.fraction), rounding=node.result.rounding)
    return Activation(f"{node.name}__rounded", node.inputs, stream.shape, spec, Function.LINEAR)


def _term(spec: FixedSpec, fraction: int) -> FixedSpec:
    """Return a type that holds the values of another one, rounded to so many fractional bits."""
    integer = spec.integer if fraction == spec.fraction else max(spec.integer + 1, 1 + spec.signed - fraction)
    return FixedSpec(spec.signed, integer + fraction, integer)
