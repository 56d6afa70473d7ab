"""Write layers of HGQ2 with plain layers, and hand their quantisers to hls4ml.

A layer of HGQ2 quantises its inputs (``iq``) and results (``oq``) itself, each value with a type of its own. It
becomes a quantiser, a plain layer of Keras with the quantised weights, and a quantiser. The rewritten model has a
`hgq.quantizer.Quantizer` for each, which hls4ml's ``FixedPointQuantizer`` computes in C++.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.quantisers import check_width
from l1dl.convert.support import where_of
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.models.backend import import_hgq, import_keras
from l1dl.models.element_types import ElementTypes, element_types, single_type
from l1dl.models.engines import is_hgq

HANDLED = "hgq.quantizer.quantizer.Quantizer"
"""hls4ml's key for the handler of a quantiser."""

Constants = npt.NDArray[np.float64]


def is_quantiser(layer: Any) -> bool:
    """Say whether a layer is a quantiser of HGQ2."""
    return is_hgq(layer) and type(layer).__name__ == "Quantizer"


def layer_types(layer: Any) -> ElementTypes:
    """Return the types of a quantiser in a model."""
    return element_types(layer, tuple(int(size) for size in layer.output.shape[1:]))


def copy_quantiser(quantiser: Any, shape: Sequence[int | None], name: str) -> Any:
    """Return a quantiser with the same types."""
    copied = import_hgq().quantizer.Quantizer(quantiser.config, name=name)
    copied.build(tuple(shape))
    copied.set_weights(quantiser.get_weights())
    return copied


def quantised_constants(layer: Any) -> tuple[Constants, Constants]:
    """Return kernel and bias of a layer as it uses them at inference; zeros where it has no bias."""
    where = where_of(layer)
    found: list[Constants] = []
    for name in ("kernel", "bias"):
        values = getattr(layer, f"q{name}")
        if values is None:
            values = np.zeros(found[0].shape[-1])
        values = np.asarray(import_keras().ops.convert_to_numpy(values), dtype=np.float64)
        check_width(f"{where}: the {name}, quantised by HGQ2,", values)
        found.append(values)
    return found[0], found[1]


def input_quantisers(layer: Any) -> tuple[Any, ...]:
    """Return the quantisers of a layer's inputs, one for each input; none where it does not quantise."""
    if not getattr(layer, "enable_iq", False):
        return ()
    quantisers = layer.iq
    return tuple(quantisers) if hasattr(quantisers, "__len__") else (quantisers,)


