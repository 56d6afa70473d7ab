"""Make truth tables inside hls4ml's bit-exact pass, where the types of their inputs become known.

The pass (``hls4ml.model.optimizer.passes.bit_exact``) asks each layer which bits it produces, in the order of
the graph, through functions registered by class. `install` puts ours before hls4ml's for two classes, and adds
what hls4ml lacks: ``PReLU`` and the clipped ReLUs, on which it fails with NumPy errors.
"""

from __future__ import annotations

import functools
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.convert.quantisers import check_width, smallest_spec
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, decode
from l1dl.nodes import MAXIMUM_INDEX_WIDTH

INDEX, TRUTH = "l1dl_index", "l1dl_truth"
"""Attributes of hls4ml layers that hold a `Chain`: of the conversion to an index, and of the table."""

MAXIMUM_INPUT_WIDTH = 20
"""Widest input that Keras is evaluated on, in bits; what the table leaves of it must fit an index."""

Kif = tuple[npt.NDArray[np.int16], npt.NDArray[np.int16], npt.NDArray[np.int16]]
"""hls4ml's bits of each value: sign, integer and fraction."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Element-wise Keras functions, one after the other."""

    functions: tuple[Any, ...]

    def __call__(self, spec: FixedSpec) -> npt.NDArray[np.float64]:
        """Return the results for all codes of a type, from the lowest one on."""
        from l1dl.models.backend import import_keras

        ops = import_keras().ops
        codes = np.arange(spec.minimum_code, spec.maximum_code + 1, dtype=np.int64)
        x = ops.convert_to_tensor(decode(codes, spec).astype(np.float32))
        for function in self.functions:
            x = function(x)
        return np.asarray(ops.convert_to_numpy(x), dtype=np.float64)

    def __str__(self) -> str:
        """Return the names of the functions."""
        return " and ".join(getattr(f, "name", getattr(f, "__name__", type(f).__name__)) for f in self.functions)


