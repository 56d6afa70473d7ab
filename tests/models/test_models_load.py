"""The door for models of Keras 3: objects, `.keras`, `.h5`, JSON with weights; and what is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import need_packages

from l1dl.errors import InputError, UnsupportedError
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.models.flat import assemble, flatten_model
from l1dl.models.load import load_any
from l1dl.models.quantiser_config import make_activation, make_quantiser, parse_call


@pytest.fixture(autouse=True)
def _keras() -> None:
    need_packages("keras", "qkeras", "jax")


def two_by_two(*, activation: Any = "relu") -> Any:
    """Return a model with two inputs and two outputs, a shared layer and a nested model."""
    keras, qkeras = import_keras(), import_qkeras()
    keras.utils.set_random_seed(3)
    layers, bits = keras.layers, qkeras.quantized_bits
    inner_in = keras.Input((3,), name="inner_in")
    inner = keras.Model(inner_in, layers.Dense(3, activation="tanh", name="deep")(inner_in), name="inner")
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    shared = qkeras.QDense(3, kernel_quantizer=bits(6, 0, alpha=1), bias_quantizer=bits(6, 0, alpha=1), name="shared")
    left, right = inner(shared(a)), shared(b)
    left = qkeras.QActivation(qkeras.quantized_relu(6, 2), name="act")(left)
    joined = layers.Concatenate(name="join")([left, layers.Activation(activation, name="plain")(right)])
    return keras.Model([a, b], [layers.Dense(2, name="out")(joined), left], name="both")


def x() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(0, 1, (40, 3)).astype(np.float32) for _ in range(2)]


def answers(model: Any) -> list[np.ndarray]:
    found = model.predict(x(), verbose=0)
    return [np.asarray(part) for part in found]


def test_an_object_is_taken_as_it_is() -> None:
    model = two_by_two()
    loaded = load_any(model)
    assert loaded.model is model
    assert loaded.notes == ()


@pytest.mark.parametrize("form", ["keras", "h5", "json"])
def test_every_form_of_keras_3_computes_the_same(form: str, tmp_path: Path) -> None:
    model = two_by_two()
    path, weights = tmp_path / f"model.{form}", None
    if form == "json":
        path.write_text(model.to_json())
        weights = tmp_path / "weights.h5"
        model.save(tmp_path / "whole.h5")
        weights = tmp_path / "whole.h5"
    else:
        model.save(path)
    for ours, theirs in zip(answers(load_any(path, weights).model), answers(model), strict=True):
        assert np.ptp(theirs) > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_weights_of_keras_3_by_number(tmp_path: Path) -> None:
    keras = import_keras()
    kinds = keras.layers
    layers = [kinds.Dense(3, name="one"), kinds.BatchNormalization(name="bn"), kinds.ReLU(name="r"), kinds.Dense(2)]
    model = keras.Sequential([keras.Input((3,), name="entry"), *layers], name="plain")
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(tmp_path / "model.weights.h5")
    found = load_any(tmp_path / "model.json", tmp_path / "model.weights.h5").model
    assert np.array_equal(found.predict(x()[0], verbose=0), model.predict(x()[0], verbose=0))


def test_an_archive_that_names_other_code_is_refused(tmp_path: Path) -> None:
    two_by_two().save(tmp_path / "good.keras")
    concatenate = '"module": "keras.layers", "class_name": "Concatenate"'
    for old, new, words in (
        (concatenate, '"module": "os", "class_name": "system"', "(system)"),
        ('"activation": "tanh"', '"activation": "exec"', "'exec'"),
        ('"class_name": "quantized_relu"', '"class_name": "get_quantizer"', "'get_quantizer'"),
        ('"class_name": "Concatenate"', '"class_name": "Lambda"', "Lambda"),
        ('"class_name": "Concatenate"', '"class_name": "Concatenat"', "did you mean 'Concatenate'"),
    ):
        with zipfile.ZipFile(tmp_path / "good.keras") as good, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
            for name in good.namelist():
                content = good.read(name)
                if name == "config.json":
                    assert old.encode() in content
                    content = content.replace(old.encode(), new.encode())
                bad.writestr(name, content)
        with pytest.raises(InputError) as error:
            load_any(tmp_path / "bad.keras")
        assert words in str(error.value), str(error.value)


def test_a_text_in_an_archive_calls_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QKeras itself would look the name up among all names of its module, and call it."""
    qkeras = import_qkeras()
    called = []
    monkeypatch.setattr(qkeras.quantizers, "hard_tanh_of_mine", lambda *given: called.append(given), raising=False)
    text = "hard_tanh_of_mine(7)"
    qkeras.get_quantizer(text)
    assert called == [(7,)]
    two_by_two().save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as good, zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            if name == "config.json":
                config = json.loads(content)
                quantiser = next(layer for layer in config["config"]["layers"] if layer["name"] == "act")
                quantiser["config"]["activation"] = text
                content = json.dumps(config).encode()
            bad.writestr(name, content)
    with pytest.raises(UnsupportedError, match="'hard_tanh_of_mine'"):
        load_any(tmp_path / "bad.keras")
    assert called == [(7,)]


