"""All engines by name: the same codes and values, the same refusals, and none that a fault leaves as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support import need_packages, need_tools, random_graph, random_rows, small_net

from l1dl.emulate.engine import Emulator
from l1dl.emulate.engines import Engine, make_engine
from l1dl.errors import InputError
from l1dl.graph import FixedGraph
from l1dl.nodes import Dense


@pytest.fixture(autouse=True)
def _tools():
    need_packages("jax", "onnxruntime")
    need_tools("cxx")


@pytest.mark.parametrize("engine", Engine)
def test_an_engine_computes_codes_and_values(engine, tmp_path):
    graph = random_graph(4, layers=6)
    emulator, made = Emulator(graph), make_engine(graph, engine, tmp_path)
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 9000)
    values = emulator.decode(emulator.run(rows))
    np.testing.assert_array_equal(made.run(rows), emulator.run(rows))
    assert made.run(rows[:0]).shape == (0, values.shape[1])
    reals = np.random.default_rng(2).normal(0, 4, rows.shape)
    np.testing.assert_array_equal(made.predict(reals), emulator.predict(reals))
    np.testing.assert_array_equal(made.predict(reals.astype(np.float32)), emulator.predict(reals.astype(np.float32)))
    with pytest.raises(InputError, match="do not fit"):
        made.predict(reals[:, 1:])
    for bad in (rows[:, 1:], rows[0]):
        with pytest.raises(InputError, match="do not fit"):
            made.run(bad)
    outside = rows.copy()
    outside[7, 0] = graph.input_ports[0].spec.maximum_code + 1
    with pytest.raises(InputError, match="outside"):
        made.run(outside)
    reals[3, 0] = np.inf
    with pytest.raises(InputError, match="infinite"):
        made.predict(reals)


@pytest.mark.parametrize("engine", Engine)
def test_a_changed_constant_is_seen(engine, tmp_path):
    graph = small_net()
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 500)
    expected = Emulator(graph).run(rows)
    layers = [node for node in graph.nodes if isinstance(node, Dense)]
    for number, layer in enumerate(layers):
        weight = layer.weight.copy()
        weight[0, 0] += 1 if weight[0, 0] < layer.weight_spec.maximum_code else -1
        nodes = tuple(replace(node, weight=weight) if node is layer else node for node in graph.nodes)
        faulty = FixedGraph(f"fault{number}", nodes, graph.outputs, graph.producer)
        assert (make_engine(faulty, engine, tmp_path).run(rows) != expected).any()
