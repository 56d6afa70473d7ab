"""Parsers of the vendors' reports: several versions, missing and cut parts; a missing figure is None, with a reason."""

from __future__ import annotations

import numpy as np
import pytest
import report_texts as texts
from hypothesis import given
from hypothesis import strategies as st
from support import need_packages

from l1dl.errors import InputError
from l1dl.fixed import FixedSpec
from l1dl.ports import Port, decode_rows
from l1dl.synth.timing import timing_of
from l1dl.vendor.reports.quartus import quartus_origin, read_fit, read_sta
from l1dl.vendor.reports.vitis import read_cosim, read_csynth, read_outputs
from l1dl.vendor.reports.vivado import read_timing, read_utilisation

PART = "xcvu13p-flga2577-2-e"


def counts(resources):
    return resources.lut, resources.ff, resources.dsp, resources.bram


def hls4ml_reads(tmp_path, text):
    """Return what hls4ml's parser makes of a utilisation report; it wants a whole project."""
    need_packages("hls4ml")
    from hls4ml.report import parse_vivado_report

    (tmp_path / "top_prj/solution1").mkdir(parents=True)
    (tmp_path / "project.tcl").write_text('set project_name "top"\nset backend "vitis"\n')
    (tmp_path / "top_prj/hls.app").write_text('<p><solutions><solution name="solution1"/></solutions></p>')
    (tmp_path / "vivado_synth.rpt").write_text(text)
    return parse_vivado_report(str(tmp_path))["VivadoSynthReport"]


@pytest.mark.parametrize("version", ["2019.1", "2020.2", "2022.2", "2024.2"])
@pytest.mark.parametrize("family", texts.FAMILIES)
@pytest.mark.parametrize(
    ("stage", "state"),
    [
        ("synthesised", "Synthesized"),
        ("implemented", "Routed"),
        ("implemented", "Physopt postRoute"),
        ("implemented", "Fully Routed"),
    ],
)
def test_utilisation_of_all_families_and_versions(version, family, stage, state):
    found = read_utilisation(texts.utilisation(version=version, family=family, state=state), "tiny", stage, PART)
    assert counts(found) == (43210, 25678, 12, 3)  # 2.5 tiles of block RAM are three, not whole
    assert found.origin == f"{stage} (Vivado {version}, {PART}, out of context)"
    assert found.reason == ""


def test_hls4ml_reads_the_synthesised_design_alike(tmp_path):
    found = hls4ml_reads(tmp_path, texts.utilisation(state="Synthesized"))
    assert (found["LUT"], found["FF"], found["DSP48E"]) == ("43210", "25678", "12")


@pytest.mark.parametrize(("family", "lost"), [("UltraScale+", "DSP48E"), ("7 series", "BRAM_18K"), ("Versal", "FF")])
def test_hls4ml_loses_figures_of_placed_designs(family, lost, tmp_path):
    """When this fails, hls4ml's parser may have become right, and ours superfluous."""
    found = hls4ml_reads(tmp_path, texts.utilisation(family=family))
    assert found["LUT"]
    assert lost not in found


@pytest.mark.parametrize(
    ("old", "name"),
    [("CLB LUTs", "LUT"), ("CLB Registers", "FF"), ("DSPs", "DSP"), ("Block RAM Tile", "BRAM")],
)
def test_a_missing_row_is_none_with_the_reason(old, name):
    text = texts.utilisation().replace(f"| {old} ", "| " + "x" * len(old) + " ", 1)
    found = read_utilisation(text, "tiny", "implemented", PART)
    figures = dict(zip(("LUT", "FF", "DSP", "BRAM"), counts(found), strict=True))
    assert figures.pop(name) is None
    assert None not in figures.values()
    assert found.reason == f"{name}: not in utilization.rpt"


def test_a_figure_that_is_no_number_is_none():
    found = read_utilisation(texts.utilisation(lut="NA"), "tiny", "implemented", PART)
    assert counts(found) == (None, 25678, 12, 3)


@given(st.data())
def test_a_report_that_was_cut_never_gives_another_figure(data):
    text = texts.utilisation()
    cut = text[: data.draw(st.integers(0, len(text)))]
    for figure, whole in zip(
        counts(read_utilisation(cut, "tiny", "implemented", PART)), (43210, 25678, 12, 3), strict=True
    ):
        assert figure in (None, whole)
    text = texts.timing(wns="-0.333")
    cut = text[: data.draw(st.integers(0, len(text)))]
    found = read_timing(cut, "tiny", "implemented", PART)
    assert found.slack_ns in (None, -0.333)
    assert found.clock_period_ns in (None, 5)
    text = texts.fit() + texts.sta()
    cut = text[: data.draw(st.integers(0, len(text)))]
    assert read_fit(cut, "tiny", PART).ff in (None, 9921)
    text = texts.cosim()
    cut = text[: data.draw(st.integers(0, len(text)))]
    assert read_cosim(cut, "tiny").latency in (None, (13, 13))


