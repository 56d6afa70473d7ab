"""Rewrite a Keras model into a flat one of plain layers, which computes the same.

Conversion reads the rewritten model; the original stays the reference that all meanings are compared with.
Nested models are laid flat, a shared layer becomes one copy for each use, layers that only act in training go,
weights are replaced by their quantised values, and layers that hls4ml lacks are composed of others (`rules`).
Each layer of the original has one of the same name with the same output; parts are called ``<layer>_<part>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l1dl.convert import activations, hgq2
from l1dl.convert.quantisers import check_quantiser, quantiser_spec
from l1dl.convert.rules import EMBEDDING, PRESERVING, check_layer, rule_of
from l1dl.convert.rules.products import embedding_spec
from l1dl.convert.support import MISREAD, check_name, kind_of, where_of
from l1dl.convert.writer import Facts, Writer
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.models.backend import import_keras
from l1dl.models.layers import IDENTITIES

_OPERATIONS = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
"""Operations on tensors (``x + y``) that are layers of the same name."""


@dataclass(frozen=True)
class Prepared:
    """A model to convert.

    Attributes
    ----------
    model
        A functional Keras model of plain layers.
    ports
        Name of an input → type of its port.
    wide
        Name of a normalisation whose constants firmware cannot compute with as Keras does → it, and the
        quantiser behind it.
    """

    model: Any
    ports: Mapping[str, FixedSpec]
    wide: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Step:
    """One use of a layer.

    Attributes
    ----------
    name
        Unique name.
    sources
        Names of the steps that it reads.
    """

    name: str
    layer: Any
    sources: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Class of the layer."""
        return kind_of(self.layer)


@dataclass
class _Flat:
    """A model laid flat."""

    steps: list[Step] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def name(self, wanted: str) -> str:
        """Return a name that is not in use yet; hls4ml does not tell upper from lower case."""
        name, count = wanted, 1
        while name.lower() in self.taken or name in MISREAD:
            name, count = f"{wanted}_{count}", count + 1
        self.taken.add(name.lower())
        return name

    def readers(self, name: str) -> list[Step]:
        """Return the steps that read a step."""
        return [step for step in self.steps if name in step.sources]


def prepare(model: Any, facts: Facts = Facts(), *, stream: bool = False) -> Prepared:  # noqa: B008  frozen
    """Rewrite a Keras model for the conversion.

    Parameters
    ----------
    facts
        What an earlier conversion of the model found out.
    stream
        Write for ``io_stream``: with layers besides that only move values, where hls4ml's streams need them.

    Raises
    ------
    UnsupportedError
        A layer or an option has no exact firmware; the text names it, and says what to use instead.
    """
    keras = import_keras()
    flat = _Flat()
    outputs = _flatten(model, None, flat)
    ports = {step.name: _port(model, step, flat) for step in flat.steps if step.kind == "InputLayer"}
    writer = Writer(flat.name, facts, stream=stream)
    tensors: dict[str, Any] = {}
    inputs = []
    for step in flat.steps:
        if step.kind == "InputLayer":
            tensor = keras.Input(step.layer.batch_shape[1:], name=step.name, dtype=step.layer.dtype)
            inputs.append(tensor)
            tensors[step.name] = _quantise_early(writer, tensor, step, flat)
        else:
            sources = [tensors[name] for name in step.sources]
            writer.name, writer.layer = step.name, step.layer
            writer.readers = [] if step.name in outputs else [reader.layer for reader in flat.readers(step.name)]
            tensors[step.name] = rule_of(step.layer)(writer, step.layer, sources)
    results = _outputs(writer, [tensors[name] for name in outputs], inputs)
    prepared = keras.Model(_in_order(model, inputs), results, name=model.name)
    for layer in prepared.layers:
        if kind_of(layer) in activations.HANDLERS:
            activations.check_activation(where_of(layer), layer)
    return Prepared(prepared, ports, writer.wide)


def _flatten(model: Any, sources: Sequence[str] | None, flat: _Flat) -> list[str]:
    """Append the layers of a model to `flat`; return the steps that yield its outputs."""
    functional = getattr(model, "_functional", None) or model
    if not hasattr(functional, "_nodes_by_depth"):
        msg = f"model {model.name!r} is of class {kind_of(model)}; only sequential and functional models are supported"
        raise UnsupportedError(msg)
    made: dict[int, str] = {}
    if sources is not None:
        made.update((id(tensor), name) for tensor, name in zip(functional.inputs, sources, strict=True))
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        for node in functional._nodes_by_depth[depth]:
            if node.outputs and all(id(tensor) in made for tensor in node.outputs):
                continue  # the input of a nested model
            _append(node, made, flat)
    return [made[id(tensor)] for tensor in functional.outputs]


