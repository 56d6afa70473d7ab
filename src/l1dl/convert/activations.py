"""Hand element-wise layers to hls4ml: as types, as its own functions, or as truth tables.

A quantiser of activations that is no type becomes hls4ml's ``UnaryLUT``: Keras is evaluated on every code of
the input, and with it the unquantised functions just before it (`is_fused`), which have no exact firmware of their
own. The type of the input is known only when hls4ml's bit-exact pass has reached the layer, so the table is made
there (`truth_table.install`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from l1dl.convert.quantisers import NEAREST, Form, check_quantiser, quantiser_form, quantiser_spec, rounds_to_nearest
from l1dl.convert.truth_table import INDEX, TRUTH, Chain, install
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec

Descriptions = tuple[dict[str, Any], ...]
"""What an hls4ml handler returns: one description for each hls4ml layer."""

QUANTISING = ("QActivation",)
"""Keras layers that quantise element by element."""

_OWN = ("linear", "relu", "relu6", "sigmoid", "tanh", "softplus", "softsign", "selu", "hard_sigmoid", "hard_tanh",
        "elu", "leaky_relu", "softmax")  # fmt: skip
"""Functions that hls4ml's C++ has."""

_LAYERS = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU")
"""Keras layers of one element-wise function."""

_SLOPE_BITS = 8
"""Bits of a slope whose products Keras computes exactly, for inputs of up to 16 bits."""

_HALF = {"width": 2, "integer": 0, "signed": False}


def check_activation(where: str, layer: Any) -> None:
    """Refuse an element-wise layer that has no exact firmware.

    Parameters
    ----------
    where
        Names the layer in the error.

    Raises
    ------
    UnsupportedError
        The text names the layer and what to use instead.
    """
    kind = type(layer).__name__
    if kind in QUANTISING or _is_quantiser(layer):
        check_quantiser(where, "activation", layer.activation, "activation")
    elif not (is_native(layer) or is_fused(layer)):
        msg = (
            f"{where}: the function {function_name(layer)} has no exact firmware by itself; "
            f"put a QActivation layer with {', '.join(NEAREST)}, or with a type that rounds to nearest, behind it, and "
            "nothing else"
        )
        raise UnsupportedError(msg)


def is_native(layer: Any) -> bool:
    """Say whether firmware computes the function of an element-wise layer exactly."""
    name, slope = function_name(layer), _slope(layer)
    if name in ("linear", "relu", "relu1", "relu6"):
        return True
    if name not in ("leaky_relu", "prelu"):
        return False
    scaled = np.ldexp(np.abs(slope), _SLOPE_BITS)
    return bool(np.all((scaled == np.rint(scaled)) & (scaled < 2.0 ** (2 * _SLOPE_BITS))))


def is_fused(layer: Any) -> bool:
    """Say whether the function of a layer becomes part of the truth tables of the quantisers behind it."""
    if type(layer).__name__ not in _LAYERS or _is_quantiser(layer) or is_native(layer) or _slope(layer).ndim:
        return False
    if function_name(layer) == "softmax":  # not element by element
        return False
    readers = [node.operation for node in layer._outbound_nodes]
    return bool(readers) and all(_takes_floats(reader) or is_fused(reader) for reader in readers)


def _takes_floats(layer: Any) -> bool:
    """Say whether a layer is a quantiser whose results are exact for any float."""
    return (type(layer).__name__ in QUANTISING or _is_quantiser(layer)) and rounds_to_nearest(layer.activation)


