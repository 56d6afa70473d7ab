"""What the conversion of HGQ2's models demands, and what it refuses by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hgq2_models import dense, draw_bits, quantised_input, values
from support import need_engine, need_tools, random_rows

from l1dl.card import CosimCard, HlsCard, RtlCard
from l1dl.convert import hgq2
from l1dl.convert.convert import convert_model, input_ports
from l1dl.convert.prepare import prepare
from l1dl.convert.rules import HGQ2_RULES
from l1dl.cosim.stream import cosimulate_stream
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_outputs
from l1dl.errors import UnsupportedError
from l1dl.models.backend import import_hgq, import_keras
from l1dl.models.layers import HGQ2_LAYERS
from l1dl.models.load import load_any
from l1dl.models.prepare import prepare_model
from l1dl.rtl.stream.design import build_stream

need_engine("hgq2")


def bare(seed: int, **options: Any) -> Any:
    """Return a model whose first layer is the first to quantise its inputs, each with a type of its own."""
    keras, hgq, rng = import_keras(), import_hgq(), np.random.default_rng(seed)
    config = hgq.quantizer.QuantizerConfig("kif", "datalane", homogeneous_axis=(0,), **options)
    inputs = keras.Input((4,), name="x")
    x = hgq.layers.QDense(3, iq_conf=config, name="first")(inputs)
    x = hgq.layers.QDense(2, iq_conf=values(rng), name="logits")(x)
    return draw_bits(keras.Model(inputs, x, name="bare"), rng)


@pytest.mark.parametrize("rounding", ["RND", "TRN"])
@pytest.mark.parametrize("overflow", ["WRAP", "SAT"])
def test_inputs_of_several_types_have_a_port_that_keeps_every_real_number(tmp_path, rounding, overflow):
    model = bare(3, round_mode=rounding, overflow_mode=overflow)
    graph = convert_model(model, tmp_path / "hls").graph
    x = np.random.default_rng(1).normal(0, 4, (2000, 4)).astype(np.float32)
    x[::3] = np.round(x[::3] * 32) / 32  # halves of the finest step
    emulator = Emulator(graph)
    codes = emulator.run(emulator.encode([x]))
    assert len(np.unique(codes, axis=0)) > 50
    np.testing.assert_array_equal(keras_outputs(model, [x], graph), codes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"round_mode": "RND_CONV"}, "different types with the modes RND_CONV and WRAP"),
        ({"overflow_mode": "SAT_SYM"}, "different types with the modes RND and SAT_SYM"),
    ],
)
def test_a_port_that_no_type_fits_is_refused(options, message):
    with pytest.raises(UnsupportedError, match=message):
        input_ports(bare(3, **options))


def test_a_type_that_hls4ml_changed_is_seen(tmp_path, monkeypatch):
    original = hgq2.describe

    def wrong(layer: Any, *tensors: Any) -> Any:
        (description,) = original(layer, *tensors)
        signs, widths, integers = description["mask_kbi"]
        if layer.name == "logits_iq":
            widths = widths.copy()
            widths.flat[np.argmax(widths)] -= 1
        return (description | {"mask_kbi": (signs, widths, integers)},)

    monkeypatch.setattr(hgq2, "describe", wrong)
    with pytest.raises(UnsupportedError, match="'logits_iq' other types than HGQ2 quantises them to"):
        convert_model(dense(1), tmp_path / "hls")


def test_layers_and_quantisers_without_exact_firmware_are_refused(tmp_path):
    keras, hgq = import_keras(), import_hgq()
    inputs, x = quantised_input((4,))
    softmax = keras.Model(inputs, hgq.layers.QSoftmax(name="softmax")(x))
    with pytest.raises(UnsupportedError, match=r"'softmax' \(QSoftmax\) is not supported; supported are QAdd"):
        prepare(softmax)
    with pytest.raises(UnsupportedError, match="'softmax' ends a model of HGQ2 with a softmax"):
        prepare_model(softmax, None)
    config = hgq.quantizer.QuantizerConfig("kif", "datalane", scaler=3.0, homogeneous_axis=(0,))
    scaled = keras.Model(inputs, hgq.layers.QDense(2, iq_conf=config, name="logits")(x))
    with pytest.raises(UnsupportedError, match="'logits_iq' has a scaler or an affine map"):
        convert_model(scaled, tmp_path / "hls")


def test_streams_are_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="io_parallel"):
        convert_model(dense(1), tmp_path / "hls", settings=HlsCard(io_type="io_stream"))


def test_types_by_channel_stream(tmp_path):
    need_tools("verilator", "cxx")
    keras, layers, rng = import_keras(), import_hgq().layers, np.random.default_rng(1)
    inputs, x = quantised_input((4, 4, 2))
    x = layers.QConv2D(2, 2, iq_conf=values(rng, shared=3), activation="relu", name="conv")(x)
    x = layers.QDense(3, iq_conf=values(rng), name="logits")(keras.layers.Flatten(name="flat")(x))
    model = draw_bits(keras.Model(inputs, x, name="streamed"), rng)
    graph = convert_model(model, tmp_path / "hls").graph
    rows = random_rows(np.random.default_rng(2), graph.input_ports, 100)
    assert len(np.unique(Emulator(graph).run(rows), axis=0)) > 10
    design = build_stream(graph, RtlCard(architecture="stream"))
    settings = CosimCard(random_vectors=50)
    report, _ = cosimulate_stream(graph, design, rows, tmp_path, settings=settings, sources=design.sources())
    assert report.agreement.mismatches == 0


def test_files_of_hgq2_load_and_hold_only_what_has_a_rule(tmp_path):
    model = dense(2)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(1).normal(0, 2, (100, 5)).astype(np.float32)
    loaded = load_any(tmp_path / "model.keras").model
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert set(HGQ2_LAYERS) == set(HGQ2_RULES)
    hgq, keras = import_hgq(), import_keras()
    inputs, x = quantised_input((4, 2))
    attention = keras.Model(inputs, hgq.layers.QMultiHeadAttention(1, 2, name="attention")(x, x))
    attention.save(tmp_path / "attention.keras")
    with pytest.raises(UnsupportedError, match=r"'attention' \(QMultiHeadAttention of HGQ2\) is not supported"):
        load_any(tmp_path / "attention.keras")
