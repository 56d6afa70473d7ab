"""Which engine works in an environment, and what an error says about the other one."""

from __future__ import annotations

import pytest
from tiny import write_card

from l1dl.cli.app import invoke
from l1dl.errors import ToolMissingError
from l1dl.models import engines


def environment(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(engines, "_is_installed", lambda package: package in packages)


@pytest.mark.parametrize(
    ("packages", "found", "message"),
    [
        (("qkeras-v3",), ("qkeras",), r"'hgq2' needs HGQ2, and this environment holds qkeras-v3; .*ENGINE=hgq2"),
        (("HGQ2",), ("hgq2",), r"'qkeras' needs qkeras-v3, and this environment holds HGQ2; .*l1dl\[qkeras\]"),
        ((), (), "this environment holds no engine"),
        (("HGQ2", "qkeras-v3"), (), "this environment holds HGQ2 and QKeras, whose modules .* overwrite each other"),
    ],
)
def test_an_engine_that_does_not_work_names_the_remedy(monkeypatch, packages, found, message):
    environment(monkeypatch, *packages)
    assert engines.installed_engines() == found
    for engine in found:
        engines.check_engine(engine)
    absent = next(engine for engine in engines.PACKAGES if engine not in found and engine not in found)
    with pytest.raises(ToolMissingError, match=message):
        engines.check_engine(absent)


def test_a_card_of_the_other_engine_ends_with_exit_code_3(monkeypatch, tmp_path, capsys):
    card = write_card(tmp_path)
    environment(monkeypatch, "HGQ2")
    assert invoke(["run", str(card), "--out", str(tmp_path / "out")]) == 3
    assert "make setup ENGINE=qkeras" in capsys.readouterr().err
    assert invoke(["data", "--help"]) == 0
    assert invoke(["run", str(card), "--out", str(tmp_path / "out"), "--until", "data"]) == 0


def test_doctor_says_which_engine_works(monkeypatch, capsys):
    from l1dl.cli import doctor

    monkeypatch.setattr(doctor, "_devices", lambda: "none")
    environment(monkeypatch, "qkeras-v3")
    invoke(["doctor"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "engine 'qkeras' works in this environment" in shown
    assert "engine 'hgq2' needs HGQ2, and this environment holds qkeras-v3" in shown
    environment(monkeypatch)
    assert invoke(["doctor"]) == 3
