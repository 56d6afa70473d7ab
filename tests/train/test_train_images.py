"""Training on images: augmented, pruned, interrupted and resumed, evaluated in blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import tiny_images, write_images
from support import need_packages

from l1dl.card import load_card
from l1dl.data.load import load_card_data
from l1dl.models.network import build_float
from l1dl.train import fit, runner
from l1dl.train.train import TrainedModel, model_digest, train_model

EPOCHS = 10
CHANGED = f"{EPOCHS}\nsparsity = 0.5\naugmentation = {{ rotation_deg = 5.0, smear = 0.1 }}"


def train(directory: Path, name: str = "a", **replace: str) -> TrainedModel:
    need_packages("keras", "qkeras", "jax")
    card = load_card(write_images(directory, **replace))
    return train_model(card, load_card_data(card.data, directory), directory / name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("images"), epochs=CHANGED)


def test_it_learns_and_has_no_scaler(trained: TrainedModel) -> None:
    facts = json.loads(trained.facts_path.read_text())
    assert "scaler" not in facts
    for model in facts["models"].values():
        assert model["seeds"][0]["accuracy"] > 0.8
    assert facts["models"]["quantised"]["sparsity"]["conv_0"] >= 14 / 27


def test_an_interrupted_training_ends_with_the_same_weights(
    trained: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_epoch, started = runner.JaxRunner.run_epoch, []

    def interrupted(self: runner.JaxRunner, epoch: int, *arguments: Any) -> float:
        started.append(epoch)
        if len(started) == EPOCHS + 5:  # in the quantised model
            raise KeyboardInterrupt
        return run_epoch(self, epoch, *arguments)

    monkeypatch.setattr(fit, "CHECKPOINT_INTERVAL_S", 0.0)
    monkeypatch.setattr(runner.JaxRunner, "run_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, epochs=CHANGED)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"float.keras", "quantised-seed1.checkpoint.npz"}
    again = train(tmp_path, epochs=CHANGED)
    assert started == [*range(EPOCHS), *range(5), *range(EPOCHS), *range(4, EPOCHS)]
    for kind in ("float", "quantised"):
        assert model_digest(again.model_path(kind)) == model_digest(trained.model_path(kind))


def test_images_are_changed_anew_in_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(runner.JaxRunner, "run_epoch", lambda self, epoch, images, *_: seen.append(images) or 1.0)
    train(tmp_path, epochs="2\naugmentation = { reflect = true }")
    assert [image.shape[1:] for image in seen] == [(6, 6, 1)] * 4  # both models, two epochs
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])
    train(tmp_path, "b", epochs="1")
    assert seen[4:] == [None, None]


def test_blocks_give_the_figures_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_packages("keras", "qkeras", "jax")
    import keras

    model = build_float(load_card(write_images(tmp_path)), None, (6, 6, 1), 3)
    parts = tiny_images()

    def figures() -> tuple[float, float]:
        made = runner.make_runner(model, keras.optimizers.Adam(), parts, parts, batch_size=100, seed=1)
        return made.evaluate()

    whole = figures()
    monkeypatch.setattr(runner, "BLOCK_VALUES", 36 * 500)  # two blocks of 500 images, and one of 200
    assert figures() == pytest.approx(whole, rel=1e-5)


@pytest.mark.slow
def test_tensorflow_trains_on_images_as_well(tmp_path: Path) -> None:
    from tiny import l1dl

    need_packages("tensorflow")
    # Ten epochs are few, and the backends draw other first weights from a seed: seed 1 is a bad one here.
    card = write_images(tmp_path, epochs=f'{CHANGED}\nseed = 2\nbackend = "tensorflow"')
    done = l1dl("train", card, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "train" / "training.json").read_text())["models"]["quantised"]
    assert facts["seeds"][0]["accuracy"] > 0.8
    assert min(facts["sparsity"].values()) >= 0.5
