"""The pass over a model's calls that gives each tensor a type; see `l1dl.models.fit`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from l1dl.errors import InputError, UnsupportedError
from l1dl.models.flat import Call, FlatModel, with_calls
from l1dl.models.fold import frozen_normalisation
from l1dl.models.quantiser_config import ACTIVATIONS
from l1dl.models.strip import function_name
from l1dl.models.twins import (
    PLAIN,
    Twin,
    integer_bits,
    make_twin,
    quantised,
    quantiser_fraction,
    relu,
    sums_of_codes,
)

EXACT_BITS = 24
"""Bits of a float32 significand: sums of products within them are exact in Keras."""

Ranges = Mapping[int, tuple[float, float]]
"""Tensor → smallest and largest value."""

RECURRENT = ("SimpleRNN", "LSTM", "GRU", "Bidirectional")
_THROUGH = (
    "Flatten", "Reshape", "Permute", "RepeatVector", "MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D", "UpSampling1D", "UpSampling2D",
    "Maximum", "Minimum", "Concatenate",
)  # fmt: skip
"""Layers that only move or choose values, so that the type stays."""

_AVERAGES = ("AveragePooling1D", "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D")
_SUMS = ("Add", "Subtract", "Average")
_PRODUCTS = ("Multiply", "Dot")

UNLIMITED = 99
"""Stands for no limit of bits."""

RAW, WIDE, NARROW = 0, 1, 2
"""States of a tensor: any real number; exact, with as many bits as sums need; exact, with the bits of a quantiser."""


def _check_bits(name: str, bits: int) -> None:
    if not 2 <= bits <= EXACT_BITS:
        msg = f"{name} = {bits} is not allowed; give 2 to {EXACT_BITS} bits"
        raise InputError(msg)


@dataclass(frozen=True)
class FitSettings:
    """The bit budget of a fit.

    Attributes
    ----------
    weight_bits
        Bits of weights, the sign included.
    activation_bits, bias_bits, input_bits
        Bits of the values between layers, of the biases and of the inputs.
    margin_bits
        Integer bits beyond what the calibration data need.
    layers
        Name of a layer → bits of its weights (or, for an activation, of its values), where they differ.
    """

    weight_bits: int = 8
    activation_bits: int = 12
    bias_bits: int = 12
    input_bits: int = 12
    margin_bits: int = 1
    layers: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the budget.

        Raises
        ------
        InputError
            A number of bits is outside its range.
        """
        for name in ("weight_bits", "activation_bits", "bias_bits", "input_bits"):
            _check_bits(name, getattr(self, name))
        for name, bits in self.layers.items():
            _check_bits(f"layer {name!r}", bits)
        if not 0 <= self.margin_bits <= 8:
            msg = f"margin_bits = {self.margin_bits} is not allowed; give 0 to 8"
            raise InputError(msg)


