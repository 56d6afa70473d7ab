"""The scaling, and the models that a card describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import need_packages
from tiny import FEATURES, tiny_data, write_card

from l1dl.card import ModelCard, load_card
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, decode, encode
from l1dl.models.network import build_float, build_quantised, input_spec
from l1dl.models.scaler import Scaler, fit_scaler, fold_scaler

SHAPE = (len(FEATURES),)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    need_packages("keras", "qkeras", "jax")
    return load_card(write_card(tmp_path))


@pytest.fixture(scope="module")
def scaler() -> Scaler:
    return fit_scaler(tiny_data()[0], FEATURES)


def outputs(model: Any, x: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(x, verbose=0))


def test_the_scaler_gives_mean_zero_and_width_one(scaler: Scaler) -> None:
    scaled = scaler.apply(tiny_data()[0])
    assert scaled.dtype == np.float32
    assert np.allclose(scaled.mean(axis=0), 0, atol=1e-4)
    assert np.allclose(scaled.std(axis=0), 1, atol=1e-4)


def test_a_constant_feature_is_refused_by_name() -> None:
    x = tiny_data()[0]
    x[:, 2] = 1.5
    with pytest.raises(InputError, match=r"\['c2'\] are constant in the training split"):
        fit_scaler(x, FEATURES)


def test_a_large_offset_does_not_spoil_the_width() -> None:
    x = (np.arange(1000) % 2 + 1e4).astype(np.float32)[:, None]
    assert fit_scaler(x, ("a",)).scale[0] == pytest.approx(0.5)


def test_the_folded_scaling_is_on_the_grid(scaler: Scaler) -> None:
    spec = FixedSpec(signed=True, width=12, integer=8)
    folded = fold_scaler(scaler, spec)
    assert np.array_equal(np.log2(folded.scale) % 1, np.zeros(4))
    assert np.all(np.abs(np.log2(folded.scale / scaler.scale)) <= 0.5)
    assert np.array_equal(decode(encode(folded.mean, spec), spec), folded.mean)


def test_the_float_model_scales_physical_inputs_itself(card: ModelCard, scaler: Scaler) -> None:
    model = build_float(card, scaler, SHAPE, 3)
    x = tiny_data(50)[0]
    scaling = model.get_layer("scaling")
    assert np.allclose(np.asarray(scaling(x)), scaler.apply(x), atol=1e-4)
    assert scaling.trainable_variables == []
    assert outputs(model, x).shape == (50, 3)


def test_the_quantised_model_stays_on_its_grids(card: ModelCard, scaler: Scaler) -> None:
    import keras

    model = build_quantised(card, scaler, SHAPE, 3)
    assert [layer.name for layer in model.layers] == [
        "features", "quantised_features", "scaling", "scaled_features", "dense_0", "relu_0", "logits",
    ]  # fmt: skip
    x = tiny_data(200)[0]
    grids = {
        "quantised_features": input_spec(card),
        "scaled_features": FixedSpec(signed=True, width=8, integer=3),
        "relu_0": FixedSpec(signed=False, width=6, integer=2),
    }
    for name, spec in grids.items():
        values = outputs(keras.Model(model.inputs, model.get_layer(name).output), x).astype(np.float64)
        codes = np.ldexp(values, spec.width - spec.integer)
        assert np.array_equal(codes, np.round(codes))
        assert codes.min() >= spec.minimum_code
        assert codes.max() <= spec.maximum_code
        assert len(np.unique(codes)) > 5


def test_scaled_inputs_need_no_scaling_layer(tmp_path: Path, scaler: Scaler) -> None:
    need_packages("keras", "qkeras", "jax")
    path = write_card(tmp_path, inputs='"scaled"')
    path.write_text(path.read_text().replace("scaled_input = { bits = 8, integer = 2 }\n", ""))
    scaled = load_card(path)
    for build in (build_float, build_quantised):
        assert "scaling" not in [layer.name for layer in build(scaled, scaler, SHAPE, 3).layers]


def test_the_hidden_layers_are_those_of_the_card(tmp_path: Path, scaler: Scaler) -> None:
    need_packages("keras", "qkeras", "jax")
    wide = load_card(write_card(tmp_path, hidden="[7, 5, 4]"))
    for build in (build_float, build_quantised):
        model = build(wide, scaler, SHAPE, 3)
        assert [model.get_layer(f"dense_{index}").units for index in range(3)] == [7, 5, 4]
        assert model.count_params() >= 4 * 7 + 7 + 7 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3
