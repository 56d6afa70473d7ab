from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import need_packages, need_tools, small_net

from l1dl.cosim import protocol
from l1dl.cosim.protocol import (
    START,
    Expected,
    expect,
    measured_interval,
    measured_latency,
    stream,
    streams,
    with_bubbles,
    with_resets,
)
from l1dl.cosim.stimuli import all_vectors, corner_codes, random_codes
from l1dl.cosim.verilate import Outcome, Simulation, run_at_once
from l1dl.emulate.engine import Emulator
from l1dl.fixed import FixedSpec
from l1dl.ports import Port
from l1dl.rtl.project import build_rtl


def clocked(control: list[int], latency: int) -> tuple[list[int], list[int]]:
    """Clock a chain of registers; return which events come out, and in which cycle each of them was presented."""
    chain: list[tuple[int, int] | None] = [None] * latency
    survivors, entered, event = [], [], 0
    for cycle, word in enumerate(control):
        if chain[-1] is not None:
            survivors.append(chain[-1][0])
            entered.append(chain[-1][1])
        presented = None
        if word & 1:
            presented, event = (event, cycle), event + 1
        chain = [None] * latency if word & 2 else [presented, *chain[:-1]]
    return survivors, entered


@given(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3]), max_size=80), st.integers(1, 20))
def test_what_must_come_out_is_what_a_chain_of_registers_lets_out(control, latency):
    awaited = expect(np.array(control, dtype=np.uint8), latency)
    survivors, entered = clocked(control, latency)
    assert awaited.survivors.tolist() == survivors
    assert awaited.entered.tolist() == entered


def test_streams_at_once_are_one_stream_of_streams(tmp_path, monkeypatch):
    need_packages("alkaid")
    need_tools("cxx", "verilator")
    monkeypatch.setattr(protocol, "STREAM_EVENTS", 7)
    design = build_rtl(small_net())
    simulation = Simulation(design.sources(), design.top, design.inputs, design.outputs, tmp_path)
    codes = random_codes(24, design.inputs, seed=1)
    controls = streams(len(codes), 4 * design.latency_cycles)
    assert [int(np.count_nonzero(control & 1)) for control in controls] == [7, 7, 7, 3]
    together = run_at_once(simulation, codes, controls, seed=1)
    one = simulation.run(codes, np.concatenate(controls))
    assert together.codes.tolist() == one.codes.tolist()
    assert together.cycles.tolist() == one.cycles.tolist()
    assert together.codes.tolist() == Emulator(small_net()).run(codes).tolist()


def test_streams():
    control = stream(5, 3)
    assert control.tolist() == [2, 2, 1, 1, 1, 1, 1, 0, 0, 0]
    assert control.dtype == np.uint8
    bubbles = with_bubbles(200, 4, seed=1)
    assert np.count_nonzero(bubbles == 1) == 200
    assert bubbles[-4:].tolist() == [0] * 4
    gaps = np.diff(np.flatnonzero(bubbles == 1)) - 1
    assert set(gaps) >= {0, 1, 2}
    assert gaps.max() <= 7
    assert bubbles.tolist() == with_bubbles(200, 4, seed=1).tolist() != with_bubbles(200, 4, seed=2).tolist()
    resets = with_resets(200, 10, 4, seed=1)
    assert np.count_nonzero(resets == 3) == 10
    assert np.count_nonzero(resets & 1) == 200
    assert resets[len(START)] == 1  # the first event lives, so that the latency can be measured
    assert np.count_nonzero(with_resets(3, 10, 4, seed=1) == 3) == 2
    assert with_resets(1, 10, 4, seed=1).tolist() == stream(1, 4).tolist()


def test_the_interval_counts_right_neighbours_only():
    awaited = Expected(np.array([0, 1, 2, 4, 5]), np.array([0, 3, 4, 6, 9]))
    assert measured_interval(awaited, np.ones(5, dtype=bool)) == 1
    assert measured_interval(awaited, np.array([True, True, False, True, True])) == 3
    assert measured_interval(awaited, np.array([True, False, True, True, False])) is None
    assert measured_interval(awaited, np.zeros(5, dtype=bool)) is None


def test_the_latency_is_that_of_the_first_event():
    control = stream(2, 4)
    empty = np.empty((0, 1), dtype=np.int64)
    assert measured_latency(Outcome(empty[:0], np.array([6, 7]), None), control) == 4
    assert measured_latency(Outcome(empty, np.array([], dtype=np.int64), None), control) is None
    assert measured_latency(Outcome(empty, np.array([3]), None), stream(0, 4)) is None


@pytest.mark.parametrize(
    "spec", [FixedSpec(True, 6, 2), FixedSpec(False, 3, 3), FixedSpec(True, 1, 1), FixedSpec(False, 1, 0)]
)
def test_corners(spec):
    corners = corner_codes((Port("x", (3,), spec),))
    low, high = spec.minimum_code, spec.maximum_code
    assert corners.dtype == np.int64
    assert low == corners.min()
    assert high == corners.max()
    rows = {tuple(row) for row in corners.tolist()}
    for level in (0, low, high, max(-1, low), min(1, high), low + 1, high - 1):
        assert (level, level, level) in rows
    assert {(low, high, low), (high, low, high), (0, low, 0), (0, 0, high)} <= rows


def test_corners_of_several_ports():
    ports = (Port("x", (2,), FixedSpec(True, 4, 2)), Port("y", (1,), FixedSpec(False, 7, 2)))
    corners = corner_codes(ports)
    rows = {tuple(row) for row in corners.tolist()}
    assert len(rows) == len(corners) - 1  # the lowest unsigned code alone is all zeros again
    assert {(-8, -8, 0), (7, 7, 127), (-7, -7, 1), (6, 6, 126), (-1, -1, 0), (1, 1, 1)} <= rows
    assert {(-8, 7, 0), (7, -8, 127), (0, 7, 0), (0, 0, 127)} <= rows


def test_random_codes_reach_both_ends_and_repeat():
    ports = (Port("x", (1, 2), FixedSpec(True, 4, 2)), Port("y", (1,), FixedSpec(False, 3, 9)))
    codes = random_codes(2000, ports, seed=5)
    assert codes.dtype == np.int64
    assert set(codes[:, 0]) == set(codes[:, 1]) == set(range(-8, 8))
    assert set(codes[:, 2]) == set(range(8))
    assert codes.tolist() == random_codes(2000, ports, seed=5).tolist() != random_codes(2000, ports, seed=6).tolist()
    wide = random_codes(100, (Port("x", (1,), FixedSpec(True, 62, 62)),), seed=1)
    assert wide.min() < -(2**58)
    assert wide.max() > 2**58


def test_all_vectors():
    ports = (Port("x", (2,), FixedSpec(True, 4, 2)),)
    test = np.array([[1, -1], [2, -2], [3, -3]])
    vectors = all_vectors(test, ports, events=40, seed=1)
    assert vectors["test"] is test
    assert len(vectors["corner"]) == len(corner_codes(ports))
    assert len(vectors["random"]) == 40
    assert len(all_vectors(test, ports, events=0, seed=1)["random"]) == 0
    assert len(all_vectors(test[:0], ports, events=40, seed=1)["shuffled"]) == 0
    # Shuffled events take each input from a real event, in combinations that no event has.
    shuffled = vectors["shuffled"]
    assert set(shuffled[:, 0]) == {1, 2, 3}
    assert set(shuffled[:, 1]) == {-1, -2, -3}
    assert np.any(shuffled[:, 0] != -shuffled[:, 1])
