"""Logic levels and delays of mapped netlists: by hand, against all paths one by one, and of what Yosys maps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tiny_design import tiny

from l1dl.errors import InputError
from l1dl.rtl.delays import Delays, speed_grade
from l1dl.synth.paths import StageTiming, longest_path
from l1dl.synth.yosys import synthesise

UNIT = Delays(
    clock_to_out=1.0, setup=2.0, lut=10.0, wide_mux=5.0, select_to_carry=7.0, data_to_carry=6.0, carry_to_carry=1.0,
    carry_to_out=3.0, select_to_out=4.0, net=100.0, net_by_fanout=1000.0, net_in_slice=20.0,
)  # fmt: skip
"""Delays that can be told apart in a sum."""


def cell(kind: str, outputs: str = "O", **connections: list) -> dict:
    directions = {port: "output" if port in outputs.split() else "input" for port in connections}
    return {"type": kind, "port_directions": directions, "connections": connections}


def netlist(inputs: list, outputs: list, *cells: dict) -> dict:
    ports = {"i": {"direction": "input", "bits": inputs}, "o": {"direction": "output", "bits": outputs}}
    return {"modules": {"top": {"ports": ports, "cells": {f"c{place}": each for place, each in enumerate(cells)}}}}


def test_a_chain_of_luts():
    cells = [cell("LUT1", I0=[0], O=[10]), cell("LUT2", I0=[10], I1=[1], O=[11])]
    # Register, net, LUT, net, LUT, flip-flop in its slice.
    assert longest_path(netlist([0, 1], [11], *cells), "top", UNIT) == StageTiming(2, 1 + 110 + 110 + 20 + 2)


def test_fanout_inverters_and_wide_multiplexers():
    cells = [
        cell("INV", I=[0], O=[10]),
        cell("LUT1", I0=[10], O=[11]),
        cell("LUT1", I0=[10], O=[12]),
        cell("MUXF7", I0=[11], I1=[12], S=[10], O=[13]),
    ]
    # Three sinks of the inverted bit; the multiplexer sits beside its LUTs.
    net = 100 + 1000 * math.log2(3)
    found = longest_path(netlist([0], [13], *cells), "top", UNIT)
    assert found == StageTiming(1, pytest.approx(1 + net + 10 + 5 + 20 + 2))


def test_a_carry_chain_of_two_cells():
    cells = [
        cell("LUT2", I0=[0], I1=[1], O=[10]),
        cell("CARRY4", "O CO", CI=["0"], CYINIT=["0"], S=[10, 2, 3, 4], DI=["0"] * 4, O=[20, 21, 22, 23],
             CO=[30, 31, 32, 33]),
        cell("CARRY4", "O CO", CI=[33], CYINIT=["0"], S=[5, 6, "0", "0"], DI=["0"] * 4, O=[40, 41, 42, 43],
             CO=[50, 51, 52, 53]),
    ]  # fmt: skip
    # LUT, its slice, S to the carry, three more bits, the cascade, one bit, the sum, the flip-flop.
    last = 1 + 110 + 20 + 7 + 3 * 1 + 10 + 1 + 3 + 20 + 2
    found = longest_path(netlist([0, 1, 2, 3, 4, 5, 6], [20, 41], *cells), "top", UNIT)
    assert found == StageTiming(2, last)


def all_paths(cells: list[dict], inputs: list, outputs: list, fanout: dict) -> tuple[float, int]:
    """Return the longest delay, and the levels, over all paths through LUTs, each walked on its own."""
    drivers = {each["connections"]["O"][0]: each for each in cells}

    def walk(bit: int) -> tuple[float, int]:
        if bit in inputs:
            return 1.0, 0
        sources = [bits[0] for port, bits in drivers[bit]["connections"].items() if port != "O"]
        time, levels = max((walk(each)[0] + 100 + 1000 * math.log2(fanout[each]), walk(each)[1]) for each in sources)
        return time + 10, levels + 1

    ends = [(walk(bit)[0] + (100 if bit in inputs else 20), walk(bit)[1]) for bit in outputs]
    return max(ends)


@pytest.mark.parametrize("seed", range(20))
def test_random_networks_of_luts(seed):
    rng = np.random.default_rng(seed)
    inputs, cells, fanout = list(range(4)), [], {}
    for bit in range(4, 4 + rng.integers(1, 9)):
        sources = rng.choice(bit, rng.integers(1, min(bit, 4) + 1), replace=False).tolist()
        cells.append(cell(f"LUT{len(sources)}", **{f"I{k}": [each] for k, each in enumerate(sources)}, O=[bit]))
        for each in sources:
            fanout[each] = fanout.get(each, 0) + 1
    outputs = rng.choice(4 + len(cells), 2, replace=False).tolist()
    delay, levels = all_paths(cells, inputs, outputs, fanout)
    shuffled = [cells[place] for place in rng.permutation(len(cells))]
    found = longest_path(netlist(inputs, outputs, *shuffled), "top", UNIT)
    assert found == StageTiming(levels, pytest.approx(delay + 2))


def test_what_is_not_known():
    assert longest_path(netlist([0], [1], cell("DSP48E2", "P", A=[0], P=[1])), "top") is None
    assert longest_path(netlist([], []), "top") == StageTiming(0, 0.0)
    with pytest.raises(InputError, match="no module 'other'"):
        longest_path(netlist([0], [0]), "other")
    loop = [cell("LUT1", I0=[1], O=[2]), cell("LUT1", I0=[2], O=[1])]
    with pytest.raises(InputError, match="combinational loop"):
        longest_path(netlist([], [1], *loop), "top")


@pytest.mark.parametrize(
    ("part", "grade"),
    [("xcvu13p-flga2577-2-e", 2), ("xczu3eg-sbva484-1-e", 1), ("xcu250-figd2104-2L-e", 2), ("xc7vx690tffg1927-2", 2),
     ("xcvu9p-flga2104-3-e", 3), ("vu13p", 1), ("5AGXFB3H4F35C5", 1)],
)  # fmt: skip
def test_speed_grades(part, grade):
    assert speed_grade(part) == grade


@pytest.mark.usefixtures("yosys")
def test_what_yosys_maps(tmp_path):
    found = {
        grade: synthesise(tiny(), work=tmp_path / "work", cache=tmp_path / "cache", speed_grade=grade)
        for grade in (1, 2)
    }
    rows = {stage.name: (stage.levels, stage.delay_ns) for stage in found[1].stages}
    # One LUT between registers: C to Q, a net, the LUT, and the flip-flop in its slice. An input has one to two sinks.
    one = 0.10 + 0.27 + 0.12 + 0.03 + 0.04
    assert rows["tiny_stage0"] == (1, pytest.approx(one))
    assert rows["tiny_stage1"] == (1, pytest.approx(one + 0.045))
    assert rows["registers"] == (None, None)
    assert found[1].slowest.name == "tiny_stage1"
    for slow, fast in itertools.islice(zip(found[1].stages, found[2].stages, strict=True), 2):
        assert fast.delay_ns == pytest.approx(0.86 * slow.delay_ns)
    assert found[2].delay_origin == "estimated (Yosys netlist, typical delays of UltraScale+, speed grade -2)"
    assert not list(tmp_path.rglob("netlist.json"))
