"""The page and the files."""

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from l1dl.cosim.result import SelfTest
from l1dl.emulate.compare import Agreement, Difference
from l1dl.errors import StorageError
from l1dl.report import ReportInputs, build_report, render_html, summary_rows, write_report
from l1dl.report.figures import all_figures
from l1dl.report.format import count, duration, number, share, with_error
from l1dl.synth.resources import Resources
from l1dl.synth.timing import timing_of
from l1dl.vendor.result import BuildResult, State, StepResult

Maker = Callable[..., ReportInputs]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Outline(HTMLParser):
    """Collect ids, references and tags, and check that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.references += [value for key, value in attrs if key in {"href", "src", "xlink:href"} and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(inputs: ReportInputs) -> str:
    return render_html(build_report(inputs), all_figures(inputs))


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_page_is_well_formed_and_stands_alone(page: str) -> None:
    parsed = outline(page)
    assert not {"script", "iframe", "object", "embed", "img"} & parsed.tags
    assert all(reference.startswith("#") or reference == "data:," for reference in parsed.references)
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert not re.search(r"url\((?!#|['\"]?#)", page)
    assert len(page) < 3_000_000


def test_page_has_unique_ids_and_live_anchors(page: str) -> None:
    parsed = outline(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    anchors = {reference[1:] for reference in parsed.references if reference.startswith("#")}
    assert anchors <= set(parsed.ids)
    assert page.count('role="img" aria-label="') == 7


def test_page_shows_the_verdict_and_the_figures(page: str) -> None:
    assert "bit-exact</span>" in page
    assert "not bit-exact" not in page
    assert "budget met" in page
    assert count(266_812) in page
    assert "synthesised (Yosys 0.70, xcup, stage by stage)" in page
    assert "one bit of the constant of fc2 flipped" in page
    assert "fixed&lt;16,12,RND,SAT&gt;" in page


def test_page_shows_what_is_wrong(make_inputs: Maker) -> None:
    first = (Difference(17, 2, -311, -310),)
    cosim = dataclasses.replace(make_inputs().cosim, self_test=SelfTest("a stuck bit", 50, 0))
    resources = dataclasses.replace(make_inputs().resources, lut=None, ff=None, reason="yosys was stopped", stages=())
    inputs = make_inputs(
        agreements=(Agreement("keras_csim", 100, 3, first),), cosim=cosim, resources=resources, physics=None, history={}
    )
    page = render_html(build_report(inputs), all_figures(inputs))
    outline(page)
    for text in ("not bit-exact", "not compared", "yosys was stopped", "event 17, output 2: -311 against -310"):
        assert text in page
    assert "fault not seen" in page
    assert "No labelled data were given" in page


def test_foreign_text_is_escaped(make_inputs: Maker) -> None:
    attack = "<script>alert(1)</script>\" onload='x' {{ 7*7 }}"
    inputs = make_inputs(notes=(attack,), commands=(attack,), versions={attack: attack}, training={attack: [attack]})
    physics = dataclasses.replace(inputs.physics, classes=("<script>", "--><script>", "W", "Z", "t"))
    stages = tuple(dataclasses.replace(stage, name=attack) for stage in inputs.resources.stages)
    resources = dataclasses.replace(inputs.resources, stages=stages, origin=attack)
    inputs = dataclasses.replace(inputs, physics=physics, resources=resources)
    page = render_html(build_report(inputs), {**all_figures(inputs), attack: Figure()})
    parsed = outline(page)
    assert "script" not in parsed.tags
    assert "<script" not in page
    assert "{{ 7*7 }}" in page
    assert "&lt;script&gt;alert(1)" in page


def test_files(inputs: ReportInputs, tmp_path: Path) -> None:
    path = write_report(inputs, tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    assert sorted(file.name for file in path.parent.iterdir()) == ["report.html", "report.json"]
    stored = json.loads((path.parent / "report.json").read_text())
    assert stored == build_report(inputs)
    before = path.read_bytes(), (path.parent / "report.json").read_bytes()
    write_report(inputs, tmp_path / "run")
    assert before == (path.read_bytes(), (path.parent / "report.json").read_bytes())


def test_a_directory_that_is_a_file_is_an_error(inputs: ReportInputs, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_report(inputs, tmp_path / "run")


def test_summary(inputs: ReportInputs) -> None:
    rows = summary_rows(build_report(inputs))
    assert ("model", "jet_tagger") in rows
    assert ("bit-exact", "yes") in rows
    assert ("latency", "11 cycles, 55 ns at 5 ns") in rows
    assert ("budget max_latency_ns", "met: 55 ns is within 100 ns") in rows
    assert any(name == "rtl" and "macro AUC 0.9" in value for name, value in rows)


def test_formats() -> None:
    assert count(1_234_567.8) == "1\u202f234\u202f568"
    assert with_error(0.91979, 0.00044) == "0.91979 ± 0.00044"
    assert with_error(0.6983, 0.0011, 100, "%") == "(69.83 ± 0.11)\u202f%"
    assert with_error(0.5, None) == "0.5"
    assert with_error(1.0, 0.0) == "1"
    assert number(0.000303689) == "0.0003037"
    assert [share(value) for value in (1.0, 0.9999999, 1e-7, None)] == [
        "100\u202f%",
        "> 99.999\u202f%",
        "< 0.001\u202f%",
        "—",
    ]
    assert [duration(value) for value in (0.123, 59.9, 125, 7330)] == [
        "0.12\u202fs", "59.9\u202fs", "2\u202fmin 5\u202fs", "2\u202fh 2\u202fmin",
    ]  # fmt: skip


def test_vendor_figures_stand_beside_those_of_yosys(make_inputs):
    origin = "implemented (Vivado 2023.2)"
    resources, timing = Resources(43_210, 8_765, 0, None, origin, "no row"), timing_of(5.0, 0.412, origin)
    implement = StepResult("implement", State.FINISHED, resources=resources, timing=timing)
    build = BuildResult("vivado", "net", "xcvu13p", 5.0, "0" * 64, True, (implement,))
    inputs = make_inputs(builds=(build,))
    report = build_report(inputs)
    assert report["vendor"][0]["columns"] == ["implement", "Yosys"]
    page = render_html(report, {})
    section = page[page.index('<section id="vendor"') :]
    for text in ("Vivado: net for xcvu13p at 5 ns, on another machine", "+0.412 ns", "218 MHz", "implement: no row"):
        assert text in section
    assert "43,210" in section or "43\N{NARROW NO-BREAK SPACE}210" in section
    assert 'id="vendor"' not in render_html(build_report(make_inputs()), {})
