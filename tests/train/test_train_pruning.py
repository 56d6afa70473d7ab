"""Pruning: the schedule, the masks, and the zeros that stay in the trained model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import need_packages
from tiny import write_card

from l1dl.card import TrainingCard, load_card
from l1dl.data.load import load_card_data
from l1dl.train.pruning import is_final, mask, sparsity_at, zeros_of
from l1dl.train.train import TrainedModel, load_model, train_model, zero_weights


def settings(**values: object) -> TrainingCard:
    return TrainingCard(**{"epochs": 100, "sparsity": 0.8, "sparsity_ramp": [0.2, 0.6], **values})  # type: ignore[arg-type]


def test_the_schedule_is_the_cubic_one() -> None:
    card = settings()
    shares = [sparsity_at(card, epoch) for epoch in range(100)]
    assert shares[:21] == [0.0] * 21
    assert shares[40] == pytest.approx(0.8 * (1 - 0.5**3))
    assert shares[60:] == [0.8] * 40
    assert shares == sorted(shares)
    assert [epoch for epoch in range(100) if is_final(card, epoch)] == list(range(60, 100))


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_short_trainings_end_with_the_final_sparsity(epochs: int) -> None:
    card = settings(epochs=epochs, sparsity_ramp=[0.3, 0.9])
    assert sparsity_at(card, epochs - 1) == 0.8
    assert is_final(card, epochs - 1)


def test_a_ramp_of_no_length_is_a_step() -> None:
    card = settings(sparsity_ramp=[0.5, 0.5])
    assert [sparsity_at(card, epoch) for epoch in (49, 50)] == [0.0, 0.8]


def test_the_smallest_weights_become_zero_ties_and_all() -> None:
    need_packages("keras", "jax")
    weights = np.array([[0.5, -0.1, 0.0], [-2.0, 0.1, 0.1]], dtype=np.float32)
    for zeros in range(7):
        kept = np.asarray(mask(weights, zeros))
        assert int((kept == 0).sum()) == zeros
        assert zeros in (0, 6) or abs(weights[kept == 0]).max() <= abs(weights[kept == 1]).min()


def test_only_kernels_are_pruned() -> None:
    class Variable:
        def __init__(self, name: str, *shape: int) -> None:
            self.name, self.shape = name, shape

    variables = [Variable("kernel", 3, 3, 1, 5), Variable("bias", 5), Variable("kernel", 7, 3)]
    assert zeros_of(variables, 0.5) == [23, 0, 11]
    assert zeros_of(variables, 0.3) == [14, 0, 7]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    need_packages("keras", "qkeras", "jax")
    directory = tmp_path_factory.mktemp("pruned")
    card = load_card(write_card(directory, hidden="[12]", epochs="10\nsparsity = 0.6"))
    return train_model(card, load_card_data(card.data, directory), directory / "a")


def test_the_quantised_model_has_the_zeros_and_still_learns(trained: TrainedModel) -> None:
    model = load_model(trained.model_path("quantised"))
    for name in ("dense_0", "logits"):
        kernel = np.asarray(model.get_layer(name).kernel)
        assert np.mean(kernel == 0) == pytest.approx(0.6, abs=0.02)
    facts = json.loads(trained.facts_path.read_text())["models"]["quantised"]
    assert facts["sparsity"] == zero_weights(model)
    assert min(facts["sparsity"].values()) >= 0.6
    assert facts["best_epoch"] >= 5
    assert facts["seeds"][0]["accuracy"] > 0.8


def test_the_float_reference_keeps_all_weights(trained: TrainedModel) -> None:
    model = load_model(trained.model_path("float"))
    assert np.count_nonzero(np.asarray(model.get_layer("dense_0").kernel)) == 48
    assert "sparsity" not in json.loads(trained.facts_path.read_text())["models"]["float"]
