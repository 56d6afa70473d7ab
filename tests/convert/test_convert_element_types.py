"""Values with types of their own: nodes that convert each of them, in every back end; and the check that sees more."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support import need_packages, random_rows, random_spec

from l1dl.convert.readers.element_types import quantiser_nodes, types_of
from l1dl.emulate.engine import Emulator
from l1dl.fixed import FixedSpec, Overflow, Rounding, requantise
from l1dl.graph import FixedGraph
from l1dl.models.element_types import ElementTypes, types_of_bits
from l1dl.nodes import Input
from l1dl.rtl.lower import lower

MODES = [Overflow.WRAP, Overflow.SAT, Overflow.SAT_SYM]


def draw(seed: int) -> tuple[FixedGraph, ElementTypes, FixedSpec]:
    """Return a network of one quantiser with random types, some of no bits, the types, and that of the input."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 4, rng.integers(1, 4)))
    signs, whole, fraction = (rng.integers(low, high, shape) for low, high in ((0, 2), (-2, 4), (-2, 5)))
    if seed % 4 == 0:
        signs[...], whole[...], fraction[...] = 1, 2, 3
    rounding = (Rounding.TRN, Rounding.RND, Rounding.RND_CONV)[rng.integers(3)]
    types = types_of_bits(signs, signs + whole + fraction, signs + whole, rounding, MODES[rng.integers(3)])
    source = random_spec(rng, widths=(4, 10), integers=(0, 5))
    nodes = quantiser_nodes("q", "x", shape, types, FixedSpec(True, 12, 6))
    return FixedGraph("net", (Input("x", (), shape, source), *nodes), ("q",), "test 1"), types, source


def expected(types: ElementTypes, source: FixedSpec, codes: np.ndarray, result: FixedSpec) -> np.ndarray:
    """Convert value by value."""
    columns = [
        np.zeros(len(codes), dtype=np.int64) if spec is None
        else requantise(requantise(codes[:, place], source.fraction, spec), spec.fraction, result)
        for place, spec in enumerate(types)
    ]  # fmt: skip
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("seed", range(40))
def test_each_value_is_converted_to_its_own_type(seed):
    graph, types, source = draw(seed)
    rows = random_rows(np.random.default_rng(seed), graph.input_ports, 200)
    wanted = expected(types, source, rows, graph["q"].result)
    found = Emulator(graph).run(rows)
    np.testing.assert_array_equal(found, wanted)
    assert types_of(graph.nodes[1:]) == types
    if len(np.unique(found, axis=0)) > 1:
        need_packages("alkaid")
        values = np.ldexp(rows.astype(np.float64), -source.fraction)
        np.testing.assert_array_equal(lower(graph).predict(values, n_threads=1), Emulator(graph).decode(found))


def test_values_without_bits_are_zero():
    nodes = quantiser_nodes("q", "x", (3,), (None, None, None), FixedSpec(False, 1, 1))
    graph = FixedGraph("net", (Input("x", (), (3,), FixedSpec(True, 4, 4)), *nodes), ("q",), "test 1")
    assert not Emulator(graph).run(np.array([[1, -3, 7]])).any()
    assert types_of(nodes) == (None, None, None)


def test_nodes_that_move_values_or_change_a_type_are_seen():
    types = types_of_bits(np.array([1, 1, 0]), np.array([4, 5, 3]), np.array([2, 2, 1]), Rounding.RND, Overflow.WRAP)
    *parts, last = quantiser_nodes("q", "x", (3,), types, FixedSpec(True, 8, 3))
    assert types_of([*parts, last]) == types
    swapped = dataclasses.replace(last, index=last.index[::-1].copy())
    assert types_of([*parts, swapped]) is None
    narrower = dataclasses.replace(parts[0], result=dataclasses.replace(parts[0].result, width=3))
    assert types_of([narrower, *parts[1:], last]) != types
    dropped = dataclasses.replace(last, index=np.array([-1, *last.index[1:]]))
    assert types_of([*parts, dropped]) != types