def _handle_quantiser(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Descriptions:
    """Describe a quantiser: its type, or the truth table of it and of the functions before it."""
    check_activation(f"layer {layer.name!r} ({type(layer).__name__})", layer)
    install()
    base = _base(layer, inputs, outputs)
    before = _fused_before(inputs[0])
    form = quantiser_form(layer.activation) if not before else Form.TABLE
    if form is Form.TABLE:
        return _truth_table(base, Chain((*before, layer.activation)))
    base |= {"class_name": "Activation", "activation": form.value, "trusted": True}
    base["activation_quantizer"] = _Type(quantiser_spec(layer.activation))
    if form is Form.HARD_SIGMOID:
        base |= _hard(0.5)
    return (base,)


def _handle_function(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Descriptions:
    """Describe a function in hls4ml's own form, or as nothing where a truth table comes to include it."""
    if _is_quantiser(layer):
        return _handle_quantiser(layer, inputs, outputs)
    install()
    base, name = _base(layer, inputs, outputs), function_name(layer)
    own = {"activation": "linear"} if is_fused(layer) else _own_form(layer, name, inputs[0].shape[1:])
    return ({"class_name": "Activation"} | base | own,)


def _own_form(layer: Any, name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return hls4ml's attributes of a function."""
    own: dict[str, Any] = {"activation": name}
    if name == "linear":  # hls4ml would drop it behind a table or a matrix; it looks for the name in lower case
        own["activation"] = "Linear"
    elif name == "prelu":
        own |= {"class_name": "PReLU", "param_data": np.broadcast_to(_slope(layer), shape).copy()}
    elif name == "softmax":
        own |= {"class_name": "Softmax", "axis": -1, "n_outer": math.prod(shape[:-1]), "n_inner": 1}
    elif name == "thresholded_relu":
        own = {"class_name": "ThresholdedReLU", "activation": "thresholdedrelu", "activ_param": float(layer.threshold)}
    elif name == "leaky_relu":
        own = {"class_name": "LeakyReLU", "activation": "leakyrelu", "activ_param": float(_slope(layer))}
    elif name == "elu":
        own |= {"class_name": "ELU", "activ_param": float(getattr(layer, "alpha", 1.0))}
    elif name in ("hard_sigmoid", "hard_tanh"):
        own |= _hard(1 / 6 if name == "hard_sigmoid" else 0.5)
    elif name not in (*_OWN, "relu1"):
        msg = f"layer {layer.name!r}: hls4ml has no function {name}; it has {', '.join(_OWN)}"
        raise UnsupportedError(msg)
    return own


HANDLERS: dict[str, Callable[[Any, Sequence[Any], Sequence[Any]], Descriptions]] = {
    "QActivation": _handle_quantiser,
    **dict.fromkeys(_LAYERS, _handle_function),
}
"""Keras class → handler for hls4ml."""


class _Type:
    """Tells hls4ml the type of a quantiser's result."""

    def __init__(self, spec: FixedSpec) -> None:
        from hls4ml.model.types import FixedPrecisionType

        modes = spec.rounding.value, spec.overflow.value
        self.hls_type = FixedPrecisionType(spec.width, spec.integer, spec.signed, *modes)


def _base(layer: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
    return {
        "name": layer.name,
        "module": layer.__module__,
        "n_in": math.prod(inputs[0].shape[1:]),
        "input_shape": [list(tensor.shape[1:]) for tensor in inputs],
        "input_keras_tensor_names": [tensor.name for tensor in inputs],
        "output_keras_tensor_names": [tensor.name for tensor in outputs],
    }


def _truth_table(base: dict[str, Any], chain: Chain) -> Descriptions:
    """Describe a conversion to the type of the index, and the table."""
    between = f"{base['name']}__index"
    index = base | {"name": between, "class_name": "Activation", "activation": "linear", INDEX: chain}
    table = base | {"class_name": "UnaryLUT", "activation": "unary_lut", "table_data": np.zeros(2), TRUTH: chain}
    index["output_keras_tensor_names"] = table["input_keras_tensor_names"] = [between]
    return index, table


def _hard(slope: float) -> dict[str, Any]:
    from hls4ml.model.types import FixedPrecisionType

    result: dict[str, Any] = {"class_name": "HardActivation", "slope": slope, "shift": 0.5}
    result["shift_prec"] = FixedPrecisionType(**_HALF)
    if slope == 0.5:
        result["slope_prec"] = FixedPrecisionType(**_HALF)
    return result


def _parameter(value: Any) -> dict[str, Any]:
    return {"activ_param": float(value)}


def _fused_before(tensor: Any) -> tuple[Any, ...]:
    """Return the layers that end in `tensor` and become part of the table that reads it, the first one first."""
    layer = tensor._keras_history.operation
    if not is_fused(layer):
        return ()
    return (*_fused_before(layer.input), layer)


def _is_quantiser(layer: Any) -> bool:
    """Say whether a plain ``Activation`` layer holds a QKeras quantiser."""
    module = type(getattr(layer, "activation", None)).__module__
    return type(layer).__name__ == "Activation" and module.partition(".")[0] == "qkeras"


def function_name(layer: Any) -> str:
    """Return hls4ml's name of a layer's function, or Keras's where hls4ml has none."""
    kind = type(layer).__name__
    if kind == "ReLU":
        top = None if layer.max_value in (None, math.inf) else float(layer.max_value)
        options = (top is not None, bool(layer.negative_slope), bool(layer.threshold))
        if options == (True, False, False) and top in (1.0, 6.0):
            return f"relu{top:.0f}"
        names = {
            (False, False, False): "relu",
            (False, True, False): "leaky_relu",
            (False, False, True): "thresholded_relu",
        }
        return names.get(options, f"relu with maximum {top}, slope {layer.negative_slope}, threshold {layer.threshold}")
    names_of = {"LeakyReLU": "leaky_relu", "PReLU": "prelu", "ELU": "elu"}
    if kind in names_of:
        return names_of[kind]
    return str(getattr(layer.activation, "__name__", type(layer.activation).__name__))


def _slope(layer: Any) -> Any:
    """Return the slope for negative values as an array: of no axes unless it differs between values."""
    if type(layer).__name__ == "PReLU":
        from l1dl.models.backend import import_keras

        return np.asarray(import_keras().ops.convert_to_numpy(layer.alpha), dtype=np.float64)
    return np.float64(getattr(layer, "negative_slope", 0.2))