def describe(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[dict[str, Any], ...]:
    """Describe a quantiser to hls4ml, type by type; it stays a layer of its own with the types that Keras has."""
    shape = tuple(int(size) for size in inputs[0].shape[1:])
    types = element_types(layer, shape)
    known = next((spec for spec in types if spec is not None), None)
    columns = [(0, 0, 0) if spec is None else (int(spec.signed), spec.width, spec.integer) for spec in types]
    masks = (np.array(column, dtype=np.int16).reshape(1, *shape) for column in zip(*columns, strict=True))
    description = {
        "name": layer.name,
        "class_name": "FixedPointQuantizer",
        "module": layer.__module__,
        "mask_kbi": tuple(masks),
        "RND": "TRN" if known is None else known.rounding.value,
        "SAT": "WRAP" if known is None else known.overflow.value,
        "fusible": False,
        "overrides": {},
        "n_in": math.prod(shape),
        "input_shape": [list(shape)],
        "input_keras_tensor_names": [tensor.name for tensor in inputs],
        "output_keras_tensor_names": [tensor.name for tensor in outputs],
    }
    return (description,)


@functools.cache
def install() -> None:
    """Keep hls4ml from changing the quantisers that `describe` has described; once in a process.

    hls4ml narrows types where it finds that no value needs them, merges equal ones into the layer before, and cuts
    the layers before down to what a quantiser keeps. All of this gives the same numbers, but then the layers of C++
    and Keras cannot be compared one by one.
    """
    from hls4ml.model.optimizer.passes import bit_exact, hgq_proxy_model

    quantiser = hgq_proxy_model.FixedPointQuantizer
    produce, request = (table.dispatch(quantiser) for table in (bit_exact._produce_kif, bit_exact._request_kif))
    match = hgq_proxy_model.FuseFixedPointQuantizer.match

    def produced(layer: Any) -> Any:
        return _bits(layer) if _is_ours(layer) else produce(layer)

    def requested(layer: Any) -> Any:
        return bit_exact._request_kif.dispatch(object)(layer) if _is_ours(layer) else request(layer)

    def fuses(self: Any, node: Any) -> bool:
        return not _is_ours(node) and bool(match(self, node))

    bit_exact._produce_kif.register(quantiser)(produced)
    bit_exact._request_kif.register(quantiser)(requested)
    hgq_proxy_model.FuseFixedPointQuantizer.match = fuses


def _is_ours(layer: Any) -> bool:
    return layer.class_name == "FixedPointQuantizer" and layer.attributes.get("fusible") is False


def _bits(layer: Any) -> tuple[Any, Any, Any]:
    """Return sign, integer and fractional bits of each value."""
    signs, widths, integers = (np.array(mask[0], dtype=np.int16) for mask in layer.mask_kbi)
    return signs, integers - signs, widths - integers


Rule = Callable[[Any, Any, list[Any]], Any]


def quantising(rule: Rule) -> Rule:
    """Return a rule that quantises inputs and results as a layer of HGQ2 does, around one for its plain part."""

    def quantised(writer: Any, layer: Any, sources: list[Any]) -> Any:
        name, quantisers = writer.name, input_quantisers(layer)
        for index, quantiser in enumerate(quantisers):
            part = "iq" if len(quantisers) == 1 else f"iq{index}"
            sources = [*sources]
            sources[index] = writer.quantise(sources[index], quantiser, part)
        if not layer.enable_oq:
            return rule(writer, layer, sources)
        writer.name = writer.unique(f"{name}_exact")
        result = rule(writer, layer, sources)
        writer.name = name
        return writer.quantise(result, layer.oq)

    return quantised


def quantiser(writer: Any, layer: Any, sources: list[Any]) -> Any:
    """Write a quantiser that is a layer."""
    return writer.quantise(sources[0], layer)


def quantises_inputs(layer: Any) -> bool:
    """Say whether a layer is a quantiser of HGQ2, or begins with one."""
    return is_quantiser(layer) or (is_hgq(layer) and len(input_quantisers(layer)) > 0)


def port_type(layer: Any, tensor: Any) -> FixedSpec:
    """Return the type of the port of an input that this layer is the first to quantise.

    A port has one type. Where values have different ones, it is a type such that the conversions to the port and
    then to theirs give what the second alone gives, for every real number.

    Parameters
    ----------
    tensor
        What the layer reads.

    Raises
    ------
    UnsupportedError
        There is no such type.
    """
    quantisers = (layer,) if is_quantiser(layer) else input_quantisers(layer)
    if len(quantisers) > 1:
        msg = f"{where_of(layer)} merges inputs that are not quantised; put a Quantizer behind each input"
        raise UnsupportedError(msg)
    types = element_types(quantisers[0], tuple(int(size) for size in tensor.shape[1:]))
    single = single_type(types)
    if single is not None:
        return single
    specs = [spec for spec in types if spec is not None]
    if not specs:
        msg = f"{where_of(layer)} leaves no bits of any input; train it with a smaller beta"
        raise UnsupportedError(msg)
    rounding, overflow = specs[0].rounding, specs[0].overflow
    signed = any(spec.signed for spec in specs)
    integer = max(spec.integer + (signed and not spec.signed) for spec in specs)
    # With one bit more, cut off below it, halves are still halves.
    fraction = max(spec.fraction for spec in specs) + (rounding is Rounding.RND)
    if rounding is Rounding.RND_CONV or overflow is Overflow.SAT_SYM:
        msg = (
            f"{where_of(layer)} gives the values of an input different types with the modes {rounding.value} and "
            f"{overflow.value}; use RND or TRN, and WRAP or SAT, or put a Quantizer with heterogeneous_axis=() first"
        )
        raise UnsupportedError(msg)
    return FixedSpec(signed, integer + fraction, integer, Rounding.TRN, overflow)
