"""The VHDL is the same design as the Verilog, and GHDL says so where it is installed."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from alir_designs import alir_design, interpret
from support import need_packages, need_tools, random_graph, random_rows, small_net

from l1dl.card import CosimCard, RtlCard
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.ghdl import emit_test_bench, run_vhdl, simulate_vhdl
from l1dl.cosim.protocol import stream, with_bubbles, with_resets
from l1dl.cosim.stimuli import corner_codes, random_codes
from l1dl.cosim.verilate import Simulation
from l1dl.emulate.compare import NO_CODE
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, MismatchError, ToolFailedError, ToolMissingError, UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.rtl.project import build_rtl, project_files
from l1dl.rtl.vhdl import check_vhdl_name
from l1dl.tools import find_tool

SETTINGS = CosimCard(random_vectors=300, seed=3)
SIGNED, UNSIGNED, NARROW = FixedSpec(True, 6, 3), FixedSpec(False, 5, 4), FixedSpec(True, 4, 1)
TABLE = np.random.default_rng(1).integers(-40, 40, 64) / 8


def need_ghdl():
    """Skip without GHDL; in CI too, since no Python package has it."""
    try:
        find_tool("ghdl")
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def graph():
    return small_net()


@pytest.fixture(scope="module")
def design(graph):
    need_packages("alkaid")
    return build_rtl(graph, RtlCard(stage_delay_ns=2.5, language="vhdl"))


@pytest.fixture(scope="module")
def rows(graph):
    return random_rows(np.random.default_rng(2), graph.input_ports, 200)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("vhdl")


def test_vhdl_is_written_beside_the_verilog(graph, design):
    files = project_files(design)
    assert {"vhdl/tiny.vhd", "vhdl/tiny_pipeline.vhd", "vhdl/tiny_stage0.vhd", "src/tiny.v"} <= set(files)
    assert files["vhdl/tiny.vhd"] == design.vhdl_sources()["tiny.vhd"]
    only_verilog = build_rtl(graph, RtlCard(stage_delay_ns=2.5))
    assert only_verilog.vhdl_sources() == {}
    assert only_verilog.sources() == design.sources()
    assert not [name for name in project_files(only_verilog) if "vhd" in name]


def test_entities_stand_before_those_that_use_them():
    need_packages("alkaid")
    design = alir_design(lambda x: [x[0].lookup(TABLE) + x[1]], [SIGNED, UNSIGNED], language="vhdl")
    known: set[str] = set()
    for name, text in design.vhdl_sources().items():
        used, defined = (set(re.findall(rf"{what} (?:work\.)?(\w+)", text)) for what in ("entity work.", r"\nentity"))
        assert {word.removeprefix("work.") for word in used} <= known, name
        known |= defined
    assert {"net", "net_pipeline", "net_stage0"} <= known
    assert any(word.startswith("table_") for word in known)


def test_the_ports_are_those_of_the_verilog(design):
    texts = design.vhdl_sources()["tiny.vhd"], design.sources()["tiny.v"]
    vhdl = re.findall(r"^    (\w+) : (?:in|out) std_logic(?:_vector\((\d+) downto 0\))?", texts[0], re.MULTILINE)
    verilog = re.findall(r"^    (?:in|out)put wire (?:\[(\d+):0\] )?(\w+)", texts[1], re.MULTILINE)
    assert vhdl == [(name, high) for high, name in verilog]
    assert len(vhdl) == 6


@pytest.mark.parametrize("name", ["signal", "Entity", "my__net", "net_", "Mux", "shift_adder", "work", "ieee"])
def test_names_that_vhdl_does_not_allow(name):
    need_packages("alkaid")
    with pytest.raises(InputError, match=rf"the name '{name}' cannot stand in VHDL.*another name"):
        check_vhdl_name(name)


def test_a_name_that_only_verilog_allows():
    need_packages("alkaid")
    graph = dataclasses.replace(small_net(), name="my__net")
    assert build_rtl(graph).top == "my__net"
    with pytest.raises(InputError, match="'my__net' cannot stand in VHDL"):
        build_rtl(graph, RtlCard(language="vhdl"))
    check_vhdl_name("jet_mlp")


def one_bit_relu():
    """Return a design whose ReLUs yield one bit, of which only the last is the lowest bit of the source."""
    return alir_design(
        lambda x: [x[0].relu(2, -1), x[0].relu(0, 1), x[0].relu(-2, 3)], [SIGNED], language="vhdl", name="relu"
    )


def test_a_relu_of_one_bit_takes_the_right_one():
    need_packages("alkaid")
    text = one_bit_relu().vhdl_sources()["relu_stage0.vhd"]
    assert sorted(re.findall(r"\(0\) <= v\d+\((\d)\) and \(not", text)) == ["0", "2", "4"]


def test_alkaid_still_takes_the_wrong_bit():
    """Fails when alkaid takes the right bit itself: then the correction can go."""
    need_packages("alkaid")
    from alkaid.codegen.rtl.vhdl import comb_logic_gen

    text = comb_logic_gen(one_bit_relu().stages[0], "relu")
    assert re.findall(r"\(0\) <= v\d+\((\d)\) and \(not", text) == ["0", "0", "0"]


def test_a_test_bench_has_no_path_of_this_machine(design):
    assert re.findall(r'"(.*)"', emit_test_bench("tiny", design.inputs, design.outputs)) == [
        "vectors.txt", "results.txt",
    ]  # fmt: skip


def test_without_ghdl_the_verdict_says_so(graph, design, rows, work, monkeypatch):
    need_tools("verilator", "cxx")
    monkeypatch.setenv("L1DL_GHDL", "/nowhere/ghdl")
    with pytest.raises(ToolMissingError, match=r"ghdl: .*Set L1DL_GHDL .*install it: apt-get install ghdl"):
        simulate_vhdl(design, rows, work)
    report, _ = cosimulate(graph, design, rows, work, settings=SETTINGS, self_test=False)
    assert report.agreement.mismatches == 0
    assert report.vhdl is not None
    assert report.vhdl.agreement is None
    assert report.vhdl.reason is not None
    assert report.vhdl.reason.startswith("the VHDL was written but not simulated: ghdl: ")
    assert (report.vhdl.vectors, report.vhdl.simulator, report.vhdl.seconds) == ({}, None, None)


def test_the_verdict_on_the_vhdl(graph, design, rows, work):
    need_tools("verilator", "cxx")
    need_ghdl()
    said: list[str] = []
    report, outputs = cosimulate(graph, design, rows, work, settings=SETTINGS, self_test=False, progress=said.append)
    assert said[-1] == "simulating the VHDL"
    check = report.vhdl
    assert check is not None
    assert check.agreement is not None
    assert check.agreement.name == "emulator_vhdl"
    assert check.agreement.mismatches == 0
    assert check.agreement.events > 600
    assert check.vectors == {"test": 200, "corner": report.vectors["corner"], "random": 300, "shuffled": 150}
    assert check.reason is None
    assert check.simulator is not None
    assert check.simulator.startswith("GHDL ")
    np.testing.assert_array_equal(simulate_vhdl(design, rows, work), outputs)
    assert len(np.unique(outputs, axis=0)) > 50
    # A Verilog that is wrong is the news; the VHDL is then not looked at.
    wrong = {**design.sources()}
    wrong["tiny.v"] = wrong["tiny.v"].replace("out_data[15:0] = {", "out_data[15:0] = ~{")
    report, _ = cosimulate(graph, design, rows, work, settings=SETTINGS, self_test=False, sources=wrong)
    assert report.vhdl is not None
    assert report.vhdl.reason == "the Verilog disagrees with the emulator, so the VHDL was not simulated"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tiny.vhd", "out_data(15 downto 0) <= ", "out_data(15 downto 0) <= not ",
         r"emulator and vhdl disagree in \d+ output codes of \d+ events. First: event 0 output 0: .* Verilog .* right"),
        ("tiny.vhd", "if rst = '1' then", "if false then", r"VHDL: \d+ events came out of the RTL, \d+ were expected"),
        ("tiny_pipeline.vhd", "data1 <= next1;", "if (and model_inp(17 downto 15)) = '0' then data1 <= next1; end if;",
         r"emulator and vhdl disagree"),
        ("tiny_pipeline.vhd", "data1 <= next1;", "", r"emulator and vhdl disagree"),  # never defined
    ],
)  # fmt: skip
def test_a_fault_in_the_vhdl_alone_is_an_error(file, old, new, message, graph, design, rows, work):
    need_tools("verilator", "cxx")
    need_ghdl()
    sources = design.vhdl_sources()
    assert sources[file].count(old) == 1
    faulty = {**sources, file: sources[file].replace(old, new)}
    with pytest.raises(MismatchError, match=message):
        cosimulate(graph, design, rows, work, settings=SETTINGS, self_test=False, vhdl_sources=faulty)


def test_vhdl_that_ghdl_refuses(design, rows, work):
    need_ghdl()
    sources = design.vhdl_sources()
    with pytest.raises(ToolFailedError, match=r"(?s)ghdl failed with exit code .*tiny\.vhd:\d+:\d+"):
        simulate_vhdl(design, rows, work, sources={**sources, "tiny.vhd": sources["tiny.vhd"] + "end;"})


def test_undefined_bits_are_no_codes(design, rows, work):
    need_ghdl()
    sources = design.vhdl_sources()
    text = sources["tiny.vhd"]
    assert text.count("model_out(0)") <= text.count("model_out(")
    undefined = re.sub(
        r"out_data\(31 downto 16\) <= .*;", "out_data(31 downto 16) <= (17 => 'X', others => '0');", text
    )
    codes = simulate_vhdl(design, rows, work, sources={**sources, "tiny.vhd": undefined})
    assert set(codes[:, 1]) == {NO_CODE}
    assert NO_CODE not in codes[:, 0]


def test_bubbles_and_resets_are_those_of_the_verilog(design, rows, work):
    need_tools("verilator", "cxx")
    need_ghdl()
    verilog = Simulation(design.sources(), design.top, design.inputs, design.outputs, work)
    ports = design.inputs, design.outputs
    for control in (with_bubbles(200, 20, seed=1), with_resets(200, 10, 20, seed=1), stream(200, 1)):
        right = verilog.run(rows, control)
        outcome = run_vhdl(design.vhdl_sources(), design.top, *ports, rows, control, work)
        np.testing.assert_array_equal(outcome.codes, right.codes)
        np.testing.assert_array_equal(outcome.cycles, right.cycles)
        assert len(outcome.codes) > 10
    with pytest.raises(InputError, match=r"codes of shape \(3, 3\) do not fit 200 valid cycles of 3 values"):
        run_vhdl(design.vhdl_sources(), design.top, *ports, rows[:3], stream(200, 1), work)


def _largest(*values):
    largest = values[0]
    for value in values[1:]:
        largest = largest.max_of(value)
    return largest


OPERATIONS = {
    "relu": lambda x: [x[0].relu(2, -1), x[0].relu(0, 1), x[0].relu(-2, 3), x[0].relu(2, 2), x[1].relu(3, 0)],
    "extrema": lambda x: [
        x[0].max_of(x[1]), _largest(*x), x[1].min_of(x[2]), _largest(x[0], 1.25), x[0].max_of(-1.5),
        x[0].msb_mux(0.0, x[1]), x[1].msb_mux(x[2], 0.0), x[1].msb_mux(x[2] * 4, x[0] * 0.5), abs(x[0]),
    ],
    "products": lambda x: [x[0] * x[1], x[1] * x[1], x[0] * x[2], x[2] * x[2], -x[0], -x[1]],
    "conversions": lambda x: [
        x[0].quantize(1, 1, 1), x[0].quantize(0, 2, 2), x[0].quantize(1, 5, 1, "SAT", "RND"), x[1].quantize(1, 1, 1),
        x[0].quantize(0, 0, 2), x[0].quantize(1, 0, 0), x[0].quantize(1, 1, 2, "SAT_SYM", "RND_CONV"),
        x[0].quantize(0, 9, -1),
    ],
    "tables": lambda x: [x[0].lookup(TABLE), x[2].lookup(TABLE[:16]) + x[1], x[1].lookup(np.arange(32) % 2)],
    "bits": lambda x: [
        x[0].unary_bit_op("not"), x[0].unary_bit_op("any"), x[1].unary_bit_op("all"), x[1].unary_bit_op("not"),
        x[0].binary_bit_op(x[1], "and"), x[0].binary_bit_op(x[2], "or"), x[1].binary_bit_op(x[2], "xor"),
    ],
    "sums": lambda x: [
        x[0] + x[1] - 4 * x[2], x[0] - x[1] * 8, x[2] * 16 - x[1], x[1] - 1.25, x[1] * 64 + x[0], x[0] - x[1] - x[2],
    ],
    "wires": lambda x: [x[2], x[0], x[1] * 0 + 1.5, x[1] * 0, x[0] * 0 - 3],
}  # fmt: skip


@pytest.mark.parametrize("kind", OPERATIONS)
@pytest.mark.parametrize("stage_delay_ns", [0.6, 50.0])
def test_every_operation(kind, stage_delay_ns, work):
    need_packages("alkaid")
    need_ghdl()
    design = alir_design(
        OPERATIONS[kind], [SIGNED, UNSIGNED, NARROW], stage_delay_ns=stage_delay_ns, language="vhdl"
    )  # fmt: skip
    rows = np.concatenate([corner_codes(design.inputs), random_codes(400, design.inputs, seed=1)])
    expected = interpret(design, rows)
    np.testing.assert_array_equal(simulate_vhdl(design, rows, work), expected)
    assert (expected.std(axis=0) > 0).sum() >= min(expected.shape[1] - 3, 3)


@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(12, 150), marks=pytest.mark.slow)])
def test_random_networks(seeds, work):
    need_packages("alkaid")
    need_ghdl()
    built = 0
    for seed in seeds:
        graph = random_graph(seed, layers=3)
        try:
            design = build_rtl(graph, RtlCard(stage_delay_ns=1.0, language="vhdl"))
        except UnsupportedError as error:
            assert "depends on its inputs" in str(error)  # noqa: PT017
            continue
        built += 1
        rows = random_rows(np.random.default_rng(seed), graph.input_ports, 150)
        np.testing.assert_array_equal(simulate_vhdl(design, rows, work), Emulator(graph).run(rows), err_msg=f"{seed}")
    assert built > len(seeds) // 3