class TypePass:
    """One pass over the calls, which writes the quantised ones."""

    def __init__(self, flat: FlatModel, ranges: Ranges, settings: FitSettings) -> None:
        self._flat, self._ranges, self._settings = flat, ranges, settings
        self._limits = self._bit_limits()
        self._calls: list[Call] = []
        self._state: dict[int, int] = {}
        self._moved: dict[int, int] = {}
        self._fraction: dict[int, int] = {}
        self._next = flat.unused
        self._names = flat.names()
        self._twins: dict[str, Twin] = {}
        self.notes: list[str] = []

    def run(self) -> FlatModel:
        """Return the quantised model."""
        flat = self._flat
        for index, entry in enumerate(flat.entries):
            integer = not entry.dtype.startswith("float") or any(c.kind == "Embedding" for c in flat.consumers(index))
            self._state[index] = WIDE if integer else RAW
        for index in bare_inputs(flat):
            bits = self._settings.layers.get(flat.entries[index].name, self._settings.input_bits)
            self._quantise(index, index, f"quantised_{flat.entries[index].name}", bits)
        for call in flat.calls:
            self._handler(call)(call)
        # An output keeps all the bits of its sums, where it is exact.
        exact = {number for number, state in self._state.items() if state > RAW}
        outputs = tuple(number if number in exact else self._moved.get(number, number) for number in flat.outputs)
        return with_calls(flat, self._calls, outputs=outputs)

    def _handler(self, call: Call) -> Callable[[Call], None]:
        kind = call.kind
        if kind in PLAIN:
            return self._weighted
        if kind in _THROUGH:
            return self._through
        handlers: dict[str, Callable[[Call], None]] = {
            **dict.fromkeys(("ReLU", "Activation"), self._activation),
            **dict.fromkeys(("LeakyReLU", "PReLU"), self._leaky),
            "ELU": self._function,
            **dict.fromkeys(_AVERAGES, self._average),
            **dict.fromkeys(_SUMS, self._sum),
            **dict.fromkeys(_PRODUCTS, self._product),
            "BatchNormalization": self._normalisation,
            "Embedding": self._embedding,
            "Softmax": self._softmax,
        }
        if kind in handlers:
            return handlers[kind]
        if kind == "QActivation" and function_name(call.options["activation"]) in ACTIVATIONS:
            return self._activation
        if kind.startswith("Q"):
            return self._keep
        what = (
            "bring it quantised (QLSTM, QGRU, QSimpleRNN)" if kind in RECURRENT else "use a ReLU, or a layer of QKeras"
        )
        msg = f"layer {call.name!r} ({kind}) cannot be given types from calibration data; {what}"
        raise UnsupportedError(msg)

    # What each kind of layer becomes.

    def _weighted(self, call: Call) -> None:
        source = self._need(call.inputs[0], NARROW)
        if call.name not in self._twins:
            bits = self._settings.layers.get(call.name, self._settings.weight_bits)
            self._twins[call.name] = make_twin(call, bits, self._settings.bias_bits, self._fraction.get(source))
        twin = self._twins[call.name]
        if twin.first is not None:  # the depthwise half of a separable convolution
            number = self._new()
            self._calls.append(replace(twin.first, inputs=(source,), output=number))
            self._state[number] = WIDE
            peak = twin.gain * max(abs(bound) for bound in self._ranges[call.inputs[0]])
            source = self._quantiser(number, f"{call.name}_quantised", peak, self._limits.get(call.output, UNLIMITED))
        self._emit(replace(twin.call, inputs=(source,), output=call.output), WIDE)

    def _activation(self, call: Call) -> None:
        name = "relu" if call.kind == "ReLU" else function_name(call.options.get("activation"))
        options = call.options if call.kind == "ReLU" else {}
        ceiling = options.get("max_value", 6.0 if name == "relu6" else None)
        slope = options.get("negative_slope") or (0.2 if name == "leaky_relu" else 0.0)
        if options.get("threshold"):
            msg = f"layer {call.name!r} (ReLU) has threshold={options['threshold']!r}; use threshold=0"
            raise UnsupportedError(msg)
        if name == "softmax":
            self._softmax(call)
        elif slope and ceiling is None:
            self._leaky(replace(call, kind="LeakyReLU", options={"name": call.name, "negative_slope": slope}))
        elif name in ("relu", "relu6") and not slope:
            self._relu(call, ceiling)
        else:
            self._function(call)

    def _relu(self, call: Call, ceiling: float | None) -> None:
        """Write a ReLU, with the bound of one that has a maximum."""
        source, bits = self._need(call.inputs[0], WIDE), self._own_bits(call)
        needed = integer_bits(self._ranges[call.output][1]) + self._settings.margin_bits
        if ceiling is not None:
            number, needed = self._new(), integer_bits(ceiling)
            name = self._free(f"{call.name}_bounded")
            bounded = {"name": name, "max_value": float(np.round(ceiling * 256) / 256)}
            self._calls.append(Call(name, "ReLU", bounded, (), (source,), number))
            source = number
        # QKeras' quantized_relu takes no negative number of integer bits: more fractional ones do the same.
        integer, limit = max(0, needed), self._limits.get(call.output, UNLIMITED)
        quantiser, fraction = relu(max(bits, min(bits + integer - needed, limit)), integer)
        self._emit(Call(call.name, "QActivation", {"activation": quantiser}, (), (source,), call.output), NARROW)
        self._fraction[call.output] = fraction

    def _function(self, call: Call) -> None:
        """Write a function that is looked up: of exact values, with a quantiser behind it."""
        self._wide_then_narrow(replace(call, inputs=(self._need(call.inputs[0], NARROW),)))

    def _leaky(self, call: Call) -> None:
        source = self._need(call.inputs[0], NARROW)
        weights = tuple(np.round(weight * 256) / 256 for weight in call.weights)
        options = dict(call.options)
        if call.kind == "LeakyReLU":
            options["negative_slope"] = float(np.round(options["negative_slope"] * 256) / 256)
        self._wide_then_narrow(replace(call, options=options, weights=weights, inputs=(source,)))

    def _average(self, call: Call) -> None:
        self._wide_then_narrow(replace(call, inputs=(self._need(call.inputs[0], NARROW),)))

    def _sum(self, call: Call) -> None:
        count = len(call.inputs)
        if call.kind == "Average" and count & (count - 1):
            msg = f"layer {call.name!r} (Average) averages {count} tensors; 2, 4, 8, … have an exact average"
            raise UnsupportedError(msg)
        self._emit(replace(call, inputs=tuple(self._need(number, WIDE) for number in call.inputs)), WIDE)

    def _product(self, call: Call) -> None:
        inputs = tuple(self._need(number, NARROW) for number in call.inputs)
        if call.options.get("normalize"):
            msg = f"layer {call.name!r} (Dot) normalises its inputs, which has no exact form"
            raise UnsupportedError(msg)
        self._wide_then_narrow(replace(call, inputs=inputs))

    def _through(self, call: Call) -> None:
        if call.options.get("interpolation", "nearest") != "nearest":
            msg = f"layer {call.name!r} ({call.kind}) interpolates; use interpolation='nearest'"
            raise UnsupportedError(msg)
        inputs = tuple(self._need(number, WIDE) for number in call.inputs)
        self._emit(replace(call, inputs=inputs), min(self._state[number] for number in inputs))
        fractions = [self._fraction[number] for number in inputs if number in self._fraction]
        if len(fractions) == len(inputs):
            self._fraction[call.output] = max(fractions)

    def _normalisation(self, call: Call) -> None:
        source = self._need(call.inputs[0], NARROW)
        bits = self._settings.layers.get(call.name, self._settings.weight_bits + 2)
        frozen = frozen_normalisation(call, bits, self._fraction.get(source, self._settings.activation_bits))
        self._emit(replace(frozen, inputs=(source,)), WIDE)
        self.notes.append(f"Batch normalisation {call.name!r} became a fixed scale and offset of rounded constants.")

    def _embedding(self, call: Call) -> None:
        bits = self._settings.layers.get(call.name, self._settings.activation_bits)
        step = 2.0 ** (integer_bits(float(np.max(np.abs(call.weights[0])))) + 1 - bits)
        self._emit(replace(call, weights=(np.round(call.weights[0] / step) * step,)), NARROW)

    def _softmax(self, call: Call) -> None:
        self._emit(replace(call, inputs=(self._need(call.inputs[0], WIDE),)), RAW)

    def _keep(self, call: Call) -> None:
        """Keep a layer of QKeras; a quantiser takes any value, the others need exact ones."""
        wanted = RAW if call.kind in ("QActivation", "QAdaptiveActivation") else WIDE
        inputs = tuple(self._need(number, wanted) for number in call.inputs)
        own = function_name(call.options.get("activation"))
        self._emit(replace(call, inputs=inputs), WIDE if own in ACTIVATIONS else NARROW)
        fraction = quantiser_fraction(call.options.get("activation"))
        if fraction is not None:
            self._fraction[call.output] = fraction

    # Tensors and quantisers.

    def _wide_then_narrow(self, call: Call) -> None:
        """Write a call whose result is exact but long or not on a grid, and a quantiser behind it."""
        number = self._new()
        self._calls.append(replace(call, output=number))
        self._state[number] = RAW
        self._quantise(call.output, number, f"{call.name}_quantised", self._own_bits(call))

    def _emit(self, call: Call, state: int) -> None:
        self._calls.append(call)
        self._state[call.output] = state

    def _need(self, number: int, state: int) -> int:
        """Return the tensor that stands for `number`, with a quantiser in between if it is not good enough."""
        number = self._moved.get(number, number)
        if self._state[number] >= state:
            return number
        call = next((call for call in self._calls if call.output == number), None)
        name = call.name if call is not None else self._flat.entries[number].name
        return self._quantise(number, number, f"{name}_quantised", self._bits(name, number))

    def _quantise(self, number: int, source: int, name: str, bits: int) -> int:
        """Put a quantiser behind `source`, which stands for tensor `number` from now on."""
        limit = self._limits.get(number, UNLIMITED)
        peak = max(abs(bound) for bound in self._ranges[number])
        made = self._quantiser(source, name, peak, limit, bits)
        self._moved[number] = made
        return made

    def _quantiser(self, source: int, name: str, peak: float, limit: int, bits: int | None = None) -> int:
        bits = min(self._settings.activation_bits if bits is None else bits, limit)
        integer = integer_bits(peak) + self._settings.margin_bits
        if bits - integer - 1 < 1:
            # Types without a fractional bit neither round nor saturate in hls4ml.
            bits = integer + 2
            if bits > min(limit, EXACT_BITS):
                remedy = "scale the inputs, or use fewer weight bits"
                msg = f"{name!r} would need {bits} bits for values up to {peak:.4g}; {remedy}"
                raise InputError(msg)
            self.notes.append(f"{name!r} has {bits} bits, since values up to {peak:.4g} leave no fewer.")
        number = self._new()
        options = {"activation": quantised(bits, integer)}
        self._calls.append(Call(self._free(name), "QActivation", options, (), (source,), number))
        self._state[number] = NARROW
        self._fraction[number] = bits - integer - 1
        return number

    def _own_bits(self, call: Call) -> int:
        """Return the bits of the values of a layer without weights, which the settings may name."""
        return self._bits(call.name, call.output, self._settings.layers.get(call.name))

    def _bits(self, name: str, number: int, wanted: int | None = None) -> int:
        """Return the bits of the values of a layer, within what stays exact in Keras."""
        wanted, limit = wanted or self._settings.activation_bits, self._limits.get(number, UNLIMITED)
        if limit < min(wanted, 4):
            msg = (
                f"the sums behind layer {name!r} are not exact in float32 even with {limit} bits; use fewer weight bits"
            )
            raise InputError(msg)
        if limit < wanted:
            self.notes.append(f"The values of {name!r} have {limit} bits, so that the sums behind them are exact.")
        return min(wanted, limit)

    def _bit_limits(self) -> dict[int, int]:
        """Return for each tensor the bits that keep all sums of products behind it exact in float32."""
        limits: dict[int, int] = {}
        for call in reversed(self._flat.calls):
            if call.kind in PLAIN:
                bits = self._settings.layers.get(call.name, self._settings.weight_bits)
                limit = EXACT_BITS - math.ceil(math.log2(max(1.0, sums_of_codes(call, bits))))
            elif call.kind in _THROUGH:
                limit = limits.get(call.output, UNLIMITED)
            else:
                continue
            for number in call.inputs:
                limits[number] = min(limits.get(number, UNLIMITED), limit)
        return limits

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _free(self, wanted: str) -> str:
        free, number = wanted, 1
        while free in self._names:
            number += 1
            free = f"{wanted}_{number}"
        self._names.add(free)
        return free


def bare_inputs(flat: FlatModel) -> list[int]:
    """Return the inputs that are read by anything but quantisers and embeddings."""
    return [
        index
        for index in range(len(flat.entries))
        if any(call.kind not in ("QActivation", "Embedding") for call in flat.consumers(index))
        or (index in flat.outputs)
    ]
