"""All meanings of a model of HGQ2 agree: Keras, hls4ml's C++, the emulators, the RTL, and alkaid's own tracing."""

from __future__ import annotations

import numpy as np
import pytest
from hgq2_models import FAMILIES, PORT
from meanings import KerasContract, VerilogContract, make_case
from support import need_engine, need_packages, need_tools

from l1dl.ports import decode_rows

need_engine("hgq2")


@pytest.fixture(scope="class")
def case(request, tmp_path_factory):
    need_packages("keras", "hls4ml", "jax", "alkaid")
    need_tools("cxx")
    family, seed = request.param
    return make_case(FAMILIES[family], seed, tmp_path_factory.mktemp("contract"))


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [(family, seed) for family in FAMILIES for seed in range(10, 20)], indirect=True, scope="class"
)
class TestMany(VerilogContract):
    """Many models of all families."""
