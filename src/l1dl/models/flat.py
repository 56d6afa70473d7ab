"""A model as a list of calls, to change it: each layer its name, class, options and weights; no nested models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, UnsupportedError
from l1dl.models.backend import import_keras
from l1dl.models.layers import check_class, make_layer

Weights = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer.

    Attributes
    ----------
    name
        Name of the layer; a shared layer has several calls.
    kind
        Class of the layer.
    options
        Its configuration, with quantisers as objects or configurations.
    weights
        Its weights, in its order.
    inputs
        Numbers of the tensors that it reads.
    output
        Number of the tensor that it makes.
    listed
        Whether the layer takes a list of tensors.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    weights: Weights
    inputs: tuple[int, ...]
    output: int
    listed: bool = False


@dataclass(frozen=True, eq=False)
class Entry:
    """One input of a model."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, eq=False)
class FlatModel:
    """A model as a list of calls; tensors have numbers, the first ones are the inputs."""

    name: str
    entries: tuple[Entry, ...]
    calls: tuple[Call, ...]
    outputs: tuple[int, ...]

    def consumers(self, tensor: int) -> tuple[Call, ...]:
        """Return the calls that read a tensor."""
        return tuple(call for call in self.calls if tensor in call.inputs)

    def producer(self, tensor: int) -> Call | None:
        """Return the call that makes a tensor; None for an input."""
        return next((call for call in self.calls if call.output == tensor), None)

    def shared(self, name: str) -> bool:
        """Say whether a layer is called more than once."""
        return sum(call.name == name for call in self.calls) > 1

    @property
    def unused(self) -> int:
        """A number that no tensor has."""
        return 1 + max([len(self.entries) - 1, *(call.output for call in self.calls)])

    def names(self) -> set[str]:
        """Return the names of all layers and inputs."""
        return {call.name for call in self.calls} | {entry.name for entry in self.entries}

    def free(self, wanted: str) -> str:
        """Return `wanted`, or with a number behind it if a layer is called so."""
        names, free, number = self.names(), wanted, 1
        while free in names:
            number += 1
            free = f"{wanted}_{number}"
        return free


def flatten_model(model: Any) -> FlatModel:
    """Return a Keras model as a list of calls.

    Raises
    ------
    UnsupportedError
        A layer is of an unknown class, has several outputs, or is called with more than tensors.
    """
    walk = _Walk()
    tensors = [_Tensor(index) for index in range(len(model.inputs))]
    walk.next = len(tensors)
    entries = tuple(
        Entry(tensor._keras_history.operation.name, _shape(model, tensor), str(tensor.dtype)) for tensor in model.inputs
    )
    walk.names |= {entry.name for entry in entries}
    outputs = walk.run(model, tensors)
    return FlatModel(model.name, entries, tuple(walk.calls), tuple(tensor.number for tensor in outputs))


def assemble(flat: FlatModel, *, probes: Sequence[int] | None = None) -> Any:
    """Return the Keras model of a list of calls, with layers of its own.

    Parameters
    ----------
    probes
        Tensors to give out instead of the outputs.
    """
    keras = import_keras()
    inputs = [keras.Input(entry.shape, dtype=entry.dtype, name=entry.name) for entry in flat.entries]
    tensors: dict[int, Any] = dict(enumerate(inputs))
    layers: dict[str, Any] = {}
    for call in flat.calls:
        arguments = [tensors[number] for number in call.inputs]
        fresh = call.name not in layers
        if fresh:
            layers[call.name] = make_layer(call.kind, {**call.options, "name": call.name})
        layer = layers[call.name]
        try:
            tensors[call.output] = layer(arguments if call.listed else arguments[0])
        except (ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            msg = f"layer {call.name!r} ({call.kind}) cannot be called: {reason}"
            raise InputError(msg) from error
        if fresh and layer.weights:
            layer.set_weights(list(call.weights))
    outputs = [tensors[number] for number in (flat.outputs if probes is None else probes)]
    single_in, single_out = len(inputs) == 1, len(outputs) == 1 and probes is None
    return keras.Model(inputs[0] if single_in else inputs, outputs[0] if single_out else outputs, name=flat.name)


def with_calls(flat: FlatModel, calls: Sequence[Call], **changes: Any) -> FlatModel:
    """Return the model with other calls; those that nothing needs are left out."""
    changed = replace(flat, calls=tuple(calls), **changes)
    needed = set(changed.outputs)
    kept = []
    for call in reversed(changed.calls):
        if call.output in needed:
            needed |= set(call.inputs)
            kept.append(call)
    return replace(changed, calls=tuple(reversed(kept)))


def redirect(call: Call, moved: Mapping[int, int]) -> Call:
    """Return a call that reads other tensors."""
    return replace(call, inputs=tuple(moved.get(number, number) for number in call.inputs))


@dataclass(frozen=True)
class _Tensor:
    number: int


class _Walk:
    """Walks through a model and its nested models."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.names: set[str] = set()
        self.next = 0
        self._named: dict[int, str] = {}

    def run(self, model: Any, tensors: Sequence[_Tensor]) -> list[_Tensor]:
        """Note the calls of a model that reads `tensors`; return its outputs."""
        keras = import_keras()
        plain = keras.Model(list(model.inputs), list(model.outputs))
        walk = plain._run_through_graph  # its second argument has no default in Keras 3.12
        outputs: list[_Tensor] = walk(list(tensors), lambda operation: operation, call_fn=self._call)
        return outputs

    def _call(self, layer: Any, *arguments: Any, **options: Any) -> Any:
        keras, name, kind = import_keras(), layer.name, type(layer).__name__
        where = f"layer {name!r} ({kind})"
        extra = [key for key, value in options.items() if not (key in ("training", "mask") and value in (None, False))]
        if len(arguments) != 1 or extra:
            what = f"the argument {extra[0]!r}" if extra else f"{len(arguments)} arguments"
            msg = f"{where} is called with {what}; only calls with input tensors alone are supported"
            raise UnsupportedError(msg)
        listed = isinstance(arguments[0], (list, tuple))
        tensors = list(arguments[0]) if listed else [arguments[0]]
        if not all(isinstance(tensor, _Tensor) for tensor in tensors):
            msg = f"{where} is called with constants; only calls with input tensors alone are supported"
            raise UnsupportedError(msg)
        if isinstance(layer, keras.Model):
            outputs = self.run(layer, tensors)
            return outputs if len(outputs) > 1 else outputs[0]
        check_class(kind, where)
        if isinstance(layer.output if len(layer._inbound_nodes) == 1 else None, (list, tuple)):
            msg = f"{where} has several outputs; only layers with one are supported"
            raise UnsupportedError(msg)
        output = _Tensor(self.next)
        self.next += 1
        weights = tuple(np.asarray(weight) for weight in layer.get_weights())
        numbers = tuple(tensor.number for tensor in tensors)
        self.calls.append(Call(self._name(layer), kind, layer.get_config(), weights, numbers, output.number, listed))
        return output

    def _name(self, layer: Any) -> str:
        """Return the layer's name, with a number behind it where another layer of a nested model has it."""
        if id(layer) not in self._named:
            free, number = layer.name, 1
            while free in self.names:
                number += 1
                free = f"{layer.name}_{number}"
            self._named[id(layer)] = free
            self.names.add(free)
        return self._named[id(layer)]


def _shape(model: Any, tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.shape[1:])
    if any(size is None for size in shape):
        name = tensor._keras_history.operation.name
        msg = f"input {name!r} of model {model.name!r} has the open shape {shape}; firmware needs every size: set it"
        raise UnsupportedError(msg)
    return shape
