# ruff: noqa: E501  one line for each error
from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from l1dl.card import ModelCard, load_card
from l1dl.errors import InputError

CARDS = sorted((Path(__file__).parents[2] / "models").glob("*/model.toml"))

CARD = """
name = "net"
[data]
file = "jets.h5"
[model]
hidden = [8]
[quantisation]
weight = { bits = 6 }
bias = { bits = 6 }
activation = { bits = 6, integer = 1 }
input = { bits = 12, integer = 3 }
scaled_input = { bits = 8, integer = 2 }
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "model.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_committed_cards_load(path):
    assert load_card(path).name == path.parent.name
    assert load_card(path.parent) == load_card(path)


def test_committed_cards_exist():
    assert "jet_mlp" in [path.parent.name for path in CARDS]


def test_defaults(write):
    card = load_card(write(CARD))
    assert (card.training.backend, card.training.batch_size, card.training.seed) == ("jax", 512, 1)
    assert (card.hls.backend, card.hls.strategy, card.hls.io_type) == ("Vitis", "latency", "io_parallel")
    assert (card.rtl.clock_period_ns, card.rtl.stage_delay_ns) == (5.0, None)
    assert card.cosim.random_vectors == 100_000
    assert (card.budget.max_auc_loss, card.budget.max_latency_ns, card.budget.max_lut) == (None, None, None)
    assert (card.data.features, card.data.classes, card.data.inputs) == (None, None, "physical")
    assert (card.quantisation.weight.integer, card.model.activation) == (0, "relu")


def test_cards_are_frozen(write):
    card = load_card(write(CARD))
    with pytest.raises(ValidationError, match="frozen"):
        card.name = "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CARD + "[training]\nepoch = 3\n", r"unknown key 'training.epoch'; did you mean 'epochs'\? \(allowed: backend, "),
        (CARD + "[trainin]\nepochs = 3\n", r"unknown key 'trainin'; did you mean 'training'\?"),
        (CARD.replace("bits = 8, int", "bitz = 8, int"), r"unknown key 'quantisation.scaled_input.bitz'; did you mean 'bits'"),
        (CARD.replace("weight = { bits = 6 }", "weight = { bits = 6, alpha = 1 }"), r"unknown key 'quantisation.weight.alpha' "),
        ("zzz = 1\n" + CARD, r"unknown key 'zzz' \(allowed: name, description, data"),
        (CARD.replace('file = "jets.h5"', ""), r"key 'data.file' is missing"),
        (CARD.replace('name = "net"', ""), r"key 'name' is missing"),
        ("", r"key 'name' is missing; key 'data' is missing"),
        (CARD.replace("bits = 12", 'bits = "12"'), r"quantisation.input.bits = '12': input should be a valid integer"),
        (CARD.replace("bits = 12", "bits = 12.0"), r"quantisation.input.bits = 12.0: input should be a valid integer"),
        (CARD.replace("bits = 12", "bits = true"), r"quantisation.input.bits = True: input should be a valid integer"),
        (CARD.replace("bits = 12", "bits = 0"), r"quantisation.input.bits = 0: input should be greater than or equal to 1"),
        (CARD.replace("bits = 12", "bits = 25"), r"quantisation.input.bits = 25: input should be less than or equal to 24"),
        (CARD.replace("integer = 3", "integer = -25"), r"quantisation.input.integer = -25: input should be greater"),
        (CARD.replace("[8]", "[]"), r"model.hidden = \[\]: list should have at least 1 item"),
        (CARD.replace("[8]", "8"), r"model.hidden = 8: input should be a valid list"),
        (CARD.replace("[8]", "[8, 0]"), r"model.hidden.1 = 0: input should be greater than or equal to 1"),
        (CARD.replace('"net"', '"my net"'), r"name = 'my net': name 'my net' is not allowed; use a letter followed"),
        (CARD.replace('"net"', '"small"'), r"name = 'small': name 'small' is a keyword of the generated Verilog or C\+\+"),
        (CARD + "[hls]\npart = 'a b'\n", r"hls.part = 'a b': string should match pattern"),
        (CARD + "[hls]\nstrategy = 'resource'\n", r"hls.strategy = 'resource': input should be 'latency'"),
        (CARD + "[training]\nbackend = 'torch'\n", r"training.backend = 'torch': input should be 'jax' or 'tensorflow'"),
        (CARD + "[rtl]\nclock_period_ns = nan\n", r"rtl.clock_period_ns = nan: input should be"),
        (CARD + "[budget]\nmax_latency_ns = inf\n", r"budget.max_latency_ns = inf: input should be a finite number"),
        (CARD + "[budget]\nmax_auc_loss = 1.0\n", r"budget.max_auc_loss = 1.0: input should be less than 1"),
        (CARD + "[cosim]\nrandom_vectors = -1\n", r"cosim.random_vectors = -1: input should be greater"),
        (CARD.replace("scaled_input", "# "), r"quantisation.scaled_input is needed with data.inputs = \"physical\""),
        (CARD.replace('"jets.h5"', '"jets.h5"\ninputs = "scaled"'), r"scaled_input has no meaning with data.inputs = \"scaled\""),
        (CARD.replace("{ bits = 6, integer = 1 }", "{ bits = 2, integer = 2 }"), r"quantisation.activation = { bits = 2, integer = 2 } has no fractional bit"),
        (CARD.replace("{ bits = 12, integer = 3 }", "{ bits = 4, integer = 3 }"), r"quantisation.input = { bits = 4, integer = 3 } has no fractional bit, and hls4ml"),
        ("name = ", r"cannot be read: Invalid value"),
        (CARD + "name = 'twice'\n[data]\n", r"cannot be read: Cannot declare"),
        (b'name = "\xff"', r"cannot be read: 'utf-8' codec can't decode"),
    ],
)  # fmt: skip
def test_errors_name_the_key_and_what_is_allowed(write, text, message):
    path = write(text)
    with pytest.raises(InputError, match=message) as caught:
        load_card(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_first_five_problems_are_shown(write):
    with pytest.raises(InputError) as caught:
        load_card(write("\n".join(f"key{index} = 1" for index in range(9)) + CARD))
    assert str(caught.value).count("unknown key") == 5


def test_missing_files_and_directories(tmp_path):
    with pytest.raises(InputError, match=r"^model card not found: .*nothing\.toml$"):
        load_card(tmp_path / "nothing.toml")
    with pytest.raises(InputError, match=r"^model card not found: .*model\.toml$"):
        load_card(tmp_path)
    (tmp_path / "model.toml").mkdir()
    with pytest.raises(InputError, match=r"cannot be read: .*Is a directory"):
        load_card(tmp_path)


def test_cards_are_utf8_whatever_the_locale(write, monkeypatch):
    monkeypatch.setattr("locale.getpreferredencoding", lambda *_: "latin-1")
    monkeypatch.setattr("locale.getencoding", lambda: "latin-1", raising=False)
    card = load_card(write(CARD.replace('name = "net"', 'name = "net"\ndescription = "b → τ"')))
    assert isinstance(card, ModelCard)
    assert card.description == "b → τ"


IMAGES = """
name = "net"
[data]
file = "digits"
content = "images"
inputs = "unscaled"
[model]
layers = [{ kind = "conv", filters = 4, kernel = 3 }, { kind = "flatten" }, { kind = "dense", units = 8 }]
[quantisation]
weight = { bits = 6 }
bias = { bits = 6 }
activation = { bits = 6, integer = 1 }
input = { bits = 5, integer = 1, signed = false }
"""
CONV, FLATTEN, DENSE = (
    '{ kind = "conv", filters = 4, kernel = 3 }',
    '{ kind = "flatten" }',
    '{ kind = "dense", units = 8 }',
)


def test_a_card_of_a_cnn(write):
    card = load_card(write(IMAGES))
    assert [name for name, _ in card.model.named()] == ["conv_0", "flatten_1", "dense_2"]
    assert card.model.takes_images
    assert not card.quantisation.input.signed
    assert load_card(write(CARD)).quantisation.input.signed
    conv = card.model.layers[0]
    assert (conv.stride, conv.padding, conv.weight, conv.bias, conv.activation) == (1, "valid", None, None, None)
    assert (card.training.sparsity, card.training.augmentation.reflect) == (0.0, False)


def test_hidden_units_are_dense_layers(write):
    named = list(load_card(write(CARD.replace("[8]", "[8, 4]"))).model.named())
    assert [(name, layer.units) for name, layer in named] == [("dense_0", 8), ("dense_1", 4)]
    layers = 'layers = [{ kind = "dense", units = 8, weight = { bits = 3 } }]'
    own = load_card(write(CARD.replace("hidden = [8]", layers))).model
    assert not own.takes_images
    assert own.layers[0].weight.bits == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (IMAGES.replace('"conv"', '"convolution"'), r"model.layers.0.kind = 'convolution'; did you mean 'conv'\? \(allowed: conv, pool, global_pool, flatten, dense\)"),
        (IMAGES.replace('kind = "conv", ', ""), r"key 'model.layers.0.kind' is missing \(allowed: conv, "),
        (IMAGES.replace("filters = 4", "filter = 4"), r"key 'model.layers.0 \(conv\).filters' is missing; unknown key 'model.layers.0 \(conv\).filter'; did you mean 'filters'\?"),
        (IMAGES.replace("units = 8", "units = 0"), r"model.layers.2 \(dense\).units = 0: input should be greater than or equal to 1"),
        (IMAGES.replace("kernel = 3", 'kernel = 3, padding = "full"'), r"model.layers.0 \(conv\).padding = 'full': input should be 'valid' or 'same'"),
        (IMAGES.replace("kernel = 3", "kernel = 3, weight = { bitz = 3 }"), r"unknown key 'model.layers.0 \(conv\).weight.bitz'; did you mean 'bits'"),
        (IMAGES.replace("kernel = 3", "kernel = 3, activation = { bits = 2, integer = 2 }"), r"activation of conv_0 = { bits = 2, integer = 2 } has no fractional bit"),
        (IMAGES.replace("bits = 5, integer = 1", "bits = 1, integer = 1"), r"quantisation.input = { bits = 1, integer = 1 } has no fractional bit"),
        (IMAGES.replace(f"{CONV}, {FLATTEN}", f"{FLATTEN}, {CONV}"), r"model: conv_1 stands behind flatten_0, where no image is left; move it before"),
        (IMAGES.replace(f"{FLATTEN}, {DENSE}", f"{DENSE}, {FLATTEN}"), r"model: .*dense_1 stands behind conv_0, an image; put a flatten or global_pool layer between"),
        (IMAGES.replace(f", {FLATTEN}, {DENSE}", ""), r"model: .*the logits stand behind conv_0, an image; put a flatten or global_pool layer between"),
        (IMAGES.replace(FLATTEN, f"{FLATTEN}, {FLATTEN}"), r"flatten_2 stands behind flatten_1"),
        (IMAGES.replace(CONV, '{ kind = "pool", function = "average" }'), r'pool_0 with function = "average" must stand behind a conv layer; put it there, or take "max"'),
        (IMAGES.replace(CONV, '{ kind = "pool", size = 1 }'), r"model.layers.0 \(pool\).size = 1: input should be greater than or equal to 2"),
        (IMAGES.replace("layers = ", "hidden = [8]\nlayers = "), r"model: give hidden \(units of dense layers\) or layers .*; both are given"),
        (CARD.replace("hidden = [8]", ""), r"model: give hidden .*; neither is given"),
        (IMAGES.replace("layers = ", "layers = 3 #"), r"model.layers = 3: input should be a valid list"),
        (IMAGES.replace('content = "images"', ""), r"data.content is features, but the first layer is conv_0; allowed: a dense layer"),
        (CARD.replace('"jets.h5"', '"jets.h5"\ncontent = "images"'), r"data.content is images, but the first layer is dense_0; allowed: a conv, pool"),
        (IMAGES.replace('"unscaled"', '"scaled"'), r'data.inputs = "scaled" with images; allowed: "unscaled"'),
        (CARD + "[training]\naugmentation = { reflect = true }\n", r'training.augmentation is for images, and data.content is "features"; remove it'),
        (IMAGES + "[training]\naugmentation = { rotate = 3.0 }\n", r"unknown key 'training.augmentation.rotate'; did you mean 'rotation_deg'"),
        (IMAGES + "[training]\naugmentation = { smear = 2.0 }\n", r"training.augmentation.smear = 2.0: input should be less than or equal to 1"),
        (IMAGES + "[training]\nsparsity = 1.0\n", r"training.sparsity = 1.0: input should be less than 1"),
        (IMAGES + "[training]\nsparsity_ramp = [0.5, 0.1]\n", r"training: sparsity_ramp = \[0.5, 0.1\] goes down"),
        (IMAGES + "[training]\nsparsity_ramp = [0.5]\n", r"training.sparsity_ramp = \[0.5\]: list should have at least 2 items"),
        (CARD.replace("weight = { bits = 6 }", "weight = { bits = 6, signed = false }"), r"unknown key 'quantisation.weight.signed'"),
    ],
)  # fmt: skip
def test_errors_of_layers_name_the_layer(write, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load_card(write(text))
    assert "\n" not in str(caught.value)


def test_values_in_place_of_the_cards(write):
    path = write(CARD)
    card = load_card(path, ["rtl.architecture=stream", "rtl.pixels_per_clock = 2", "cosim.random_vectors=7"])
    assert (card.rtl.architecture, card.rtl.pixels_per_clock, card.cosim.random_vectors) == ("stream", 2, 7)
    assert load_card(path).rtl.architecture == "parallel"
    reused = load_card(path, ["rtl.architecture='stream'", "rtl.reuse_factor = {a = 3}"])
    assert reused.rtl.reuse_factor == {"a": 3}
    with pytest.raises(InputError, match=r"unknown key 'rtl.architectur'; did you mean 'architecture'"):
        load_card(path, ["rtl.architectur=stream"])
    with pytest.raises(InputError, match=r"--set 'stream' is not allowed; give SECTION.KEY=VALUE"):
        load_card(path, ["stream"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("rtl.pixels_per_clock=2", "pixels_per_clock and reuse_factor are for architecture = 'stream'"),
        ("rtl={architecture='stream', language='vhdl'}", "a streaming design is written in Verilog only"),
    ],
)
def test_architectures_that_do_not_fit(write, change, text):
    with pytest.raises(InputError, match=text):
        load_card(write(CARD), [change])


def test_changed_layers_take_the_place_of_hidden_and_the_other_way_round(write):
    path = write(CARD)
    layers = 'model.layers=[{kind = "dense", units = 5, weight = {bits = 4}}]'
    card = load_card(path, [layers])
    assert card.model.hidden is None
    assert [layer.units for layer in card.model.layers] == [5]
    assert load_card(path, [layers, "model.hidden=[7, 6]"]).model.hidden == [7, 6]
    with pytest.raises(InputError, match="both are given"):
        load_card(path, ['model={hidden = [3], layers = [{kind = "dense", units = 5}]}'])
