"""A co-simulation is worth what it catches: wrong arithmetic, wrong timing, wrong protocol."""

from __future__ import annotations

import numpy as np
import pytest
from alir_designs import alir_design, interpret
from support import need_packages, need_tools, random_rows, small_net

from l1dl.card import CosimCard, RtlCard
from l1dl.cosim.cosim import cosimulate, explain_mismatch
from l1dl.cosim.fault import inject_fault
from l1dl.cosim.locate import first_wrong_layer, layers_of_stage
from l1dl.cosim.protocol import stream
from l1dl.cosim.stimuli import all_vectors, random_codes
from l1dl.cosim.verilate import Simulation
from l1dl.emulate.compare import require
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, MismatchError
from l1dl.fixed import FixedSpec
from l1dl.rtl.project import build_rtl

SETTINGS = CosimCard(random_vectors=800, seed=3)


@pytest.fixture(scope="module")
def graph():
    return small_net()


@pytest.fixture(scope="module")
def design(graph):
    need_packages("alkaid")
    need_tools("verilator", "cxx")
    design = build_rtl(graph, RtlCard(stage_delay_ns=2.5))
    assert len(design.stages) > 1
    return design


@pytest.fixture(scope="module")
def codes(graph):
    return random_rows(np.random.default_rng(2), graph.input_ports, 400)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("cosim")


def edited(design, old: str, new: str, file: str = "tiny.v") -> dict[str, str]:
    sources = design.sources()
    assert sources[file].count(old) == 1, sources[file]
    return {**sources, file: sources[file].replace(old, new)}


def simulate(graph, design, codes, work, sources):
    return cosimulate(graph, design, codes, work, settings=SETTINGS, sources=sources, self_test=False)


def test_the_right_design_passes_and_sees_its_own_fault(graph, design, codes, work):
    said = []
    report, outputs = cosimulate(graph, design, codes, work, settings=SETTINGS, progress=said.append)
    require(report.agreement)
    assert report.agreement.events == sum(report.vectors.values())
    assert report.vectors["test"] == 400
    assert report.vectors["random"] == 800
    assert report.latency_cycles == design.latency_cycles
    assert report.initiation_interval == 1
    assert report.resets == 25
    assert report.bubbles > 100
    assert report.self_test is not None
    assert report.self_test.mismatches > 0
    np.testing.assert_array_equal(outputs, Emulator(graph).run(codes))
    assert len(np.unique(outputs, axis=0)) > 50
    assert said[0] == "building the simulation"
    assert not [path.name for path in work.iterdir() if path.suffix not in (".so", ".log", ".o")]


def test_a_flipped_adder_is_seen_and_found(graph, design, codes, work, tmp_path):
    fault = inject_fault(design, codes, seed=4)
    file = next(name for name, text in fault.sources.items() if text != design.sources()[name])
    stage = design.stage_modules.index(file.removesuffix(".v"))
    assert design.stage_modules[stage] in fault.description
    report, _ = simulate(graph, design, codes, work, dict(fault.sources))
    assert report.agreement.mismatches > 0
    assert report.self_test is None
    with pytest.raises(MismatchError, match=r"emulator and rtl disagree in \d+ output codes of \d+ events"):
        require(report.agreement)
    assert len(report.agreement.first) == 5
    vectors = all_vectors(codes, design.inputs, events=SETTINGS.random_vectors, seed=SETTINGS.seed)
    everything = np.concatenate(list(vectors.values()))
    probed = {**design.sources(probes=True), file: fault.sources[file]}
    text = explain_mismatch(graph, design, report.agreement, everything, tmp_path, probed)
    assert f"The first diverging pipeline stage is {design.stage_modules[stage]} (layers " in text
    assert str(tmp_path / "mismatch.vcd") in text
    waveform = (tmp_path / "mismatch.vcd").read_text()
    assert waveform.lstrip().startswith(("$version", "$date", "$timescale"))
    assert "out_valid" in waveform
    # Without a fault in the stages, the explanation says so.
    text = explain_mismatch(graph, design, report.agreement, everything, tmp_path, None)
    assert "All pipeline stages are right on these events alone" in text


def test_the_first_wrong_layer_is_named(graph, codes, monkeypatch):
    need_packages("alkaid")
    assert first_wrong_layer(graph, codes[:50]) is None
    from l1dl.cosim import locate

    class Wrong:
        """The program, with one wrong code of the ReLU's second value; behind it, everything may differ."""

        def __init__(self, program):
            self.program = program

        def predict(self, values, **options):
            result = self.program.predict(values, **options)
            result[7, 4 + 1] += 1
            result[:, 8:] += 1
            return result

    lower = locate.lower
    monkeypatch.setattr(locate, "lower", lambda net, names: Wrong(lower(net, names)))
    assert first_wrong_layer(graph, codes[:50]) == "relu"


def test_layers_of_stages_cover_the_network(graph, design):
    count = len(design.stages)
    named = [layers_of_stage(graph, stage, count) for stage in range(count)]
    assert "hidden" in named[0]
    assert "logits" in named[-1]
    assert {layer for layers in named for layer in layers} == {"hidden", "relu", "logits"}


def test_a_valid_chain_that_is_one_cycle_short(graph, design, codes, work):
    last = design.latency_cycles - 1
    sources = edited(design, f"out_valid = valid[{last}]", f"out_valid = valid[{last - 1}]")
    report, _ = simulate(graph, design, codes, work, sources)
    # The chain is consistent in itself, one cycle early: what stands at the output is the event before.
    assert report.latency_cycles == last
    assert report.agreement.mismatches > 100
    with pytest.raises(MismatchError, match="emulator and rtl disagree"):
        require(report.agreement)


