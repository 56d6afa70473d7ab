"""`deploy`: a model that someone brings, without a card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import need_packages, need_tools
from tiny import PACKAGES, tiny_data

import l1dl
from l1dl.card import CosimCard, RtlCard
from l1dl.errors import InputError, UnsupportedError
from l1dl.flow.bring import check_inputs
from l1dl.models.backend import import_keras, import_qkeras


def build(seed: int, *, units: int = 3, softmax: bool = False) -> Any:
    """Return a QKeras model with random weights."""
    need_packages(*PACKAGES)
    keras, qkeras = import_keras(), import_qkeras()
    keras.utils.set_random_seed(seed)
    bits = lambda width, integer: qkeras.quantized_bits(width, integer, alpha=1)  # noqa: E731
    x = inputs = keras.Input((4,), name="features")
    x = qkeras.QActivation(bits(10, 6), name="entry")(x)
    x = qkeras.QDense(5, kernel_quantizer=bits(5, 0), bias_quantizer=bits(5, 0), name="hidden")(x)
    x = qkeras.QActivation(qkeras.quantized_relu(6, 3), name="relu")(x)
    x = qkeras.QDense(units, kernel_quantizer=bits(5, 0), bias_quantizer=bits(5, 0), name="logits")(x)
    if softmax:
        x = keras.layers.Softmax(name="softmax")(x)
    return keras.Model(inputs, x, name="brought")


def recurrent() -> Any:
    """Return a model with a layer that can be given no types."""
    need_packages(*PACKAGES)
    keras = import_keras()
    inputs = keras.Input((4, 2), name="series")
    return keras.Model(inputs, keras.layers.LSTM(3, name="memory")(inputs), name="recurrent")


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return tiny_data(200)[0]


def labels() -> np.ndarray:
    return tiny_data(200)[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"calibration": np.zeros((5, 3))}, "shape (5, 3) do not fit the model's input (N, 4)"),
        ({"calibration": np.zeros((0, 4))}, "(N, 4); there are no events"),
        ({"calibration": np.zeros(4)}, "(N, 4); this is one event without the axis of events: x[None]"),
        ({"calibration": np.diag([1, 1, np.nan, 1])}, "NaN or infinity in 1 events, first in 2"),
        ({"calibration": [["a", "b"]]}, "no array of real numbers"),
        ({"calibration": np.full((5, 4), 1j)}, "no array of real numbers: they are complex"),
        ({"calibration": {"feature": np.zeros((5, 4))}}, "given for feature; did you mean 'features'?"),
        ({"calibration": "nowhere.npy"}, "file not found: nowhere.npy"),
        ({"calibration": None}, "labels are given without calibration data"),
        ({"labels": np.zeros(5)}, "give 200 class indices"),
        ({"labels": np.full(200, 3)}, "label 3 is not allowed; labels must be class indices from 0 to 2"),
        ({"labels": np.full(200, 0.5)}, "label 0.5 is not allowed"),
        ({"labels": np.full(200, np.nan)}, "label nan is not allowed"),
        ({"labels": np.full(200, "g")}, "give 200 class indices"),
        ({"classes": ["g", "q"]}, "2 class names were given for a model with 3 outputs"),
        ({"classes": ["g", "q", "g"]}, "class names must be distinct, and none may be 'macro'; got g, q, g"),
        ({"name": "2 nets"}, "2 nets"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_written(
    change: dict[str, Any], words: str, x: np.ndarray, tmp_path: Path
) -> None:
    given = {"calibration": x, "labels": labels(), **change}
    with pytest.raises(InputError) as error:
        l1dl.deploy(build(1), out=tmp_path / "out", **given)
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_unsupported_layer_is_refused_before_anything_is_written(x: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="layer 'memory'"):
        l1dl.deploy(recurrent(), calibration=np.zeros((5, 4, 2)), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((5, 6, 6), "the axis of channels is missing"),
        ((5, 1, 6, 6), "the channels come first"),
        ((5, 7, 7, 1), "(N, 6"),
    ],
)
def test_the_shape_of_images(shape: tuple[int, ...], words: str) -> None:
    keras = import_keras()
    image = keras.Input((6, 6, 1), name="image")
    with pytest.raises(InputError, match="do not fit the model's input") as error:
        check_inputs(np.zeros(shape), keras.Model(image, keras.layers.Flatten()(image)))
    assert words in str(error.value)


def test_pixels_that_do_not_fit_are_refused_before_anything_is_written(x: np.ndarray, tmp_path: Path) -> None:
    keras = import_keras()
    image = keras.Input((6, 6, 1), name="image")
    model = keras.Model(image, keras.layers.Conv2D(1, 3, name="conv")(image), name="pixels")
    stream = RtlCard(architecture="stream", pixels_per_clock=4)
    with pytest.raises(InputError, match="pixels_per_clock = 4 does not divide a row of 6 pixels"):
        l1dl.deploy(model, calibration=np.ones((50, 6, 6, 1)), out=tmp_path / "out", rtl=stream)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_two_models_of_one_name_are_each_proved(x: np.ndarray, tmp_path: Path) -> None:
    need_packages(*PACKAGES)
    need_tools("cxx", "verilator", "yosys")
    few = CosimCard(random_vectors=200)
    states: list[tuple[str, str]] = []
    outcomes = [
        l1dl.deploy(
            build(seed), calibration=x, labels=labels(), classes=["g", "q", "t"], out=tmp_path / str(seed), cosim=few,
            listen=lambda name, state, _seconds: states.append((name, state)),
        )
        for seed in (1, 2)
    ]  # fmt: skip
    scores = []
    for outcome in outcomes:
        assert outcome.good
        assert outcome.page.is_file()
        assert outcome.report is not None
        assert all(agreement["mismatches"] == 0 for agreement in outcome.report["agreement"].values())
        with np.load(outcome.paths.cosim_outputs) as file:
            scores.append(file["codes"])
    assert not np.array_equal(*scores)
    assert ("train", "started") not in states
    # The same weights in a new model object are the same model.
    states.clear()
    again = l1dl.deploy(
        build(2), calibration=x, labels=labels(), classes=["g", "q", "t"], out=tmp_path / "2", cosim=few,
        listen=lambda name, state, _seconds: states.append((name, state)),
    )  # fmt: skip
    assert {state for _, state in states} == {"up to date"}
    assert again.report == outcomes[1].report
