"""The Tcl scripts, run by a Tcl interpreter in which the tools' commands only note how they were called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_graphs import headed
from support import small_net

from l1dl.artifacts import write_files
from l1dl.card import RtlCard
from l1dl.errors import InputError
from l1dl.rtl.stream.design import build_stream
from l1dl.rtl.stream.project import stream_files
from l1dl.rtl.verilog import emit_constraints
from l1dl.vendor.project import digests, hls_project, rtl_project
from l1dl.vendor.settings import QUARTUS_PART, STEPS, BuildSettings, Vendor
from l1dl.vendor.sources import HlsSources, RtlSources, bench_events, read_rtl

tkinter = pytest.importorskip("tkinter", reason="this Python has no Tcl")

TOOL = """
proc write {name text} {file mkdir [file dirname $name]; set file [open $name w]; puts $file $text; close $file}
proc exit {args} {}
proc unknown {args} {
    lappend ::called $args
    set place [lsearch $args -file]
    if {$place >= 0} {write [lindex $args [expr {$place + 1}]] report}
    switch [lindex $args 0] {
        write_checkpoint {write [lindex $args end] checkpoint}
        get_timing_paths {return path}
        get_property {return -0.1}
        csynth_design {
            write tiny_prj/solution1/syn/report/tiny_csynth.xml x
            write tiny_prj/solution1/syn/report/tiny_csynth.rpt x
            write tiny_prj/solution1/syn/verilog/tiny.v module
        }
        cosim_design {
            write tiny_prj/solution1/sim/report/tiny_cosim.rpt x
            write tb_data/rtl_cosim_results.log x
        }
        execute_flow {
            write reports/implement/design.fit.summary x
            write reports/implement/design.sta.summary x
        }
    }
    return {}
}
"""

RTL = RtlSources(
    "tiny", 5.0, emit_constraints(5.0), ("rst", "in_data"), {"tiny.v": "module", "tiny_stage0.v": "module"}
)
HLS = HlsSources(
    "tiny", "xcku115-flvb2104-2-i", 4.0, {"clock_uncertainty": "27%", "maximum_size": "4096"},
    {"firmware/tiny.cpp": "", "firmware/weights/w2.h": "", "tiny_test.cpp": ""},
)  # fmt: skip


def settings(vendor: Vendor) -> BuildSettings:
    part = QUARTUS_PART if vendor is Vendor.QUARTUS else "xcku115-flvb2104-2-i"
    return BuildSettings(vendor, "tiny", "ap_clk" if vendor is Vendor.VITIS else "clk", part, 4.0)


def files(vendor: Vendor) -> dict[str, str]:
    if vendor is Vendor.VITIS:
        return hls_project(settings(vendor), HLS, small_net(), *bench_events(small_net(), Path("/nowhere")))
    return rtl_project(settings(vendor), RTL)


@pytest.fixture
def here() -> Iterator[None]:
    place = Path.cwd()
    yield
    os.chdir(place)


@pytest.mark.parametrize("vendor", Vendor)
def test_each_script_leaves_the_reports_of_its_step(vendor: Vendor, tmp_path: Path, here: None) -> None:
    project = tmp_path / "project"
    write_files(project, files(vendor))
    called: list[tuple[str, ...]] = []
    for step in STEPS[vendor]:
        os.chdir(project)
        tcl = tkinter.Tcl()
        tcl.eval(TOOL)
        tcl.eval(f"source {step.name}.tcl")
        called += [tuple(map(str, tcl.splitlist(call))) for call in tcl.splitlist(tcl.eval("set ::called"))]
        for name in step.reports:
            assert (project / "reports" / step.name / name).is_file()
    check(vendor, called)


def check(vendor: Vendor, called: list[tuple[str, ...]]) -> None:
    names = [call[0] for call in called]
    if vendor is Vendor.QUARTUS:
        assert ("set_global_assignment", "-name", "DEVICE", QUARTUS_PART) in called
        assert ("set_global_assignment", "-name", "VERILOG_FILE", "src/tiny_stage0.v") in called
        virtual = {call[-1] for call in called if "VIRTUAL_PIN" in call}
        assert virtual == {"rst", "rst[*]", "in_data", "in_data[*]"}
        return
    part = "xcku115-flvb2104-2-i"
    assert ("synth_design", "-top", "tiny", "-part", part, "-mode", "out_of_context") in called
    assert ("read_xdc", "-mode", "out_of_context", "clock.xdc") in called
    order = ["opt_design", "place_design", "phys_opt_design", "route_design", "phys_opt_design", "report_route_status"]
    assert [name for name in names if name in order] == order  # the slack was negative
    source = "src/tiny_stage0.v" if vendor is Vendor.VIVADO else "reports/csynth/verilog/tiny.v"
    assert source in next(call[1] for call in called if call[0] == "read_verilog").split()
    if vendor is Vendor.VITIS:
        assert ("create_clock", "-period", "4", "-name", "default") in called
        assert ("set_clock_uncertainty", "27%", "default") in called
        assert ("set_part", part) in called


def test_the_constraints_name_the_clock() -> None:
    assert files(Vendor.VIVADO)["clock.xdc"] == "create_clock -name clk -period 5.000 [get_ports clk]\n"
    assert files(Vendor.QUARTUS)["clock.sdc"] == "create_clock -name clk -period 5.000 [get_ports clk]\n"
    assert files(Vendor.VITIS)["clock.xdc"] == "create_clock -name clk -period 4.000 [get_ports ap_clk]\n"


@pytest.mark.parametrize("vendor", Vendor)
def test_the_digests_see_every_file(vendor: Vendor) -> None:
    whole = files(vendor)
    assert {line.split("  ")[1] for line in whole["inputs.sha256"].splitlines()} == {*whole} - {"inputs.sha256"}
    for name in whole:
        if name != "inputs.sha256":
            assert digests({**whole, name: whole[name] + " "}) != digests(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": "a b"}, "a b"), ({"top": "module"}, "keyword"), ({"clock": "clk]"}, "clk]"),
        ({"part": "x[exit]"}, "no name of a device"), ({"part": ""}, "no name of a device"),
        ({"clock_period_ns": 0.0}, "0.1 to 1000"), ({"clock_period_ns": float("nan")}, "0.1 to 1000"),
    ],
)  # fmt: skip
def test_only_names_and_numbers_reach_a_script(change: dict, message: str) -> None:
    usual = {"vendor": Vendor.VIVADO, "top": "tiny", "clock": "clk", "part": "xcvu13p", "clock_period_ns": 5.0}
    with pytest.raises(InputError) as caught:
        BuildSettings(**{**usual, **change})
    assert message in str(caught.value)


@pytest.mark.parametrize("value", ["27%} [exit] {", "$x", 'a"b', "a\nb", "a;b", "a\\b", "[x]"])
def test_a_value_cannot_leave_its_braces(value: str) -> None:
    sources = HlsSources(HLS.top, HLS.part, 4.0, {"clock_uncertainty": value}, HLS.files)
    with pytest.raises(InputError, match="cannot stand in a script"):
        hls_project(settings(Vendor.VITIS), sources, small_net(), *bench_events(small_net(), Path("/nowhere")))


@pytest.mark.parametrize("name", ["a b.v", "$x.v", "[exit].v", "a\nb.v", "../a.v", "/a.v", "-a.v"])
def test_a_file_name_cannot_be_more_than_a_name(name: str) -> None:
    sources = RtlSources("tiny", 5.0, RTL.constraints, RTL.ports, {**RTL.files, name: "module"})
    with pytest.raises(InputError, match="cannot stand in a script"):
        rtl_project(settings(Vendor.VIVADO), sources)


def test_the_ports_of_a_streaming_design_are_found(tmp_path: Path) -> None:
    design = build_stream(headed(), RtlCard(architecture="stream"), pixels=1, reuse=None)
    write_files(tmp_path / "rtl", stream_files(design))
    found = read_rtl(tmp_path / "rtl")
    assert {"rst", "s_axis_tdata", "s_axis_tready", "m_axis_tdata", "m_axis_tready", "frame_error"} <= {*found.ports}
    assert "clk" not in found.ports
    assert len({*found.ports}) == len(found.ports) == 10