def test_a_valid_chain_that_ignores_the_reset(graph, design, codes, work):
    sources = edited(design, "rst ?", "1'b0 ?")
    with pytest.raises(MismatchError, match=r"resets: \d+ events came out of the RTL, \d+ were expected"):
        simulate(graph, design, codes, work, sources)


def test_a_design_that_drops_an_event(graph, design, codes, work):
    sources = edited(
        design,
        "    assign out_valid = ",
        "    reg [9:0] count = 10'd0;\n    always @(posedge clk) if (in_valid) count <= count + 10'd1;\n"
        "    assign out_valid = (count != 10'd100) & ",
    )
    with pytest.raises(MismatchError, match=r"full stream: \d+ events came out of the RTL, \d+ were expected"):
        simulate(graph, design, codes, work, sources)


def test_a_design_that_never_answers(graph, design, codes, work):
    last = design.latency_cycles - 1
    sources = edited(design, f"out_valid = valid[{last}]", "out_valid = 1'b0")
    with pytest.raises(MismatchError, match=r"the RTL of 'tiny' never raised out_valid in \d+ cycles"):
        simulate(graph, design, codes, work, sources)


def test_a_latency_that_varies(graph, design, codes, work):
    last = design.latency_cycles - 1
    sources = edited(
        design,
        f"out_valid = valid[{last}]",
        "0;\n    reg late = 1'b0;\n    reg seen = 1'b0;\n    always @(posedge clk) begin\n"
        f"        late <= valid[{last}];\n        seen <= seen | (valid[{last}] & !in_valid);\n    end\n"
        f"    assign out_valid = seen ? late : valid[{last}]",
    )
    sources = {**sources, "tiny.v": sources["tiny.v"].replace("    assign 0;\n", "")}
    with pytest.raises(MismatchError, match=r"events? .*(came out)"):
        simulate(graph, design, codes, work, sources)


def test_data_that_depends_on_bubbles(graph, design, codes, work):
    """A register that stops without a valid input is right in a full stream, and wrong with bubbles."""
    sources = edited(design, "data1 <= next1;", "if (!(&model_inp[17:15])) data1 <= next1;", "tiny_pipeline.v")
    report, _ = simulate(graph, design, codes, work, sources)
    assert report.agreement.mismatches > 0


SIGNED, UNSIGNED = FixedSpec(True, 6, 3), FixedSpec(False, 5, 4)

WITHOUT_ADDERS = {
    "wires": lambda x: [x[1], x[0]],
    "relu": lambda x: [x[0].relu(), x[1]],
    "table": lambda x: [x[0].lookup(np.arange(64) % 9 / 2)],
    "product": lambda x: [x[0] * x[1]],
}


@pytest.mark.parametrize("kind", WITHOUT_ADDERS)
def test_a_fault_in_a_design_without_adders(kind, work):
    need_packages("alkaid")
    need_tools("verilator", "cxx")
    design = alir_design(WITHOUT_ADDERS[kind], [SIGNED, UNSIGNED], name=f"no_{kind}")
    assert not {op.opcode for stage in design.stages for op in stage.ops} & {0, 1, 4, 11}
    assert _seen(design, work, seed=1).startswith("bit ")


def test_faults_in_all_kinds_of_adders(work):
    need_packages("alkaid")
    need_tools("verilator", "cxx")
    design = alir_design(
        lambda x: [x[0] + x[1] - 4 * x[2], x[0] - x[1], x[2] + 2.5, x[1] - 1.25, x[2] + x[1]],
        [SIGNED, UNSIGNED, SIGNED], name="adders", stage_delay_ns=0.5,
    )  # fmt: skip
    descriptions = {_seen(design, work, seed).split(":")[0] for seed in range(12)}
    assert len(descriptions) > 3, descriptions


def _seen(design, work, seed):
    """Inject a fault, and demand that the simulation sees it; return what it is."""
    rows = random_codes(300, design.inputs, 1)
    fault = inject_fault(design, rows, seed)
    simulation = Simulation(fault.sources, design.top, design.inputs, design.outputs, work)
    outcome = simulation.run(rows, stream(len(rows), 2 * design.latency_cycles))
    assert np.any(outcome.codes != interpret(design, rows)), fault.description
    return fault.description


def test_a_design_in_which_no_fault_has_an_effect_is_named(design, codes):
    with pytest.raises(InputError, match=r"neither a flipped adder nor .* of 'tiny' changed an output of 0 events"):
        inject_fault(design, codes[:0], seed=1)


def test_simulations_check_what_they_are_given(design, codes, work):
    simulation = Simulation(design.sources(), design.top, design.inputs, design.outputs, work)
    control = np.array([2, 1, 1, 0], dtype=np.uint8)
    with pytest.raises(InputError, match=r"codes of shape \(3, 3\) do not fit 2 valid cycles of 3 values"):
        simulation.run(codes[:3], control)
    before = {path.name: path.stat().st_mtime_ns for path in work.glob("*.so")}
    Simulation(design.sources(), design.top, design.inputs, design.outputs, work)  # built already
    assert {path.name: path.stat().st_mtime_ns for path in work.glob("*.so")} == before


def test_results_depend_neither_on_initial_registers_nor_on_bubbles(design, codes, work):
    simulation = Simulation(design.sources(), design.top, design.inputs, design.outputs, work)
    control = np.concatenate([[2, 2], np.tile([1, 0, 0, 1], 30), np.zeros(design.latency_cycles + 1)]).astype(np.uint8)
    first, second = (simulation.run(codes[:60], control, seed=seed) for seed in (1, 99))
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(first.cycles, second.cycles)
    assert len(first.codes) == 60
