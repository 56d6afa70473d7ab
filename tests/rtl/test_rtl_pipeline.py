"""Where the registers stand, and the delays that decide it."""

from __future__ import annotations

import numpy as np
import pytest
from alir_designs import alir_design
from graphs import random_graph
from support import need_packages

from l1dl.card import RtlCard
from l1dl.fixed import FixedSpec
from l1dl.rtl.arrivals import Arrivals, Opcode
from l1dl.rtl.delays import GRADES, ULTRASCALE_PLUS
from l1dl.rtl.lower import lower
from l1dl.rtl.pipeline import schedule, split_stages
from l1dl.rtl.project import build_rtl
from l1dl.synth.design import SynthDesign
from l1dl.synth.yosys import synthesise

BYTE = FixedSpec(True, 8, 8)
SMALL = FixedSpec(False, 3, 3)


@pytest.fixture(autouse=True)
def _alkaid():
    need_packages("alkaid")


def delay_of(function, specs):
    """Return the estimated delay of a design of one stage."""
    return schedule(alir_design(function, specs, stage_delay_ns=1000.0).stages[0], 1000.0).delay_ns[0]


def test_the_delay_of_an_adder_is_that_of_its_cells():
    cells = ULTRASCALE_PLUS
    registers = cells.clock_to_out + cells.net + cells.net_in_slice + cells.setup
    chain = cells.lut + cells.net_in_slice + cells.select_to_carry + 9 * cells.carry_to_carry + cells.carry_to_out
    assert delay_of(lambda x: [x[0] + x[1]], [BYTE, BYTE]) == pytest.approx(registers + chain)


def test_sums_of_sums_grow_with_the_logarithm_of_their_addends():
    delays = {count: delay_of(lambda x: [sum(x[1:], x[0])], [BYTE] * count) for count in (3, 4, 6, 9, 16)}
    assert list(delays.values()) == sorted(delays.values())
    assert delays[16] < 2.5 * delays[4]


def test_a_sum_that_two_read_has_a_carry_chain_of_its_own():
    alone = delay_of(lambda x: [x[0] + x[1] + x[2] + x[3]], [BYTE] * 4)
    shared = delay_of(lambda x: [(x[0] + x[1]) + (x[2] + x[3]), (x[0] + x[1]) + x[2]], [BYTE] * 4)
    assert shared > alone


def test_logic_of_six_bits_is_one_lut():
    lut, net = ULTRASCALE_PLUS.lut, ULTRASCALE_PLUS.net
    one = delay_of(lambda x: [x[0].relu(2, 0)], [FixedSpec(True, 3, 3)])
    assert one < ULTRASCALE_PLUS.clock_to_out + net + 2 * ULTRASCALE_PLUS.net_by_fanout + lut + 0.1


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_read_before_it_is_there_and_stages_are_no_longer_than_the_limit(seed):
    program = lower(random_graph(seed, layers=4))
    whole = schedule(program, 1000.0)
    assert set(whole.stage) == {0}
    arrivals = Arrivals(program)
    slowest = max(
        (arrivals.at_register(index, arrivals.computed(index, arrivals.registered))
         for index, op in enumerate(program.ops) if op.opcode not in (Opcode.INPUT, Opcode.CONSTANT)),
        default=0.0,
    )  # fmt: skip
    last = 1
    for limit in (4.0, 2.0, 1.0):
        plan = schedule(program, limit)
        for index, op in enumerate(program.ops):
            assert all(plan.stage[address] <= plan.stage[index] for address in op.addr)
        assert max(plan.delay_ns) <= max(limit, slowest) + 1e-9
        assert len(plan.delay_ns) >= last
        last = len(plan.delay_ns)


@pytest.mark.parametrize("seed", range(12))
def test_cut_programs_compute_what_the_whole_one_does(seed):
    program = lower(random_graph(seed, layers=4))
    inputs = np.random.default_rng(seed).integers(-8, 8, (50, program.shape[0])).astype(np.float64)
    expected = program.predict(inputs, n_threads=1)
    for limit in (0.5, 1.5, 3.0):
        values = inputs
        for stage in split_stages(program, schedule(program, limit).stage):
            values = stage.predict(values, n_threads=1)
        assert np.array_equal(values, expected)


def test_stages_are_about_equally_long():
    program = alir_design(lambda x: [sum(x[1:], x[0]) * 3 + x[0] * x[1]], [BYTE] * 40, stage_delay_ns=1e3).stages[0]
    delays = schedule(program, 2.6).delay_ns
    assert len(delays) > 1
    assert min(delays) > 0.4 * max(delays)


def test_a_faster_part_needs_fewer_stages():
    graph = random_graph(3, layers=5)
    stages = {grade: len(build_rtl(graph, RtlCard(clock_period_ns=1.6), grade=grade).stages) for grade in GRADES}
    assert stages[1] >= stages[2] >= stages[3]
    assert stages[1] > stages[3]


CASES = {
    "adder": (lambda x: [x[0] + x[1]], 2),
    "three addends": (lambda x: [x[0] + x[1] + x[2]], 3),
    "nine addends": (lambda x: [sum(x[1:], x[0])], 9),
    "relu": (lambda x: [x[0].relu(7, 0)], 1),
    "adder behind relu": (lambda x: [x[0].relu(7, 0) + x[1].relu(7, 0)], 2),
    "relu behind adder": (lambda x: [(x[0] + x[1]).relu(8, 0)], 2),
    "constant behind adder": (lambda x: [x[0] + x[1] + 5.0], 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_close_to_the_path_of_the_netlist(case, tmp_path):
    function, count = CASES[case]
    design = alir_design(function, [BYTE] * count, stage_delay_ns=1000.0)
    synth = SynthDesign(design.top, design.stage_modules, design.sequential_modules, design.sources(), design.estimate)
    found = synthesise(synth, work=tmp_path / "work", cache=tmp_path / "cache", speed_grade=1).slowest
    estimate = schedule(design.stages[0], 1000.0).delay_ns[0]
    assert found.delay_ns == pytest.approx(estimate, rel=0.25)
