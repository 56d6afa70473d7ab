"""What a user may say about the types of a model that has none: bits, or types in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, parse_spec
from l1dl.models.fixed_point import EXACT_BITS, check_exact


@dataclass(frozen=True)
class FitSettings:
    """The bit budget of a fit, and types that are given.

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
    types
        What → its type, or the text of one (``l1dl.fixed.parse_spec``), which is taken as it is. What is an input,
        ``LAYER`` or ``LAYER.result`` for the result of a layer, ``LAYER.weight``, ``LAYER.bias``, or ``LAYER.sum`` for
        the values before the layer's own activation.
    """

    weight_bits: int = 8
    activation_bits: int = 12
    bias_bits: int = 12
    input_bits: int = 12
    margin_bits: int = 1
    layers: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, FixedSpec | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the budget and the types.

        Raises
        ------
        InputError
            A number of bits is outside its range, or a text is no type.
        UnsupportedError
            A type is not exact in Keras.
        """
        for name in ("weight_bits", "activation_bits", "bias_bits", "input_bits"):
            _check_bits(name, getattr(self, name))
        for name, bits in self.layers.items():
            _check_bits(f"layer {name!r}", bits)
        if not 0 <= self.margin_bits <= 8:
            msg = f"margin_bits = {self.margin_bits} is not allowed; give 0 to 8"
            raise InputError(msg)
        for key, spec in self.specs.items():
            check_exact(f"{key!r}: the type", spec)

    @property
    def specs(self) -> Mapping[str, FixedSpec]:
        """The types that are given."""
        return MappingProxyType({key: _spec(key, given) for key, given in self.types.items()})


def _spec(key: str, given: FixedSpec | str) -> FixedSpec:
    if isinstance(given, FixedSpec):
        return given
    try:
        return parse_spec(given)
    except InputError as error:
        msg = f"{key!r}: {error}"
        raise InputError(msg) from None


def _check_bits(name: str, bits: int) -> None:
    if not 2 <= bits <= EXACT_BITS:
        msg = f"{name} = {bits} is not allowed; give 2 to {EXACT_BITS} bits"
        raise InputError(msg)
