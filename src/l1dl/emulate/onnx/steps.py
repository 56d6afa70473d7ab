"""The operators of each kind of node, one function per kind, as `l1dl.nodes` defines it.

Each function first bounds the largest whole number that occurs on the way, in units of the finest step, and takes
the narrowest dtype that holds it; then it adds the operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from l1dl.emulate.bounds import Range, affine_codes, aligned_range, clip_codes, leaky_shifts, merged_range
from l1dl.emulate.onnx.builder import (
    FARTHEST,
    INT32,
    INT64,
    Builder,
    DType,
    Source,
    Tensor,
    is_thin,
    magnitude,
    narrowest,
    near,
    read,
    scaled,
)
from l1dl.emulate.onnx.conversions import ABOVE_ZERO, clip, convert, largest_in
from l1dl.emulate.onnx.gather import gather
from l1dl.emulate.onnx.sums import add_dense, add_reduce
from l1dl.emulate.onnx.whole import larger, smaller
from l1dl.fixed import FixedSpec, Overflow, requantise
from l1dl.nodes import (
    Activation,
    Affine,
    ArgMax,
    Clip,
    Dense,
    Function,
    LeakyRelu,
    Merge,
    Node,
    Operation,
    Rearrange,
    Reduce,
    Table,
    Window,
)  # fmt: skip


def add_node(builder: Builder, node: Node, sources: Sequence[Source], wanted: int | None) -> Tensor:
    """Add the operators of a node that is no input.

    Parameters
    ----------
    sources
        What it reads.
    wanted
        The fractional bits that suit those who read it, if it can choose.

    Returns
    -------
    Its result, of the shape (batch, *node.shape).
    """
    add = _STEPS[type(node)]
    if not isinstance(node, (Activation, Clip)) or not is_thin(node.shape):
        return add(builder, node, sources, wanted)
    source, flat = sources[0], (node.size,)
    tensor = replace(source.tensor, name=builder.reshape(source.tensor.name, flat))
    result = add(builder, node, [Source(tensor, replace(source.operand, shape=flat))], wanted)
    return replace(result, name=builder.reshape(result.name, node.shape))


def wanted_fraction(node: Node, of: Node, wanted: int | None) -> int | None:
    """Return the fractional bits that a node likes the result of another one to have; it has `wanted` itself."""
    spec = node.index if isinstance(node, Table) else node.result
    if isinstance(node, (Activation, Table)) and spec.fraction < of.result.fraction:
        return spec.fraction
    return wanted if isinstance(node, (Activation, Rearrange, Window)) and node.result == of.result else None


def _affine(builder: Builder, node: Node, sources: Sequence[Source], wanted: int | None) -> Tensor:
    assert isinstance(node, Affine)
    source, result = sources[0], node.result
    fraction = max(source.fraction + node.scale_spec.fraction, node.offset_spec.fraction)
    scale = np.atleast_1d(node.scale).astype(object) << (fraction - source.fraction - node.scale_spec.fraction)
    offset = np.atleast_1d(node.offset).astype(object) << (fraction - node.offset_spec.fraction)
    sums = [end * scale + offset for end in source.codes]
    values = int(np.minimum(*sums).min()), int(np.maximum(*sums).max())
    terms = abs(scale) * max(magnitude(source.codes), 1) + abs(offset)
    dtype = narrowest(int(terms.max()), magnitude(source.codes), largest_in(values, fraction, result))
    x = read(builder, source, dtype)
    if dtype == INT64:
        held, factors, offsets = affine_codes(node, source.operand)
    else:
        held = near(fraction, result.fraction if result.fraction < fraction else wanted)
        factors = np.ldexp(node.scale.astype(dtype), held - x.fraction - node.scale_spec.fraction)
        offsets = np.ldexp(node.offset.astype(dtype), held - node.offset_spec.fraction)
    total = builder.apply("Mul", x.name, factors)
    if node.offset.any():
        total = builder.apply("Add", total, offsets)
    return convert(builder, Tensor(total, dtype, held), values, fraction, result)


def _activation(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, Activation)
    source, result = sources[0], node.result
    dtype = narrowest(largest_in(source.codes, source.fraction, result))
    x = read(builder, source, dtype)
    low, high = source.codes
    if node.function is Function.LINEAR or low >= 0:
        return convert(builder, x, source.codes, source.fraction, result)
    top = aligned_range((0, max(high, 0)), source.fraction, result)[1]
    width = result.width - result.signed
    if width == 0 or (result.overflow in (Overflow.WRAP, Overflow.SAT_ZERO) and top > result.maximum_code):
        positive = clip(builder, x, source.fraction, source.codes, (0, max(high, 0)))
        return convert(builder, positive, (0, max(high, 0)), source.fraction, result)
    # Roundings leave zero where it is, so that a type without negative numbers can do all of it at once.
    rounding = ABOVE_ZERO.get(result.rounding, result.rounding)
    spec = FixedSpec(
        signed=False, width=width, integer=width - result.fraction, rounding=rounding, overflow=Overflow.SAT
    )
    return convert(builder, x, source.codes, source.fraction, spec)


def _clip(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, Clip)
    source = sources[0]
    fraction, low, high = clip_codes(node, source.operand)
    widen = fraction - source.fraction
    ends = source.codes[0] << widen, source.codes[1] << widen
    kept = min(max(ends[0], low), high), min(max(ends[1], low), high)
    dtype = narrowest(magnitude(ends, (low, high)), largest_in(kept, fraction, node.result))
    x = read(builder, source, dtype)
    if dtype == INT64:
        x = scaled(builder, x, fraction)
    return convert(builder, clip(builder, x, fraction, ends, (low, high)), kept, fraction, node.result)


def _leaky_relu(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, LeakyRelu)
    source, result = sources[0], node.result
    fraction, value_shift, slope_shift = leaky_shifts(node, source.operand)
    low, high = source.codes
    slopes = [int(slope) << slope_shift for slope in (node.slope.min(), node.slope.max())]
    ends = [code << value_shift for code in (low, high) if code > 0]
    if low <= 0:
        ends += [code * slope for code in (low, min(high, 0)) for slope in slopes]
    values = min(ends), max(ends)
    if low <= 0 < high:
        values = min(*values, 1 << value_shift), values[1]
    needed = magnitude(source.codes, (int(node.slope.min()), int(node.slope.max())))
    dtype = narrowest(needed, magnitude(values), largest_in(values, fraction, result))
    if abs(node.slope_spec.fraction) > FARTHEST:
        dtype = INT64
    x = read(builder, source, dtype)
    if dtype == INT64:
        taken = builder.apply("Mul", x.name, np.array(1 << min(value_shift, 62), dtype=np.int64))
        sloped = builder.apply("Mul", x.name, node.slope << slope_shift)
    else:
        taken = x.name
        sloped = builder.apply("Mul", x.name, np.ldexp(node.slope.astype(dtype), -node.slope_spec.fraction))
    above = builder.apply("Greater", x.name, np.zeros((), dtype))
    chosen = taken if low > 0 else builder.apply("Where", above, taken, sloped)
    behind = fraction if dtype == INT64 else x.fraction
    return convert(builder, Tensor(chosen, dtype, behind), values, fraction, result)


def _table(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, Table)
    source, index = sources[0], node.index
    x = read(builder, source, narrowest(largest_in(source.codes, source.fraction, index)))
    low, high = _converted_range(source.codes, source.fraction, index)
    converted = convert(builder, x, source.codes, source.fraction, index)
    place = builder.apply("Cast", scaled(builder, converted, index.fraction).name, to=INT32)
    first = index.minimum_code
    reachable = slice(low - first, high - first + 1)
    entries = np.zeros_like(node.table)
    entries[reachable] = requantise(node.table[reachable], node.table_spec.fraction, node.result)
    dtype = narrowest(int(abs(entries).max()))
    # Negative places count from the end.
    ordered = np.roll(entries, first, axis=0).astype(dtype)
    return Tensor(builder.apply("Gather", ordered, place, axis=0), dtype, node.result.fraction)


def _converted_range(values: Range, fraction: int, spec: FixedSpec) -> Range:
    """Return codes that a conversion to `spec` does not leave."""
    low, high = aligned_range(values, fraction, spec)
    if low < spec.minimum_code or high > spec.maximum_code:
        return spec.minimum_code, spec.maximum_code
    return low, high


_MERGES = {
    Operation.ADD: "Add",
    Operation.SUBTRACT: "Sub",
    Operation.MULTIPLY: "Mul",
    Operation.AVERAGE: "Add",
    Operation.MAXIMUM: "Max",
    Operation.MINIMUM: "Min",
}

_WHOLE = {Operation.MAXIMUM: larger, Operation.MINIMUM: smaller}
"""What stands for them in int64."""


def _merge(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, Merge)
    product = node.operation is Operation.MULTIPLY
    fractions = [source.fraction for source in sources]
    fraction = sum(fractions) if product else max(fractions)
    shifts = [0 if product else fraction - source.fraction for source in sources]
    a, b = ((x.codes[0] << shift, x.codes[1] << shift) for x, shift in zip(sources, shifts, strict=True))
    values = merged_range(node.operation, a, b)
    behind = fraction + (node.operation is Operation.AVERAGE)
    largest = max(abs(end) for end in (*a, *b, *values))
    dtype = narrowest(largest, largest_in(values, behind, node.result))
    operands = [read(builder, source, dtype) for source in sources]
    if dtype == INT64 and not product:
        operands = [scaled(builder, x, fraction) for x in operands]
    elif not product:
        most = int(math.prod(sources[1].shape) > math.prod(sources[0].shape))
        target = near(fraction, operands[most].fraction)
        operands = [scaled(builder, x, target) for x in operands]
    names = [
        x.name if len(source.shape) == len(node.shape)
        else builder.reshape(x.name, (*(1,) * (len(node.shape) - len(source.shape)), *source.shape))
        for x, source in zip(operands, sources, strict=True)
    ]  # fmt: skip
    if dtype == INT64 and node.operation in _WHOLE:
        merged = _WHOLE[node.operation](builder, *names)
    else:
        merged = builder.apply(_MERGES[node.operation], *names)
    held = sum(x.fraction for x in operands) if product else operands[0].fraction + behind - fraction
    return convert(builder, Tensor(merged, dtype, held), values, behind, node.result)


def _argmax(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, ArgMax)
    hot = requantise(np.array([0, 1]), 0, node.result)
    dtype = narrowest(int(abs(hot).max()))
    place = builder.apply("ArgMax", sources[0].tensor.name, axis=-1, keepdims=1)
    first = builder.apply("Equal", place, np.arange(node.shape[-1]))
    cold, warm = hot.astype(dtype)
    return Tensor(builder.apply("Where", first, np.array(warm), np.array(cold)), dtype, node.result.fraction)


def _window(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, Window)
    source, shape = sources[0], sources[0].shape
    padded = any(node.padding)
    values = source.codes
    if padded:
        values = min(values[0], node.fill), max(values[1], node.fill)
    x = _movable(builder, source, values, node.result)
    if padded:
        fill = node.fill if x.dtype == INT64 else np.ldexp(float(node.fill), x.fraction - source.fraction)
        pads = [0, *node.padding[::2], 0, 0, *node.padding[1::2], 0]
        name = builder.apply("Pad", x.name, np.array(pads, dtype=np.int64), np.array(fill, x.dtype))
        x = Tensor(name, x.dtype, x.fraction)
        shape = tuple(size + sum(ends) for size, ends in zip(shape, node.pads, strict=True))
    x = convert(builder, x, values, source.fraction, node.result)
    index = node.slide(np.arange(math.prod(shape)).reshape(shape))
    return Tensor(gather(builder, x, shape, index), x.dtype, x.fraction)


def _rearrange(builder: Builder, node: Node, sources: Sequence[Source], _wanted: int | None) -> Tensor:
    assert isinstance(node, Rearrange)
    parts = [
        convert(builder, _movable(builder, source, source.codes, node.result), source.codes, source.fraction,
                node.result)
        for source in sources
    ]  # fmt: skip
    if len(parts) == 1:
        x = parts[0]
        return Tensor(gather(builder, x, sources[0].shape, node.index), x.dtype, x.fraction)
    ends = [_converted_range(source.codes, source.fraction, node.result) for source in sources]
    dtype = narrowest(magnitude(*ends))
    if any(part.dtype != dtype for part in parts) or len({part.fraction for part in parts}) > 1:
        parts = [_as_codes(builder, part, node.result.fraction, dtype) for part in parts]
    sizes = [math.prod(source.shape) for source in sources]
    flat = [
        part.name if len(source.shape) == 1 else builder.reshape(part.name, (size,))
        for part, source, size in zip(parts, sources, sizes, strict=True)
    ]
    joined = Tensor(builder.apply("Concat", *flat, axis=1), parts[0].dtype, parts[0].fraction)
    return Tensor(gather(builder, joined, (sum(sizes),), node.index), joined.dtype, joined.fraction)


def _movable(builder: Builder, source: Source, values: Range, spec: FixedSpec) -> Tensor:
    """Return the values of a source in a dtype that converts them exactly; in their own one if nothing changes."""
    largest = largest_in(values, source.fraction, spec)
    needed = narrowest(largest)
    held = source.tensor.dtype
    wide_enough = INT64 not in (held, needed) and held.itemsize >= needed.itemsize
    return source.tensor if wide_enough or held == needed else read(builder, source, needed)


def _as_codes(builder: Builder, tensor: Tensor, fraction: int, dtype: DType) -> Tensor:
    """Return codes with a number of fractional bits, in a dtype that holds them."""
    tensor = scaled(builder, tensor, fraction)
    if tensor.dtype == dtype:
        return tensor
    return Tensor(builder.apply("Cast", tensor.name, to=dtype), dtype, fraction)


Step = Callable[[Builder, Node, Sequence[Source], int | None], Tensor]

_STEPS: dict[type[Node], Step] = {
    Dense: add_dense,
    Affine: _affine,
    Activation: _activation,
    Clip: _clip,
    LeakyRelu: _leaky_relu,
    Table: _table,
    Merge: _merge,
    Reduce: add_reduce,
    ArgMax: _argmax,
    Window: _window,
    Rearrange: _rearrange,
}