@pytest.mark.parametrize("read", [read_utilisation, read_timing])
@pytest.mark.parametrize("state", ["Synthesized", "Fully Placed", "Optimized"])
def test_a_design_that_is_not_routed_is_not_implemented(read, state):
    make = texts.utilisation if read is read_utilisation else texts.timing
    found = read(make(state=state), "tiny", "implemented", PART)
    assert f"is not routed, but {state!r}" in found.reason
    assert getattr(found, "lut", None) is None
    assert getattr(found, "slack_ns", None) is None
    assert "the head of" in read("", "tiny", "implemented", PART).reason


@pytest.mark.parametrize("read", [read_utilisation, read_timing])
def test_a_report_of_another_design_is_refused(read):
    make = texts.utilisation if read is read_utilisation else texts.timing
    with pytest.raises(InputError, match=r"\.rpt is a report of the design 'other', not of 'tiny'"):
        read(make(top="other"), "tiny", "implemented", PART)


@pytest.mark.parametrize("version", ["2019.1", "2022.2", "2024.2"])
@pytest.mark.parametrize(("wns", "fmax"), [("0.412", 1000 / 4.588), ("-0.333", 1000 / 5.333), ("0.000", 200)])
def test_timing_of_all_versions(version, wns, fmax):
    found = read_timing(texts.timing(version=version, wns=wns), "tiny", "implemented", PART)
    assert (found.clock_period_ns, found.slack_ns, found.reason) == (5, float(wns), "")
    assert found.fmax_mhz == pytest.approx(fmax)


def test_timing_without_constraints_or_paths():
    found = read_timing(texts.timing(constrained=False), "tiny", "implemented", PART)
    assert (found.slack_ns, found.fmax_mhz) == (None, None)
    assert "no user specified timing constraints" in found.reason
    found = read_timing(texts.timing(wns="inf"), "tiny", "implemented", PART)
    assert (found.slack_ns, found.reason) == (None, "slack: not in timing.rpt")
    two = texts.timing().replace("clk    {", "other  {0.000 2.000}  4.000  250.000\nclk    {")
    assert two != texts.timing()
    assert "clock period: not in timing.rpt" in read_timing(two, "tiny", "implemented", PART).reason


def test_a_slack_as_long_as_the_period_has_no_fmax():
    found = timing_of(5, 5, "")
    assert (found.fmax_mhz, found.reason) == (None, "Fmax: the slack is the whole clock period")


@pytest.mark.parametrize("version", ["2020.1", "2022.2", "2024.1"])
@pytest.mark.parametrize("dsp", ["DSP", "DSP48E"])
def test_c_synthesis(version, dsp):
    need_packages("hls4ml")
    resources, timing, cycles = read_csynth(texts.csynth(version=version, dsp=dsp), "tiny", PART)
    assert counts(resources) == (31337, 4242, 17, 2)  # three blocks of 18 kb are two of 36 kb, not whole
    assert timing.clock_period_ns == 5
    assert timing.slack_ns == pytest.approx(1.379)
    assert timing.fmax_mhz == pytest.approx(1000 / 3.621)
    assert (cycles.latency, cycles.interval) == ((12, 12), (1, 1))
    assert {each.origin for each in (resources, timing, cycles)} == {f"C-synthesis (Vitis HLS {version}, {PART})"}


def test_c_synthesis_without_figures():
    need_packages("hls4ml")
    cycles = read_csynth(texts.csynth(latency="undef"), "tiny", PART)[2]
    assert (cycles.latency, cycles.interval, cycles.reason) == (None, (1, 1), "latency: not in csynth.xml")
    resources = read_csynth(texts.csynth(lut=""), "tiny", PART)[0]
    assert (resources.lut, resources.ff, resources.reason) == (None, 4242, "LUT: not in csynth.xml")
    text = texts.csynth()
    for broken in (
        "",
        text[:900],
        text.replace("PerformanceEstimates", "Nothing"),
        text.replace("AreaEstimates", "No"),
    ):
        resources, timing, cycles = read_csynth(broken, "tiny", PART)
        assert counts(resources) == (None,) * 4
        assert (timing.slack_ns, cycles.latency) == (None, None)
        assert {each.reason[:24] for each in (resources, timing, cycles)} == {"csynth.xml is not whole:"}
    with pytest.raises(InputError, match=r"csynth\.xml is a report of the design 'other'"):
        read_csynth(texts.csynth(top="other"), "tiny", PART)


