"""Models that Keras 2 and QKeras 0.9 wrote: the same outputs, and a clear refusal of everything else."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support import need_packages

from l1dl.errors import InputError, UnsupportedError
from l1dl.models.load import load_any

DATA = Path(__file__).parent / "data"
SAME = ("mlp_sequential", "mlp_functional", "cnn", "conv1d", "branches", "pruned", "rnn", "rnn2", "keras2", "qkeras2")


@pytest.fixture(autouse=True)
def _keras() -> None:
    need_packages("keras", "qkeras", "jax")


def files(name: str) -> tuple[Path, Path | None]:
    """Return the file of a model, and that of its weights."""
    weights = DATA / f"{name}_weights.h5"
    return next(DATA.glob(f"{name}.[hjk]*")), weights if weights.exists() else None


def answers(model: Any, x: list[np.ndarray]) -> list[np.ndarray]:
    found = model.predict(x if len(x) > 1 else x[0], verbose=0)
    return [np.asarray(part) for part in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize("name", SAME)
def test_a_file_of_keras_2_computes_what_it_did_there(name: str) -> None:
    with np.load(DATA / f"{name}.npz") as file:
        x, y = ([file[key] for key in sorted(file.files) if key.startswith(letter)] for letter in "xy")
    found = answers(load_any(*files(name)).model, x)
    assert len(found) == len(y)
    for ours, theirs in zip(found, y, strict=True):
        assert np.ptp(theirs) > 0.01
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=3e-7)


def test_the_rebuilt_model_is_made_of_the_same_layers() -> None:
    model = load_any(*files("cnn")).model
    assert [(layer.name, type(layer).__name__) for layer in model.layers] == [
        ("image", "InputLayer"), ("q_in", "QActivation"), ("conv_bn", "QConv2DBatchnorm"), ("r1", "QActivation"),
        ("pool", "MaxPooling2D"), ("dw", "QDepthwiseConv2D"), ("r2", "QActivation"), ("flat", "Flatten"),
        ("d", "QDense"),
    ]  # fmt: skip
    quantiser = model.get_layer("q_in").activation
    assert (quantiser.bits, quantiser.integer, quantiser.alpha) == (8, 2, 1)
    assert type(model.get_layer("d").kernel_quantizer_internal).__name__ == "ternary"
    two = load_any(*files("branches")).model
    assert [tensor._keras_history.operation.name for tensor in two.inputs] == ["a", "c"]
    assert len(two.outputs) == 2


def test_notes_say_what_was_changed() -> None:
    notes = " ".join(load_any(*files("pruned")).notes)
    assert "pruned.h5 was rebuilt on Keras 3" in notes
    assert "pruning wrappers of 2 layers" in notes
    assert "output → output_layer" in " ".join(load_any(*files("mlp_sequential")).notes)


def test_the_masks_of_pruning_are_applied(tmp_path: Path) -> None:
    shutil.copy(DATA / "pruned.h5", tmp_path)
    with h5py.File(tmp_path / "pruned.h5", "r+") as file:
        group = file["model_weights/prune_low_magnitude_p1"]
        group["p1/kernel:0"][...] = 0.25  # as an optimiser leaves it until the next call
        mask = group["prune_low_magnitude_p1/mask:0"][()]
    assert 0 < mask.mean() < 1
    found = load_any(tmp_path / "pruned.h5").model.get_layer("p1").get_weights()[0]
    assert np.array_equal(found, 0.25 * mask)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lambda.h5", ["layer 'twice' (Lambda)", "Python code, which l1dl never runs"]),
        ("tfop.json", ["layer 'tf.math.multiply' (TFOpLambda)", "an operator"]),
    ],
)
def test_code_is_refused_by_name(name: str, words: list[str]) -> None:
    with pytest.raises(UnsupportedError) as error:
        load_any(DATA / name, DATA / "mlp_functional_weights.h5" if name.endswith("json") else None)
    assert all(word in str(error.value) for word in words)


def change_config(name: str, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy an HDF5 model with another configuration."""
    shutil.copy(DATA / name, target / name)
    with h5py.File(target / name, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"])
        file.attrs["model_config"] = json.dumps(config)
    return target / name


def layer(index: int, **options: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change of the options of one layer."""
    return lambda config: config["layers"][index]["config"].update(options)


def kind(index: int, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda config: config["layers"][index].update(class_name=name)


BITS = {"class_name": "quantized_bits", "config": {"bits": 6, "integer": 0}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (kind(1, "QDens"), ["layer 'fc1' (QDens)", "did you mean 'QDense'?"]),
        (kind(1, "MyDense"), ["layer 'fc1' (MyDense)", "does not load"]),
        (kind(1, "ThresholdedReLU"), ["Keras 3 has no such layer"]),
        (layer(1, unist=3), ["layer 'fc1' (QDense)", "'unist'", "did you mean 'units'?"]),
        (layer(1, kernel_quantizer={"class_name": "os.system", "config": {}}), ["kernel_quantizer", "'os.system'"]),
        (layer(1, kernel_quantizer="quantized_bit(6)"), ["'quantized_bit'", "did you mean 'quantized_bits'?"]),
        (layer(1, kernel_quantizer="quantized_bits(__import__('os').getpid())"), ["allowed is a name with numbers"]),
        (layer(1, kernel_quantizer="get_quantizer('binary')"), ["'get_quantizer'"]),
        (layer(1, kernel_quantizer={**BITS, "config": {"bitss": 6}}), ["no option 'bitss'", "did you mean 'bits'?"]),
        (layer(2, activation="my_function"), ["layer 'relu1' (QActivation)", "'my_function'"]),
        (layer(1, activation={"class_name": "function", "config": "exec"}), ["'exec'"]),
        (layer(4, renorm=True, axis=[1, 2]), ["normalises the axes [1, 2]"]),
        (layer(8, activation="hard_sigmoid"), ["hard_sigmoid", "another function in Keras 3"]),
        (layer(1, dtype="int8"), ["data type 'int8'", "float32"]),
        (layer(0, sparse=True), ["sparse"]),
        (layer(1, units="many"), ["many"]),  # Keras 3.12 names no layer
        (lambda config: config.update(layers=[]), ["no layers"]),
        (lambda config: config.update(layers=[{}]), ["damaged"]),
        (lambda config: config["layers"].pop(5), []),
        (lambda config: config["layers"].pop(3), ["weights of a layer 'fc2'"]),
        (layer(1, units=9), ["'kernel' of layer 'fc1' (QDense) has shape (5, 9)", "(5, 8)"]),
        (layer(1, use_bias=False), ["layer 'fc1' (QDense) has 1 weights", "holds 2"]),
    ],
)  # fmt: skip
def test_a_changed_file_is_refused_by_name(
    change: Callable[[dict[str, Any]], None], words: list[str], tmp_path: Path
) -> None:
    path = change_config("mlp_sequential.h5", tmp_path, change)
    if not words:  # leaving out a quantiser gives another model, not a damaged one
        load_any(path)
        return
    with pytest.raises(InputError) as error:
        load_any(path)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config["layers"][6].update(inbound_nodes=[[["nowhere", 0, 0, {}]]]), ["'nowhere'"]),
        (lambda config: config["layers"][4].update(inbound_nodes=[[["add", 0, 0, {}]]]), ["read results that nothing"]),
        (lambda config: config["layers"][6]["inbound_nodes"][0][0].__setitem__(3, {"u": 2}), ["'leaky'", "u=2"]),
        (lambda config: config.update(output_layers=[["o3", 0, 0]]), ["'o3'", "did you mean"]),
    ],
)  # fmt: skip
def test_a_changed_graph_is_refused(change: Callable[[dict[str, Any]], None], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_any(change_config("branches.h5", tmp_path, change))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = tmp_path / "weights.h5"
    shutil.copy(DATA / "mlp_functional_weights.h5", weights)
    with h5py.File(weights, "r+") as file:
        file["hidden/hidden/kernel:0"][0, 0] = np.nan
    with pytest.raises(InputError, match=r"weight 'kernel' of layer 'hidden' \(QDense\) holds NaN"):
        load_any(DATA / "mlp_functional.json", weights)
    with h5py.File(weights, "r+") as file:
        file["hidden"].attrs["weight_names"] = [b"hidden/kernel:0", b"hidden/bais:0"]
        file["hidden/hidden/bais:0"] = np.zeros(5)
        file["hidden/hidden/kernel:0"][0, 0] = 0
    with pytest.raises(InputError, match=r"layer 'hidden' \(QDense\) has a weight 'bias'.*did you mean 'bais'"):
        load_any(DATA / "mlp_functional.json", weights)
    with pytest.raises(InputError, match="'fc1', which the model does not have"):
        load_any(DATA / "mlp_functional.json", DATA / "mlp_sequential.h5")


def test_an_external_link_is_not_followed(tmp_path: Path) -> None:
    weights = tmp_path / "weights.h5"
    shutil.copy(DATA / "mlp_functional_weights.h5", weights)
    with h5py.File(weights, "r+") as file:
        del file["hidden/hidden/bias:0"]
        file["hidden/hidden/bias:0"] = h5py.ExternalLink(
            str(DATA / "mlp_functional_weights.h5"), "hidden/hidden/bias:0"
        )
    with pytest.raises(InputError, match="no array in the file itself"):
        load_any(DATA / "mlp_functional.json", weights)


@pytest.mark.parametrize("name", ["mlp_sequential.h5", "mlp_functional.json", "qkeras2.keras"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
def test_a_truncated_file_is_one_line(name: str, share: float, tmp_path: Path) -> None:
    whole = (DATA / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError) as error:
        load_any(tmp_path / name, DATA / "mlp_functional_weights.h5" if name.endswith("json") else None)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.h5", b"hello", ["no model that l1dl reads"]),
        ("m.pkl", b"\x80\x04\x95", ["a pickle, which can run any code"]),
        ("m.json", b'{"a": 1}', ["give their .h5 file with --weights"]),
        ("m.onnx", b"\x08\x07", ["allowed are .keras, .h5"]),
    ],
)
def test_another_file_is_refused(name: str, content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        load_any(tmp_path / name)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_files_that_are_not_there_or_of_the_wrong_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="model file not found"):
        load_any(tmp_path / "none.h5")
    with pytest.raises(InputError, match="is a directory"):
        load_any(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="SavedModel, which holds code"):
        load_any(tmp_path)
    with pytest.raises(InputError, match="holds weights but no architecture"):
        load_any(DATA / "mlp_functional_weights.h5")
    with pytest.raises(InputError, match="leave --weights out"):
        load_any(DATA / "keras2.keras", DATA / "mlp_functional_weights.h5")
    with pytest.raises(InputError, match="is no HDF5 file"):
        load_any(DATA / "mlp_functional.json", DATA / "mlp_functional.json")
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(InputError, match="has no class_name"):
        load_any(tmp_path / "other.json", DATA / "mlp_functional_weights.h5")
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(InputError, match=r"without metadata\.json, model\.weights\.h5"):
        load_any(tmp_path / "x.keras")
    with pytest.raises(InputError, match="not a dict"):
        load_any({"a": 1})
