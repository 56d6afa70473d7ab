"""Keras and QKeras layers from their configuration: an allow-list, one option at a time, nothing of the file is run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from l1dl.errors import InputError, UnsupportedError, did_you_mean
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.quantiser_config import make_activation, make_quantiser

KERAS_LAYERS = (
    "Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average", "AveragePooling1D", "AveragePooling2D",
    "BatchNormalization", "Bidirectional", "Concatenate", "Conv1D", "Conv2D", "Cropping1D", "Cropping2D", "Dense",
    "DepthwiseConv1D", "DepthwiseConv2D", "Dot", "Dropout", "ELU", "Embedding", "Flatten", "GRU", "GaussianDropout",
    "GaussianNoise", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "Identity",
    "LSTM", "LeakyReLU", "MaxPooling1D", "MaxPooling2D", "Maximum", "Minimum", "Multiply", "PReLU", "Permute", "ReLU",
    "RepeatVector", "Reshape", "SeparableConv1D", "SeparableConv2D", "SimpleRNN", "Softmax", "SpatialDropout1D",
    "SpatialDropout2D", "Subtract", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
)  # fmt: skip
"""Layers of Keras that a file may hold."""

QKERAS_LAYERS = (
    "QActivation", "QAveragePooling2D", "QBatchNormalization", "QBidirectional", "QConv1D", "QConv2D",
    "QConv2DBatchnorm", "QDense", "QDenseBatchnorm", "QDepthwiseConv2D", "QDepthwiseConv2DBatchnorm", "QGRU",
    "QGlobalAveragePooling2D", "QLSTM", "QScaleShift", "QSeparableConv1D", "QSeparableConv2D", "QSimpleRNN",
)  # fmt: skip
"""Layers of QKeras that a file may hold."""

HGQ2_LAYERS = (
    "QAdd", "QBatchNormDense", "QConv1D", "QConv2D", "QDense", "QGlobalMaxPooling1D", "QGlobalMaxPooling2D",
    "QMaxPooling1D", "QMaxPooling2D", "QMaximum", "QMinimum", "QMultiply", "QSubtract", "Quantizer",
)  # fmt: skip
"""Layers of HGQ2 that a file may hold."""

LAYERS = (*KERAS_LAYERS, *QKERAS_LAYERS)

IDENTITIES = (
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
    "SpatialDropout1D", "SpatialDropout2D",
)  # fmt: skip
"""Layers that only act in training."""

_CODE: Mapping[str, str] = MappingProxyType(
    {
        "Lambda": "it holds Python code, which l1dl never runs; replace it by layers",
        "TFOpLambda": "it stands for an operator or a TensorFlow function on a tensor; replace it by a layer, e.g. Add",
        "SlicingOpLambda": "it stands for the slicing of a tensor, which has no layer",
        "TensorFlowOpLayer": "it holds a TensorFlow operation; replace it by a layer",
        "ThresholdedReLU": "Keras 3 has no such layer",
    }
)

_TRAINING = ("_initializer", "_regularizer", "_constraint", "_range")
"""Ends of the names of options that matter in training only."""

_DROPPED = (
    "batch_input_shape", "batch_shape", "dropout", "ema_freeze_delay", "enable_caching_device", "fused",
    "implementation", "input_dtype", "input_length", "l1", "l2", "momentum", "noise_shape", "quantization_config",
    "recurrent_dropout", "renorm_clipping", "renorm_momentum", "seed", "synchronized", "unit_forget_bias",
    "use_cudnn", "use_ema", "weights",
)  # fmt: skip
"""More options that matter in training only, or that say how and not what is computed."""

_NEUTRAL: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "data_format": ("channels_last",),
        "groups": (1,),
        "ragged": (False,),
        "renorm": (False,),
        "sparse": (False,),
        "stateful": (False,),
        "time_major": (False,),
        "zero_output_for_mask": (False,),
    }
)
"""Options that a layer of Keras 3 may not have, with the values that mean nothing."""

_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
_FLOAT_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")
_CELLS = {"QSimpleRNN": "QSimpleRNNCell", "QLSTM": "QLSTMCell", "QGRU": "QGRUCell"}
_RNN_OPTIONS = ("return_sequences", "return_state", "go_backwards", "unroll")


def make_layer(kind: str, config: Mapping[str, Any], *, keras_version: int = 3) -> Any:
    """Return a layer built from its class name and its configuration.

    Parameters
    ----------
    kind
        Name of the class, one of `LAYERS`.
    config
        What ``get_config`` of Keras 2 or Keras 3 returned. Initialisers, regularisers and constraints are left out.
    keras_version
        Major version of the Keras that wrote it.

    Raises
    ------
    UnsupportedError
        The class or an option is not known; the text names the layer, the class and the option.
    """
    name = str(config.get("name", kind.lower()))
    where = f"layer {name!r} ({kind})"
    check_class(kind, where)
    options = _options(kind, config, where, keras_version)
    module = import_qkeras() if kind in QKERAS_LAYERS else import_keras().layers
    if kind == "QScaleShift":
        options.pop("trainable", None)
    try:
        layer = getattr(module, kind)(**options)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        msg = f"{where} cannot be made from its configuration: {_first_line(error)}"
        raise InputError(msg) from error
    layer.name = name  # some layers of QKeras lose it
    return layer


def check_class(kind: str, where: str) -> None:
    """Refuse a class that is none of `LAYERS`.

    Raises
    ------
    UnsupportedError
        It is not; the text says why, or names the closest that is.
    """
    if kind in LAYERS:
        return
    reason = _CODE.get(kind)
    hint = f": {reason}" if reason else did_you_mean(kind, LAYERS)
    allowed = "" if hint else ", only layers of Keras and QKeras that can become firmware"
    msg = f"{where} is of a class that l1dl does not load{allowed}{hint}"
    raise UnsupportedError(msg)


def bare_name(kind: Any) -> str:
    """Return the name of a class without its package, with which Keras 3 registers classes of others."""
    return str(kind).removeprefix("qkeras>")


def float_policy(value: Any) -> str:
    """Return the name of a data type or of a policy for data types, however it is written."""
    if isinstance(value, Mapping):
        inner = value.get("config")
        value = inner.get("name") if isinstance(inner, Mapping) else inner
    return str(value)


def _options(kind: str, config: Mapping[str, Any], where: str, keras_version: int) -> dict[str, Any]:
    """Return the arguments of the layer's constructor."""
    known = _known_options(kind)
    options: dict[str, Any] = {}
    for old, value in config.items():
        key = _RENAMED.get((kind, old), old)
        if key == "dtype":
            if float_policy(value) not in _FLOAT_POLICIES:
                msg = f"{where} has the data type {float_policy(value)!r}; allowed are {', '.join(_FLOAT_POLICIES)}"
                raise UnsupportedError(msg)
        elif key in known and key not in _DROPPED and not key.endswith(_TRAINING):
            options[key] = _value(kind, key, value, where, keras_version)
        elif key not in _DROPPED and not key.endswith(_TRAINING):
            _check_neutral(key, value, where, known)
    return options


