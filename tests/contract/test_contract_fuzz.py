"""The fuzzer draws the same network for a seed, sees a difference, and cuts a failure down."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.emulate.engine import Emulator

SEED = 10010


@pytest.fixture(scope="module")
def fuzz():
    need_packages("keras", "qkeras", "hls4ml", "jax", "alkaid")
    need_tools("cxx")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "scripts")
        return importlib.import_module("fuzz")


def test_a_network_agrees(fuzz):
    outcome = fuzz.try_network(SEED, 4, verilog=False)
    assert (outcome.state, outcome.reason) == ("agrees", "")
    assert len(outcome.kinds) >= 4


def test_fewer_layers_are_the_first_ones(fuzz):
    many, few = (fuzz.Network(SEED, layers) for layers in (6, 3))
    assert many.kinds[: len(few.kinds)] == few.kinds
    assert many.quantisers[: len(few.quantisers)] == few.quantisers
    weights = {layer.name: layer.get_weights() for layer in many.model.layers}
    for layer in few.model.layers:
        for value, wanted in zip(layer.get_weights(), weights[layer.name], strict=True):
            np.testing.assert_array_equal(value, wanted)


@pytest.mark.slow
def test_all_kinds_of_networks_are_drawn(fuzz):
    kinds = {kind for seed in range(40) for kind in fuzz.Network(seed, 3).kinds}
    assert {"Embedding", "shared layer", "nested Model", "nested Sequential", "QDense"} <= kinds
    assert {"QLSTM", "QGRU"} & kinds


def test_agreeing_networks_are_counted(fuzz):
    summary = fuzz.Summary(next_seed=1)
    summary.add(fuzz.Outcome(1, 3, "agrees", kinds=["QDense", "Add", "QDense"], quantisers=["weight binary"]))
    summary.add(fuzz.Outcome(2, 3, "agrees", kinds=["Add", "QDense"], verilog=True))
    summary.add(fuzz.Outcome(3, 3, "constant", kinds=["Dot"]))
    summary.add(fuzz.Outcome(4, 3, "refused", "layer 'a' is wide; make it narrow"))
    assert json.loads(json.dumps(summary.as_json())) == {
        "next_seed": 5, "verilog": 1, "states": {"agrees": 2, "constant": 1, "refused": 1},
        "layers": {"QDense": 3, "Add": 2}, "quantisers": {"weight binary": 1}, "refusals": {"layer 'a' is wide": 1},
    }  # fmt: skip
    assert "layers that agreed: QDense 3, Add 2" in str(summary)


def test_a_difference_is_seen_and_cut_down(fuzz, monkeypatch):
    right = Emulator.run
    monkeypatch.setattr(Emulator, "run", lambda emulator, rows: right(emulator, rows) ^ 1)
    outcome = fuzz.try_network(SEED, 3, verilog=False)
    assert outcome.state == "FAILS"
    assert outcome.reason.startswith("MismatchError: keras and emulator disagree in ")
    assert fuzz.shrink(outcome, verilog=False).layers < 3
