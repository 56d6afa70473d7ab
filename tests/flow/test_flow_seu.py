"""The study of upsets of a run directory, from the command line."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from support import dense_graph, need_packages, need_tools, random_rows, small_net
from tiny import command, copy_run, interrupt

from l1dl.artifacts import write_files
from l1dl.cli.app import invoke
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec
from l1dl.flow.job import Paths
from l1dl.flow.seu import FILE, decision_of, read_upsets
from l1dl.graph import FixedGraph, save_graph
from l1dl.rtl.build import design_files
from l1dl.rtl.project import build_rtl


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run directory as the stages up to cosim leave it."""
    need_packages("alkaid")
    need_tools("verilator", "cxx")
    directory, graph = tmp_path_factory.mktemp("run"), small_net()
    for name in ("convert", "cosim"):
        (directory / name).mkdir()
    save_graph(graph, directory / "convert" / "graph.json")
    write_files(directory / "rtl", design_files(build_rtl(graph)))
    rows = random_rows(np.random.default_rng(5), graph.input_ports, 200)
    np.savez(directory / "cosim" / "outputs.npz", inputs=rows)
    return directory


def test_the_same_seed_gives_the_same_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = run / "seu"
    assert invoke(["seu", str(run), "--upsets", "150", "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    assert "all flip-flops" in shown
    first = {path.name: path.read_bytes() for path in results.iterdir()}
    assert sorted(first) == ["seu.csv", "seu.json", "seu.png"]
    study = json.loads(first["seu.json"])
    assert study["schema"] == "l1dl-seu/1"
    assert (study["seed"], study["upsets_per_place"], study["events"]) == (3, 150, 200)
    assert study["decision"] == "the largest output, of equals the first"
    by_name = {place["name"]: place for place in study["places"]}
    assert by_name["valid"]["changed"]["value"] == 1.0
    assert all(place["upsets"] == 150 for place in study["places"])
    bits = sum(place["bits"] for place in study["places"] if place["kind"] in ("register", "valid chain"))
    assert study["flip_flops"]["bits"] == bits
    assert (study["constants"] is None) == (study["constants_reason"] is not None)

    assert invoke(["seu", str(run), "--upsets", "150", "--seed", "3"]) == 0
    assert {path.name: path.read_bytes() for path in results.iterdir()} == first
    assert invoke(["seu", str(run), "--upsets", "150", "--seed", "4"]) == 0
    assert (results / "seu.csv").read_bytes() != first["seu.csv"]


def test_the_report_shows_a_study_of_this_verilog_alone(run: Path) -> None:
    assert invoke(["seu", str(run), "--upsets", "2"]) == 0
    paths, results = Paths(run, run / "hls"), run / FILE
    found = read_upsets(paths, small_net())
    assert found is not None
    assert found.upsets_per_place == 2
    assert read_upsets(paths, small_net(seed=4)) is None
    top = run / "rtl" / "src" / "tiny.v"
    text = top.read_text()
    top.write_text(f"// changed\n{text}")
    assert read_upsets(paths, small_net()) is None
    top.write_text(text)
    results.write_text('{"schema": "l1dl-seu/1"}')
    with pytest.raises(InputError, match=r"seu\.json is damaged \(\d+ fields\)"):
        read_upsets(paths, small_net())
    results.unlink()
    assert read_upsets(paths, small_net()) is None


@pytest.mark.slow
def test_a_finished_run_is_studied_and_reported(finished: Path, tmp_path: Path) -> None:
    card = copy_run(finished, tmp_path / "copy")
    out = card.parent / "out"
    assert invoke(["seu", str(out), "--upsets", "20"]) == 0
    assert invoke(["report", str(card), "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["upsets"] == json.loads((out / FILE).read_text())
    assert report["upsets"]["events"] == sum(map(sum, report["physics"]["confusion_rtl"]["counts"]))
    assert 'id="figure-upsets"' in (out / "report.html").read_text()


def test_an_interrupted_study_leaves_nothing_behind(run: Path) -> None:
    assert invoke(["seu", str(run), "--upsets", "1"]) == 0
    before = (run / "seu" / "seu.json").read_bytes()
    ended = interrupt(
        command("seu", run, "--upsets", "2000000"), "         building the simulation", delay_s=4, number=signal.SIGINT
    )
    assert ended.code == 130, ended.output
    assert "interrupted" in ended.output
    assert "Traceback" not in ended.output
    assert ended.left == []
    assert (run / "seu" / "seu.json").read_bytes() == before
    assert not [path for path in run.iterdir() if path.name.startswith(".seu")]


def test_a_wrong_design_is_a_mismatch(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = run / "cosim" / "outputs.npz"
    graph = run / "convert" / "graph.json"
    kept = {path: path.read_bytes() for path in (events, graph, graph.with_suffix(".npz"))}
    try:
        save_graph(small_net(seed=4), graph)
        assert invoke(["seu", str(run)]) == 1
        assert "without any upset the RTL differs" in capsys.readouterr().err
        save_graph(small_net(), graph)
        np.savez(events, codes=np.zeros((3, 2), dtype=np.int64))
        assert invoke(["seu", str(run)]) == 2
        assert "run it until the stage cosim" in capsys.readouterr().err
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


def test_directories_without_a_parallel_design(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["seu", str(tmp_path)]) == 2
    assert "run the stage convert first" in capsys.readouterr().err
    (tmp_path / "convert").mkdir()
    (tmp_path / "cosim").mkdir()
    save_graph(small_net(), tmp_path / "convert" / "graph.json")
    np.savez(tmp_path / "cosim" / "outputs.npz", inputs=np.zeros((3, 3), dtype=np.int64))
    assert invoke(["seu", str(tmp_path)]) == 2
    assert "only parallel designs can be upset" in capsys.readouterr().err


def test_what_a_decision_is() -> None:
    decide, name, reason = decision_of(small_net())
    assert decide is not None
    assert decide(np.array([[1, 2], [2, 2], [3, -1]])).tolist() == [1, 0, 0]
    assert (name, reason) == ("the largest output, of equals the first", None)
    wide = FixedSpec(True, 12, 6)
    decide, name, _ = decision_of(dense_graph([[1], [2]], source=wide, accumulator=wide))
    assert decide is not None
    assert decide(np.array([[1], [0], [-1]])).tolist() == [1, 0, 0]
    assert name == "whether the output is above zero"
    net = small_net()
    two = FixedGraph(net.name, net.nodes, ("logits", "relu"), net.producer)
    assert decision_of(two) == (None, None, "2 outputs make no single decision")