def reduced(values: npt.NDArray[np.float64], spec: FixedSpec) -> FixedSpec:
    """Return the narrowest type that still tells apart the codes of `spec` with different `values`.

    Converting to it saturates at its ends and drops its lowest bits, where the values are the same.
    """
    fraction, width = spec.fraction, spec.width
    while width > 1 and np.array_equal(values[::2], values[1::2]):
        values, width, fraction = values[::2], width - 1, fraction - 1
    while width > 1:
        quarter = len(values) // 4 if spec.signed else 0
        kept = values[quarter : quarter + len(values) // 2]
        if np.any(values[:quarter] != kept[0]) or np.any(values[quarter + len(kept) :] != kept[-1]):
            break
        values, width = kept, width - 1
    return FixedSpec(spec.signed, width, width - fraction)


@functools.cache
def install() -> None:
    """Register our functions with hls4ml's bit-exact pass; once in a process."""
    from hls4ml.model.layers import Activation, PReLU
    from hls4ml.model.optimizer.passes import bit_exact
    from hls4ml.model.optimizer.passes.hgq_proxy_model import UnaryLUT

    produced = {layer: bit_exact._produce_kif.dispatch(layer) for layer in (Activation, UnaryLUT)}
    registered = bit_exact.register_precision.dispatch(Activation)

    def activation(layer: Any) -> Kif:
        if INDEX in layer.attributes:
            return _spread(layer, _index_spec(layer))
        name = layer.attributes["activation"]
        if name in ("relu1", "relu6") and not layer.attributes.get("trusted", False):
            k, i, f = _input_kif(layer)
            return np.zeros_like(k), np.minimum(i, 1 if name == "relu1" else 3), np.maximum(f, -3)
        kif: Kif = produced[Activation](layer)
        return kif

    def prelu(layer: Any) -> Kif:
        k, i, f = _input_kif(layer)
        slope = smallest_spec(np.abs(layer.weights["param"].data))
        return k, i + max(slope.integer, 0), f + max(slope.fraction, 0)

    def table(layer: Any) -> Kif:
        if TRUTH in layer.attributes:
            _fill(layer)
        kif: Kif = produced[UnaryLUT](layer)
        return kif

    def precision(layer: Any) -> None:
        if INDEX not in layer.attributes:
            registered(layer)
            return
        from hls4ml.model.types import FixedPrecisionType

        spec = _index_spec(layer)
        kind = FixedPrecisionType(spec.width, spec.integer, spec.signed, "TRN", "SAT")
        if spec == _input_spec(layer):  # nothing to convert: hls4ml then leaves the layer out
            kind = copy(layer.get_input_variable().type.precision)
        bit_exact.default_register_precision(layer)
        layer.get_output_variable().type.precision = kind
        layer.attributes["result_t"].precision = kind

    bit_exact._produce_kif.register(Activation)(activation)
    bit_exact._produce_kif.register(PReLU)(prelu)
    bit_exact._produce_kif.register(UnaryLUT)(table)
    bit_exact.register_precision.register(Activation)(precision)


def _index_spec(layer: Any) -> FixedSpec:
    """Return the type of the index of a table: what the table needs of its input."""
    spec, chain = _input_spec(layer), layer.attributes[INDEX]
    cached = layer.attributes.get("l1dl_reduced")
    if cached is not None and cached[0] == spec:
        known: FixedSpec = cached[1]
        return known
    if spec.width > MAXIMUM_INPUT_WIDTH:
        _refuse(layer, f"reads {spec.width} bits ({spec}); at most {MAXIMUM_INPUT_WIDTH} can be tabulated")
    result = reduced(chain(spec), spec)
    if result.width > MAXIMUM_INDEX_WIDTH:
        _refuse(
            layer, f"needs a table with an index of {result.width} bits; at most {MAXIMUM_INDEX_WIDTH} are supported"
        )
    layer.attributes["l1dl_reduced"] = (spec, result)
    return result


def _refuse(layer: Any, why: str) -> None:
    name = layer.name.removesuffix("__index")
    msg = (
        f"layer {name!r}: the truth table of {layer.attributes[INDEX]} {why}; "
        "put QActivation(quantized_bits(bits, integer, alpha=1)) with fewer bits before it"
    )
    raise UnsupportedError(msg)


def _fill(layer: Any) -> None:
    """Give an hls4ml ``UnaryLUT`` its table: one entry for each bit pattern of its input."""
    spec, weight = _input_spec(layer), layer.weights["table"]
    if layer.attributes.get("l1dl_filled") == str(spec):
        return
    values = layer.attributes[TRUTH](spec)
    check_width(f"layer {layer.name!r}: the table of {layer.attributes[TRUTH]}", values)
    if spec.signed:  # bit patterns of negative codes come after those of the others
        values = np.roll(values, len(values) // 2)
    weight.data, weight.shape, weight.data_length = values, [len(values)], len(values)
    weight.min, weight.max = values.min(), values.max()
    weight.nonzeros = int(np.count_nonzero(values))
    weight.nzeros = len(values) - weight.nonzeros
    layer.attributes["table_size"] = len(values)
    layer.attributes["l1dl_filled"] = str(spec)


def _input_kif(layer: Any) -> Kif:
    from hls4ml.model.optimizer.passes import bit_exact

    k, i, f = bit_exact.produce_kif(bit_exact.get_input_layers(layer)[0])
    return k.copy(), i.copy(), f.copy()


def _input_spec(layer: Any) -> FixedSpec:
    """Return the type that hls4ml will give to what the layer reads."""
    k, i, f = (int(np.max(bits)) for bits in _input_kif(layer))
    if k + i + f < 1:  # nothing but zeros; hls4ml takes this odd type then
        return FixedSpec(signed=False, width=2, integer=32)
    return FixedSpec(signed=bool(k), width=k + i + f, integer=k + i)


def _spread(layer: Any, spec: FixedSpec) -> Kif:
    shape = tuple(layer.get_output_variable().shape)
    bits = int(spec.signed), spec.integer - spec.signed, spec.fraction
    k, i, f = (np.full(shape, value, dtype=np.int16) for value in bits)
    return k, i, f
