"""What the documents say is true: commands exist, keys are described, links lead somewhere, the example runs."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from l1dl.card import ModelCard
from l1dl.cli.app import invoke

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for section in sections(field.annotation):
            yield from keys(section)


def sections(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the sections that an annotation names, also within lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from sections(part)


@pytest.mark.parametrize("key", sorted(set(keys(ModelCard))))
def test_every_key_of_a_card_is_described(key: str) -> None:
    assert re.search(
        rf"`{key}`|`\[{key}\]`|{{ bits = …, integer = … }}", (ROOT / "docs/model-card.md").read_text("utf-8")
    )
    if key not in ("bits", "integer"):
        assert f"`{key}`" in (text := (ROOT / "docs/model-card.md").read_text("utf-8")) or f"`[{key}]`" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_commands_of_the_readme_exist(capsys: pytest.CaptureFixture[str]) -> None:
    commands = {match.split()[0] for match in re.findall(r"`l1dl ([a-z][a-z -]*)", README)}
    assert {"run", "train", "data", "doctor"} <= commands
    for command in commands:
        assert invoke([command, "--help"]) == 0, command


def test_the_scripts_of_the_readme_exist() -> None:
    named = set(re.findall(r"`(\w+\.py)`", README))
    assert named == {path.name for path in (ROOT / "scripts").glob("*.py")}


@pytest.mark.slow
def test_the_example_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 5, 2000)
    inputs = generator.normal(size=(2000, 16)) + np.eye(16)[labels]
    monkeypatch.chdir(tmp_path)
    names = {"x_test": inputs.astype(np.float32), "y_test": labels}
    exec(compile(example[1], "README.md", "exec"), names)
    report = names["outcome"].report  # type: ignore[attr-defined]
    assert report["verdict"]["bit_exact"]
    assert report["resources"]["lut"] > 100
    assert (tmp_path / "runs/my_tagger/report.html").exists()
