"""The files of an IP core: names, bit layout, vectors, and a Tcl script that names only what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from graphs import random_rows, random_spec
from hypothesis import given
from hypothesis import strategies as st
from ip_cores import KINDS, core_texts, network, write_core
from support import need_packages

from l1dl.errors import InputError
from l1dl.ip.core import CoreName, Side, hex_words, read_core
from l1dl.ports import Port


@pytest.fixture(autouse=True)
def _alkaid():
    need_packages("alkaid")


def verilog_ports(text: str) -> dict[str, tuple[str, int]]:
    """Return name → direction and width of the ports of the first module of a text."""
    head = text[: text.index(");")]
    found = re.findall(r"(input|output) (?:wire|reg) (?:\[(\d+):0\] )?(\w+)", head)
    return {name: (direction, int(high or 0) + 1) for direction, high, name in found}


@given(seed=st.integers(0, 2**32), beats=st.sampled_from([1, 2, 3]), spare=st.integers(0, 9))
def test_the_words_are_the_codes_bit_by_bit(seed, beats, spare):
    rng = np.random.default_rng(seed)
    ports = tuple(
        Port(f"p{index}", (beats, int(rng.integers(1, 5))), random_spec(rng, widths=(1, 12), integers=(-2, 4)))
        for index in range(rng.integers(1, 4))
    )
    rows = random_rows(rng, ports, 5)
    fields, low = [], 0
    for port in ports:
        high = low + port.size // beats * port.spec.width
        fields.append({"name": port.name, "bits": [high - 1, low]})
        low = high
    words = hex_words(rows, ports, Side("data", low + spare, beats, tuple(fields))).split()
    assert len(words) == 5 * beats
    assert {len(word) for word in words} == {-(-(low + spare) // 4)}
    for event, row in enumerate(rows):
        found, start = [], 0
        for port, field in zip(ports, fields, strict=True):
            part = row[start : start + port.size].reshape(beats, -1)
            start += port.size
            for beat, codes in enumerate(part):
                for index, code in enumerate(codes.tolist()):
                    word = int(words[event * beats + beat], 16) >> field["bits"][1] + index * port.spec.width
                    found.append(word % 2**port.spec.width == code % 2**port.spec.width)
        assert all(found)
        assert len(found) == len(row)


@pytest.mark.parametrize("kind", KINDS)
def test_the_description_is_that_of_the_verilog(kind):
    graph, design = network(kind)
    content = json.loads(core_texts(kind)["ip.json"])
    said = {port["name"]: (port["direction"], port["width"]) for port in content["ports"]}
    assert said == verilog_ports(core_texts(kind)[f"src/{design.top}.v"])
    assert content["graph_digest"] == graph.digest
    assert (content["name"], content["version"]) == (design.top, "1.0")
    assert content["clock"] == {"port": "clk", "period_ns": 5.0}
    for network_ports in (graph.input_ports, graph.output_ports):
        fields = [field for port in content["ports"] for field in port.get("fields", ())]
        for port in network_ports:
            (field,) = (each for each in fields if each["name"] == port.name)
            assert field["type"]["width"] == port.spec.width
            assert {value["width"] for value in field["values"]} == {port.spec.width}
            offsets = [value["offset"] for value in field["values"]]
            assert offsets == list(range(field["offset"], field["offset"] + field["width"], port.spec.width))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_core_twice_is_the_same_text(kind):
    assert core_texts.__wrapped__(kind) == core_texts(kind)


def test_names_are_words():
    assert CoreName("cern.ch", "trigger", "2_1").version == "2.1"
    assert CoreName(version="3").version == "3.0"
    for bad in ("", "a b", "a;exit", "[exit]", "a..b", "$x", "-a", "a\n"):
        with pytest.raises(InputError, match=r"vendor .* is not allowed"):
            CoreName(vendor=bad)
        with pytest.raises(InputError, match=r"library .* is not allowed"):
            CoreName(library=bad)
    for bad in ("", "a", "1.2.3", "1.", "1\n"):
        with pytest.raises(InputError, match=r"version .* of an IP is not allowed"):
            CoreName(version=bad)


def test_an_older_description_is_refused():
    with pytest.raises(InputError, match=r"lacks 'ports'; write it again with the stage rtl"):
        read_core({"top": "net"}, "", CoreName(), latency_cycles=1, initiation_interval=1)


STUBS = r"""
set calls [open $::env(CALLS) w]
proc note {args} { puts $::calls $args }
proc need_file {name} { if {![file isfile $name]} { error "no file $name" } }
foreach name {create_project update_compile_order close_project set_property} {
    proc $name args "note $name {*}\$args"
}
proc add_files args { note add_files {*}$args; need_file [lindex $args end] }
proc get_files name { need_file $name; return $name }
proc current_fileset {} { return sources_1 }
namespace eval ipx {
    variable busses $::env(RECOGNISED)
    foreach name {package_project create_xgui_files update_checksums check_integrity save_core} {
        proc $name args "::note ipx::$name {*}\$args"
    }
    proc current_core {} { return core }
    proc get_ports {quiet name of core} { if {$name in $::env(PORTS)} { return $name } }
    proc get_bus_interfaces args {
        variable busses
        set name [lindex $args [expr {[lindex $args 0] eq "-quiet"}]]
        if {$name in $busses} { return $name }
    }
    proc infer_bus_interface {ports definition core} {
        variable busses
        ::note infer_bus_interface $ports $definition
        foreach port $ports { if {$port ni $::env(PORTS)} { error "no port $port" } }
        lappend busses [regsub {_t[a-z]+$} [lindex $ports 0] {}]
    }
    proc associate_bus_interfaces args { ::note associate_bus_interfaces {*}$args }
    proc get_bus_parameters args { return {} }
    proc add_bus_parameter {name bus} { return $bus.$name }
}
set argv $::env(ARGUMENTS)
source $::env(SCRIPT)
close $calls
"""
"""Procedures in place of Vivado's commands: they write down what they are called with."""


