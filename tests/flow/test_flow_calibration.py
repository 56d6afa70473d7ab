"""Calibration events and labels: from files, from arrays, and drawn where there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import need_packages
from tiny import CLASSES, FEATURES, tiny_data

from l1dl.errors import InputError
from l1dl.flow.bring import ModelJob, check_inputs, draw_inputs
from l1dl.flow.calibration import read_calibration, read_labels
from l1dl.flow.job import Settings
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.prepare import Prepared


def two_inputs() -> Any:
    """Return a model with an image, a vector and a vocabulary as inputs, and two outputs."""
    need_packages("keras", "qkeras", "jax")
    keras, qkeras = import_keras(), import_qkeras()
    image, vector = keras.Input((2, 3, 1), name="image"), keras.Input((4,), name="vector")
    word = keras.Input((1,), name="word", dtype="int32")
    left = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="q_image")(image)
    right = qkeras.QActivation(qkeras.quantized_relu(6, 1), name="q_vector")(vector)
    table = keras.layers.Flatten(name="flat")(keras.layers.Embedding(5, 2, name="table")(word))
    return keras.Model([image, vector, word], [left, right, table], name="two")


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "image": rng.normal(0, 1, (6, 2, 3, 1)),
        "vector": rng.normal(0, 1, (6, 4)),
        "word": rng.integers(0, 5, (6, 1)),
    }


def test_arrays_by_name_or_in_order(arrays: dict[str, np.ndarray]) -> None:
    model = two_inputs()
    by_name, in_order = check_inputs(dict(reversed(arrays.items())), model), check_inputs(list(arrays.values()), model)
    for left, right, name in zip(by_name, in_order, arrays, strict=True):
        assert np.array_equal(left, right)
        assert np.allclose(left, arrays[name])
    assert [part.dtype for part in by_name] == [np.float32, np.float32, np.int32]
    flat = check_inputs([arrays["image"].reshape(6, 6), arrays["vector"], arrays["word"]], model)
    assert flat[0].shape == (6, 2, 3, 1)


def test_a_single_input_may_stand_alone_or_in_a_list() -> None:
    need_packages("keras", "jax")
    keras = import_keras()
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    values = np.arange(6.0).reshape(2, 3)
    for given in (values, [values], (values,), {"x": values}, values.tolist()):
        (found,) = check_inputs(given, model)
        assert np.array_equal(found, values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": None}, ["given for vector, word", "image, vector, word"]),
        ({"vectr": np.zeros((6, 4)), "vector": None}, ["'vector'"]),
        ({"vector": np.zeros((6, 5))}, ["for input 'vector' of shape (6, 5)", "(N, 4)"]),
        ({"vector": np.zeros((5, 4))}, ["different numbers of events", "[6, 5, 6]"]),
        ({"vector": np.full((6, 4), np.inf)}, ["for input 'vector' hold NaN or infinity"]),
        ({"vector": np.full((6, 4), "a")}, ["no array of real numbers"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    change: dict[str, Any], words: list[str], arrays: dict[str, np.ndarray]
) -> None:
    given = {name: value for name, value in {**arrays, **change}.items() if value is not None}
    with pytest.raises(InputError) as error:
        check_inputs(given, two_inputs())
    assert all(word in str(error.value) for word in words), str(error.value)


def test_drawn_inputs_fill_the_types_and_are_always_the_same() -> None:
    model = two_inputs()
    drawn, again, other = draw_inputs(model, 3000, 1), draw_inputs(model, 3000, 1), draw_inputs(model, 3000, 2)
    image, vector, word = drawn
    assert image.shape == (3000, 2, 3, 1)
    assert -4 <= image.min() < -3.99
    assert 3.99 < image.max() <= 4
    assert 0 <= vector.min() < 0.01
    assert 1.99 < vector.max() <= 2
    assert set(np.unique(word)) == {0, 1, 2, 3, 4}
    assert word.dtype == np.int32
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert not np.array_equal(image, other[0])


def test_an_input_without_a_range_cannot_be_drawn() -> None:
    need_packages("keras", "jax")
    keras = import_keras()
    inputs = keras.Input((3,), name="x")
    with pytest.raises(InputError, match=r"input 'x' does not say its range; .*--calibration"):
        draw_inputs(keras.Model(inputs, keras.layers.Dense(2)(inputs)), 10, 1)


def test_labels_are_for_one_vector_of_outputs(arrays: dict[str, np.ndarray]) -> None:
    model = two_inputs()
    inputs = check_inputs(arrays, model)
    with pytest.raises(InputError, match="labels are for a model with one vector of outputs"):
        ModelJob(Prepared(model, None, ()), inputs, name="two", settings=Settings(), labels=np.zeros(6))
    job = ModelJob(Prepared(model, None, ()), inputs, name="two", settings=Settings())
    assert job.truth().labels is None
    assert job.reference() is None


def test_the_key_changes_with_events_labels_and_notes() -> None:
    need_packages("keras", "jax")
    keras = import_keras()
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs), name="net")
    x, y = np.zeros((2, 3), np.float32), np.array([0, 1])

    def key(values: np.ndarray = x, labels: Any = y, notes: tuple[str, ...] = ()) -> str:
        job = ModelJob(Prepared(model, None, notes), (values,), name="net", settings=Settings(), labels=labels)
        return job.model_key()

    keys = {key(), key(x + 1), key(labels=None), key(labels=y[::-1]), key(notes=("a",))}
    assert len(keys) == 5
    assert key() == key(labels=np.eye(2))
    model.set_weights([weight + 1 for weight in model.get_weights()])
    assert key() not in keys


def test_files_of_every_kind(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    x, y = tiny_data(30)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "xy.npz", x=x, y=y, classes=np.array(CLASSES), features=np.array(FEATURES))
    np.savez(tmp_path / "named.npz", **arrays)
    with h5py.File(tmp_path / "xy.h5", "w") as file:
        file["x_test"], file["labels"] = x, y
    for name in ("x.npy", "xy.npz", "xy.h5"):
        found = read_calibration(tmp_path / name, ["entry"])
        assert np.array_equal(found.arrays, x)
        assert (found.labels is not None) is (name != "x.npy")
        assert found.source == name
    assert read_calibration(tmp_path / "xy.npz", ["entry"]).classes == CLASSES
    named = read_calibration(tmp_path / "named.npz", list(arrays))
    assert all(np.array_equal(named.arrays[name], value) for name, value in arrays.items())
    for name in ("y.npy", "xy.npz", "xy.h5"):
        assert np.array_equal(read_labels(tmp_path / name), y)


def test_files_that_do_not_fit_are_one_line(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "named.npz", **arrays)
    (tmp_path / "half.npz").write_bytes((tmp_path / "named.npz").read_bytes()[:300])
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "table.csv").write_text("1,2,3")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    cases = {
        "named.npz": ["no array 'vectors'; did you mean 'vector'?", "image, vector, word"],
        "half.npz": ["cannot read", "half.npz"],
        "empty.npy": ["is empty"],
        "text.npy": ["text.npy"],
        "table.csv": ["unknown format '.csv'", ".npz"],
        "objects.npy": ["never unpickles"],
        "none.npy": ["file not found"],
        ".": ["is a directory"],
    }
    for name, words in cases.items():
        with pytest.raises(InputError) as error:
            read_calibration(tmp_path / name, ["image", "vectors"])
        assert all(word in str(error.value) for word in words), str(error.value)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="holds no labels"):
        read_labels(tmp_path / "named.npz")
