"""The pass over a model's calls that gives each tensor a type; see `l1dl.models.fit`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from l1dl.errors import InputError, UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.models.exact import check_affine, check_product, check_sum, check_weighted, cover
from l1dl.models.fit_settings import FitSettings
from l1dl.models.fixed_point import EXACT_BITS
from l1dl.models.flat import Call, FlatModel, with_calls
from l1dl.models.fold import frozen_normalisation
from l1dl.models.given_types import GivenTypes
from l1dl.models.quantiser_config import ACTIVATIONS
from l1dl.models.strip import function_name
from l1dl.models.twins import (
    PLAIN,
    ConstantTypes,
    Twin,
    integer_bits,
    make_twin,
    overflow_notes,
    quantised,
    relu,
    rounded,
    sums_of_codes,
    type_of,
)

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


class TypePass:
    """One pass over the calls, which writes the quantised ones.

    Parameters
    ----------
    ranges
        Of every tensor; empty without calibration data.
    given
        Types that are given; those of results stand in the model already.

    Attributes
    ----------
    notes
        Remarks for the report.
    missing
        What would need calibration data to get a type, where there are none.
    """

    def __init__(self, flat: FlatModel, ranges: Ranges, settings: FitSettings, given: GivenTypes) -> None:
        self._flat, self._ranges, self._settings, self._given = flat, ranges, settings, given
        self._limits = self._bit_limits()
        self._calls: list[Call] = []
        self._state: dict[int, int] = {}
        self._moved: dict[int, int] = {}
        self._spec: dict[int, FixedSpec] = {}
        self._next = flat.unused
        self._names = flat.names()
        self._twins: dict[str, Twin] = {}
        self.notes: list[str] = []
        self.missing: list[str] = []

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
        spec = self._spec.get(source)
        if call.name not in self._twins:
            types = self._constant_types(call)
            self._twins[call.name] = make_twin(call, types, None if spec is None else spec.fraction)
            self.notes += overflow_notes(call, types)
        twin = self._twins[call.name]
        if self._given:
            check_weighted(twin.first or twin.call, spec)
        if twin.first is not None:  # the depthwise half of a separable convolution
            number = self._new()
            self._calls.append(replace(twin.first, inputs=(source,), output=number))
            self._state[number] = WIDE
            peak = twin.gain * self._peak(call.inputs[0], call.name)
            source = self._quantiser(number, f"{call.name}_quantised", peak, self._limits.get(call.output, UNLIMITED))
            if self._given:
                check_weighted(twin.call, self._spec[source])
        self._emit(replace(twin.call, inputs=(source,), output=call.output), WIDE)

    def _constant_types(self, call: Call) -> ConstantTypes:
        """Return what is said about the types of a layer's weights and biases."""
        bits = self._settings.layers.get(call.name, self._settings.weight_bits)
        weight, bias = (self._given.get((call.name, part)) for part in ("weight", "bias"))
        return ConstantTypes(bits, self._settings.bias_bits, weight, bias)

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
        source = self._need(call.inputs[0], WIDE)
        bound = {} if ceiling is None else {"max_value": float(np.round(ceiling * 256) / 256)}
        if self._is_typed(call.output):
            self._emit(Call(call.name, "ReLU", {"name": call.name, **bound}, (), (source,), call.output), WIDE)
            return
        bits = self._own_bits(call)
        if ceiling is None:
            needed = integer_bits(self._peak(call.output, call.name)) + self._settings.margin_bits
        else:
            number, needed = self._new(), integer_bits(ceiling)
            name = self._free(f"{call.name}_bounded")
            self._calls.append(Call(name, "ReLU", {"name": name, **bound}, (), (source,), number))
            source = number
        # QKeras' quantized_relu takes no negative number of integer bits: more fractional ones do the same.
        integer, limit = max(0, needed), self._limits.get(call.output, UNLIMITED)
        quantiser, _ = relu(max(bits, min(bits + integer - needed, limit)), integer)
        self._emit(Call(call.name, "QActivation", {"activation": quantiser}, (), (source,), call.output), NARROW)
        self._know(call.output, type_of(quantiser))

    def _function(self, call: Call) -> None:
        """Write a function that is looked up: of exact values, with a quantiser behind it."""
        self._wide_then_narrow(replace(call, inputs=(self._need(call.inputs[0], NARROW),)))

    def _leaky(self, call: Call) -> None:
        source = self._need(call.inputs[0], NARROW)
        weights = tuple(np.round(weight * 256) / 256 for weight in call.weights)
        options = dict(call.options)
        if call.kind == "LeakyReLU":
            options["negative_slope"] = float(np.round(options["negative_slope"] * 256) / 256)
        if self._given:
            slopes = weights[0] if call.kind == "PReLU" else np.array([1.0, options["negative_slope"]])
            check_affine(call, slopes, np.zeros(1), self._spec.get(source))
        self._wide_then_narrow(replace(call, options=options, weights=weights, inputs=(source,)))

    def _average(self, call: Call) -> None:
        self._wide_then_narrow(replace(call, inputs=(self._need(call.inputs[0], NARROW),)))

    def _sum(self, call: Call) -> None:
        count = len(call.inputs)
        if call.kind == "Average" and count & (count - 1):
            msg = f"layer {call.name!r} (Average) averages {count} tensors; 2, 4, 8, … have an exact average"
            raise UnsupportedError(msg)
        inputs = tuple(self._need(number, WIDE) for number in call.inputs)
        if self._given:
            check_sum(call, [self._spec.get(number) for number in inputs])
        self._emit(replace(call, inputs=inputs), WIDE)

    def _product(self, call: Call) -> None:
        inputs = tuple(self._need(number, NARROW) for number in call.inputs)
        if call.options.get("normalize"):
            msg = f"layer {call.name!r} (Dot) normalises its inputs, which has no exact form"
            raise UnsupportedError(msg)
        if self._given:
            check_product(call, [self._spec.get(number) for number in inputs])
        self._wide_then_narrow(replace(call, inputs=inputs))

    def _through(self, call: Call) -> None:
        if call.options.get("interpolation", "nearest") != "nearest":
            msg = f"layer {call.name!r} ({call.kind}) interpolates; use interpolation='nearest'"
            raise UnsupportedError(msg)
        inputs = tuple(self._need(number, WIDE) for number in call.inputs)
        self._emit(replace(call, inputs=inputs), min(self._state[number] for number in inputs))
        self._know(call.output, cover([self._spec.get(number) for number in inputs]))

    def _normalisation(self, call: Call) -> None:
        source = self._need(call.inputs[0], NARROW)
        bits = self._settings.layers.get(call.name, self._settings.weight_bits + 2)
        spec = self._spec.get(source)
        fraction = self._settings.activation_bits if spec is None else spec.fraction
        frozen = frozen_normalisation(call, bits, fraction)
        if self._given:
            check_affine(call, frozen.weights[0], frozen.weights[1], spec)
        self._emit(replace(frozen, inputs=(source,)), WIDE)
        self.notes.append(f"Batch normalisation {call.name!r} became a fixed scale and offset of rounded constants.")

    def _embedding(self, call: Call) -> None:
        bits = self._settings.layers.get(call.name, self._settings.activation_bits)
        types = replace(self._constant_types(call), bits=bits)
        quantiser = types.of_weight(call.weights[0])
        self.notes += overflow_notes(call, types)
        self._emit(replace(call, weights=(rounded(call.weights[0], quantiser),)), NARROW)
        self._know(call.output, type_of(quantiser))

    def _softmax(self, call: Call) -> None:
        self._emit(replace(call, inputs=(self._need(call.inputs[0], WIDE),)), RAW)

    def _keep(self, call: Call) -> None:
        """Keep a layer of QKeras; a quantiser takes any value, the others need exact ones."""
        wanted = RAW if call.kind in ("QActivation", "QAdaptiveActivation") else WIDE
        inputs = tuple(self._need(number, wanted) for number in call.inputs)
        own = function_name(call.options.get("activation"))
        self._emit(replace(call, inputs=inputs), WIDE if own in ACTIVATIONS else NARROW)
        self._know(call.output, type_of(call.options.get("activation")))

    # Tensors and quantisers.

    def _wide_then_narrow(self, call: Call) -> None:
        """Write a call whose result is exact but long or not on a grid, and a quantiser behind it if none is there."""
        if self._is_typed(call.output):
            self._emit(call, RAW)
            return
        number = self._new()
        self._calls.append(replace(call, output=number))
        self._state[number] = RAW
        self._quantise(call.output, number, f"{call.name}_quantised", self._own_bits(call))

    def _emit(self, call: Call, state: int) -> None:
        self._calls.append(call)
        self._state[call.output] = state

    def _know(self, number: int, spec: FixedSpec | None) -> None:
        """Note the type of a tensor's values, if there is one."""
        if spec is not None:
            self._spec[number] = spec

    def _is_typed(self, number: int) -> bool:
        """Say whether nothing but quantisers that are types reads a tensor."""
        readers = self._flat.consumers(number)
        typed = all(
            call.kind == "QActivation" and type_of(call.options.get("activation")) is not None for call in readers
        )
        return bool(readers) and typed and number not in self._flat.outputs

    def _peak(self, number: int, name: str) -> float:
        """Return the largest magnitude of a tensor: in the calibration data, or else within its type."""
        if number in self._ranges:
            return max(abs(bound) for bound in self._ranges[number])
        spec = self._spec.get(self._moved.get(number, number))
        if spec is None:
            self.missing.append(name)
            return 1.0
        return max(spec.maximum_code, -spec.minimum_code) * spec.step

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
        before = self._flat.producer(number)
        peak = self._peak(number, self._flat.entries[number].name if before is None else before.name)
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
        self._know(number, type_of(options["activation"]))
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
                limit = EXACT_BITS - math.ceil(math.log2(sums_of_codes(call, self._constant_types(call))))
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
