"""`l1dl build` with programs in place of the vendors' tools: figures, failures, time limits, and going on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support import need_tools

from l1dl.cli.app import invoke
from l1dl.errors import InputError
from l1dl.flow.build import read_builds, vendor_project
from l1dl.flow.results import write_result
from l1dl.report.vendor import to_json
from l1dl.synth.resources import Resources
from l1dl.vendor.reports.vitis import read_outputs
from l1dl.vendor.settings import Vendor


def result(run: Path, tool: str) -> dict:
    return json.loads((run / "build" / f"{tool}.json").read_text())


def calls(run: Path, tool: str) -> list[str]:
    return (run / "build" / tool / "project" / "calls.txt").read_text().split()


def build(run: Path, *options: str, tool: str = "vivado") -> int:
    return invoke(["build", str(run), "--tool", tool, *options])


def rows(shown: str) -> list[list[str]]:
    """Return the cells of the printed table; a row of several lines is as many rows."""
    lines = [line for line in shown.replace("\N{NARROW NO-BREAK SPACE}", "").splitlines() if line[:1] in "│┃"]
    return [[cell.strip() for cell in line[1:-1].replace("┃", "│").split("│")] for line in lines if line]


def test_vivado(run: Path, vendor_tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(run / "synth" / "resources.json", Resources(812, 335, 0, 0, "synthesised (Yosys 0.70)", ""))
    assert build(run) == 0
    shown = capsys.readouterr().out
    found = result(run, "vivado")
    assert (found["tool"], found["top"], found["part"]) == ("vivado", "tiny", "xcvu13p-flga2577-2-e")
    synth, implement = found["steps"]
    assert synth["resources"]["origin"].startswith("synthesised (Vivado 2023.2, xcvu13p")
    assert implement["resources"]["origin"].startswith("implemented (Vivado 2023.2, xcvu13p")
    assert (implement["resources"]["lut"], implement["timing"]["slack_ns"]) == (43210, 0.412)
    assert implement["timing"]["fmax_mhz"] == pytest.approx(1000 / 4.588)
    assert "218 MHz" in shown
    figures = {row[0]: row[1:] for row in rows(shown)}
    assert figures["LUT"] == ["43210", "43210", "812"]
    assert figures["slack"] == ["", "+0.412 ns", ""]
    assert rows(shown)[0] == ["", "synth", "implement", "Yosys"]
    assert (run / "build/vivado/project/logs/implement.log").read_text() == "INFO: vivado runs implement\n"


def test_the_report_shows_figures_of_this_firmware_only(run: Path, vendor_tools: Path) -> None:
    assert read_builds(run) == ()
    assert build(run) == 0
    assert build(run, "--part", "xcku115-flva1517-2-e") == 0
    assert build(run, tool="vitis") == 0
    vivado, vitis = sorted(read_builds(run), key=lambda each: each.tool != "vivado")
    assert (vivado.tool, vivado.part, vitis.tool) == ("vivado", "xcku115-flva1517-2-e", "vitis")
    ours = Resources(812, 335, 0, 0, "synthesised (Yosys 0.70)", "")
    shown = to_json(vivado, ours)
    assert shown["columns"] == ["synth", "implement", "Yosys"]
    assert [row[0] for row in shown["rows"]][-1] == "origin"
    assert to_json(vitis, ours)["columns"][-1] != "Yosys", "Vitis builds other Verilog"
    stage = run / "rtl" / "src" / "tiny_stage0.v"
    stage.write_text(stage.read_text() + "\n")
    assert [each.tool for each in read_builds(run)] == ["vitis"]
    (run / "build" / "vitis.json").write_text("{}")
    with pytest.raises(InputError, match=r"vitis\.json is damaged"):
        read_builds(run)


def test_vitis(run: Path, vendor_tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(run, tool="vitis") == 0
    shown = capsys.readouterr().out
    csynth, cosim, synth, implement = result(run, "vitis")["steps"]
    assert csynth["resources"]["origin"] == "C-synthesis (Vitis HLS 2024.1, xcvu13p-flga2577-2-e)"
    assert cosim["cycles"] == {"latency": [13, 13], "interval": [1, 1], "reason": "",
                               "origin": "co-simulated (Vitis HLS 2024.1)"}  # fmt: skip
    assert (cosim["agreement"]["events"], cosim["agreement"]["mismatches"]) == (100, 0)
    assert (synth["resources"]["lut"], implement["resources"]["lut"]) == (43210, 43210)
    assert "cosim: 0 mismatches with the emulator in 100 events" in shown


def test_quartus(run: Path, vendor_tools: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(run, "--part", "1SG280HU1F50E1VG", tool="quartus") == 0
    (implement,) = result(run, "quartus")["steps"]
    assert (implement["resources"]["lut"], implement["resources"]["alm"]) == (None, 22417)
    assert "LUT: Quartus counts" in implement["resources"]["reason"]
    assert implement["timing"]["slack_ns"] == -0.133
    figures = {row[0]: row[1] for row in rows(capsys.readouterr().out)}
    assert (figures["LUT"], figures["ALM"]) == ("—", "22417")
    settings = (run / "build/quartus/project/settings.tcl").read_text()
    assert "set part {1SG280HU1F50E1VG}" in settings
    assert "set ports {rst in_valid in_data out_valid out_data}" in settings


@pytest.mark.parametrize(("tool", "program"), [("vitis", "vitis"), ("vivado", "vivado"), ("quartus", "quartus")])
def test_a_missing_tool(tool: str, program: str, run: Path, monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for variable in ("L1DL_VITIS", "L1DL_VIVADO", "L1DL_QUARTUS"):
        monkeypatch.delenv(variable, raising=False)
    assert build(run, tool=tool) == 3
    error = capsys.readouterr().err
    assert error.startswith(f"error: {program}: not found; version ")
    assert f"Set L1DL_{program.upper()} to its path" in error
    assert "--remote-script FILE.tar.gz" in error
    assert not (run / "build").exists()


def test_the_variable_names_a_tool(run: Path, vendor_tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (vendor_tools / "vivado").rename(vendor_tools.parent / "vivado")
    assert build(run) == 3
    monkeypatch.setenv("L1DL_VIVADO", str(vendor_tools.parent / "vivado"))
    assert build(run, "--until", "synth") == 0
    assert calls(run, "vivado") == ["synth"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fail", ["failed with exit code 1", "A valid license was not found"]),
        ("silent", ["ended well, but did not write utilization.rpt"]),
        ("hang", ["ran past its limit of 2 s"]),
    ],
)
def test_a_step_that_does_not_finish(
    how: str, words: list[str], run: Path, vendor_tools: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("L1DL_FAKE", f"synth:{how}")
    assert build(run, "--limit", "2") == 3
    shown = capsys.readouterr().out
    assert all(word in shown for word in words), shown
    synth, implement = result(run, "vivado")["steps"]
    assert (synth["state"], synth["resources"]) == ("failed", None)
    assert all(word in synth["reason"] for word in words)
    assert (implement["state"], implement["reason"], implement["timing"]) == ("not run", "synth failed", None)


def test_finished_steps_are_skipped(run: Path, vendor_tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L1DL_FAKE", "implement:fail")
    assert build(run) == 3
    monkeypatch.delenv("L1DL_FAKE")
    assert build(run) == 0
    assert calls(run, "vivado") == ["synth", "implement", "implement"]
    first = result(run, "vivado")
    assert build(run) == 0
    assert calls(run, "vivado") == ["synth", "implement", "implement"]
    assert result(run, "vivado") == first
    (run / "build/vivado/project/reports/implement/timing.rpt").unlink()
    assert build(run) == 0
    assert calls(run, "vivado") == ["synth", "implement", "implement", "implement"]
    (run / "build/vivado/project/reports/synth/design.dcp").write_text("another checkpoint\n")
    monkeypatch.setenv("L1DL_FAKE", "synth:other")
    assert build(run) == 0
    assert calls(run, "vivado")[4:] == ["synth", "implement"]  # it read what the step before it wrote


def test_a_changed_source_or_tool_runs_all_again(run: Path, vendor_tools: Path) -> None:
    assert build(run) == 0
    fake = vendor_tools / "vivado"
    fake.write_text(
        fake.read_text().replace("fake_vendor.main()", 'fake_vendor.VERSIONS["vivado"] = "v2024.2"\nfake_vendor.main()')
    )
    from l1dl import tools

    tools._find_tool.cache_clear()
    assert build(run) == 0
    assert calls(run, "vivado") == ["synth", "implement"] * 2
    source = run / "rtl/src/tiny_stage0.v"
    source.write_text(source.read_text() + "// changed\n")
    assert build(run) == 0
    assert calls(run, "vivado") == ["synth", "implement"]  # in a new folder
    assert build(run, "--part", "xcku115-flvb2104-2-i") == 0
    assert calls(run, "vivado") == ["synth", "implement"]
    assert result(run, "vivado")["part"] == "xcku115-flvb2104-2-i"


def test_reports_that_are_cut_give_no_figures(
    run: Path, vendor_tools: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("L1DL_FAKE", "implement:cut")
    assert build(run) == 0
    implement = result(run, "vivado")["steps"][1]
    assert implement["resources"]["dsp"] is None
    assert "DSP" in implement["resources"]["reason"]
    assert (implement["timing"]["slack_ns"], implement["timing"]["clock_period_ns"]) == (None, None)
    assert "implement: clock period, slack: not in timing.rpt" in capsys.readouterr().out


def test_an_output_that_differs_in_its_last_bit_is_a_mismatch(
    run: Path, vendor_tools: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("L1DL_FAKE", "cosim:wrong")
    assert build(run, "--until", "cosim", tool="vitis") == 1
    shown = capsys.readouterr()
    assert "cosim: 1 mismatches with the emulator in 100 events" in shown.out
    assert "First: event 0 output 0: emulator" in shown.err
    monkeypatch.setenv("L1DL_FAKE", "cosim:cut")
    (run / "build/vitis/project/reports/cosim/outputs.log").unlink()
    assert build(run, "--until", "cosim", tool="vitis") == 3
    cosim = result(run, "vitis")["steps"][1]
    assert (cosim["state"], cosim["agreement"], cosim["cycles"]["latency"]) == ("failed", None, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["--tool is None", "vitis, vivado, quartus"]),
        (["--tool", "vivad"], ["'vivad'; did you mean 'vivado'?"]),
        (["--tool", "vivado", "--until", "cosim"], ["vivado has no step 'cosim'; its steps are synth, implement"]),
        (["--tool", "vivado", "--part", "x; exec rm"], ["part 'x; exec rm' is no name of a device"]),
        (["--tool", "vivado", "--import", "x"], ["leave out --tool"]),
        (["--import", "nowhere"], ["not found: nowhere"]),
    ],
)
def test_bad_usage(
    options: list[str], words: list[str], run: Path, vendor_tools: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["build", str(run), *options]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words), error


def test_runs_that_lack_something(run: Path, vendor_tools: Path, tmp_path: Path, capsys) -> None:
    def error(*arguments: str) -> str:
        assert invoke(["build", *arguments]) == 2
        return capsys.readouterr().err

    assert "run the stage convert first" in error(str(tmp_path), "--tool", "vivado")
    project = run / "hls" / "project.tcl"
    whole = project.read_text()
    project.write_text(whole.replace('"vitis"', '"vivado"'))
    assert "set backend = 'Vitis'" in error(str(run), "--tool", "vitis")
    project.write_text(whole.replace("tiny", "tiny; exec rm"))
    assert "file not found" in error(str(run), "--tool", "vitis")
    project.write_text(whole.replace("27%", "27%} [exec rm] {"))
    assert "cannot stand in a script" in error(str(run), "--tool", "vitis")
    (run / "rtl/src/tiny.v").unlink()
    assert "lacks tiny.v" in error(str(run), "--tool", "quartus")


def test_the_test_bench_gives_the_outputs_of_the_emulator(run: Path, tmp_path: Path) -> None:
    """The C++ test bench, compiled here with the events that go to Vitis, writes what the comparison reads."""
    need_tools("cxx")
    from l1dl.artifacts import write_files
    from l1dl.tools import find_tool

    project = vendor_project(run, Vendor.VITIS)
    write_files(tmp_path / "project", project.files)
    hls, tool = tmp_path / "project" / "hls", find_tool("cxx")
    arguments = ["-O1", "-DNDEBUG", "-DRTL_SIM", "-I", str(run / "hls/firmware/ap_types"), "-I", "firmware"]
    sources = ["tiny_test.cpp", "firmware/tiny.cpp"]
    weights = f'-DWEIGHTS_DIR="{hls}/firmware/weights"'
    subprocess.run([*tool.command, "-std=c++14", *arguments, weights, *sources, "-o", "bench"], cwd=hls, check=True)
    subprocess.run(["./bench"], cwd=hls, check=True, stdout=subprocess.DEVNULL)
    text = (hls / "tb_data" / "rtl_cosim_results.log").read_text()
    assert project.outputs is not None
    agreement, reason = read_outputs(text, project.outputs, project.graph.output_ports)
    assert agreement is not None, reason
    assert (agreement.events, agreement.mismatches) == (100, 0)
    assert len(np.unique(project.outputs)) > 100
