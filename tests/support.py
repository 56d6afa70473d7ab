"""Graphs to test with, and the rule for absent tools: a visible skip, but a failure in CI, which installs them."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from l1dl.errors import ToolMissingError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input
from l1dl.tools import find_tool

RTL_ROUNDINGS = (Rounding.TRN, Rounding.RND, Rounding.RND_CONV)
RTL_OVERFLOWS = (Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM)


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


def random_spec(
    rng: np.random.Generator,
    *,
    widths: tuple[int, int] = (1, 12),
    integers: tuple[int, int] = (-3, 6),
    roundings: tuple[Rounding, ...] = tuple(Rounding),
    overflows: tuple[Overflow, ...] = tuple(Overflow),
) -> FixedSpec:
    """Return a random type; the ends of `widths` and `integers` are included."""
    return FixedSpec(
        bool(rng.integers(2)),
        int(rng.integers(*widths, endpoint=True)),
        int(rng.integers(*integers, endpoint=True)),
        roundings[rng.integers(len(roundings))],
        overflows[rng.integers(len(overflows))],
    )


def random_codes(rng: np.random.Generator, spec: FixedSpec, shape: tuple[int, ...]) -> np.ndarray:
    """Return random codes over the whole range of a type."""
    return rng.integers(spec.minimum_code, spec.maximum_code, shape, dtype=np.int64, endpoint=True)


def random_graph(
    seed: int,
    *,
    layers: int = 3,
    roundings: tuple[Rounding, ...] = tuple(Rounding),
    overflows: tuple[Overflow, ...] = tuple(Overflow),
    name: str = "net",
) -> FixedGraph:
    """Return a chain of random layers with random types; accumulators wrap, and some truncate each product."""
    rng = np.random.default_rng(seed)
    modes = {"roundings": roundings, "overflows": overflows}
    size = int(rng.integers(1, 5))
    source = random_spec(rng, **modes)
    nodes = [Input("x", (), (size,), source)]
    for index in range(layers):
        before, node_name = nodes[-1], f"n{index}"
        result = random_spec(rng, **modes)
        kind = rng.integers(3)
        if kind == 0:
            units = int(rng.integers(1, 4))
            weight, bias = random_spec(rng, widths=(1, 7)), random_spec(rng, widths=(1, 7))
            full = before.result.fraction + weight.fraction
            width = int(rng.integers(2, 16))
            fraction = full + int(rng.integers(-4, 3))
            rounding = roundings[rng.integers(len(roundings))]
            accumulator = FixedSpec(bool(rng.integers(4)), width, width - fraction, rounding, Overflow.WRAP)
            node = Dense(
                node_name, (before.name,), (units,), result,
                random_codes(rng, weight, (size, units)), weight, random_codes(rng, bias, (units,)), bias, accumulator,
            )  # fmt: skip
            size = units
        elif kind == 1:
            scale, offset = random_spec(rng, widths=(1, 7)), random_spec(rng, widths=(1, 7))
            node = Affine(
                node_name, (before.name,), (size,), result,
                random_codes(rng, scale, (size,)), scale, random_codes(rng, offset, (size,)), offset,
            )  # fmt: skip
        else:
            node = Activation(node_name, (before.name,), (size,), result, list(Function)[rng.integers(2)])
        nodes.append(node)
    return FixedGraph(name, tuple(nodes), (nodes[-1].name,), "test 1")


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
