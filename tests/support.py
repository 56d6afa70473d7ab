"""Graphs to test with, and the rule for absent tools: a visible skip, but a failure in CI, which installs them."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from graphs import graph_of, random_codes, random_graph, random_rows, random_spec

from l1dl.errors import ToolMissingError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.models.engines import installed_engines
from l1dl.nodes import Activation, Dense, Function, Input
from l1dl.tools import find_tool

__all__ = ["graph_of", "random_codes", "random_graph", "random_rows", "random_spec"]


def absent(reason: str) -> None:
    """Skip with the reason; fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI installs it)")
    pytest.skip(reason)


def need_tools(*names: str) -> None:
    """Skip unless l1dl finds these programs."""
    for name in names:
        try:
            find_tool(name)
        except ToolMissingError as error:  # noqa: PERF203
            absent(str(error))


def need_packages(*names: str) -> None:
    """Skip unless these packages are installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        absent(f"{', '.join(missing)} not installed")


def dense_graph(
    weight: list[list[int]],
    *,
    source: FixedSpec,
    accumulator: FixedSpec,
    result: FixedSpec | None = None,
    bias: list[int] | None = None,
    weight_spec: FixedSpec | None = None,
    name: str = "net",
) -> FixedGraph:
    """Return a graph of one dense layer."""
    codes = np.array(weight, dtype=np.int64)
    units = codes.shape[1]
    node = Dense(
        "dense", ("x",), (units,), result or accumulator,
        codes, weight_spec or FixedSpec(True, 62, 62), np.array(bias or [0] * units, dtype=np.int64),
        FixedSpec(True, 62, 62), accumulator,
    )  # fmt: skip
    return FixedGraph(name, (Input("x", (), (len(codes),), source), node), ("dense",), "test 1")


def small_net(name: str = "tiny", *, seed: int = 3) -> FixedGraph:
    """Return a network of three inputs, a hidden layer with ReLU and two outputs, as a conversion would yield it."""
    rng = np.random.default_rng(seed)
    source = FixedSpec(True, 6, 3, Rounding.RND_CONV, Overflow.SAT)
    weight, wide = FixedSpec(True, 4, 1), FixedSpec(True, 16, 9)
    relu = FixedSpec(False, 5, 2, Rounding.RND_CONV, Overflow.SAT)
    return FixedGraph(
        name,
        (
            Input("x", (), (3,), source),
            Dense("hidden", ("x",), (4,), wide, random_codes(rng, weight, (3, 4)), weight,
                  random_codes(rng, weight, (4,)), weight, wide),
            Activation("relu", ("hidden",), (4,), relu, Function.RELU),
            Dense("logits", ("relu",), (2,), wide, random_codes(rng, weight, (4, 2)), weight,
                  random_codes(rng, weight, (2,)), weight, wide),
        ),
        ("logits",),
        "test 1",
    )  # fmt: skip


def need_engine(engine: str) -> None:
    """Skip a test module whose engine does not work in this environment; `make test` runs it in its own."""
    if engine not in installed_engines():
        pytest.skip(f"engine {engine} has an environment of its own", allow_module_level=True)
