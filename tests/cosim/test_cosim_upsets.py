"""Upsets: a flipped bit is what an edited Verilog would be, and what must be seen or must not be there is checked."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from alir_designs import alir_design, interpret
from support import need_packages, need_tools, random_graph, random_rows, small_net

from l1dl.card import RtlCard
from l1dl.cosim.fault import inject_fault
from l1dl.cosim.instrument import Kind, instrument
from l1dl.cosim.protocol import stream
from l1dl.cosim.stimuli import random_codes
from l1dl.cosim.upsets import HOLD_EVENTS, study_upsets
from l1dl.cosim.verilate import Simulation, Toggles
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, MismatchError
from l1dl.fixed import FixedSpec
from l1dl.rtl.layout import register_widths
from l1dl.rtl.project import build_rtl


@pytest.fixture(scope="module")
def design():
    need_packages("alkaid")
    need_tools("verilator", "cxx")
    design = build_rtl(small_net(), RtlCard(stage_delay_ns=2.5))
    assert len(design.stages) > 1
    return design


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("upsets")


@pytest.fixture(scope="module")
def rows(design):
    return random_rows(np.random.default_rng(2), design.inputs, 300)


@pytest.fixture(scope="module")
def study(design, work, rows):
    """Return a function that studies a design, with the emulator as the reference."""
    expected = Emulator(small_net()).run(rows)

    def study(instrumented, places=None, *, upsets=300, seed=1):
        simulation = simulate(design, instrumented.sources, work)
        return study_upsets(
            simulation, places or instrumented.places, rows, expected, latency=instrumented.latency_cycles,
            upsets=upsets, seed=seed, decide=lambda codes: codes.argmax(axis=1),
        )  # fmt: skip

    return study


def simulate(design, sources, work, *, upsets=True):
    return Simulation(sources, design.top, design.inputs, design.outputs, work, upsets=upsets)


def edited(sources, file, pattern, new):
    text, count = re.subn(pattern, new, sources[file])
    assert count == 1, sources[file]
    return {**sources, file: text}


def test_every_flip_flop_has_its_own_bit_of_the_port(design):
    found = instrument(design.sources(), design.top)
    flip_flops = [place for place in found.places if not place.kind.lasting]
    widths = [len(place.bits) for place in flip_flops]
    assert widths == [*register_widths(design.stages), design.latency_cycles]
    toggles = [toggle for place in found.places for bit in place.bits for toggle in bit.toggles]
    assert sorted(toggles) == list(range(len(toggles)))
    assert f"input wire [{len(toggles) - 1}:0] upset" in found.sources["tiny.v"]


@pytest.mark.parametrize(
    "seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 12))]
)  # no output of network 3 depends on an input
def test_random_designs_can_be_upset(seed):
    need_packages("alkaid")
    design = build_rtl(random_graph(seed), RtlCard(stage_delay_ns=2.0))
    found = instrument(design.sources(), design.top)
    places = {kind: [place for place in found.places if place.kind is kind] for kind in Kind}
    registers = sum(len(place.bits) for place in (*places[Kind.REGISTER], *places[Kind.VALID]))
    assert registers == design.estimate.ff
    assert found.latency_cycles == design.latency_cycles
    used = [
        op for stage in design.stages for op, uses in zip(stage.ops, stage.ref_count, strict=True)
        if uses and sum(op.qint.kif)
    ]  # fmt: skip
    literals = sum(len(re.findall(r"'b[01]+ \^ upset", text)) for text in found.sources.values())
    assert literals == sum(op.opcode in (4, 5) for op in used)
    assert bool(places[Kind.TABLE]) == any(op.opcode == 8 for op in used)


def test_what_upsets_of_registers_do(study, design):
    found = instrument(design.sources(), design.top)
    effects = {each.place.name: each for each in study(found)}
    latency = design.latency_cycles
    for name, each in effects.items():
        assert len(each.bits) == 300
        assert np.all(each.decisions <= each.events), name
        assert np.array_equal(each.events > 0, each.cycles > 0), name
        if each.place.kind is Kind.REGISTER:
            assert each.events.max() == 1, name
            assert each.cycles.max() == 1, name
            assert not each.lost.any(), name
            assert not each.invented.any(), name
    for name in (f"data{latency - 1}", "valid"):
        assert effects[name].events.min() == 1, name
    assert 0 < np.count_nonzero(effects["data1"].events) < 300
    assert (effects["valid"].lost.sum(), effects["valid"].invented.sum()) == (150, 150)
    assert np.all(effects["valid"].decisions == 1)
    constants = [each for each in effects.values() if each.place.kind is Kind.CONSTANT]
    assert constants
    assert max(each.events.max() for each in constants) > HOLD_EVENTS // 2


def test_the_seed_decides(study, design):
    found = instrument(design.sources(), design.top)
    places = found.places[1:2]
    first, same, other = (study(found, places, upsets=700, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first.events, same.events)
    assert np.array_equal(first.bits, same.bits)
    assert not np.array_equal(first.bits, other.bits)
    assert len(first.bits) == 700


SIGNED, UNSIGNED = FixedSpec(True, 6, 3), FixedSpec(False, 5, 4)


@pytest.fixture(scope="module")
def mixed():
    """Return a design with an adder of a constant and a table."""
    need_packages("alkaid")
    need_tools("verilator", "cxx")
    return alir_design(
        lambda x: [x[0].lookup(np.arange(64) % 9 / 2) + x[1], x[1] + 2.5], [SIGNED, UNSIGNED], name="mixed"
    )


def permanent(design, work, rows, bit, cycles):
    """Return the codes with one bit flipped in every cycle."""
    simulation = simulate(design, instrument(design.sources(), design.top).sources, work)
    toggles = Toggles(np.zeros(len(bit.toggles), np.uint64), np.array(bit.toggles, np.uint32))
    return simulation.run(rows, stream(len(rows), cycles), toggles=toggles).codes


@pytest.mark.parametrize("what", ["register", "constant", "entry"])
def test_a_flip_is_what_the_edited_verilog_does(mixed, work, what):
    sources, rows = mixed.sources(), random_codes(200, mixed.inputs, 1)
    places = {place.name: place for place in instrument(sources, mixed.top).places}
    if what == "register":
        bit = places["data1"].bits[2]
        sources = edited(sources, "mixed_pipeline.v", "data1 <= next1;", "data1 <= next1 ^ 4;")
    elif what == "constant":
        (stage,) = (place for place in places.values() if place.kind is Kind.CONSTANT)
        assert len(stage.bits) == 3
        bit, number = stage.bits[1], stage.name.split()[0]
        sources = edited(sources, f"mixed_{number}.v", "3'b101", "3'b111")
    else:
        (table,) = (place for place in places.values() if place.kind is Kind.TABLE)
        assert len(table.bits) == 64 * 4
        bit = table.bits[4 * 5 + 1]
        file = next(name for name in sources if name.startswith("table_"))
        entry = r"(?m)^(6'h05: out = 4'h)([0-9A-F]);"
        sources = edited(sources, file, entry, lambda match: f"{match[1]}{int(match[2], 16) ^ 2:X};")
    drain = 2 * mixed.latency_cycles
    codes = simulate(mixed, sources, work, upsets=False).run(rows, stream(len(rows), drain)).codes
    assert np.array_equal(permanent(mixed, work, rows, bit, drain), codes)
    assert np.any(codes != interpret(mixed, rows))


def test_a_bit_that_nothing_reads_changes_nothing(study, design):
    sources, width = design.sources(), register_widths(design.stages)[1]
    file = "tiny_pipeline.v"
    for kind in ("reg", "wire"):
        sources = edited(sources, file, rf"{kind} \[{width - 1}:0\] (data1|next1);", rf"{kind} [{width}:0] \1;")
    sources = edited(sources, file, r"\(\.model_inp\(data1\)", f"(.model_inp(data1[{width - 1}:0])")
    sources = edited(sources, file, r"\.model_out\(next1\)", f".model_out(next1[{width - 1}:0])")
    found = instrument(sources, design.top)
    place = found.places[1]
    assert len(place.bits) == width + 1
    (unused,) = study(found, [*found.places[:1], replace(place, bits=place.bits[-1:]), *found.places[2:]])[1:2]
    assert not unused.events.any()


def test_an_effect_that_stays_is_seen(study, design):
    """A register that remembers that it was upset is no feed-forward pipeline."""
    found = instrument(design.sources(), design.top)
    file, low = "tiny_pipeline.v", found.places[1].bits[0].toggles[0]
    sources = edited(found.sources, file, r"(data1 <= next1 \^ upset\[.*?\]);", r"\1 ^ stuck;")
    remember = f"reg stuck = 1'b0;\n always @(posedge clk) stuck <= stuck | upset[{low}];\nendmodule"
    sources = edited(sources, file, "endmodule", remember)
    with pytest.raises(MismatchError, match=r"an upset of bit \d+ of data1 lasts: .* not there while it was flipped"):
        study(replace(found, sources=sources))


def test_an_upset_that_does_not_happen_is_seen(study, design):
    found = instrument(design.sources(), design.top)
    last = len(design.stages)
    sources = edited(found.sources, "tiny_pipeline.v", rf"(data{last} <= next{last}) \^ upset\[.*?\];", r"\1;")
    with pytest.raises(MismatchError, match=rf"300 of 300 upsets of data{last}, .* were not seen"):
        study(replace(found, sources=sources))


def test_verilog_that_is_wrong_by_itself_is_refused(study, design, rows):
    fault = inject_fault(design, rows, seed=4)
    with pytest.raises(MismatchError, match="without any upset the RTL differs from the emulator"):
        study(instrument(fault.sources, design.top))


def test_a_table_that_is_none_is_refused(mixed):
    sources = mixed.sources()
    file = next(name for name in sources if name.startswith("table_"))
    with pytest.raises(InputError, match=rf"{file} is no table as l1dl writes it"):
        instrument({**sources, file: "module empty; endmodule"}, mixed.top)


def test_designs_whose_registers_are_not_ours_are_refused(design):
    sources = design.sources()
    with pytest.raises(InputError, match=r"has no other_pipeline\.v; only parallel designs"):
        instrument(sources, "other")
    more = edited(sources, "tiny.v", "endmodule", "reg more;\nendmodule")
    with pytest.raises(InputError, match=r"tiny\.v holds registers that l1dl did not write"):
        instrument(more, design.top)
    changed = edited(sources, "tiny_pipeline.v", "data1 <= next1;", "data1 <= ~next1;")
    with pytest.raises(InputError, match=r"tiny_pipeline\.v is not as l1dl writes it \('data1 <= next1;'"):
        instrument(changed, design.top)
