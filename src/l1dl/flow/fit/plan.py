"""A network as it could be: fewer bits, units, weights or layers, made of the one that there is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from l1dl.fixed import Codes, FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Dense, Node


@dataclass(frozen=True)
class Change:
    """What is changed of one layer with weights.

    Attributes
    ----------
    weight_bits, activation_bits
        Fractional bits that the weights, and the values behind the layer, lose.
    units
        Units that are left; None for all.
    sparsity
        Share of the weights, the smallest ones, that become zero.
    removed
        Whether the layer is taken out.
    """

    weight_bits: int = 0
    activation_bits: int = 0
    units: int | None = None
    sparsity: float = 0.0
    removed: bool = False

    def merged(self, other: Change) -> Change:
        """Return the further of two changes in each respect."""
        units = [each.units for each in (self, other) if each.units is not None]
        return Change(
            max(self.weight_bits, other.weight_bits),
            max(self.activation_bits, other.activation_bits),
            min(units, default=None),
            max(self.sparsity, other.sparsity),
            self.removed or other.removed,
        )


NOTHING = Change()


@dataclass(frozen=True)
class Plan:
    """Changes of some layers, and the clock.

    Attributes
    ----------
    changes
        Name of a layer → what is changed.
    clock_period_ns
        None for that of the card.
    """

    changes: tuple[tuple[str, Change], ...] = ()
    clock_period_ns: float | None = None

    def __getitem__(self, layer: str) -> Change:
        """Return what is changed of a layer."""
        return dict(self.changes).get(layer, NOTHING)

    def merged(self, other: Plan) -> Plan:
        """Return a plan that does what both do."""
        names = dict.fromkeys(name for plan in (self, other) for name, _ in plan.changes)
        changes = tuple((name, self[name].merged(other[name])) for name in names)
        return Plan(changes, other.clock_period_ns or self.clock_period_ns)

    @property
    def retrains(self) -> bool:
        """Whether the network changes."""
        return any(change != NOTHING for _, change in self.changes)

    @property
    def removes(self) -> bool:
        """Whether a layer is taken out, so that no weights are known for what is left."""
        return any(change.removed for _, change in self.changes)


@dataclass(frozen=True)
class Layer:
    """A layer with weights, as a measure sees it.

    Attributes
    ----------
    name
        Its node.
    activation
        The only activation that reads it; None where there is none.
    units
        Outputs (filters of a convolution).
    weight_bits, activation_bits
        Widths of the types; None without an activation.
    activation_fraction
        Fractional bits of the activation.
    sparsity
        Share of the weights that are zero.
    follower
        The layer that alone reads the activation, and that fits the layer's input, so that the layer can be taken out;
        None where there is none.
    """

    name: str
    activation: str | None
    units: int
    weight_bits: int
    activation_bits: int | None
    activation_fraction: int
    sparsity: float
    follower: str | None


def layers_of(graph: FixedGraph) -> tuple[Layer, ...]:
    """Return the layers with weights, in the order of the graph."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for source in node.inputs:
            readers.setdefault(source, []).append(node)

    def only_reader(name: str, kind: type[Node]) -> Node | None:
        found = readers.get(name, [])
        alone = len(found) == 1 and name not in graph.outputs
        return found[0] if alone and isinstance(found[0], kind) else None

    layers = []
    for node in graph.nodes:
        if not isinstance(node, Dense):
            continue
        activation = only_reader(node.name, Activation)
        follower = only_reader(activation.name, Dense) if activation else None
        plain = len(node.shape) == 1 and node.weight.ndim == 2
        layers.append(
            Layer(
                node.name,
                activation.name if activation else None,
                node.shape[-1],
                node.weight_spec.width,
                activation.result.width if activation else None,
                activation.result.fraction if activation else 0,
                float(np.mean(node.weight == 0)),
                follower.name if follower and plain else None,
            )
        )
    return tuple(layers)


