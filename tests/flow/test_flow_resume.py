"""What runs again, and what does not: settings, seeds, edited and deleted files, `--force`, single stages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import STAGES, change_card, copy_run

from l1dl.cli.app import invoke


@pytest.fixture
def card(finished: Path, tmp_path: Path) -> Path:
    return copy_run(finished, tmp_path)


def run(card: Path, *options: str, code: int = 0, stage: str = "run") -> None:
    assert invoke([stage, str(card), "--out", str(card.parent / "out"), *options]) == code


def started(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the stages that were started since the last call."""
    return [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith(" started")]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_finished_run_is_up_to_date_without_importing_anything_heavy(card: Path) -> None:
    code = (
        "import sys; from l1dl.cli.app import invoke; assert invoke(sys.argv[1:]) == 0; "
        "heavy = ('keras', 'tensorflow', 'jax', 'hls4ml', 'alkaid', 'matplotlib'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    arguments = [sys.executable, "-c", code, "run", str(card), "--out", str(card.parent / "out")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:8]] == list(STAGES)
    assert all("up to date" in line for line in lines[:8])
    assert lines[-1] == "[]"
    assert lines[-2].startswith("report: ")


def test_a_new_budget_only_makes_the_report_again(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card.write_text(card.read_text() + "\n[budget]\nmax_lut = 10\n")
    run(card, code=1)
    assert started(capsys) == ["report"]
    report = json.loads((card.parent / "out" / "report.json").read_text())
    assert not report["verdict"]["good"]


def test_a_broken_budget_is_named(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card.write_text(card.read_text() + "\n[budget]\nmax_latency_ns = 1.0\nmax_lut = 1000000\n")
    run(card, code=1)
    shown = " ".join(capsys.readouterr().out.split())
    assert "verdict │ not good" in shown
    assert "broken: 20 ns exceeds 1 ns" in shown
    assert shown.count("broken:") == 1


@pytest.mark.slow
def test_a_new_clock_makes_the_firmware_again(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card.write_text(card.read_text() + "\n[rtl]\nclock_period_ns = 2.5\n")
    run(card)
    assert started(capsys) == ["rtl", "cosim", "synth", "report"]


def test_a_new_seed_trains_again(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_card(card, epochs="8\nseed = 2")
    run(card, "--until", "convert")
    assert started(capsys) == ["train", "convert"]


def test_training_again_to_the_same_weights_keeps_the_firmware(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(card, "--force", stage="train")
    run(card, "--until", "synth")
    assert started(capsys) == ["data", "train"]


def test_the_number_of_seeds_is_remembered(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(card, "--seeds", "2", stage="train")
    assert started(capsys) == ["train"]
    run(card, "--until", "synth")
    assert started(capsys) == []
    training = json.loads((card.parent / "out" / "train" / "training.json").read_text())
    assert [seed["seed"] for seed in training["models"]["quantised"]["seeds"]] == [1, 2]


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("data/data.json", "data"),
        pytest.param("train/scores.npz", "train", marks=pytest.mark.slow),
        ("emulate/emulation.json", "emulate"),
        ("rtl/interface.json", "rtl"),
        ("synth/resources.json", "synth"),
        ("report.html", "report"),
        ("report.json", "report"),
    ],
)
def test_a_file_that_was_changed_or_deleted_is_made_again(
    name: str, stage: str, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = card.parent / "out" / name
    path.write_bytes(path.read_bytes()[:-3] + b"   ")
    run(card)
    assert started(capsys)[0] == stage
    assert path.read_bytes()[-3:] != b"   "
    path.unlink()
    run(card)
    assert started(capsys)[0] == stage
    assert path.exists()


def test_files_of_a_vendor_flow_do_not_matter(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = card.parent / "out"
    others = [out / "hls" / "tiny_prj" / "log", out / "rtl" / "vivado.log", out / "hls" / "tb_data" / "csim.log"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    run(card)
    assert started(capsys) == []
    assert all(path.exists() for path in others)


def test_force_runs_what_is_up_to_date(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(card, "--force", stage="report")
    assert started(capsys) == ["report"]
    run(card, "--until", "rtl", "--force")
    assert started(capsys) == ["data", "train", "convert", "emulate", "rtl"]


def test_a_damaged_manifest_runs_everything_again(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (card.parent / "out" / "manifest.json").write_text("{")
    run(card, "--until", "rtl")
    assert started(capsys) == ["data", "train", "convert", "emulate", "rtl"]


def test_a_damaged_result_says_what_to_do(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = card.parent / "out"
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "cosim" / "cosim.json").write_text("{}")
    run(card, "--until", "cosim")
    assert started(capsys) == ["cosim"]
    manifest["stages"]["cosim"]["outputs"] = {}
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "cosim" / "cosim.json").write_text("{}")
    run(card, "--until", "cosim", code=2)
    assert "cosim.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("gone", ["train", "convert", "rtl", "cosim"])
def test_a_single_stage_without_its_forerunner_says_what_to_run(
    gone: str, card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(card.parent / "out" / gone)
    run(card, code=2, stage="report")
    assert (
        f"needs stage '{gone}', which is incomplete (a file is gone); run this first: l1dl run {card}"
        in capsys.readouterr().err
    )


def test_an_edited_model_is_not_taken_for_the_trained_one(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (card.parent / "out" / "train" / "quantised.keras").write_bytes(b"PK")
    run(card, code=2, stage="convert")
    assert "needs stage 'train', which is changed by hand" in capsys.readouterr().err


def test_faulty_verilog_is_found_and_located(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = card.parent / "out"
    stage = out / "rtl" / "src" / "tiny_stage1.v"
    lines = stage.read_text().splitlines()
    index, line = next((i, line) for i, line in enumerate(lines) if "shift_adder" in line)
    head, _, tail = line.rpartition(" op_")
    lines[index] = head[:-2] + ("1" if head[-2] == "0" else "0") + ")" + " op_" + tail  # an adder becomes a subtractor
    stage.write_text("\n".join(lines))
    run(card, code=1, stage="cosim")
    shown = capsys.readouterr()
    assert "! rtl      changed by hand: its files are used as they are" in shown.out
    assert "emulator and rtl disagree in" in shown.err
    assert re.search(r"First: event \d+ output \d: emulator -?\d+, rtl -?\d+; event", shown.err)
    assert "Changed by hand: tiny_stage1.v. The first diverging pipeline stage is tiny_stage1" in shown.err
    assert f"Waveform: {out / 'cosim' / 'mismatch.vcd'}" in shown.err
    assert (out / "cosim" / "mismatch.vcd").read_text().startswith("$version")
    # The verdict stays until the files are written again.
    run(card, code=1, stage="cosim")
    assert started(capsys) == []
    run(card, "--until", "cosim")
    assert started(capsys) == ["rtl", "cosim"]
    assert not (out / "cosim" / "mismatch.vcd").exists()


@pytest.mark.slow
def test_harmless_changes_of_the_verilog_are_proved_and_noted(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = card.parent / "out"
    (out / "rtl" / "src" / "tiny_stage1.v").open("a").write("// reviewed\n")
    for stage in ("cosim", "synth", "report"):
        run(card, stage=stage)
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"]["good"]
    assert "The Verilog was changed by hand" in (out / "report.json").read_text()


def test_verilog_that_is_gone_is_asked_for(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (card.parent / "out" / "rtl" / "src" / "tiny_stage1.v").unlink()
    run(card, code=2, stage="cosim")
    assert "lacks tiny_stage1.v; write it again with the stage rtl" in capsys.readouterr().err


@pytest.mark.slow
def test_a_changed_pipeline_is_named(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(card.parent / "out" / "rtl" / "src" / "tiny_pipeline.v", "data1 <= next1;", "data1 <= ~next1;")
    run(card, code=1, stage="cosim")
    assert "Changed by hand: tiny_pipeline.v" in capsys.readouterr().err


def test_a_difference_between_keras_and_csim_names_the_layer(
    card: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from l1dl.emulate import csim, keras_codes

    real, layers = csim.Csim.run, keras_codes.keras_layers

    def wrong(self: csim.Csim, x: np.ndarray, progress: object = None) -> np.ndarray:
        outputs = real(self, x)
        outputs[3, 1] += 2.0
        return outputs

    def wrong_layers(*arguments: object) -> dict[str, np.ndarray]:
        found = layers(*arguments)
        return {name: codes + (name == "dense_0") for name, codes in found.items()}

    monkeypatch.setattr(csim.Csim, "run", wrong)
    monkeypatch.setattr(keras_codes, "keras_layers", wrong_layers)
    run(card, "--force", code=1, stage="emulate")
    error = capsys.readouterr().err
    assert "keras and csim disagree in 1 output codes of" in error
    assert "event 3 output 1: keras " in error
    assert "The first layer that differs from Keras is 'dense_0'." in error
    # The run goes on to its report, says where it is, and still fails.
    run(card, code=1)
    assert f"Report: {card.parent / 'out' / 'report.html'}" in capsys.readouterr().err
