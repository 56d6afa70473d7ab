"""``l1dl data``: images on the command line."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from support import need_packages

from l1dl.cli.app import invoke

ROOT = Path(__file__).parents[2]


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    capsys.readouterr()
    assert invoke([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_help_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(shown(capsys, "data", "images", "--help").split())
    assert "Example: l1dl data images --channels pt,charged,neutral,multiplicity" in text
    assert "without constituents" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["images"], ["--out"]),
        (["images", "--out", "j.h5", "--channels", "pt,charge"], ["'charge'", "did you mean 'charged'?", "allowed"]),
        (["jets", "--out", "j.h5", "--channels", ""], ["--channels ''", "allowed are pt, charged, neutral"]),
        (["images", "--out", "j.h5", "--channels", "pt,pt"], ["channels are pt, pt", "each once"]),
        (["images", "--out", "j.txt", "--jets", "10"], ["'j.txt'", ".h5"]),
        (["check", "digit"], ["digit: not found", "did you mean 'digits'?"]),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = shown(capsys, "data", *arguments, code=2)
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_check_shows_images(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "data", "check", ROOT / "tests" / "data" / "jet_images.h5")
    assert "16 features" in text
    assert "images of 16 x 16 pixels, 4 channels, multiples of 1/256 in 8 bits" in text
    assert all(name in text for name in ("pt", "charged", "neutral", "multiplicity", "not zero"))


def test_check_shows_digits(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "data", "check", "digits")
    assert "digits: 1,797 objects" in text
    assert "images of 8 x 8 pixels, 1 channel, multiples of 1/16 in 5 bits" in text
    assert "intensity" in text


def test_images_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_packages("pythia8mc", "fastjet", "awkward", "vector", "numba")
    out = tmp_path / "i.h5"
    assert "10 jets written" in shown(
        capsys, "data", "images", "--channels", "charged, pt", "--jets", "10", "--out", out
    )
    with h5py.File(out) as file:
        assert list(file.attrs["image_channels"]) == ["charged", "pt"]
        assert file["hlf/images"].shape == (10, 16, 16, 2)
        assert "constituents" not in file["hlf"]