def changed(graph: FixedGraph, plan: Plan) -> FixedGraph:
    """Return the network of a plan.

    Weights and values are converted to the types with fewer bits; the smallest weights (in magnitude) become zero, and
    so do all weights of the units with the smallest ones: what is constant costs nothing. The weights of a layer
    behind one that is taken out are drawn anew from those that it had.
    """
    for layer in layers_of(graph):
        change = plan[layer.name]
        if change.removed and layer.follower is not None:
            graph = _without(graph, layer, layer.follower)
            continue
        graph = _replaced(graph, {layer.name: lambda node, change=change: _weights(node, change)})  # type: ignore[misc]
        if layer.activation is not None and change.activation_bits:
            drop = change.activation_bits
            graph = _replaced(graph, {layer.activation: lambda node, drop=drop: _narrower(node, drop)})  # type: ignore[misc]
    return graph


def _replaced(graph: FixedGraph, makers: Mapping[str, Callable[[Node], Node]]) -> FixedGraph:
    nodes = tuple(makers[node.name](node) if node.name in makers else node for node in graph.nodes)
    return dataclasses.replace(graph, nodes=nodes)


def _narrower(node: Node, drop: int) -> Node:
    """Take fractional bits off the type of a result."""
    return dataclasses.replace(node, result=dataclasses.replace(node.result, width=node.result.width - drop))


def _weights(node: Node, change: Change) -> Node:
    """Change the weights of a layer: units first, then zeros, then bits, as a training would."""
    assert isinstance(node, Dense)
    weight, bias, spec = node.weight, node.bias, node.weight_spec
    if change.units is not None:
        sizes = np.abs(weight).sum(axis=-2).ravel()
        dead = np.argsort(sizes, kind="stable")[: max(sizes.size - change.units, 0)]
        alive = np.isin(np.arange(sizes.size), dead, invert=True)
        bias = np.where(alive, bias, 0)
        weight = weight * alive.reshape(*weight.shape[:-2], 1, weight.shape[-1])
    if change.sparsity:
        weight = _pruned(weight, change.sparsity)
    if change.weight_bits:
        spec = dataclasses.replace(spec, width=spec.width - change.weight_bits)
        weight = _coarser(weight, change.weight_bits, spec)
    return dataclasses.replace(node, weight=weight, bias=bias, weight_spec=spec)


def _pruned(weight: Codes, sparsity: float) -> Codes:
    """Let the smallest weights be zero, so many that this share is."""
    order = np.argsort(np.abs(weight).ravel(), kind="stable")
    result: Codes = weight.copy()
    np.put(result, order[: round(sparsity * weight.size)], 0)
    return result


def _coarser(codes: Codes, drop: int, spec: FixedSpec) -> Codes:
    """Round codes to a type with fewer fractional bits, half to even, and saturate."""
    rounded = np.rint(np.ldexp(codes.astype(np.float64), -drop)).astype(np.int64)
    result: Codes = np.clip(rounded, spec.minimum_code, spec.maximum_code)
    return result


def _without(graph: FixedGraph, layer: Layer, follower: str) -> FixedGraph:
    """Take a layer and its activation out."""
    gone, behind = graph[layer.name], graph[follower]
    assert isinstance(gone, Dense)
    assert isinstance(behind, Dense)
    (source,) = graph.sources(gone)
    rng = np.random.default_rng(1)
    weight = rng.choice(behind.weight.ravel(), (source.shape[-1], behind.shape[-1]))
    read = graph[behind.inputs[0]].result
    # As many bits more as the inputs have, and as there are more of them.
    finer = max(source.result.fraction - read.fraction, 0)
    larger = max(source.result.integer - read.integer, 0) + max(
        len(weight).bit_length() - len(behind.weight).bit_length() + 1, 0
    )

    def wider(spec: FixedSpec) -> FixedSpec:
        return dataclasses.replace(spec, width=spec.width + finer + larger, integer=spec.integer + larger)

    result = wider(behind.result) if behind.result == behind.accumulator else behind.result
    joined = dataclasses.replace(
        behind, inputs=(source.name,), weight=weight, accumulator=wider(behind.accumulator), result=result
    )
    nodes = tuple(
        joined if node.name == follower else node
        for node in graph.nodes
        if node.name not in (layer.name, layer.activation)
    )
    return dataclasses.replace(graph, nodes=nodes)
