"""A card for HGQ2: training to a number of EBOPs, ranges, resuming after a kill, and all stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hgq2_models import trained_quantisers
from support import need_engine, need_tools
from tiny import tiny_data, write_card

from l1dl.card import load_card
from l1dl.cli.app import invoke
from l1dl.data.load import load_dataset
from l1dl.errors import InputError
from l1dl.models.calibrate import calibrate, count_wrapped
from l1dl.train.train import TrainedModel, load_model, train_model

need_engine("hgq2")

SECTION = """
[hgq2]
ebops = 600
beta = [1e-5, 1e-2]
ramp = 0.3
weight_bits = 3
activation_bits = 3
"""


def hgq2_card(directory: Path, **replace: str) -> Path:
    """Write the tiny card for HGQ2."""
    card = write_card(directory, epochs="50", learning_rate="0.03", **replace)
    lines = [line for line in card.read_text().splitlines() if not line.startswith(("weight", "bias", "activation"))]
    text = "\n".join(lines).replace("hidden = [6]", 'engine = "hgq2"\nhidden = [6]')
    card.write_text(text.replace("epochs =", 'schedule = "constant"\nepochs =') + SECTION)
    return card


class KilledError(Exception):
    """Stands for a kill."""


def train(directory: Path, progress: Any = None, *changes: str) -> TrainedModel:
    card = load_card(hgq2_card(directory), changes)
    return train_model(card, load_dataset(directory / "data.npz"), directory / "train", progress=progress)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("hgq2"))


def facts(trained: TrainedModel) -> dict[str, Any]:
    return json.loads(trained.facts_path.read_text())["models"]["quantised"]


def test_the_model_has_learnt_within_its_ebops(trained):
    quantised = facts(trained)
    history = quantised["history"]
    assert quantised["seeds"][0]["accuracy"] > 0.8
    assert history["ebops"][0] > 600 >= history["ebops"][quantised["best_epoch"]]
    within = [loss for loss, ebops in zip(history["validation_loss"], history["ebops"], strict=True) if ebops <= 600]
    assert history["validation_loss"][quantised["best_epoch"]] == min(within)
    assert 0 < quantised["ebops"] <= 600 * 1.3  # ranges with their margin have a few bits more
    assert [each["ebops"] for each in quantised["front"]] == sorted(each["ebops"] for each in quantised["front"])


def test_models_of_the_front_are_written_and_calibrated(trained):
    few = facts(trained)["front"][0]
    model = load_model(trained.directory / f"front-{few['epoch']}.keras")
    x, y = tiny_data()
    assert count_wrapped(model, x) == 0
    assert np.mean(np.argmax(model.predict(x, verbose=0), axis=1) == y) > 0.6


def test_ranges_hold_the_training_split_and_a_narrower_one_does_not(trained):
    model = load_model(trained.model_path("quantised"))
    x, _ = tiny_data()
    assert facts(trained)["wrapped_events"]["train"] == 0
    calibrate(model, x, 0.0)
    assert count_wrapped(model, x) == 0
    for inner in trained_quantisers(model):
        inner._i.assign(inner._i - 1.0)
    assert count_wrapped(model, x) > 100


def test_a_margin_widens_ranges(trained):
    model = load_model(trained.model_path("quantised"))
    x, _ = tiny_data()
    widths = []
    for margin in (0.0, 1.0):
        calibrate(model, x, margin)
        widths.append(sum(float(np.sum(inner._i)) for inner in trained_quantisers(model) if hasattr(inner, "_f")))
    assert widths[0] < widths[1]


def test_a_killed_training_goes_on_to_the_same_weights(trained, tmp_path, monkeypatch):
    from l1dl.train import fit

    monkeypatch.setattr(fit, "CHECKPOINT_INTERVAL_S", 0.0)

    def kill(name: str, done: int, total: int, text: str) -> None:
        if name.startswith("quantised") and done == 25:
            raise KilledError

    with pytest.raises(KilledError):
        train(tmp_path, kill)
    epochs: list[int] = []
    again = train(tmp_path, lambda name, done, *_: epochs.append(done) if name.startswith("quantised") else None)
    assert epochs[0] == 25
    # Digests of the files differ, since Keras numbers the quantisers of a process.
    ours, theirs = (load_model(each.model_path("quantised")).get_weights() for each in (again, trained))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    assert facts(again)["front"] == facts(trained)["front"]


def test_ebops_that_are_out_of_reach_are_an_error(tmp_path):
    with pytest.raises(InputError, match="no epoch had 1 EBOPs or fewer; the fewest were"):
        train(tmp_path, None, "hgq2.ebops=1", "training.epochs=2")


def test_a_card_goes_through_all_stages(tmp_path, capsys):
    need_tools("cxx", "verilator", "yosys")
    card = hgq2_card(tmp_path)
    assert invoke(["run", str(card), "--out", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["verdict"]["bit_exact"]
    assert {layer["mismatches"] for layer in report["layers"]} <= {0, None}
    assert report["resources"]["lut"] > 20
    assert any("EBOPs" in note for note in report["notes"])
    model = tmp_path / "out/train/quantised.keras"
    assert invoke(["deploy", str(model), "--out", str(tmp_path / "again"), "--until", "emulate"]) == 0