def run_script(core: Path, tmp_path: Path, ports: list[str], recognised: str = "", arguments: str = "") -> list[str]:
    """Run the script of a core in tclsh; return the calls of Vivado's commands."""
    if shutil.which("tclsh") is None:
        pytest.skip("tclsh is not installed (apt-get install tcl); Vivado itself is not here to run the script")
    (tmp_path / "stubs.tcl").write_text(STUBS)
    calls = tmp_path / "calls.txt"
    environment = {
        "PATH": "/usr/bin:/bin", "CALLS": str(calls), "RECOGNISED": recognised, "PORTS": " ".join(ports),
        "ARGUMENTS": arguments, "SCRIPT": str(core / "package_ip.tcl"),
    }  # fmt: skip
    done = subprocess.run(
        [shutil.which("tclsh") or "", str(tmp_path / "stubs.tcl")],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return calls.read_text().splitlines()


@pytest.mark.parametrize("recognised", ["", "clk rst s_axis m_axis"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_script_packages_the_core(kind, recognised, tmp_path):
    core, (_, design) = write_core(tmp_path / "core", kind), network(kind)
    ports = list(verilog_ports((core / "src" / f"{design.top}.v").read_text()))
    calls = run_script(core, tmp_path, ports, recognised)
    added = {Path(call.split()[-1]).name for call in calls if call.startswith("add_files -norecurse")}
    assert added == {path.name for path in (core / "src").iterdir()}
    assert any(call.startswith("add_files -fileset constrs_1") for call in calls)
    for wanted in ("vendor user.org", "library user"):
        assert any(call.startswith("ipx::package_project") and wanted in call for call in calls)
    for wanted in (
        f"set_property name {design.top} core",
        "set_property version 1.0 core",
        "set_property value ACTIVE_HIGH rst.POLARITY",
        "associate_bus_interfaces -clock clk -reset rst core",
    ):
        assert wanted in calls, wanted
    streams = ["s_axis", "m_axis"] if kind == "stream" else []
    associated = [call for call in calls if call.startswith("associate_bus_interfaces -busif")]
    assert associated == [f"associate_bus_interfaces -busif {name} -clock clk core" for name in streams]
    inferred = [call for call in calls if call.startswith("infer_bus_interface")]
    assert len(inferred) == (0 if recognised else 2 + len(streams))
    assert calls[-1] == "close_project -delete"


def test_the_part_is_an_argument(tmp_path):
    core = write_core(tmp_path / "core", "parallel")
    ports = ["clk", "rst", "in_valid", "in_data", "out_valid", "out_data"]
    assert " -part xcvu13p-flga2577-2-e" in run_script(core, tmp_path, ports)[0]
    assert " -part xcku115-flvb2104-2-e" in run_script(core, tmp_path, ports, "", "xcku115-flvb2104-2-e")[0]


def test_a_port_that_is_missing_ends_the_script(tmp_path):
    core = write_core(tmp_path / "core", "stream")
    ports = list(verilog_ports((core / "src" / "net.v").read_text()))
    with pytest.raises(RuntimeError, match="the core has no port frame_error"):
        run_script(core, tmp_path, ports[:-1])


def test_a_file_that_is_missing_ends_the_script(tmp_path):
    core = write_core(tmp_path / "core", "parallel")
    (core / "src" / "tiny_stage0.v").unlink()
    with pytest.raises(RuntimeError, match=r"no file .*tiny_stage0\.v"):
        run_script(core, tmp_path, [])
