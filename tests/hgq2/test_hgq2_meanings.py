"""All meanings of a model of HGQ2 agree: Keras, hls4ml's C++, the emulators, the RTL, and alkaid's own tracing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hgq2_models import FAMILIES, PORT, draw_bits
from meanings import KerasContract, VerilogContract, make_case
from support import need_engine, need_packages, need_tools

from l1dl.card import load_card
from l1dl.models.network import build_quantised
from l1dl.models.scaler import Scaler
from l1dl.ports import decode_rows

need_engine("hgq2")

MODELS = Path(__file__).parents[2] / "models"
PHYSICAL = (
    "data.inputs=physical", "quantisation.input={bits = 10, integer = 4}",
    "quantisation.scaled_input={bits = 8, integer = 2}",
)  # fmt: skip


@pytest.fixture(scope="class")
def case(request, tmp_path_factory):
    need_packages("keras", "hls4ml", "jax", "alkaid")
    need_tools("cxx")
    family, seed = request.param
    return make_case({**FAMILIES, "cards": cards}[family], seed, tmp_path_factory.mktemp("contract"))


class AlkaidContract(KerasContract):
    """The same, and what HGQ2's own plugin of alkaid makes of the Keras model: nothing of it is l1dl's."""

    def test_alkaid_equals_emulator(self, case):
        from alkaid.converter import trace_model
        from alkaid.trace import trace

        model, conversion, emulator, x, _ = case
        codes = emulator.encode(x)
        program = trace(*trace_model(model, inputs_kif=PORT))
        found = program.predict(decode_rows(codes, conversion.graph.input_ports), n_threads=1)
        np.testing.assert_array_equal(found, emulator.decode(emulator.run(codes)))


@pytest.mark.parametrize("case", [("dense", 1)], indirect=True, scope="class")
class TestDense(AlkaidContract, VerilogContract):
    """Dense layers, with normalisation and with quantised results."""


@pytest.mark.parametrize("case", [("dense", 2), ("branches", 1), ("branches", 2)], indirect=True, scope="class")
class TestBranches(AlkaidContract):
    """More of them, merges, and quantisers that are layers."""


@pytest.mark.parametrize("case", [("images", 1)], indirect=True, scope="class")
class TestImages(KerasContract):
    """Convolutions and pooling."""


def cards(seed: int) -> object:
    """Return the network of a card, of one layer less, with random bits and a scaling of its own."""
    card = load_card(MODELS / "jet_hgq2", ["model.hidden=[8, 6]", *PHYSICAL])
    rng = np.random.default_rng(seed)
    return draw_bits(build_quantised(card, Scaler(rng.normal(size=4), 2.0 ** rng.normal(size=4)), (4,), 3), rng)


@pytest.mark.parametrize("case", [("cards", 1)], indirect=True, scope="class")
class TestCard(KerasContract):
    """The network of a card, with its fixed quantisers and its scaling."""


def test_all_cards_are_there():
    engines = {path.parent.name: load_card(path).model.engine for path in MODELS.glob("*/model.toml")}
    assert [name for name, engine in engines.items() if engine == "hgq2"] == ["jet_hgq2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [(family, seed) for family in FAMILIES for seed in range(10, 20)], indirect=True, scope="class"
)
class TestMany(VerilogContract):
    """Many models of all families."""
