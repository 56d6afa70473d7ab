"""A CNN from its card to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from images import CLASSES, write_images
from support import need_packages, need_tools
from tiny import PACKAGES, change_card

from l1dl.card import load_card
from l1dl.cli.app import invoke
from l1dl.flow.job import CardJob, Paths


def job(card: Path) -> CardJob:
    return CardJob(load_card(card), card.parent, Paths(card.parent / "out", card.parent / "hls"))


def use_digits(card: Path, integer: int, bits: int) -> None:
    change_card(card, file='"digits"', input=f"{{ bits = {bits}, integer = {integer}, signed = false }}")


def test_pixels_have_names(tmp_path: Path) -> None:
    names = job(write_images(tmp_path)).features
    assert names[:7] == (*(f"pixel_0_{column}_light" for column in range(6)), "pixel_1_0_light")
    assert len(names) == 36


@pytest.mark.parametrize(
    ("bits", "integer", "note"),
    [
        (5, 1, "as ufixed<5,1,RND_CONV,SAT>, which holds every pixel (ufixed<5,1>) exactly"),
        (3, 1, "the port rounds, in training as in firmware"),
        (4, 0, "the port cuts off large ones, in training as in firmware"),
        (3, 0, "the port rounds and cuts off large ones, in training as in firmware"),
    ],
)
def test_the_report_says_whether_the_port_holds_the_pixels(bits: int, integer: int, note: str, tmp_path: Path) -> None:
    need_packages("sklearn")
    card = write_images(tmp_path)
    use_digits(card, integer, bits)
    (said,) = job(card).notes()
    assert note in said


def test_images_of_which_nothing_is_known_have_a_short_note(tmp_path: Path) -> None:
    (said,) = job(write_images(tmp_path)).notes()
    assert said.startswith("Inputs arrive unscaled, and the input port takes them as ")
    assert "grid" not in said


def test_layers_that_do_not_fit_stop_the_run_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = write_images(tmp_path)
    card.write_text(card.read_text().replace("size = 2", "size = 4"))
    assert invoke(["run", str(card), "--out", str(tmp_path / "out")]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "layer pool_1: windows of 4 pixels do not cover 6 x 6 pixels; allowed: size = 2, 3, 6" in error
    assert not (tmp_path / "out" / "train").exists()


@pytest.mark.slow
@pytest.mark.parametrize("function", ["max", "average"])
def test_a_cnn_goes_all_the_way(function: str, tmp_path: Path) -> None:
    need_packages(*PACKAGES)
    need_tools("cxx", "verilator", "yosys")
    card = write_images(tmp_path, epochs="6\nsparsity = 0.5\naugmentation = { smear = 0.1 }")
    card.write_text(card.read_text().replace("size = 2", f'size = 3, function = "{function}"'))
    assert invoke(["run", str(card), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["verdict"]["bit_exact"]
    assert report["resources"]["lut"] > 100
    interface = json.loads((tmp_path / "out" / "rtl" / "interface.json").read_text())
    assert interface["inputs"][0]["shape"] == [6, 6, 1]
    assert not interface["inputs"][0]["type"]["signed"]
    assert interface["inputs"][0]["values"][7]["name"] == "pixel_1_1_light"
    assert [value["name"] for value in interface["outputs"][0]["values"]] == list(CLASSES)


@pytest.mark.slow
def test_digits_are_told_apart_with_few_bits(tmp_path: Path) -> None:
    need_packages(*PACKAGES, "sklearn")
    card = Path(__file__).parents[2] / "models" / "digits_cnn"
    assert invoke(["train", str(card), "--out", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "train" / "training.json").read_text())["models"]["quantised"]
    assert facts["seeds"][0]["accuracy"] >= 0.96
