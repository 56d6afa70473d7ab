"""`l1dl deploy`: bad usage and bad files in one line, and published models to the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import need_packages, need_tools
from tiny import PACKAGES, l1dl

from l1dl.cli.app import invoke

DATA = Path(__file__).parents[1] / "models" / "data"
MODEL, WEIGHTS = DATA / "mlp_functional.json", DATA / "mlp_functional_weights.h5"


@pytest.fixture(autouse=True)
def _packages() -> None:
    need_packages(*PACKAGES)


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run the command in this process and return its one line on standard error."""
    capsys.readouterr()
    assert invoke(["deploy", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Missing argument 'MODEL'", "l1dl deploy --help"]),
        (["nowhere.h5"], ["model file not found: nowhere.h5"]),
        ([MODEL], ["holds no weights", "--weights"]),
        ([WEIGHTS], ["holds weights but no architecture"]),
        ([MODEL, "--weights", "none.h5"], ["model file not found: none.h5"]),
        ([MODEL, "--weights", WEIGHTS, "--calibration", "none.npy"], ["file not found: none.npy"]),
        ([MODEL, "--weights", WEIGHTS, "--name", "2 nets"], ["'2 nets'"]),
        ([MODEL, "--weights", WEIGHTS, "--clock", "-1"], ["'-1' is no clock", "360MHz"]),
        ([MODEL, "--weights", WEIGHTS, "--bits", "1"], ["--bits"]),
        (
            [MODEL, "--weights", WEIGHTS, "--architecture", "strem"],
            ["architecture = 'strem'", "'parallel' or 'stream'"],
        ),
        ([MODEL, "--weights", WEIGHTS, "--pixels-per-clock", "2"], ["are for architecture = 'stream'"]),
        ([MODEL, "--weights", WEIGHTS, "--layer-bits", "hidden"], ["'hidden'", "LAYER=BITS"]),
        ([MODEL, "--weights", WEIGHTS, "--classes", "a,b"], ["2 class names", "3 outputs"]),
        ([MODEL, "--weights", WEIGHTS, "--until", "synht"], ["'synht'", "did you mean 'synth'?"]),
        ([MODEL, "--weights", WEIGHTS, "--clok", "5"], ["No such option: --clok", "--clock"]),
        ([DATA / "lambda.h5"], ["layer 'twice' (Lambda)", "never runs"]),
        ([DATA / "keras2.keras"], ["input 'k1_input' has no quantiser", "--calibration"]),
        ([DATA / "rnn2.h5", "--calibration", DATA / "rnn2.npz"], ["'g_input'"]),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(
    arguments: list[str | Path], words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = fails(capsys, *arguments, "--out", tmp_path / "out")
    assert all(word in error for word in words), error
    assert not list((tmp_path / "out").glob("*.json"))


@pytest.mark.slow
def test_a_published_model_goes_to_the_end_and_is_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_tools("cxx", "verilator", "yosys")
    arguments = [MODEL, "--weights", WEIGHTS, "--out", tmp_path / "out", "--random-vectors", "200"]
    done = l1dl("deploy", *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"]["good"]
    assert report["model"]["name"] == "tagger"
    assert report["agreement"]["keras_csim"]["events"] > 20_000
    notes = " ".join(report["notes"])
    assert "20000 events were drawn" in notes
    assert "final softmax (of the last layer, 'logits') was cut off" in notes
    assert report["physics"] is None
    assert report["float_loss"] == []
    assert invoke(["deploy", *map(str, arguments)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("✓")]
    assert len(lines) == 6
    assert all("up to date" in line for line in lines)


@pytest.mark.slow
def test_a_softmax_is_kept_on_request(tmp_path: Path) -> None:
    need_tools("cxx", "verilator", "yosys")
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "events.npz", x=rng.normal(0, 2, (500, 4)), y=rng.integers(0, 3, 500))
    arguments = [
        "deploy", str(MODEL), "--weights", str(WEIGHTS), "--calibration", str(tmp_path / "events.npz"), "--out",
        str(tmp_path / "out"), "--random-vectors", "200", "--keep-softmax",
    ]  # fmt: skip
    assert invoke(arguments) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["agreement"]) == ["keras_emulator", "csim_emulator", "emulator_rtl"]
    assert report["verdict"]["bit_exact"]
    (softmax,) = report["softmax"]
    assert softmax["events"] == 500
    assert softmax["agreeing"] + softmax["tied"] > 0.99
    assert 0 < softmax["maximum"] < 0.02
    areas = (report["physics"][model]["auc"]["macro"] for model in ("quantised", "rtl"))
    assert next(areas) == pytest.approx(next(areas), abs=0.01)


@pytest.mark.slow
def test_a_published_network_streams(tmp_path: Path) -> None:
    need_tools("cxx", "verilator", "yosys")
    arguments = [DATA / "cnn.h5", "--out", tmp_path, "--architecture", "stream", "--random-vectors", "200"]
    assert invoke(["deploy", *map(str, arguments)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"]["good"]
    assert report["latency"]["initiation_interval"] == report["cosim"]["stream"]["frame_beats"] == 36
    assert all(queue["highest"] <= queue["depth"] for queue in report["cosim"]["stream"]["queues"])
    assert "line buffer of a" in (tmp_path / "rtl" / "interface.md").read_text()


@pytest.mark.slow
def test_a_float_model_gets_types_and_shows_what_they_cost(tmp_path: Path) -> None:
    need_tools("cxx", "verilator", "yosys")
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (600, 4)).astype(np.float32)
    np.savez(tmp_path / "events.npz", x=x, y=rng.integers(0, 2, 600))
    arguments = [
        "deploy", str(DATA / "keras2.keras"), "--calibration", str(tmp_path / "events.npz"), "--out",
        str(tmp_path / "out"), "--bits", "6", "--max-lut", "5", "--random-vectors", "200",
    ]  # fmt: skip
    assert invoke(arguments) == 1  # the budget
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"]["bit_exact"]
    (loss,) = report["float_loss"]
    assert loss["events"] == 600
    assert 0 < loss["rms"] < 0.1 * loss["spread"]
    assert loss["maximum"] >= loss["rms"]
    assert loss["argmax_agreement"] > 0.9
    assert set(report["physics"]) >= {"float", "quantised", "rtl"}
    assert "Types were fitted to 600 calibration events" in " ".join(report["notes"])
    assert (tmp_path / "out" / "convert" / "model.keras").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["branches", "cnn", "mlp_sequential"])
def test_published_models_of_several_kinds(name: str, tmp_path: Path) -> None:
    need_tools("cxx", "verilator", "yosys")
    with np.load(DATA / f"{name}.npz") as file:
        shapes = [file[key].shape[1:] for key in sorted(file.files) if key.startswith("x")]
    rng = np.random.default_rng(2)
    arrays = [rng.normal(0, 1, (300, *shape)).astype(np.float32) for shape in shapes]
    names = ("a", "c") if len(arrays) > 1 else ("x",)
    np.savez(tmp_path / "events.npz", **dict(zip(names, arrays, strict=True)))
    out = tmp_path / "out"
    arguments = [
        "deploy", str(DATA / f"{name}.h5"), "--calibration", str(tmp_path / "events.npz"), "--out", str(out),
        "--random-vectors", "200", "--until", "cosim",
    ]  # fmt: skip
    assert invoke(arguments) == 0
    verdict = json.loads((out / "cosim" / "cosim.json").read_text())
    assert verdict["agreement"]["mismatches"] == 0
    assert verdict["vectors"]["test"] == 300
