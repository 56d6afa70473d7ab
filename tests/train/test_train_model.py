"""Training: reproducible, resumable, on both back ends; files that are safe to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import need_packages
from tiny import change_card, l1dl, write_card

from l1dl.card import load_card
from l1dl.data.dataset import Split
from l1dl.data.load import load_dataset
from l1dl.errors import InputError, StorageError
from l1dl.models.backend import import_keras
from l1dl.train.train import TrainedModel, load_model, model_digest, predict, save_model, train_model


def train(directory: Path, name: str = "a", *, seeds: int = 1, **replace: str) -> TrainedModel:
    need_packages("keras", "qkeras", "jax")
    card = load_card(write_card(directory, **replace))
    return train_model(card, load_dataset(directory / "data.npz"), directory / name, seeds=seeds)


def facts(trained: TrainedModel) -> dict[str, Any]:
    return json.loads(trained.facts_path.read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("train"), seeds=2)


def test_both_models_learn(trained: TrainedModel) -> None:
    for model in facts(trained)["models"].values():
        assert model["seeds"][0]["accuracy"] > 0.8
        assert model["history"]["loss"][-1] < model["history"]["loss"][0]
        assert model["best_epoch"] == int(np.argmin(model["history"]["validation_loss"]))


def test_seeds_give_a_spread(trained: TrainedModel) -> None:
    for model in facts(trained)["models"].values():
        assert [figures["seed"] for figures in model["seeds"]] == [1, 2]
        assert model["seeds"][0]["macro_auc"] != model["seeds"][1]["macro_auc"]


def test_the_same_seed_gives_the_same_weights(trained: TrainedModel, tmp_path: Path) -> None:
    again = train(tmp_path)
    for kind in ("float", "quantised"):
        assert model_digest(again.model_path(kind)) == model_digest(trained.model_path(kind))
        with np.load(again.scores_path) as one, np.load(trained.scores_path) as other:
            assert np.array_equal(one[kind], other[kind])


def test_the_model_file_is_what_was_trained(trained: TrainedModel) -> None:
    with np.load(trained.scores_path, allow_pickle=False) as scores:
        dataset = load_dataset(trained.directory.parent / "data.npz")
        x, y = dataset.part(Split.TEST)
        assert np.array_equal(scores["labels"], y)
        for kind in ("float", "quantised"):
            assert np.array_equal(predict(load_model(trained.model_path(kind)), x), scores[kind])


def test_scaled_inputs_give_a_model_without_scaling(tmp_path: Path) -> None:
    directory = tmp_path
    card = write_card(directory, inputs='"scaled"', input="{ bits = 8, integer = 2 }", epochs="3")
    card.write_text(card.read_text().replace("scaled_input = { bits = 8, integer = 2 }\n", ""))
    trained = train_model(load_card(card), load_dataset(directory / "data.npz"), directory / "a")
    names = [layer.name for layer in load_model(trained.model_path("quantised")).layers]
    assert "scaling" not in names
    assert facts(trained)["models"]["quantised"]["seeds"][0]["accuracy"] > 0.6


def test_a_damaged_checkpoint_is_ignored_with_a_warning(
    trained: TrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for content in (b"PK no zip", b""):
        checkpoint = tmp_path / "a" / "float-seed1.checkpoint.npz"
        checkpoint.parent.mkdir(exist_ok=True)
        checkpoint.write_bytes(content)
        again = train(tmp_path)
        assert "cannot be read" in caplog.text
        assert model_digest(again.model_path("float")) == model_digest(trained.model_path("float"))
        caplog.clear()


@pytest.mark.parametrize("text", ["[]", "{}", '{"key": "k", "epoch": 1}'])
def test_a_checkpoint_without_its_facts_is_ignored(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from l1dl.train.fit import _restore

    np.savez(tmp_path / "c.npz", facts=np.array(text))
    assert _restore(None, tmp_path / "c.npz", "k") is None  # type: ignore[arg-type]
    assert "cannot be read" in caplog.text


def test_a_flipped_bit_in_a_checkpoint_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from l1dl.train.fit import _restore

    path = tmp_path / "c.npz"
    rng = np.random.default_rng(1)
    np.savez_compressed(path, facts=np.array('{"key": "k"}'), state0=rng.normal(size=500), best0=rng.normal(size=500))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert _restore(None, path, "k") is None  # type: ignore[arg-type]
    assert "cannot be read" in caplog.text


def test_a_training_that_diverges_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from l1dl.train.runner import JaxRunner

    monkeypatch.setattr(JaxRunner, "run_epoch", lambda self, epoch, *_: float("nan") if epoch == 2 else 1.0)
    with pytest.raises(InputError, match=r"diverged: loss nan, .* in epoch 3; lower training.learning_rate"):
        train(tmp_path)
    assert not list((tmp_path / "a").iterdir())


def test_seeds_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seeds = 0 is not allowed"):
        train(tmp_path, seeds=0)


def test_an_unwritable_directory_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(StorageError, match="cannot write"):
        train(tmp_path, epochs="1")


def test_another_back_end_in_one_process_is_refused(tmp_path: Path) -> None:
    need_packages("jax", "tensorflow")
    running = import_keras().backend.backend()
    other = {"jax": "tensorflow", "tensorflow": "jax"}[running]
    with pytest.raises(InputError, match=f"Keras runs on {running} in this process, {other} was asked for"):
        train(tmp_path, epochs=f'1\nbackend = "{other}"')


@pytest.mark.slow
def test_tensorflow_trains_as_well(trained: TrainedModel, tmp_path: Path) -> None:
    need_packages("tensorflow", "hls4ml")
    card = write_card(tmp_path, epochs='8\nbackend = "tensorflow"')
    for name in "ab":
        done = l1dl("train", card, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    found = facts(TrainedModel(tmp_path / "a" / "train"))
    assert found["backend"] == "tensorflow"
    for kind in ("float", "quantised"):
        ours = found["models"][kind]["seeds"][0]["accuracy"]
        assert abs(ours - facts(trained)["models"][kind]["seeds"][0]["accuracy"]) < 0.06
        assert len({model_digest(tmp_path / name / "train" / f"{kind}.keras") for name in "ab"}) == 1
    assert l1dl("run", card, "--out", tmp_path / "a", "--until", "emulate").returncode == 0
    change_card(card, epochs="9")
    assert l1dl("run", card, "--out", tmp_path / "a", "--until", "train", KERAS_BACKEND="jax").returncode == 0


def test_python_code_in_a_model_file_is_refused_and_not_run(tmp_path: Path) -> None:
    need_packages("keras", "qkeras", "jax")
    mark = tmp_path / "was-here"
    code = f"""
