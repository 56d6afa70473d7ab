from __future__ import annotations

import json
import re

import numpy as np
import pytest
from alir_designs import alir_design
from support import need_packages, random_graph, random_rows, small_net

from l1dl.card import RtlCard
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input
from l1dl.ports import decode_rows
from l1dl.rtl.lower import lower
from l1dl.rtl.passes import exact_passes
from l1dl.rtl.project import build_rtl, describe_interface, interface_text, project_files, stage_delay


@pytest.fixture(scope="module")
def design():
    need_packages("alkaid")
    return build_rtl(small_net(), RtlCard(stage_delay_ns=2.0))


def test_stages_run_like_the_whole_program(design):
    graph = small_net()
    values = decode_rows(random_rows(np.random.default_rng(1), design.inputs, 300), design.inputs)
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
    assert max(fast.stage_delay_ns) <= 2.5 < max(slow.stage_delay_ns)
    assert sum(fast.stage_delay_ns) > sum(slow.stage_delay_ns), "more registers take more time"
    assert stage_delay(RtlCard(clock_period_ns=4.0)) == pytest.approx(3.88)
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
    (group,) = interface["inputs"]
    assert (group["name"], group["shape"], group["bits"]) == ("x", [3], [17, 0])
    assert [value["bits"] for value in group["values"]] == [[5, 0], [11, 6], [17, 12]]
    assert [value["name"] for value in group["values"]] == ["a", "b", "x[2]"]
    assert group["type"]["integer"] == 3
    top = design.sources()["tiny.v"]
    assert "input wire [17:0] in_data" in top
    assert "output wire [31:0] out_data" in top
    text = interface_text(interface)
    assert "2^-3" in text
    assert "| 1 | y | 31:16 |" in text


def several_ports() -> FixedGraph:
    """Return a network of two inputs and three outputs, all of different types; one input value has no effect."""
    narrow, wide, bits = FixedSpec(False, 3, 1), FixedSpec(True, 7, 4), FixedSpec(True, 9, 5)
    weight = np.array([[3, -1], [0, 0], [2, 5]])
    return FixedGraph(
        "several",
        (
            Input("left", (), (2, 2), wide),
            Input("right", (), (3,), narrow),
            Dense("sums", ("right",), (2,), bits, weight, FixedSpec(True, 4, 4), np.array([0, 1]), wide, bits),
            Activation("image", ("left",), (2, 2), FixedSpec(False, 4, 2), Function.RELU),
            Affine("same", ("left",), (2, 2), bits, np.array(1), bits, np.array(0), bits),
        ),
        ("image", "sums", "same"),
        "test 1",
    )


def test_the_interface_lists_every_port():
    need_packages("alkaid")
    design = build_rtl(several_ports())
    interface = describe_interface(design, names=("a", "b", "c", "d", "e"))
    widths = {port["name"]: port["width"] for port in interface["ports"]}
    assert (widths["in_data"], widths["out_data"]) == (4 * 7 + 3 * 3, 4 * 4 + 2 * 9 + 4 * 9)
    inputs, outputs = interface["inputs"], interface["outputs"]
    assert [(port["name"], port["shape"], port["bits"]) for port in inputs] == [
        ("left", [2, 2], [27, 0]), ("right", [3], [36, 28]),
    ]  # fmt: skip
    assert [value["name"] for value in inputs[1]["values"]] == ["e", "right[1]", "right[2]"]
    assert [value["bits"] for value in inputs[1]["values"]] == [[30, 28], [33, 31], [36, 34]]
    assert [port["name"] for port in outputs] == ["image", "sums", "same"]
    assert outputs[0]["values"][2] == {"index": 2, "name": "image[1][0]", "bits": [11, 8]}
    assert [port["bits"] for port in outputs] == [[15, 0], [33, 16], [69, 34]]
    assert [port["type"]["signed"] for port in outputs] == [False, True, True]
    text = interface_text(interface)
    assert "## Input `right`: `in_data[36:28]`" in text
    assert "Shape 2 x 2" in text
    top = design.sources()["several.v"]
    assert "input wire [36:0] in_data" in top
    # The middle value of `right` has no weight: its three bits are not read.
    assert not re.search(r"in_data\[33:31\]", top)


def test_tables_stand_in_the_emitted_files():
    need_packages("alkaid")
    index, other = FixedSpec(True, 6, 3), FixedSpec(False, 6, 3)
    table = np.arange(-32, 32) / 4
    design = alir_design(
        lambda x: [x[0].lookup(table), (x[1] + x[0].lookup(table)).quantize(1, 2, 3).lookup(table),
                   x[2].lookup(table[::-1] + 0.5)],
        [index, index, other], stage_delay_ns=0.5,
    )  # fmt: skip
    assert len(design.stages) > 1
    sources = design.sources()
    tables = {name: text for name, text in sources.items() if name.startswith("table_")}
    assert len(tables) == 2  # equal tables share one module
    for name, text in tables.items():
        assert text.startswith(f"module {name.removesuffix('.v')}(")
        assert len(re.findall(r"'h\w+: out = ", text)) == 64
        assert sum(source.count(f"{name.removesuffix('.v')} op_") for source in sources.values()) in (1, 2)
    assert not re.search(r"readmem|`include|/", "".join(tables.values()))


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


def test_one_output_that_varies_is_enough():
    need_packages("alkaid")
    spec = FixedSpec(True, 6, 3)
    scale, offset = np.array([0, 0, 8, 4]), np.array([0, 5, 0, -3])
    affine = Affine("y", ("x",), (4,), spec, scale, spec, offset, spec)
    graph = FixedGraph("net", (Input("x", (), (4,), spec), affine), ("y", "x"), "test 1")
    design = build_rtl(graph)
    top = design.sources()["net.v"]
    assert "assign out_data[5:0] = 6'b0;" in top  # a constant zero has no bits inside
    values = np.array([[1.0, 2.0, -3.0, 3.5]])
    for stage in design.stages:
        values = stage.predict(values, n_threads=1)
    assert values.tolist() == [[0.0, 0.625, -3.0, 1.375, 1.0, 2.0, -3.0, 3.5]]


def test_outputs_that_need_fewer_bits_are_extended():
    need_packages("alkaid")
    source, wide = FixedSpec(False, 3, 3), FixedSpec(True, 12, 6)
    nodes = (Input("x", (), (1,), source), Activation("y", ("x",), (1,), wide, Function.LINEAR))
    top = build_rtl(FixedGraph("net", nodes, ("y",), "test 1")).sources()["net.v"]
    assert "assign out_data[11:0] = {3'b0, model_out[2:0], 6'b0};" in top


def test_random_graphs_become_pipelines():
    need_packages("alkaid")
    built = 0
    for seed in range(25):
        graph = random_graph(seed, layers=2)
        try:
            design = build_rtl(graph, RtlCard(stage_delay_ns=1.0))
        except UnsupportedError as error:
            assert "depends on its inputs" in str(error)  # noqa: PT017
            continue
        built += 1
        values = decode_rows(random_rows(np.random.default_rng(seed), design.inputs, 100), design.inputs)
        expected = lower(graph).predict(values, n_threads=1)
        for stage in design.stages:
            values = stage.predict(values, n_threads=1)
        np.testing.assert_array_equal(values, expected)
    assert built > 10
