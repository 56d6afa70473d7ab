"""The emulator compiled by XLA gives the codes of the NumPy emulator."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import KINDS, graph_of, random_graph, random_rows
from image_graphs import random_image_graph
from support import dense_graph, need_packages, small_net

from l1dl.emulate.bounds import sum_bound
from l1dl.emulate.engine import Emulator
from l1dl.emulate.xla import XlaEmulator
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph


@pytest.fixture(autouse=True)
def _packages() -> None:
    need_packages("jax")


def compare(graph: FixedGraph, seed: int = 1, *, events: int = 50, batch: int = 32) -> np.ndarray:
    """Compare a batch, and one that is not full; return the codes."""
    rows = random_rows(np.random.default_rng(seed), graph.input_ports, events)
    expected = Emulator(graph).run(rows)
    found = XlaEmulator(graph, batch=batch).run(rows)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    return found


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "input"])
def test_every_kind(kind: str) -> None:
    for seed in range(8):
        compare(graph_of(kind, seed), seed)


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs(seed: int) -> None:
    compare(random_graph(seed, layers=6), seed)


@pytest.mark.parametrize("seed", range(4))
def test_random_images(seed: int) -> None:
    assert len(np.unique(compare(random_image_graph(seed), seed))) > 2


@pytest.mark.parametrize(("bits", "dtype"), [(24, np.float32), (25, np.float64), (53, np.float64), (54, np.int64)])
def test_sums_at_the_limits_of_floats(bits: int, dtype: type) -> None:
    weight = [[2 ** (bits - 11) - 2], [1]]
    source, wide = FixedSpec(True, 12, 12), FixedSpec(True, 62, 62)
    graph = dense_graph(weight, source=source, accumulator=wide)
    bound = sum_bound(np.array(weight), source.minimum_code, source.maximum_code)
    assert (bound.bits, bound.dtype) == (bits, dtype)
    lowest, highest = source.minimum_code, source.maximum_code
    rows = np.array([[lowest, -1], [lowest, lowest], [highest, 1], [highest, -1], [lowest + 1, 1]])
    expected = rows.astype(object) @ np.array(weight, dtype=object)
    np.testing.assert_array_equal(XlaEmulator(graph, batch=4).run(rows), expected.astype(np.int64))


def test_no_events() -> None:
    assert XlaEmulator(small_net(), batch=8).run(np.zeros((0, 3), dtype=np.int64)).shape == (0, 2)


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InputError, match="JAX has no device 'tpu'"):
        XlaEmulator(small_net(), platform="tpu")