import sys
from pathlib import Path
from l1dl.models.backend import import_keras
keras = import_keras()
x = inputs = keras.Input((4,))
x = keras.layers.Lambda(lambda value, path={str(mark)!r}: (open(path, "w"), value)[1], output_shape=(4,))(x)
keras.Model(inputs, x).save(sys.argv[1])
Path({str(mark)!r}).unlink(missing_ok=True)
"""
    path = tmp_path / "evil.keras"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=dict(os.environ), capture_output=True)
    assert "__lambda__" in zipfile.ZipFile(path).read("config.json").decode()
    with pytest.raises(InputError, match=r"layer 'lambda' \(Lambda\) .* holds Python code, which l1dl never runs"):
        load_model(path)
    assert not mark.exists()


def test_no_pickle_is_written(trained: TrainedModel) -> None:
    for path in trained.directory.iterdir():
        assert path.suffix in (".keras", ".json", ".npz"), path
        if path.suffix == ".keras":
            assert set(zipfile.ZipFile(path).namelist()) == {"metadata.json", "config.json", "model.weights.h5"}
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                assert all(file[name].dtype != object for name in file.files)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", r"model\.keras is empty"),
        (b"PK", r"model\.keras is no model that l1dl reads: truncated"),
        (b"not a model", r"model\.keras is no model that l1dl reads: truncated, or another format"),
    ],
)
def test_a_damaged_model_file_is_refused(content: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(InputError, match="model file not found"):
        model_digest(path)
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no Keras model file"):
        model_digest(path)
    need_packages("keras", "qkeras")
    with pytest.raises(InputError, match=text):
        load_model(path)


def test_the_digest_sees_weights_and_layers_but_not_the_time(trained: TrainedModel, tmp_path: Path) -> None:
    path = trained.model_path("quantised")
    model = load_model(path)
    save_model(model, tmp_path / "one.keras")
    save_model(model, tmp_path / "two.keras")
    assert model_digest(tmp_path / "one.keras") == model_digest(tmp_path / "two.keras")
    weights = model.get_weights()
    model.set_weights([*weights[:-1], weights[-1] + 0.25])
    save_model(model, tmp_path / "two.keras")
    assert model_digest(tmp_path / "one.keras") != model_digest(tmp_path / "two.keras")
    assert model_digest(trained.model_path("float")) != model_digest(path)
