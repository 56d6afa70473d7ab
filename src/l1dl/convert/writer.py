"""Add plain layers to the model that conversion reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert import hgq2
from l1dl.convert.quantisers import Form, check_quantiser, quantiser_form, quantiser_spec
from l1dl.convert.support import kind_of, where_of
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.engines import is_hgq


@dataclass(frozen=True)
class Facts:
    """What a first conversion finds out about the types between the layers, for a second one.

    Attributes
    ----------
    pad_pools
        Max pooling layers with ``padding="same"`` that never see negative values.
    scalings
        Name of a normalisation → scale and offset that give the codes of Keras behind the quantiser.
    """

    pad_pools: frozenset[str] = frozenset()
    scalings: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


class Writer:
    """Adds plain layers to the new model.

    Parameters
    ----------
    unique
        Returns a name that is not in use.
    facts
        What an earlier conversion found out.
    stream
        Write for ``io_stream``: values in packs of one pixel each.

    Attributes
    ----------
    unique
        Returns a name that is not in use.
    name, layer
        The step that is being written.
    readers
        The layers that read its result; none for an output.
    wide
        Name of a normalisation that firmware cannot compute as Keras does → it and the quantiser behind it.
    """

    def __init__(self, unique: Callable[[str], str], facts: Facts, *, stream: bool = False) -> None:
        self.unique = unique
        self.facts, self.stream = facts, stream
        self.wide: dict[str, tuple[Any, Any]] = {}
        self.name = ""
        self.layer: Any = None
        self.readers: Sequence[Any] = ()

    def add(
        self,
        kind: str,
        source: Any,
        *,
        part: str = "",
        weights: Sequence[npt.ArrayLike] | None = None,
        options: dict[str, Any] | None = None,
    ) -> Any:
        """Add a layer of Keras, and return its output.

        Parameters
        ----------
        part
            What the layer is for; empty for the one that yields the result.
        """
        name = self.unique(f"{self.name}_{part}") if part else self.name
        layer = getattr(import_keras().layers, kind)(name=name, **(options or {}))
        result = layer(source)
        if weights is not None:
            layer.set_weights([np.asarray(each, dtype=np.float32) for each in weights])
        return result

    def reshape(self, source: Any, shape: Sequence[int], part: str = "") -> Any:
        """Return a tensor in another shape."""
        if self.stream and not self._fits(source, shape, part):
            row = {"target_shape": (1, math.prod(shape))}
            source = self.add("Reshape", source, part=f"{part}packed", options=row)
        return self.add("Reshape", source, part=part, options={"target_shape": tuple(shape)})

    def _fits(self, source: Any, shape: Sequence[int], part: str) -> bool:
        """Say whether hls4ml's streams can change their shape at once.

        They cut packs or join them, but do not cut and join. They pass on a vector in the packs of what it was, which
        only a dense layer reads.
        """
        old, new = source.shape[-1], shape[-1]
        if len(shape) > 1 or old == new:
            return bool(old % new == 0 or new % old == 0)
        return not part and [kind_of(reader) in ("QDense", "QDenseBatchnorm") for reader in self.readers] == [True]

    def quantise(self, source: Any, quantiser: Any, part: str = "") -> Any:
        """Return a tensor quantised, by a quantiser of QKeras or of HGQ2."""
        name = self.unique(f"{self.name}_{part}") if part else self.name
        if is_hgq(quantiser):
            return hgq2.copy_quantiser(quantiser, source.shape, name)(source)
        return import_qkeras().QActivation(quantiser, name=name)(source)

    def pad(self, source: Any, ends: Sequence[int], part: str = "padded") -> Any:
        """Return an image with zeros before and after each axis: ``(before 0, after 0, before 1, after 1, …)``."""
        pairs = tuple((before, after) for before, after in zip(ends[::2], ends[1::2], strict=True))
        options = {"padding": pairs if len(pairs) > 1 else pairs[0]}
        return self.add(f"ZeroPadding{len(pairs)}D", source, part=part, options=options)

    def copy(self, source: Any) -> Any:
        """Return a copy of a tensor, which hls4ml keeps apart."""
        return self.add("Activation", source, part="copy", options={"activation": "linear"})

    def repeat(self, source: Any, axis: int, count: int, part: str = "") -> Any:
        """Return a tensor whose axis of size 1 (not counting the batch) is repeated."""
        shape = list(source.shape[1:])
        flat = self.reshape(source, (math.prod(shape[:axis]), math.prod(shape[axis + 1 :])), part=f"{part}flat")
        repeated = self.add("UpSampling1D", flat, part=f"{part}repeated", options={"size": count})
        shape[axis] = count
        return self.reshape(repeated, shape, part=part)


def is_active(layer: Any) -> bool:
    """Say whether a layer has an activation of its own."""
    activation = getattr(layer, "activation", None)
    return activation is not None and getattr(activation, "__name__", "") != "linear"


def activate(writer: Writer, source: Any, layer: Any) -> Any:
    """Add the activation that a layer has of its own."""
    if not is_active(layer):
        return source
    activation = layer.activation
    if str(getattr(activation, "__module__", "")).startswith("keras."):
        return writer.add("Activation", source, options={"activation": activation})
    check_quantiser(where_of(layer), "activation", activation, "activation")
    return writer.quantise(source, activation)


def linear_part(layer: Any) -> str:
    """Return what the linear part of a layer is called."""
    return "linear" if is_active(layer) else ""


def only_quantiser(readers: Sequence[Any]) -> Any:
    """Return the quantiser that reads a layer, if nothing else does and it is a type."""
    quantisers = [reader.activation for reader in readers if kind_of(reader) == "QActivation"]
    if not quantisers or len(quantisers) != len(readers):
        return None
    forms = {quantiser_form(quantiser) for quantiser in quantisers}
    if len(forms) != 1 or not forms <= {Form.LINEAR, Form.RELU}:
        return None
    return quantisers[0] if len({quantiser_spec(quantiser) for quantiser in quantisers}) == 1 else None