@pytest.mark.parametrize("version", ["2020.1", "2021.2", "2024.1"])
def test_co_simulation(version):
    found = read_cosim(texts.cosim(version=version), "tiny")
    assert (found.latency, found.interval, found.reason) == ((13, 13), (1, 1), "")
    assert found.origin == f"co-simulated (Vitis HLS {version})"
    failed = read_cosim(texts.cosim(version=version, status="Fail"), "tiny")
    assert (failed.latency, failed.interval) == (None, None)
    assert "the status in cosim.rpt is 'Fail', not 'Pass'" in failed.reason
    assert "no row of the Verilog" in read_cosim("Verilog was not simulated\n", "tiny").reason
    with pytest.raises(InputError, match="design 'other'"):
        read_cosim(texts.cosim(version=version, top="other"), "tiny")


PORTS = (Port("y", (2,), FixedSpec(True, 9, 3)),)
CODES = np.array([[-256, 255], [1, -1], [0, 64]])
TEXT = "".join(f"{left!r} {right!r} \n" for left, right in decode_rows(CODES, PORTS).tolist())


def test_outputs_of_the_co_simulation_are_compared_bit_by_bit():
    agreement, reason = read_outputs(TEXT, CODES, PORTS)
    assert (agreement.events, agreement.mismatches, reason) == (3, 0, "")
    agreement, _ = read_outputs(TEXT.replace("-0.015625", "-0.03125"), CODES, PORTS)
    assert agreement.mismatches == 1
    assert (agreement.first[0].event, agreement.first[0].left, agreement.first[0].right) == (1, -1, -2)
    for near in ("-0.0156250001", "nan", "1e9", "-0.0157"):
        assert read_outputs(TEXT.replace("-0.015625", near), CODES, PORTS)[0].mismatches == 1, near


@pytest.mark.parametrize("text", ["", "0 0 0\n" * 3, TEXT[:-1], TEXT + TEXT, "a b\nc d\ne f\n", "1 2\n3\n4 5\n"])
def test_outputs_that_are_not_those_of_the_events_are_no_agreement(text):
    agreement, reason = read_outputs(text, CODES, PORTS)
    assert agreement is None
    assert "outputs.log" in reason


@pytest.mark.parametrize(
    ("edition", "name"),
    [
        ("21.4.0 Build 67 12/06/2021 SC Pro Edition", "21.4 Pro"),
        ("26.1.0 Build 110 03/26/2026 SC Pro Edition", "26.1 Pro"),
        ("18.1.0 Build 625 09/12/2018 SJ Standard Edition", "18.1 Standard"),
        ("25.1std.0 Build 1129 10/21/2025 SC Lite Edition", "25.1 Lite"),
    ],
)
def test_the_fitter(edition, name):
    found = read_fit(texts.fit(edition=edition), "tiny", "AGFB014R24B2E2V")
    assert (found.alm, found.ff, found.dsp, found.bram) == (22417, 9921, 0, 3)
    assert (found.lut, found.reason) == (None, "LUT: Quartus counts adaptive logic modules (ALM) instead")
    assert found.origin == f"implemented (Quartus {name}, AGFB014R24B2E2V, virtual pins)"


def test_a_fitter_that_failed_or_said_little():
    found = read_fit(texts.fit(status="Failed"), "tiny", PART)
    assert (found.alm, *counts(found)) == (None,) * 5
    assert "the fitter status in design.fit.summary is 'Failed" in found.reason
    found = read_fit(texts.fit().replace("Total DSP", "All DSP"), "tiny", PART)
    assert (found.dsp, found.ff) == (None, 9921)
    assert "DSP: not in design.fit.summary" in found.reason
    assert "'missing'" in read_fit("", "tiny", PART).reason
    with pytest.raises(InputError, match="design 'other'"):
        read_fit(texts.fit(top="other"), "tiny", PART)


def test_the_timing_analyser_gives_the_worst_setup_slack():
    origin = quartus_origin(texts.fit(), PART)
    found = read_sta(texts.sta(), 5.0, origin)
    assert (found.clock_period_ns, found.slack_ns, found.origin) == (5.0, -0.133, origin)
    for text in ("", texts.sta(()), texts.sta(("0.8", "NA"))):
        found = read_sta(text, 5.0, origin)
        assert (found.slack_ns, found.fmax_mhz, found.reason) == (None, None, "slack: not in design.sta.summary")
