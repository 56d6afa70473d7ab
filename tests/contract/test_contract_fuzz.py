"""The fuzzer draws the same network for a seed, sees a difference, and cuts a failure down."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from support import need_packages, need_tools

from l1dl.emulate.engine import Emulator

SEED = 10002


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
    many, few = (fuzz.Network(SEED, layers).kinds for layers in (6, 3))
    assert many[: len(few)] == few


def test_a_difference_is_seen_and_cut_down(fuzz, monkeypatch):
    right = Emulator.run
    monkeypatch.setattr(Emulator, "run", lambda emulator, rows: right(emulator, rows) ^ 1)
    outcome = fuzz.try_network(SEED, 3, verilog=False)
    assert outcome.state == "FAILS"
    assert outcome.reason.startswith("MismatchError: keras and emulator disagree in ")
    assert fuzz.shrink(outcome, verilog=False).layers < 3