def test_a_model_without_known_shapes_is_refused() -> None:
    keras = import_keras()
    with pytest.raises(UnsupportedError, match=r"'lazy'.*is not built"):
        load_any(keras.Sequential([keras.layers.Dense(3)], name="lazy"))
    with pytest.raises(InputError, match="not a int"):
        load_any(7)
    with pytest.raises(InputError, match="load them into the model object first"):
        load_any(two_by_two(), "weights.h5")


def test_flattening_keeps_what_is_computed() -> None:
    model = two_by_two()
    flat = flatten_model(model)
    assert [call.name for call in flat.calls].count("shared") == 2
    assert "deep" in [call.name for call in flat.calls]
    for ours, theirs in zip(answers(assemble(flat)), answers(model), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_an_open_shape_is_refused() -> None:
    keras = import_keras()
    inputs = keras.Input((None, 2), name="series")
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling1D()(inputs))
    with pytest.raises(UnsupportedError, match=r"input 'series' .* open shape"):
        flatten_model(model)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("binary", ("binary", [], {})),
        ("quantized_bits(6, 0, alpha=1)", ("quantized_bits", [6, 0], {"alpha": 1})),
        ("quantized_bits(4,-1,1,alpha='auto_po2')", ("quantized_bits", [4, -1, 1], {"alpha": "auto_po2"})),
        (" quantized_relu(6,2,negative_slope=0.25) ", ("quantized_relu", [6, 2], {"negative_slope": 0.25})),
        ("quantized_bits(6, scale_axis=[0, 1])", ("quantized_bits", [6], {"scale_axis": [0, 1]})),
    ],
)
def test_a_text_is_parsed(text: str, call: tuple[str, list[Any], dict[str, Any]]) -> None:
    assert parse_call(text, "it") == call


@pytest.mark.parametrize(
    "text",
    ["", "f(", "f(x)", "f(1)(2)", "a.b(1)", "f(*[1])", "f(**{'a': 1})", "lambda: 1", "f(1) or g(2)", "(" * 500, "1"],
)
def test_anything_else_is_no_quantiser(text: str) -> None:
    with pytest.raises(InputError, match="a name with numbers and texts"):
        parse_call(text, "it")


def test_quantisers_as_text_and_as_configuration_are_the_same() -> None:
    values = np.linspace(-3, 3, 101, dtype=np.float32)
    pairs = [
        ("quantized_bits(5,1,alpha=1)", {"bits": 5, "integer": 1, "alpha": 1}),
        ("quantized_relu(4,1)", {"bits": 4, "integer": 1}),
    ]
    for text, config in pairs:
        name = text.split("(")[0]
        made = [make_quantiser(text, "it"), make_quantiser({"class_name": name, "config": config}, "it")]
        left, right = (np.asarray(quantiser(values)) for quantiser in made)
        assert np.array_equal(left, right)
        assert 5 < len(np.unique(left)) < 40
    assert make_quantiser(None, "it") is None
    assert make_activation("relu", "it", qkeras=False) == "relu"
    with pytest.raises(UnsupportedError, match=r"it is 'quantized_relu'"):
        make_activation("quantized_relu(4)", "it", qkeras=False)
    with pytest.raises(InputError, match="at most"):
        make_quantiser("binary(1,2,3,4,5,6,7,8,9,10,11)", "it")


def test_a_configuration_in_a_text_in_json_is_read(tmp_path: Path) -> None:
    model = two_by_two()
    model.save(tmp_path / "whole.h5")
    (tmp_path / "twice.json").write_text(json.dumps(model.to_json()))
    assert len(load_any(tmp_path / "twice.json", tmp_path / "whole.h5").model.outputs) == 2
