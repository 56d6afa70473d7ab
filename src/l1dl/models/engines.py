"""The two engines, QKeras and HGQ2, of which an environment holds one: their packages exclude each other."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Literal

from l1dl.errors import ToolMissingError

Engine = Literal["qkeras", "hgq2"]

PACKAGES: dict[Engine, str] = {"qkeras": "qkeras-v3", "hgq2": "HGQ2"}
"""Engine → the package that it needs."""


def installed_engines() -> tuple[Engine, ...]:
    """Return the engines that work in this environment, without importing them.

    HGQ2's wheel brings a module ``qkeras`` of its own, so that QKeras cannot be trusted beside it.
    """
    found = tuple(engine for engine, package in PACKAGES.items() if _is_installed(package))
    return found if len(found) < 2 else ()


def check_engine(engine: Engine) -> None:
    """Refuse an engine that does not work in this environment.

    Raises
    ------
    ToolMissingError
        The text says how to get an environment in which it does.
    """
    found = installed_engines()
    if engine in found:
        return
    both = all(_is_installed(package) for package in PACKAGES.values())
    state = (
        "this environment holds HGQ2 and QKeras, whose modules called qkeras overwrite each other"
        if both
        else f"this environment holds {PACKAGES[found[0]] if found else 'no engine'}"
    )
    msg = (
        f"engine {engine!r} needs {PACKAGES[engine]}, and {state}; the engines exclude each other: "
        f"use a fresh environment with pip install 'l1dl[{engine}]', or in a checkout make setup ENGINE={engine}"
    )
    raise ToolMissingError(msg)


def is_hgq(part: Any) -> bool:
    """Say whether a layer or a quantiser is one of HGQ2's."""
    return type(part).__module__.partition(".")[0] == "hgq"


def is_hgq_model(model: Any) -> bool:
    """Say whether a Keras model has layers of HGQ2."""
    return any(is_hgq(layer) for layer in model._flatten_layers())


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
