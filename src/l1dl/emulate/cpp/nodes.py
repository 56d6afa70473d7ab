"""The C++ of each kind of node, one function per kind; the arithmetic is that of `l1dl.emulate.steps`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.emulate.bounds import (
    Operand,
    accumulator_range,
    affine_codes,
    clip_codes,
    leaky_shifts,
    merged_range,
    sum_bound,
    truncates,
)
from l1dl.emulate.cpp.numbers import INT32, INT64, array, constant, conversion, integer_type, position, span
from l1dl.fixed import requantise
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
    Reduction,
    Table,
    Window,
)  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """Where the result of a node is, and what is known of it.

    Attributes
    ----------
    name
        Name of the array, and beginning of the names of what belongs to the node.
    integer
        C++ type of the codes.
    operand
        Type, shape and range.
    """

    name: str
    integer: str
    operand: Operand

    @property
    def place(self) -> str:
        """The array as a function on the buffers b names it."""
        return f"b.{self.name}"


@dataclass(frozen=True)
class Code:
    """The C++ of one node.

    Attributes
    ----------
    definitions
        Constants and functions, at namespace scope.
    calls
        What computes the result.
    lanes
        Type and number of the values that a matrix reads together, where there is one.
    same
        The result is that of its only source; nothing is computed.
    """

    definitions: str = ""
    calls: tuple[str, ...] = ()
    lanes: tuple[str, int] | None = None
    same: bool = False


SAME = Code(same=True)


def make_code(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    """Return what computes a node that is no input."""
    return _CODES[type(node)](node, target, sources)


def _name(target: Stored) -> str:
    """Return the name of the structure of a node."""
    return target.name.capitalize()


def _structure(target: Stored, *lines: str) -> str:
    body = "".join(f"    {line}\n" for line in lines)
    return f"struct {_name(target)} {{\n{body}}};\n"


def _function(result: str, parameters: str, value: str, name: str = "apply") -> str:
    return f"static {result} {name}({parameters}) {{ return {value}; }}"


def _elementwise(target: Stored, integer: str, value: str, definitions: str = "", call: str = "map") -> tuple[str, str]:
    """Return the function of one value x at position i, and the beginning of what applies it to all values."""
    index = "int i" if "[i" in value else "int"
    function = _function(integer, f"{integer} x, {index}", value)
    return definitions + _structure(target, function), f"{call}<{_name(target)}>"


def _map(target: Stored, source: Stored, integer: str, value: str, definitions: str = "") -> Code:
    text, call = _elementwise(target, integer, value, definitions)
    return Code(text, (f"{call}({source.place}, {target.place})",))


def _times(value: str, shift: int) -> str:
    """Return a value shifted left."""
    return value if shift == 0 else f"{value} * {2**shift}"


_SUM_TYPES = {"float32": "float", "float64": "double", "int64": INT64}


def _dense(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Dense)
    source, accumulator = sources[0].operand, node.accumulator
    fraction = source.fraction + node.weight_spec.fraction
    truncated, bound = truncates(node, source), sum_bound(node.weight, *source.codes)
    products = bound.total
    widen = max(accumulator.fraction - fraction, 0) if products else 0
    bias = requantise(node.bias, node.bias_spec.fraction, accumulator)
    most = (products << widen) + int(abs(bias).max()) + (node.weight.shape[-2] if truncated else 0)
    reachable, overflows = accumulator_range(node, source)
    wrap = conversion((-most, most) if overflows else reachable, accumulator.fraction, accumulator)
    finish = conversion(reachable, accumulator.fraction, node.result)
    integer = integer_type([(-most, most), (-products, products), *wrap.reached, *finish.reached])
    if truncated:
        product = conversion((-products, products), fraction, accumulator)
        # Overflows of products and partial sums wrap, so that those of the sum are enough.
        rounding = f"Rounding::{accumulator.rounding.value}, Overflow::KEEP"
        multiply = [
            _function(
                integer,
                f"{integer} w, {integer} x",
                f"convert<{integer}, {product.drop}, {rounding}>(w * x)",
                "multiply",
            )
        ]
        lanes = integer
    else:
        multiply = []
        lanes = _SUM_TYPES[np.dtype(bound.dtype).name]
    weight = node.weight if products else np.zeros_like(node.weight)
    definitions, offset = constant(f"{target.name}_bias", integer, bias, bias.shape)
    total = f"{_times(f'{integer}(sum)', widen)} + {offset}"
    total = finish.apply(wrap.apply(total, integer), integer)
    inputs, outputs = node.weight.shape[-2:]
    definitions += array(lanes, f"{target.name}_weight", weight)
    definitions += _structure(
        target,
        f"static constexpr int groups = {node.groups}, inputs = {inputs}, outputs = {outputs};",
        f"static constexpr const {lanes} *weight = {target.name}_weight;",
        f"static constexpr bool exact = {'false' if truncated else 'true'};",
        *multiply,
        _function(integer, f"{lanes} sum, {'int i' if '[i' in total else 'int'}", total, "finish"),
    )
    call = f"dense<{_name(target)}>({sources[0].place}, {target.place}, b.{lanes_name(lanes)})"
    return Code(definitions, (call,), lanes=(lanes, node.groups * inputs))


def lanes_name(kind: str) -> str:
    """Return the name of the array of the values that a matrix reads together."""
    return f"lanes_{kind.removeprefix('std::')}"


def _affine(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Affine)
    source = sources[0].operand
    fraction, scale, offset = affine_codes(node, source)
    if not any(source.codes):
        scale = np.zeros_like(scale)
    ends = [np.asarray(scale.astype(object) * end + offset.astype(object)) for end in source.codes]
    reachable = min(int(end.min()) for end in ends), max(int(end.max()) for end in ends)
    convert = conversion(reachable, fraction, node.result)
    factor_range, term_range = (span(int(codes.min()), int(codes.max())) for codes in (scale, offset))
    product = max(map(abs, source.codes)) * max(map(abs, factor_range))
    integer = integer_type([source.codes, factor_range, term_range, (-product, product), reachable, *convert.reached])
    first, factor = constant(f"{target.name}_scale", integer, scale, node.shape)
    second, term = constant(f"{target.name}_offset", integer, offset, node.shape)
    return _map(target, sources[0], integer, convert.apply(f"x * {factor} + {term}", integer), first + second)


def _activation(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Activation)
    source = sources[0].operand
    low, high = source.codes
    relu = node.function is Function.RELU and low < 0
    convert = conversion((max(low, 0), max(high, 0)) if relu else (low, high), source.fraction, node.result)
    integer = integer_type([source.codes, *convert.reached])
    value = convert.apply("x > 0 ? x : 0" if relu else "x", integer)
    return SAME if value == "x" else _map(target, sources[0], integer, value)


def _clip(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Clip)
    source = sources[0].operand
    fraction, low, high = clip_codes(node, source)
    widen = fraction - source.fraction if any(source.codes) else 0
    ends = source.codes[0] << widen, source.codes[1] << widen
    convert = conversion((min(max(ends[0], low), high), min(max(ends[1], low), high)), fraction, node.result)
    integer = integer_type([source.codes, ends, (low, high), *convert.reached])
    clipped = f"limit<{integer}, Overflow::SAT, {low}, {high}>({_times('x', widen)})"
    return _map(target, sources[0], integer, convert.apply(clipped, integer))


def _leaky_relu(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, LeakyRelu)
    source = sources[0].operand
    fraction, value_shift, slope_shift = leaky_shifts(node, source)
    low, high = source.codes
    # A branch that is never taken has a factor that may not fit.
    factor = 1 << value_shift if high > 0 else 0
    slope = np.asarray(node.slope.astype(object) << slope_shift) if low < 0 else np.zeros_like(node.slope)
    ends = [max(low, 0) * factor, max(high, 0) * factor]
    ends += [min(end, 0) * int(each) for end in (low, high) for each in (slope.min(), slope.max())]
    convert = conversion((min(ends), max(ends)), fraction, node.result)
    factors = span(factor, int(slope.min()), int(slope.max()))
    integer = integer_type([source.codes, span(*ends), factors, *convert.reached])
    definitions, each = constant(f"{target.name}_slope", integer, slope, node.shape)
    value = convert.apply(f"x > 0 ? x * {factor} : x * {each}", integer)
    return _map(target, sources[0], integer, value, definitions)


def _table(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Table)
    source = sources[0].operand
    index = conversion(source.codes, source.fraction, node.index)
    low, high = index.result
    first = low - node.index.minimum_code
    entries = requantise(
        node.table[first : high - node.index.minimum_code + 1], node.table_spec.fraction, node.result
    ).reshape(high - low + 1, -1)
    integer, width = integer_type([*index.reached, (low, high)]), entries.shape[1]
    name = f"{target.name}_table"
    place = f"({index.apply('x', integer)} - ({low}))"
    value = f"{name}[{place}]" if width == 1 else f"{name}[{place} * {width} + i]"
    function = _function(target.integer, f"{integer} x, {'int' if width == 1 else 'int i'}", value)
    call = "map" if width == 1 else "expand"
    return Code(
        array(target.integer, name, entries) + _structure(target, function),
        (f"{call}<{_name(target)}>({sources[0].place}, {target.place})",),
    )


_OPERATIONS = {
    Operation.ADD: "a + b",
    Operation.AVERAGE: "a + b",
    Operation.SUBTRACT: "a - b",
    Operation.MULTIPLY: "a * b",
    Operation.MAXIMUM: "a > b ? a : b",
    Operation.MINIMUM: "a < b ? a : b",
}


def _merge(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Merge)
    operands = [source.operand for source in sources]
    fractions = [operand.fraction for operand in operands]
    aligned = node.operation is not Operation.MULTIPLY
    shifts = [max(fractions) - operand.fraction if aligned and any(operand.codes) else 0 for operand in operands]
    a, b = (
        (operand.codes[0] << shift, operand.codes[1] << shift) for operand, shift in zip(operands, shifts, strict=True)
    )
    reachable = merged_range(node.operation, a, b)
    fraction = max(fractions) + (node.operation is Operation.AVERAGE) if aligned else sum(fractions)
    convert = conversion(reachable, fraction, node.result)
    integer = integer_type([*(operand.codes for operand in operands), a, b, reachable, *convert.reached])
    definitions, places = "", []
    for side, operand in zip(("left", "right"), operands, strict=True):
        index = np.broadcast_to(np.arange(math.prod(operand.shape)).reshape(operand.shape), node.shape)
        text, place = position(f"{target.name}_{side}", index.ravel())
        definitions += text
        places.append(_function("int", "int" if place == "0" else "int i", place, side))
    value = _OPERATIONS[node.operation]
    parameters = [f"{integer} {side}" for side in "ab"]
    if any(shifts):
        inner = _function(integer, ", ".join(parameters), value, "aligned")
        value = convert.apply(f"aligned({_times('a', shifts[0])}, {_times('b', shifts[1])})", integer)
        places.append(inner)
    else:
        value = convert.apply(value, integer)
    definitions += _structure(target, *places, _function(integer, ", ".join(parameters), value))
    arrays = ", ".join(source.place for source in sources)
    return Code(definitions, (f"merge<{_name(target)}>({arrays}, {target.place})",))


def _reduce(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Reduce)
    source, result = sources[0].operand, node.result
    size = math.prod(source.shape)
    kept = [axis for axis in range(len(source.shape)) if axis not in node.axes]
    index = np.arange(size).reshape(source.shape).transpose(*kept, *node.axes).ravel()
    if node.operation is Reduction.MAXIMUM:
        finish = conversion(source.codes, source.fraction, result)
        integer = integer_type(finish.reached)
        term, join, value = "x", "a > b ? a : b", finish.apply("x", integer)
    else:
        # Where partial sums wrap, wrapping the sum is enough.
        each = conversion(source.codes, source.fraction, result)
        drops = each.drop > 0
        low, high = each.aligned if drops else source.codes
        count = size // node.size
        sums = min(low, low * count), max(high, high * count)
        finish = conversion(sums, result.fraction if drops else source.fraction, result)
        integer = integer_type([source.codes, span(*sums), *finish.reached])
        rounding = f"Rounding::{result.rounding.value}"
        term = f"convert<{integer}, {each.drop}, {rounding}, Overflow::KEEP>(x)" if drops else "x"
        join, value = "a + b", finish.apply("x", integer)
    return Code(
        array(INT32, f"{target.name}_index", index)
        + _structure(
            target,
            f"using Type = {integer};",
            _function(integer, f"{integer} x", term, "term"),
            _function(integer, f"{integer} a, {integer} b", join, "join"),
            _function(integer, f"{integer} x", value, "finish"),
        ),
        (f"reduce<{_name(target)}>({sources[0].place}, {target.place}, {target.name}_index)",),
    )


def _argmax(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, ArgMax)
    one = int(requantise(np.array([1]), 0, node.result)[0])
    call = f"argmax<{node.shape[-1]}>({sources[0].place}, {target.place}, {target.integer}({one}))"
    return Code(calls=(call,))


def _window(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Window)
    source = sources[0].operand
    fill = int(requantise(np.array([node.fill]), source.fraction, node.result)[0]) if any(node.padding) else 0
    return _gather(node, target, sources[0], node.places(source.shape).ravel(), fill)


def _gather(node: Node, target: Stored, source: Stored, index: npt.NDArray[np.int64], fill: int) -> Code:
    """Return what takes one value of a source for each value of the result, or a constant."""
    operand = source.operand
    convert = conversion(operand.codes, operand.fraction, node.result)
    integer = integer_type([operand.codes, *convert.reached])
    value = convert.apply("x", integer)
    if np.array_equal(index, np.arange(math.prod(operand.shape))):
        return SAME if value == "x" else _map(target, source, integer, value)
    text = array(INT32, f"{target.name}_index", index) + _structure(
        target,
        f"static constexpr {target.integer} fill = {fill};",
        _function(integer, f"{integer} x, int", value),
    )
    return Code(text, (f"gather<{_name(target)}>({source.place}, {target.place}, {target.name}_index)",))


def _rearrange(node: Node, target: Stored, sources: Sequence[Stored]) -> Code:
    assert isinstance(node, Rearrange)
    index = node.index.ravel()
    if len(sources) == 1:
        return _gather(node, target, sources[0], index, 0)
    definitions, calls = "", []
    zeros = np.nonzero(index < 0)[0]
    if len(zeros):
        definitions += array(INT32, f"{target.name}_zeros", zeros)
        calls.append(f"clear({target.place}, {target.name}_zeros)")
    starts = itertools.accumulate((math.prod(source.operand.shape) for source in sources), initial=0)
    for number, (source, (start, end)) in enumerate(zip(sources, itertools.pairwise(starts), strict=True)):
        places = np.nonzero((index >= start) & (index < end))[0]
        if not len(places):
            continue
        convert = conversion(source.operand.codes, source.operand.fraction, node.result)
        integer = integer_type([source.operand.codes, *convert.reached])
        name = f"{target.name}_{number}"
        definitions += array(INT32, f"{name}_index", index[places] - start)
        definitions += array(INT32, f"{name}_places", places)
        function = _function(integer, f"{integer} x, int", convert.apply("x", integer))
        definitions += f"struct {name.capitalize()} {{\n    {function}\n}};\n"
        calls.append(f"scatter<{name.capitalize()}>({source.place}, {target.place}, {name}_index, {name}_places)")
    return Code(definitions, tuple(calls))


_CODES: dict[type[Node], Callable[[Node, Stored, Sequence[Stored]], Code]] = {
    Dense: _dense,
    Affine: _affine,
    Activation: _activation,
    Clip: _clip,
    LeakyRelu: _leaky_relu,
    Table: _table,
    Merge: _merge,
    Reduce: _reduce,
    ArgMax: _argmax,
    Window: _window,
    Rearrange: _rearrange,
}
