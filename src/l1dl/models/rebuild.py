"""A Keras 3 model from the configuration of a Sequential or Functional model that Keras 2 or Keras 3 wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from l1dl.errors import InputError, UnsupportedError, did_you_mean
from l1dl.models.backend import import_keras
from l1dl.models.layers import bare_name, check_class, float_policy, make_layer
from l1dl.reserved import RESERVED

MODELS = ("Functional", "Model", "Sequential")
"""Classes of models."""

WRAPPERS = ("PruneLowMagnitude",)
"""Wrappers that only act in training; the layer inside takes their place."""

_INPUT_TYPES = ("float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
_HARMLESS_ARGUMENTS: Mapping[str, tuple[Any, ...]] = {"training": (None, False), "mask": (None,), "name": (None,)}


@dataclass
class Rebuilt:
    """A model rebuilt from its configuration, without its weights.

    Attributes
    ----------
    model
        The Keras 3 model.
    layers
        Path of each layer in the file (names of the nested models and its own) → the layer.
    pruned
        Names of the layers that were wrapped for pruning, in the file → name of the layer inside.
    renamed
        Names that could not stay → the names now.
    """

    model: Any
    layers: dict[tuple[str, ...], Any] = field(default_factory=dict)
    pruned: dict[str, str] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)


def rebuild_model(description: Any, *, keras_version: int) -> Rebuilt:
    """Rebuild a model from ``{"class_name": …, "config": …}``.

    Parameters
    ----------
    keras_version
        Major version of the Keras that wrote it.

    Raises
    ------
    UnsupportedError
        A layer or an option is not known.
    InputError
        The configuration is damaged.
    """
    result = Rebuilt(None)
    try:
        result.model = _Builder(result, keras_version).model(description, ())
    except InputError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"the configuration of the model is damaged or of an unknown form ({type(error).__name__}: {reason})"
        raise InputError(msg) from error
    return result


class _Builder:
    def __init__(self, result: Rebuilt, keras_version: int) -> None:
        self._result, self._version = result, keras_version
        self._taken: set[str] = set()

    def model(self, description: Any, path: tuple[str, ...]) -> Any:
        """Return a model, or a nested one."""
        kind = description["class_name"] if isinstance(description, Mapping) else None
        if kind not in MODELS:
            hint = did_you_mean(str(kind), MODELS)
            msg = f"the model is of class {kind!r}; Sequential and Functional models can be loaded{hint}"
            raise UnsupportedError(msg)
        config = description["config"]
        if kind == "Sequential":
            layers = config if isinstance(config, list) else config["layers"]
            name = "sequential" if isinstance(config, list) else config.get("name", "sequential")
            shape = None if isinstance(config, list) else config.get("build_input_shape")
            shape = shape or (description.get("build_config") or {}).get("input_shape")
            return self._sequential(name, layers, shape, path)
        return self._functional(config, path)

    def _sequential(self, name: str, layers: Sequence[Any], shape: Any, path: tuple[str, ...]) -> Any:
        if not layers:
            msg = f"the model {name!r} has no layers"
            raise InputError(msg)
        first = layers[0]
        if first["class_name"] == "InputLayer":
            source, layers = self._input(first["config"]), layers[1:]
        elif first["class_name"] in MODELS:
            inner = self.model(first, (*path, _name_of(first)))
            source = import_keras().Input(batch_shape=(None, *inner.inputs[0].shape[1:]), name=self._free(f"{name}_in"))
            return self._chain(name, source, inner(source), layers[1:], path)
        else:
            shape = first["config"].get("batch_input_shape") or shape
            if shape is None:
                msg = (
                    f"the model {name!r} was never built, so its input shape is not known; call it once, save it again"
                )
                raise InputError(msg)
            source = self._input({"name": f"{name}_in", "batch_input_shape": shape})
        return self._chain(name, source, source, layers, path)

    def _chain(self, name: str, source: Any, x: Any, layers: Sequence[Any], path: tuple[str, ...]) -> Any:
        for description in layers:
            x = self._layer(description, path)(x)
        return import_keras().Model(source, x, name=identifier(name))

    def _functional(self, config: Mapping[str, Any], path: tuple[str, ...]) -> Any:
        keras = import_keras()
        layers: dict[str, Any] = {}
        calls: dict[str, list[Any]] = {}
        waiting: list[tuple[str, Any]] = []
        for description in config["layers"]:
            name = description.get("name") or _name_of(description)
            calls[name] = []
            if description["class_name"] == "InputLayer":
                calls[name].append(self._input(description["config"]))
            else:
                layers[name] = self._layer({**description, "name": name}, path)
                waiting += [(name, node) for node in description.get("inbound_nodes", [])]
        offsets = _offsets(config, layers)

        def tensor(reference: Sequence[Any]) -> Any:
            name, node, index = reference[0], int(reference[1]), int(reference[2])
            if name not in calls:
                msg = f"the configuration refers to a layer {name!r} that is not there{did_you_mean(str(name), calls)}"
                raise InputError(msg)
            outputs = calls[name][node - offsets.get(name, 0)]
            return outputs[index] if isinstance(outputs, (list, tuple)) else outputs

        while waiting:
            # The calls of one layer must stay in order, and each needs the results that it reads.
            later: list[tuple[str, Any]] = []
            for name, node in waiting:
                references = list(_references(node, name))
                ready = all(len(calls.get(ref[0], ["?"])) > int(ref[1]) - offsets.get(ref[0], 0) for ref in references)
                if not ready or any(name == other for other, _ in later):
                    later.append((name, node))
                    continue
                inputs = [tensor(reference) for reference in references]
                calls[name].append(layers[name](inputs[0] if len(inputs) == 1 and _single(node) else inputs))
            if len(later) == len(waiting):
                names = ", ".join(sorted({name for name, _ in later}))
                msg = f"the layers {names} read results that nothing computes, or each other's"
                raise InputError(msg)
            waiting = later
        ends = [[tensor(reference) for reference in _ends(config[key])] for key in ("input_layers", "output_layers")]
        return keras.Model(
            *(tensors if len(tensors) > 1 else tensors[0] for tensors in ends), name=identifier(config["name"])
        )

    def _layer(self, description: Mapping[str, Any], path: tuple[str, ...]) -> Any:
        kind, config = bare_name(description["class_name"]), description.get("config", {})
        name = str(description.get("name") or _name_of(description))
        if kind in WRAPPERS:
            inner = config["layer"]
            if inner["class_name"] in MODELS:
                msg = f"layer {name!r} ({kind}) prunes a whole model; wrap its layers one by one"
                raise UnsupportedError(msg)
            self._result.pruned[name] = _name_of(inner)
            layer = self._layer(inner, path)
            here, inside = (*path, name), (*path, _name_of(inner))
            self._result.layers[here] = self._result.layers.pop(inside)
            return layer
        if kind in MODELS:
            return self.model(description, (*path, name))
        check_class(kind, f"layer {name!r} ({kind})")
        free = self._free(name)
        layer = make_layer(kind, {**config, "name": free}, keras_version=self._version)
        here = (*path, name)
        self._result.layers[here] = layer
        return layer

    def _input(self, config: Mapping[str, Any]) -> Any:
        name = str(config.get("name", "inputs"))
        if config.get("sparse") or config.get("ragged"):
            msg = f"input {name!r} is sparse or ragged; only dense inputs of one shape are supported"
            raise UnsupportedError(msg)
        shape = config.get("batch_shape") or config.get("batch_input_shape")
        if shape is None:
            msg = f"input {name!r} has no shape"
            raise InputError(msg)
        dtype = float_policy(config.get("dtype") or "float32")
        if dtype not in _INPUT_TYPES:
            msg = f"input {name!r} has the data type {dtype!r}; allowed are {', '.join(_INPUT_TYPES)}"
            raise UnsupportedError(msg)
        dtype = "float32" if "float" in dtype else dtype
        return import_keras().Input(batch_shape=(None, *shape[1:]), dtype=dtype, name=self._free(name))

    def _free(self, name: str) -> str:
        """Return a name that the generated code can use and that no other layer has, the same if possible."""
        wanted = identifier(name)
        free, number = wanted, 1
        while free in self._taken:
            number += 1
            free = f"{wanted}_{number}"
        self._taken.add(free)
        if free != name:
            self._result.renamed[name] = free
        return free


def _name_of(description: Mapping[str, Any]) -> str:
    config = description["config"]
    return str(config["name"] if isinstance(config, Mapping) else description["class_name"].lower())


def identifier(name: str) -> str:
    """Return a name that Verilog and C++ can use."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)
    text = text if re.match(r"[A-Za-z]", text) else f"n{text}"
    return f"{text}_layer" if text in RESERVED else text[:120]