def _append(node: Any, made: dict[int, str], flat: _Flat) -> None:
    layer, kind = node.operation, kind_of(node.operation)
    if len(node.outputs) != 1 and not hasattr(layer, "outputs"):
        msg = f"{where_of(layer)} has {len(node.outputs)} outputs; only layers with one are supported"
        raise UnsupportedError(msg)
    reads = [made[id(tensor)] for tensor in node.arguments.keras_tensors]
    if hasattr(layer, "_nodes_by_depth") or hasattr(layer, "_functional"):
        results = _flatten(layer, reads, flat)
        made.update((id(tensor), name) for tensor, name in zip(node.outputs, results, strict=True))
        return
    if node.arguments.kwargs.get("training"):
        msg = f"{where_of(layer)} is called with training=True; firmware only computes inference"
        raise UnsupportedError(msg)
    if kind in IDENTITIES:
        made[id(node.outputs[0])] = reads[0]
        return
    _check(layer, node)
    name = flat.name(check_name(layer))
    flat.steps.append(Step(name, layer, tuple(reads)))
    made[id(node.outputs[0])] = name


def _check(layer: Any, node: Any) -> None:
    keras, kind = import_keras(), kind_of(layer)
    if not isinstance(layer, keras.layers.Layer):
        constants = len(node.arguments.args) != len(node.arguments.keras_tensors)
        if kind not in _OPERATIONS or constants:
            msg = (
                f"operation {kind} ({layer.name!r}) on a tensor is not supported; "
                f"use layers, or one of {', '.join(_OPERATIONS)} on two tensors"
            )
            raise UnsupportedError(msg)
    elif kind != "InputLayer":
        check_layer(layer)


def _port(model: Any, step: Step, flat: _Flat) -> FixedSpec:
    """Return the type of an input port: that of the quantiser which each path from it meets first."""
    if not flat.readers(step.name):
        msg = f"input {step.name!r} of model {model.name!r} reaches no output; remove it, or quantise it if it is one"
        raise UnsupportedError(msg)
    found = list(_first_quantisers(model, step.name, flat))
    specs = []
    for reader in found:
        if reader.kind in EMBEDDING:
            specs.append(embedding_spec(reader.layer))
            continue
        if hgq2.quantises_inputs(reader.layer):
            specs.append(hgq2.port_type(reader.layer, reader.layer.input))
            continue
        check_quantiser(where_of(reader.layer), "activation", reader.layer.activation, "input")
        specs.append(quantiser_spec(reader.layer.activation))
    if len(set(specs)) != 1:
        types = ", ".join(f"{reader.name!r} ({spec})" for reader, spec in zip(found, specs, strict=True))
        msg = f"input {step.name!r} meets different quantisers: {types}; quantise it once, before the branches"
        raise UnsupportedError(msg)
    return specs[0]


def _first_quantisers(model: Any, name: str, flat: _Flat) -> Iterable[Step]:
    readers = flat.readers(name)
    for reader in readers:
        if reader.kind in PRESERVING:
            yield from _first_quantisers(model, reader.name, flat)
        elif reader.kind == "QActivation" or reader.kind in EMBEDDING or hgq2.quantises_inputs(reader.layer):
            yield reader
        else:
            readers = []
    if not readers:
        msg = (
            f"model {model.name!r} has no input quantiser, so its firmware would truncate the inputs; "
            "begin it with QActivation(quantized_bits(bits, integer, alpha=1)), or with HGQ2 with a layer that "
            "quantises its inputs"
        )
        raise UnsupportedError(msg)


def _quantise_early(writer: Writer, tensor: Any, step: Step, flat: _Flat) -> Any:
    """Quantise an input before the layers that only move its values, where the port does it; copy a number."""
    readers = flat.readers(step.name)
    if all(reader.kind not in PRESERVING for reader in readers):
        return tensor
    while readers[0].kind in PRESERVING:
        readers = flat.readers(readers[0].name)
    writer.name, writer.layer = step.name, step.layer
    if readers[0].kind in EMBEDDING or hgq2.quantises_inputs(readers[0].layer):
        return writer.copy(tensor)  # hls4ml drops some permutations directly behind an input
    return writer.quantise(tensor, readers[0].layer.activation, part="quantised")


def _outputs(writer: Writer, tensors: list[Any], inputs: list[Any]) -> list[Any]:
    """Return the outputs; hls4ml needs a copy of one that is an input, or another output in the same order."""
    seen = {id(tensor) for tensor in inputs}
    results = []
    for tensor in tensors:
        operation = tensor._keras_history.operation
        result = tensor
        if id(tensor) in seen or kind_of(operation) == "Reshape":
            writer.name, writer.layer = operation.name, operation
            result = writer.copy(tensor)
        seen |= {id(tensor), id(result)}
        results.append(result)
    return results


def _in_order(model: Any, inputs: list[Any]) -> list[Any]:
    """Return the new inputs in the order of the model's arguments."""
    names = [tensor._keras_history.operation.name for tensor in model.inputs]
    order = {tensor._keras_history.operation.name: tensor for tensor in inputs}
    return [order[name] if name in order else inputs[position] for position, name in enumerate(names)]
