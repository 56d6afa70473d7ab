from __future__ import annotations

import json
import re

import numpy as np
import pytest
from support import need_packages, random_graph, small_net

from l1dl.card import RtlCard
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec, decode
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Function, Input
from l1dl.rtl.lower import lower
from l1dl.rtl.passes import exact_passes
from l1dl.rtl.project import build_rtl, describe_interface, interface_text, project_files, stage_delay


@pytest.fixture(scope="module")
def design():
    need_packages("alkaid")
    return build_rtl(small_net(), RtlCard(stage_delay_ns=2.0))


def test_stages_run_like_the_whole_program(design):
    graph = small_net()
    spec = graph.inputs[0].result
    codes = np.random.default_rng(1).integers(spec.minimum_code, spec.maximum_code + 1, (300, 3))
    values = decode(codes, spec)
    expected = lower(graph).predict(values, n_threads=1)
    for stage in design.stages:
        values = stage.predict(values, n_threads=1)
    np.testing.assert_array_equal(values, expected)
    assert len(np.unique(expected, axis=0)) > 20


def test_shorter_stages_make_a_longer_pipeline():
    need_packages("alkaid")
    fast, slow = (build_rtl(small_net(), RtlCard(stage_delay_ns=delay)) for delay in (2.5, 50.0))
    assert len(slow.stages) == 1
    assert fast.latency_cycles > slow.latency_cycles == 2
    assert max(fast.stage_delay_ns) < max(slow.stage_delay_ns) / 2
    assert sum(fast.stage_delay_ns) == pytest.approx(sum(slow.stage_delay_ns))
    assert stage_delay(RtlCard(clock_period_ns=4.0)) == pytest.approx(3.6)
    assert stage_delay(RtlCard(clock_period_ns=4.0, stage_delay_ns=2.0)) == 2.0


def test_sources_are_complete_and_stable(design):
    sources = design.sources()
    assert sources == design.sources()
    text = "\n".join(sources.values())
    defined = set(re.findall(r"^\s*module (\w+)", text, flags=re.MULTILINE))
    instantiated = set(re.findall(r"^\s*(\w+) #\(", text, flags=re.MULTILINE))
    assert instantiated <= defined
    assert {"tiny", "tiny_pipeline", *design.stage_modules} <= defined
    assert text.count("posedge") == 2
    assert "probes" not in text
    assert "probes" in design.sources(probes=True)["tiny.v"]


def test_the_interface_describes_the_ports(design):
    interface = describe_interface(design, ("a", "b"), ("x", "y"))
    assert interface["latency_cycles"] == design.latency_cycles == len(design.stages) + 1
    assert [(port["name"], port["width"]) for port in interface["ports"]] == [
        ("clk", 1), ("rst", 1), ("in_valid", 1), ("in_data", 18), ("out_valid", 1), ("out_data", 32),
    ]  # fmt: skip
    assert [value["bits"] for value in interface["inputs"]["values"]] == [[5, 0], [11, 6], [17, 12]]
    assert [value["name"] for value in interface["inputs"]["values"]] == ["a", "b", "value 2"]
    assert interface["inputs"]["type"]["integer"] == 3
    top = design.sources()["tiny.v"]
    assert "input wire [17:0] in_data" in top
    assert "output wire [31:0] out_data" in top
    text = interface_text(interface)
    assert "2^-3" in text
    assert "| 1 | y | 31:16 |" in text


def test_project_files(design):
    files = project_files(design)
    assert {"tiny.xdc", "interface.json", "interface.md", "src/tiny.v"} <= set(files)
    assert json.loads(files["interface.json"])["top"] == "tiny"
    assert files["tiny.xdc"] == "create_clock -name clk -period 5.000 [get_ports clk]\n"


def test_alkaid_is_as_it_was_behind_the_context():
    need_packages("alkaid")
    from alkaid.trace.fixed_variable import FVariable
    from alkaid.trace.passes import canon

    before = canon.canonicalize_msb_wraps, FVariable.quantize
    with pytest.raises(KeyError), exact_passes():  # noqa: PT012
        assert before[0] is not canon.canonicalize_msb_wraps
        raise KeyError
    assert (canon.canonicalize_msb_wraps, FVariable.quantize) == before


def test_alkaid_still_needs_the_corrections():
    """Fails when alkaid wraps constants rightly itself: then `exact_passes` can go."""
    need_packages("alkaid")
    from alkaid.trace import HWConfig
    from alkaid.trace.fixed_variable import FVariable

    constant = FVariable.from_const(9.75, hwconf=HWConfig(1, 8, -1))
    assert constant.quantize(0, -2, 6).low == 0.25  # 9.75 modulo 1/4 is 0
    with exact_passes():
        assert constant.quantize(0, -2, 6).low == 0.0


def test_networks_whose_outputs_never_change_are_refused():
    need_packages("alkaid")
    spec, zeros = FixedSpec(True, 4, 2), np.zeros(2, dtype=np.int64)
    for offset in (0, 3):
        affine = Affine("a", ("x",), (2,), spec, zeros, spec, np.full(2, offset), spec)
        graph = FixedGraph("net", (Input("x", (), (2,), spec), affine), ("a",), "test 1")
        with pytest.raises(UnsupportedError, match="no output of 'net' depends on its inputs"):
            build_rtl(graph)


def test_outputs_that_need_fewer_bits_are_extended():
    need_packages("alkaid")
    source, wide = FixedSpec(False, 3, 3), FixedSpec(True, 12, 6)
    nodes = (Input("x", (), (1,), source), Activation("y", ("x",), (1,), wide, Function.LINEAR))
    top = build_rtl(FixedGraph("net", nodes, ("y",), "test 1")).sources()["net.v"]
    assert "assign out_data[11:0] = {3'b0, model_out[2:0], 6'b0};" in top


def test_random_graphs_become_pipelines():
    need_packages("alkaid")
    from support import RTL_OVERFLOWS, RTL_ROUNDINGS

    built = 0
    for seed in range(25):
        graph = random_graph(seed, layers=2, roundings=RTL_ROUNDINGS, overflows=RTL_OVERFLOWS)
        try:
            design = build_rtl(graph, RtlCard(stage_delay_ns=1.0))
        except UnsupportedError as error:
            assert "depends on its inputs" in str(error)  # noqa: PT017
            continue
        built += 1
        spec = graph.inputs[0].result
        shape = (100, *graph.inputs[0].shape)
        codes = np.random.default_rng(seed).integers(spec.minimum_code, spec.maximum_code, shape, endpoint=True)
        values = decode(codes, spec)
        expected = lower(graph).predict(values, n_threads=1)
        for stage in design.stages:
            values = stage.predict(values, n_threads=1)
        np.testing.assert_array_equal(values, expected)
    assert built > 10