def _single(node: Any) -> bool:
    """Say whether a call with one tensor passed it alone, not in a list."""
    if isinstance(node, Mapping):
        arguments = node.get("args", [])
        return not (arguments and isinstance(arguments[0], (list, tuple)))
    return True


def _ends(references: Any) -> list[Any]:
    """Return the references of inputs or outputs; a single one may stand alone."""
    if isinstance(references, Mapping):
        references = list(references.values())
    return [references] if references and isinstance(references[0], str) else list(references)


def _references(node: Any, name: str) -> Iterator[Sequence[Any]]:
    """Yield layer, call and tensor number of everything that one call reads, in the forms of Keras 2 and Keras 3.

    Raises
    ------
    UnsupportedError
        The call has arguments besides its inputs.
    """
    if isinstance(node, Mapping):
        for key, value in node.get("kwargs", {}).items():
            _check_argument(name, key, value)
        yield from _tensors(node.get("args", []), name)
        return
    for reference in [node] if node and isinstance(node[0], str) else node:
        for key, value in (reference[3] if len(reference) > 3 else {}).items():
            _check_argument(name, key, value)
        yield reference[:3]


def _check_argument(name: str, key: str, value: Any) -> None:
    if key not in _HARMLESS_ARGUMENTS or value not in _HARMLESS_ARGUMENTS[key]:
        msg = f"layer {name!r} is called with {key}={value!r:.80}; only calls with input tensors alone are supported"
        raise UnsupportedError(msg)


def _tensors(value: Any, name: str) -> Iterator[Sequence[Any]]:
    if isinstance(value, Mapping):
        if value.get("class_name") != "__keras_tensor__":
            msg = f"layer {name!r} is called with a {value.get('class_name')!r}; only tensors are supported"
            raise UnsupportedError(msg)
        yield value["config"]["keras_history"]
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item, name)
    elif value is not None:
        msg = f"layer {name!r} is called with the constant {value!r:.80}; only tensors are supported"
        raise UnsupportedError(msg)


def _offsets(config: Mapping[str, Any], layers: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of the first call of each nested model: Keras 2 counts from 1 there, since 0 made it."""
    keras = import_keras()
    seen: dict[str, list[int]] = {name: [] for name, layer in layers.items() if isinstance(layer, keras.Model)}
    for description in config["layers"]:
        for node in description.get("inbound_nodes", []):
            for reference in _references(node, str(description.get("name"))):
                if reference[0] in seen:
                    seen[reference[0]].append(int(reference[1]))
    for reference in _ends(config["output_layers"]):
        if reference[0] in seen:
            seen[reference[0]].append(int(reference[1]))
    return {name: min(numbers) for name, numbers in seen.items() if numbers}
