"""Teach hls4ml's bit-exact pass the layers that it lacks or reads wrongly.

The pass (``hls4ml.model.optimizer.passes.bit_exact``) finds for each layer how many bits its results need: a
function for each class, in a table that others may extend. `install` adds ours.
"""

from __future__ import annotations

import functools
import math
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

Kif = tuple[npt.NDArray[np.int16], npt.NDArray[np.int16], npt.NDArray[np.int16]]
"""hls4ml's bits of each value: sign, integer and fraction."""


@functools.cache
def install() -> None:
    """Register our functions with hls4ml; once in a process."""
    from hls4ml.model import layers

    from l1dl.convert import hgq2

    hgq2.install()
    from hls4ml.model.optimizer.passes import bit_exact

    # hls4ml asks for the inputs' bits without keeping them, so that the time doubles with each branch.
    bit_exact.get_input_kifs = lambda layer: [bit_exact.produce_kif(each) for each in bit_exact.get_input_layers(layer)]
    for kind in (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D, layers.Resize):
        bit_exact._produce_kif.register(kind)(_moved)
    for kind in (layers.DepthwiseConv1D, layers.DepthwiseConv2D):
        bit_exact._produce_kif.register(kind)(_depthwise)
    for kind in (layers.GlobalPooling1D, layers.GlobalPooling2D):
        bit_exact._produce_kif.register(kind)(_global_pool)
    bit_exact._produce_kif.register(layers.Embedding)(_embedding)
    for kind in (layers.Resize, layers.Reshape):
        bit_exact.register_precision.register(kind)(_same_type)


def _moved(layer: Any) -> Kif:
    """Return the bits of values that are only moved: those of the widest one."""
    return _spread(layer, *_widest(layer))


def _depthwise(layer: Any) -> Kif:
    from hls4ml.utils.qinterval import QIntervalArray

    k, i, f = _widest(layer)
    kernel = np.asarray(layer.attributes["weight"].data)
    channels = layer.attributes["n_chan"]
    flat = kernel.reshape(-1, channels)
    source = QIntervalArray.from_kif(*(np.full((1, len(flat)), bits, dtype=np.int16) for bits in (k, i, f)))
    result = (source @ flat) + layer.attributes["bias"].data
    k_out, i_out, f_out = result.to_kif()
    return _spread(layer, int(k_out.max()), int(i_out.max()), int(f_out.max()))


def _global_pool(layer: Any) -> Kif:
    """Return the bits of a global pooling; hls4ml leaves an axis too many."""
    from hls4ml.utils.qinterval import minimal_kif

    k, i, f = _widest(layer)
    if layer.attributes["pool_op"] == "Average":
        f += int(minimal_kif(np.asarray(1 / math.prod(layer.get_input_variable().shape[:-1])))[2])
    return _spread(layer, k, i, f)


def _embedding(layer: Any) -> Kif:
    from hls4ml.utils.qinterval import minimal_kif

    bits = minimal_kif(np.asarray(layer.attributes["embeddings"].data, dtype=np.float64))
    return _spread(layer, *(int(np.max(each)) for each in bits))


def _same_type(layer: Any) -> None:
    """Give a layer the type of its input: an upsampling has only one in C++, and a reshaping shares its memory."""
    from hls4ml.model.types import NamedType

    result = NamedType(f"{layer.name}_t", copy(layer.get_input_variable().type.precision))
    layer.attributes["result_t"] = result
    layer.get_output_variable().type = result


def _widest(layer: Any) -> tuple[int, int, int]:
    from hls4ml.model.optimizer.passes import bit_exact

    k, i, f = (int(np.max(bits)) for bits in bit_exact.get_input_kifs(layer)[0])
    return k, i, f


def _spread(layer: Any, *bits: int) -> Kif:
    shape = tuple(layer.get_output_variable().shape)
    k, i, f = (np.full(shape, value, dtype=np.int16) for value in bits)
    return k, i, f
