"""Every model of the repository, with random weights of which half are zero: all meanings and all engines agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from keras_models import random_inputs
from support import need_packages, need_tools

from l1dl.card import CosimCard, RtlCard, load_card
from l1dl.convert.convert import convert_model
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.stimuli import corner_codes
from l1dl.cosim.stream import cosimulate_stream
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.engines import Engine, make_engine
from l1dl.emulate.keras_codes import keras_outputs
from l1dl.models.network import build_quantised
from l1dl.models.scaler import Scaler
from l1dl.ports import decode_rows, split
from l1dl.rtl.lower import lower
from l1dl.rtl.project import build_rtl
from l1dl.rtl.stream.design import build_stream

MODELS = Path(__file__).parents[2] / "models"
SHAPES = {
    "jet_mlp": ((16,), 5),
    "jet_cnn": ((16, 16, 1), 5),
    "quark_gluon_cnn": ((16, 16, 1), 2),
    "top_cnn": ((16, 16, 1), 2),
    "digits_cnn": ((8, 8, 1), 10),
}
"""Card → the shape of its inputs, and its number of classes."""


def network(card: str) -> object:
    """Return the quantised model of a card with random weights."""
    shape, classes = SHAPES[card]
    rng = np.random.default_rng(1)
    scaler = Scaler(rng.normal(size=16), 2.0 ** rng.normal(size=16)) if len(shape) == 1 else None
    model = build_quantised(load_card(MODELS / card), scaler, shape, classes)
    for layer in model.layers:
        if layer.trainable:
            values = [rng.normal(0, 0.3, value.shape) for value in layer.get_weights()]
            layer.set_weights([value * (rng.random(value.shape) < 0.5) for value in values])
    return model


def test_all_cards_are_there():
    cards = {path.parent.name: load_card(path) for path in MODELS.glob("*/model.toml")}
    assert {name for name, card in cards.items() if card.model.engine == "qkeras"} == set(SHAPES)


@pytest.mark.slow
@pytest.mark.parametrize("card", SHAPES)
def test_all_meanings_and_engines_agree(card, tmp_path):
    need_packages("keras", "qkeras", "hls4ml", "jax", "alkaid", "onnxruntime")
    need_tools("cxx", "verilator")
    model = network(card)
    conversion = convert_model(model, tmp_path / "hls")
    graph = conversion.graph
    emulator, ports = Emulator(graph), graph.input_ports
    corners = split(decode_rows(corner_codes(ports), ports), ports)
    x = np.concatenate([*random_inputs(ports, 3000, 1), *corners]).astype(np.float32)
    rows = emulator.encode(x)
    values, expected = decode_rows(rows, ports), emulator.run(rows)
    assert len(np.unique(expected, axis=0)) > 1000
    found = {
        "keras": keras_outputs(model, x, graph),
        "csim": exact_rows(Csim(conversion.project, tmp_path).run(values), graph.output_ports),
        "alir": exact_rows(lower(graph).predict(values), graph.output_ports),
        **{each.value: make_engine(graph, each, tmp_path).run(rows) for each in Engine},
    }
    for name, codes in found.items():
        np.testing.assert_array_equal(codes, expected, err_msg=name)
    settings = CosimCard(random_vectors=1000)
    report, _ = cosimulate(graph, build_rtl(graph), rows, tmp_path, settings=settings)
    assert report.agreement.mismatches == 0
    if len(ports[0].shape) == 3:
        design = build_stream(graph, RtlCard(architecture="stream"))
        report, _ = cosimulate_stream(graph, design, rows[:300], tmp_path, settings=settings)
        assert report.agreement.mismatches == 0
