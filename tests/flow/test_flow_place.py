"""Stages of a run directory placed, from the command line."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import need_packages, need_tools, small_net
from tiny import command, copy_run, interrupt

from l1dl.artifacts import read_json, write_files
from l1dl.cli.app import invoke
from l1dl.errors import InputError
from l1dl.flow import place as module
from l1dl.flow.job import Paths
from l1dl.flow.place import FILE, Choice, choose, design_of, read_placement
from l1dl.graph import save_graph
from l1dl.rtl.build import design_files
from l1dl.rtl.project import build_rtl
from l1dl.synth.place import Route, StagePlacement
from l1dl.synth.resources import Resources, StageResources
from l1dl.tools import Tool

DELAYS_NS = (2.5, 3.5, 1.5)


def run_directory(directory: Path) -> Path:
    """Return a run directory as the stage rtl leaves it."""
    need_packages("alkaid")
    graph = small_net()
    (directory / "convert").mkdir(parents=True)
    save_graph(graph, directory / "convert" / "graph.json")
    write_files(directory / "rtl", design_files(build_rtl(graph)))
    return directory


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_directory(tmp_path / "run")


def stages_of(run: Path) -> list[str]:
    return list(design_of("tiny", Paths(run, run / "hls").verilog()).stages)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stage take as long as its place in `DELAYS_NS` says, and be placed twice as slow."""

    def synthesise(design: Any, **_: Any) -> Resources:
        stages = tuple(
            StageResources(name, 5, 0, 0, 0, 0, 3, DELAYS_NS[index % 3]) for index, name in enumerate(design.stages)
        )
        return Resources(5, 5, 0, 0, "synthesised", "", stages, None, "estimated")

    def place_stages(
        _files: Any, names: Sequence[str], *, seeds: Sequence[int], **_: Any
    ) -> tuple[StagePlacement, ...]:
        routes = tuple(Route(seed, 200.0, 5.0, 2.0, 3.0, "x[0]", "y[0]", of_stage=True) for seed in seeds)
        return tuple(StagePlacement(name, 7, 8, routes) for name in names)

    monkeypatch.setattr(module, "find_tool", lambda name: Tool(name, (name,), "1.2.3"))
    monkeypatch.setattr(module, "synthesise", synthesise)
    monkeypatch.setattr(module, "place_stages", place_stages)


def test_the_slowest_stages_are_placed_and_written(run: Path, fake: None, capsys: pytest.CaptureFixture[str]) -> None:
    names = stages_of(run)
    assert len(names) > 1
    assert invoke(["place", str(run), "--stages", "1", "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert f"1 of {len(names)} stages, placed and routed (nextpnr 1.2, Yosys 1.2, LFE5UM5G-85F" in shown.replace(
        "\n", " "
    )
    assert "too few for a rank correlation" in shown
    study = read_json(run / FILE)
    assert (study["schema"], study["seeds"], study["stages_in_all"]) == ("l1dl-place/1", [1, 2], len(names))
    assert [stage["name"] for stage in study["stages"]] == ["tiny_stage1"]
    assert invoke(["place", str(run), "--stage", "stage0"]) == 0
    assert [stage["name"] for stage in read_json(run / FILE)["stages"]] == ["tiny_stage0"]
    assert not (run / "cache" / "place_work").exists()


def test_the_report_shows_a_study_of_this_verilog_alone(run: Path, fake: None) -> None:
    assert invoke(["place", str(run), "--stages", "1"]) == 0
    paths, results = Paths(run, run / "hls"), run / FILE
    found = read_placement(paths, small_net())
    assert found is not None
    assert found.stages[0].name == "tiny_stage1"
    assert read_placement(paths, small_net(seed=4)) is None
    stage = run / "rtl" / "src" / "tiny_stage1.v"
    text = stage.read_text()
    stage.write_text(f"// changed\n{text}")
    assert read_placement(paths, small_net()) is None
    stage.write_text(text)
    assert read_placement(paths, small_net()) == found
    content = read_json(results)
    for damaged in ({"schema": "l1dl-place/1"}, {**content, "stages": [{}]}, {**content, "seeds": "many"}):
        results.write_text(json.dumps(damaged))
        with pytest.raises(InputError, match=r"place\.json is damaged \(\d+ fields\); remove it, or run `l1dl place`"):
            read_placement(paths, small_net())
    results.unlink()
    assert read_placement(paths, small_net()) is None


def test_what_is_chosen() -> None:
    stages = [
        StageResources(f"n_stage{index}", 1, 0, 0, 0, 0, 1, delay) for index, delay in enumerate((2.0, None, 3.0))
    ]
    assert choose(stages, Choice(slowest=1)) == ["n_stage1"]  # not estimated: it may be slow
    assert choose(stages, Choice(slowest=2)) == ["n_stage1", "n_stage2"]
    assert choose(stages, Choice(slowest=99)) == ["n_stage0", "n_stage1", "n_stage2"]
    assert choose(stages, Choice(("stage2", "n_stage0", "stage0"))) == ["n_stage0", "n_stage2"]
    for wrong in ("stage3", "tage2", ""):
        with pytest.raises(InputError, match=f"there is no stage '{wrong}'.*; there are n_stage0 to n_stage2"):
            choose(stages, Choice((wrong,)))


def test_bad_usage(run: Path, fake: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*arguments: str | Path) -> str:
        assert invoke(["place", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "--stages and --stage exclude each other" in error(run, "--stages", "2", "--stage", "stage0")
    assert "there is no stage 'stage99'" in error(run, "--stage", "stage99")
    assert "device 'xcvu13p' is not known" in error(run, "--device", "xcvu13p")
    assert "speed grade 6 of LFE5UM5G-85F does not exist" in error(run, "--speed", "6")
    assert "run the stage convert first" in error(tmp_path)
    (run / "rtl" / "src" / "tiny_pipeline.v").unlink()
    assert "only parallel designs can be placed" in error(run)


def test_without_nextpnr(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("L1DL_NEXTPNR", "/nonexistent/nextpnr")
    assert invoke(["place", str(run)]) == 3
    error = capsys.readouterr().err
    assert "L1DL_NEXTPNR='/nonexistent/nextpnr' does not run" in error
    assert 'pip install "l1dl[nextpnr]"' in error
    assert not (run / "place").exists()


@pytest.mark.slow
def test_an_interrupted_placement_goes_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_tools("yosys", "nextpnr")
    arguments = ("place", run, "--stage", "stage0", "--seeds", "40", "--device", "LFE5U-25F")
    ended = interrupt(command(*arguments), "         placement and routing", delay_s=1, number=signal.SIGINT)
    assert ended.code == 130, ended.output
    assert "Traceback" not in ended.output
    assert ended.left == []
    assert not (run / FILE).exists()
    kept = len(list((run / "cache" / "place").iterdir()))
    assert 0 < kept < 40


@pytest.mark.slow
def test_a_finished_run_is_placed_and_reported(finished: Path, tmp_path: Path) -> None:
    need_tools("nextpnr")
    card = copy_run(finished, tmp_path / "copy")
    out = card.parent / "out"
    assert invoke(["place", str(out), "--stages", "2", "--seeds", "2", "--device", "LFE5U-25F"]) == 0
    assert invoke(["report", str(card), "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["placement"] == json.loads((out / FILE).read_text())
    assert all(20 < stage["fmax_mhz"]["median"] < 1000 for stage in report["placement"]["stages"])
    assert 'id="placement"' in (out / "report.html").read_text()
