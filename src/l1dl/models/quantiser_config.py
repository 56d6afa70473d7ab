"""Quantisers and activation functions from a model file: names and numbers, looked up in a list, never evaluated.

QKeras itself looks a text such as ``"quantized_bits(6, 0, alpha=1)"`` up among all names of its module and calls
what it finds with arguments from the text, so that a file could call any function there. Here the text is parsed
as an expression of literals, and its name must be one of `QUANTISERS` or `ACTIVATIONS`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from typing import Any

from l1dl.errors import InputError, UnsupportedError, did_you_mean
from l1dl.models.backend import import_qkeras
from l1dl.models.fixed_point import fixed_point

QUANTISERS = (
    "bernoulli", "binary", "fixed_point", "quantized_bits", "quantized_hswish", "quantized_linear", "quantized_po2",
    "quantized_relu", "quantized_relu_po2", "quantized_sigmoid", "quantized_tanh", "quantized_ulaw",
    "stochastic_binary", "stochastic_ternary", "ternary",
)  # fmt: skip
"""The quantisers that a file may name: those of QKeras, and our own `fixed_point`."""

ACTIVATIONS = (
    "elu", "hard_sigmoid", "leaky_relu", "linear", "relu", "relu6", "selu", "sigmoid", "softmax", "softplus",
    "softsign", "tanh",
)  # fmt: skip
"""The activation functions of Keras that a file may name."""

QKERAS_FUNCTIONS = ("binary_sigmoid", "binary_tanh", "hard_sigmoid", "hard_tanh", "smooth_sigmoid", "smooth_tanh")
"""The activation functions of QKeras' own that a layer of QKeras may name."""

_WRAPPED = ("function", "Activation")
"""How Keras 3 writes the name of an activation function: ``{"class_name": "function", "config": "relu"}``."""


def make_quantiser(value: Any, where: str) -> Any:
    """Return the quantiser that a configuration describes; None where it says None.

    Parameters
    ----------
    value
        None, a text such as ``"quantized_bits(6,0,alpha=1)"``, or ``{"class_name": …, "config": {…}}``.
    where
        Names the layer and the option in an error.

    Raises
    ------
    UnsupportedError
        It is none of `QUANTISERS`, or it has an option that this QKeras does not know.
    InputError
        Its options are damaged.
    """
    if value is None:
        return None
    if isinstance(value, str):
        name, arguments, options = parse_call(value, where)
    elif isinstance(value, Mapping):
        name, arguments, options = _bare(value.get("class_name")), [], value.get("config") or {}
    else:
        name, arguments, options = type(value).__name__, [], {}
    if name not in QUANTISERS:
        msg = f"{where} is {name!r}{did_you_mean(name, QUANTISERS)}; known quantisers are {', '.join(QUANTISERS)}"
        raise UnsupportedError(msg)
    if not isinstance(value, (str, Mapping)):
        return value
    if not isinstance(options, Mapping):
        msg = f"{where}: the configuration of {name} is {options!r}, not a list of options by name"
        raise InputError(msg)
    kind = quantiser_class(name)
    known = list(inspect.signature(kind.__init__).parameters)[1:]
    if len(arguments) > len(known):
        msg = f"{where}: {name} takes at most {len(known)} arguments, {len(arguments)} are given"
        raise InputError(msg)
    given = {**dict(zip(known, arguments, strict=False)), **options}
    unknown = [key for key in given if key not in known and given[key] is not None]
    if unknown:
        msg = f"{where}: {name} has no option {unknown[0]!r}{did_you_mean(unknown[0], known)}"
        raise UnsupportedError(msg)
    kept = {key: _literal(item, f"{where}: {key} of {name}") for key, item in given.items() if key in known}
    # Names and switches of TensorFlow variables say nothing about the values.
    for key in ("var_name", "use_variables"):
        kept.pop(key, None)
    try:
        return kind(**kept)
    except TypeError as error:
        msg = f"{where}: {name} cannot be made: {error}"
        raise InputError(msg) from error


def quantiser_class(name: str) -> Any:
    """Return the class of one of `QUANTISERS`."""
    return fixed_point if name == fixed_point.__name__ else getattr(import_qkeras(), name)


def make_activation(value: Any, where: str, *, qkeras: bool) -> Any:
    """Return what goes into the option `activation` of a layer: a quantiser, or the name of a function.

    Parameters
    ----------
    qkeras
        Whether the layer is one of QKeras, which takes quantisers too.

    Raises
    ------
    UnsupportedError
        It is not known; a function of the file's own is never loaded.
    """
    if isinstance(value, Mapping) and value.get("class_name") in _WRAPPED:
        value = value.get("config")
        if isinstance(value, Mapping):
            value = value.get("activation")
    if value is None:
        return None
    functions = (*ACTIVATIONS, *(QKERAS_FUNCTIONS if qkeras else ()))
    name = value if isinstance(value, str) else _bare(value.get("class_name") if isinstance(value, Mapping) else value)
    bare = name.split("(")[0].strip()
    if name in functions:
        return name
    if qkeras and (bare in QUANTISERS or not isinstance(value, (str, Mapping))):
        return make_quantiser(value, where)
    known = (*functions, *(QUANTISERS if qkeras else ()))
    msg = f"{where} is {bare!r}{did_you_mean(bare, known)}; known are {', '.join(known)}"
    raise UnsupportedError(msg)


def parse_call(text: str, where: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Return name, arguments and options of a text like ``"quantized_bits(6, 0, alpha=1)"``; nothing is evaluated.

    Raises
    ------
    InputError
        It is not a name with literal arguments.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, [], {}
        if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
            raise ValueError  # noqa: TRY004  it is the text that is wrong
        options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords if keyword.arg}
        if len(options) != len(tree.keywords):
            raise ValueError
        return tree.func.id, [ast.literal_eval(argument) for argument in tree.args], options
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        shown = text if len(text) < 80 else f"{text[:77]}..."
        msg = f"{where} is {shown!r}; allowed is a name with numbers and texts, e.g. 'quantized_bits(6, 0, alpha=1)'"
        raise InputError(msg) from None


def _bare(name: Any) -> str:
    """Return the name of a class without its package, with which Keras 3 registers classes of others."""
    return str(name).removeprefix("qkeras>")


def _literal(value: Any, where: str) -> Any:
    """Return a number, a text, None, or a list of these; NumPy values come in a dictionary of their own."""
    if isinstance(value, Mapping) and set(value) <= {"type", "value", "class_name", "dtype"} and "value" in value:
        value = value["value"]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_literal(item, where) for item in value]
    msg = f"{where} is {type(value).__name__}; allowed: a number, a text or a list of them"
    raise UnsupportedError(msg)
