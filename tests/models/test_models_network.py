"""CNNs from a card: the layers, their types, and cards that do not fit their images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import tiny_images, write_images
from support import need_packages

from l1dl.card import ModelCard, load_card
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec
from l1dl.models.network import build_float, build_quantised, check_layers, input_spec

SHAPE = (6, 6, 1)


def card_with(directory: Path, layers: str, **replace: str) -> ModelCard:
    path = write_images(directory, **replace)
    text = path.read_text()
    start, end = text.index("layers = ["), text.index("]\n\n[quantisation]")
    path.write_text(f"{text[:start]}layers = [{layers}{text[end:]}")
    return load_card(path)


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    need_packages("keras", "qkeras", "jax")
    return load_card(write_images(tmp_path))


def test_the_layers_are_those_of_the_card(card: ModelCard) -> None:
    names = ["conv_0", "relu_0", "pool_1", "conv_2", "relu_2", "flatten_3", "dense_4", "relu_4", "logits"]
    for build in (build_float, build_quantised):
        model = build(card, None, SHAPE, 3)
        assert [layer.name for layer in model.layers if not layer.name.endswith("image")] == names
        assert model.get_layer("conv_2").output.shape == (None, 2, 2, 4)
        assert model.count_params() == (9 * 3 + 3) + (12 * 4 + 4) + (16 * 6 + 6) + (6 * 3 + 3)


def test_layers_have_types_of_their_own(card: ModelCard) -> None:
    model = build_quantised(card, None, SHAPE, 3)
    bits = {layer.name: layer.kernel_quantizer_internal.bits for layer in model.layers if hasattr(layer, "kernel")}
    assert bits == {"conv_0": 6, "conv_2": 4, "dense_4": 6, "logits": 6}
    assert model.get_layer("relu_2").activation.bits == 5
    assert model.get_layer("relu_4").activation.bits == 6


def test_the_unsigned_input_holds_bytes_exactly(card: ModelCard) -> None:
    import keras

    spec = input_spec(card)
    assert (str(spec), spec.signed) == (str(FixedSpec(False, 8, 0, spec.rounding, spec.overflow)), False)
    model = build_quantised(card, None, SHAPE, 3)
    x = np.linspace(0, 255 / 256, 256, dtype=np.float32)[: 36 * 7].reshape(7, *SHAPE)
    port = keras.Model(model.inputs, model.get_layer("quantised_image").output)
    assert np.array_equal(np.asarray(port.predict(x, verbose=0)), x)


@pytest.mark.parametrize("function", ["max", "average"])
def test_pooling_means_what_it_says(function: str, tmp_path: Path) -> None:
    need_packages("keras", "qkeras", "jax")
    conv = '{ kind = "conv", filters = 2, kernel = 1 },'
    pool = f'{{ kind = "pool", size = 3, function = "{function}" }},'
    last = f'{{ kind = "global_pool", function = "{function}" }},'
    model = build_float(card_with(tmp_path, conv + pool + last), None, SHAPE, 3)
    x = tiny_images(5)[0]
    import keras

    first, pooled, in_all = (
        np.asarray(keras.Model(model.inputs, model.get_layer(name).output).predict(x, verbose=0))
        for name in ("relu_0", "pool_1", "global_pool_2")
    )
    reduce = getattr(np, {"max": "max", "average": "mean"}[function])
    assert np.allclose(pooled, reduce(first.reshape(5, 2, 3, 2, 3, 2), axis=(2, 4)), atol=1e-6)
    assert np.allclose(in_all, reduce(pooled, axis=(1, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ('{ kind = "conv", filters = 2, kernel = 7 },',
         r"'tiny_cnn', layer conv_0: a kernel of 7 pixels is larger than its image of 6 x 6; take a smaller kernel"),
        ('{ kind = "conv", filters = 2, kernel = 3, stride = 2 }, { kind = "conv", filters = 2, kernel = 3 },',
         r"layer conv_1: a kernel of 3 pixels is larger than its image of 2 x 2"),
        ('{ kind = "conv", filters = 2, kernel = 2 }, { kind = "pool", size = 2 },',
         r"layer pool_1: windows of 2 pixels do not cover 5 x 5 pixels; allowed: size = 5"),
        ('{ kind = "conv", filters = 2, kernel = 6 }, { kind = "pool", size = 2 },',
         r"layer pool_1: windows of 2 pixels do not cover 1 x 1 pixels; allowed: no pooling"),
    ],
)  # fmt: skip
def test_layers_that_do_not_fit_the_image_are_named(layers: str, message: str, tmp_path: Path) -> None:
    card = card_with(tmp_path, f'{layers} {{ kind = "flatten" }},')
    with pytest.raises(InputError, match=message):
        check_layers(card, SHAPE)


def test_same_padding_takes_any_kernel(tmp_path: Path) -> None:
    card = card_with(tmp_path, '{ kind = "conv", filters = 2, kernel = 9, padding = "same", stride = 4 },'
                               '{ kind = "pool", size = 2 }, { kind = "flatten" },')  # fmt: skip
    check_layers(card, SHAPE)
    need_packages("keras", "qkeras", "jax")
    model: Any = build_quantised(card, None, SHAPE, 3)
    assert model.get_layer("pool_1").output.shape == (None, 1, 1, 2)