def _check_neutral(key: str, value: Any, where: str, known: tuple[str, ...]) -> None:
    allowed = _NEUTRAL.get(key, ())
    if value is None or value in allowed:
        return
    if allowed:
        msg = f"{where} has {key}={value!r}, which its class in Keras 3 does not have; allowed is {allowed[0]!r}"
    else:
        msg = f"{where} has an option {key!r} that is not known{did_you_mean(key, known)}"
    raise UnsupportedError(msg)


def _known_options(kind: str) -> tuple[str, ...]:
    """Return the names of the options that the constructor takes."""
    module = import_qkeras() if kind in QKERAS_LAYERS else import_keras().layers
    names = list(inspect.signature(getattr(module, kind).__init__).parameters)[1:]
    if kind in _CELLS:
        names += list(inspect.signature(getattr(module, _CELLS[kind]).__init__).parameters)[1:]
        names += _RNN_OPTIONS
    return tuple(dict.fromkeys([*(name for name in names if name != "kwargs"), "name", "trainable"]))


def _value(kind: str, key: str, value: Any, where: str, keras_version: int) -> Any:
    """Return one option in the form that the constructor takes."""
    if key.endswith("_quantizer"):
        return make_quantiser(value, f"{where}: {key}")
    if key in ("activation", "recurrent_activation"):
        made = make_activation(value, f"{where}: {key}", qkeras=kind in QKERAS_LAYERS)
        if made == "hard_sigmoid" and kind not in QKERAS_LAYERS and keras_version < 3:
            msg = (
                f"{where}: {key} is 'hard_sigmoid', which is clip(0.2 x + 0.5, 0, 1) in Keras {keras_version} and "
                "another function in Keras 3; use a quantised sigmoid"
            )
            raise UnsupportedError(msg)
        return made
    if key in ("layer", "backward_layer"):
        return None if value is None else _inner(value, where, keras_version)
    if key == "axis" and "atch" in kind and isinstance(value, (list, tuple)):  # of a batch normalisation
        if len(value) != 1:
            msg = f"{where} normalises the axes {list(value)}; one axis is supported"
            raise UnsupportedError(msg)
        return value[0]
    if key == "mask_zero" and value:
        msg = f"{where} has mask_zero=True; masks are not supported"
        raise UnsupportedError(msg)
    return _plain(value, f"{where}: {key}")


def _inner(value: Any, where: str, keras_version: int) -> Any:
    if not isinstance(value, Mapping) or not isinstance(value.get("config"), Mapping):
        msg = f"{where} does not say which layer it wraps"
        raise InputError(msg)
    return make_layer(bare_name(value.get("class_name")), value["config"], keras_version=keras_version)


def _plain(value: Any, where: str) -> Any:
    """Return numbers, texts and lists of them; NumPy values come in a dictionary of their own."""
    if isinstance(value, Mapping) and "value" in value and set(value) <= {"type", "value", "class_name", "dtype"}:
        value = value["value"]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item, where) for item in value)
    if hasattr(value, "tolist"):
        return value
    msg = f"{where} is {value!r:.80}; allowed: a number, a text or a list of them"
    raise UnsupportedError(msg)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
