"""The contract of the project: all meanings of one model agree in every output code, for every event."""

from __future__ import annotations

import pytest
from keras_models import FAMILIES
from meanings import KerasContract, VerilogContract, make_case
from support import need_packages, need_tools


@pytest.fixture(scope="class")
def case(request, tmp_path_factory):
    need_packages("keras", "qkeras", "hls4ml", "jax", "alkaid")
    need_tools("cxx")
    family, seed = request.param
    return make_case(FAMILIES[family], seed, tmp_path_factory.mktemp("contract"))


@pytest.mark.parametrize("case", [("dense", 1), ("dense", 2)], indirect=True, scope="class")
class TestDense(VerilogContract):
    """Dense layers and scalings."""


@pytest.mark.parametrize("case", [("images", 1)], indirect=True, scope="class")
class TestImages(VerilogContract):
    """Convolutions, pooling and trained normalisations."""


@pytest.mark.parametrize("case", [("lines", 1)], indirect=True, scope="class")
class TestLines(VerilogContract):
    """One dimension, embeddings, padding and other moves."""


@pytest.mark.parametrize("case", [("branches", 1)], indirect=True, scope="class")
class TestBranches(VerilogContract):
    """Merges, shared and nested layers, several inputs and outputs."""


@pytest.mark.parametrize("case", [("corners", 1), ("corners", 2)], indirect=True, scope="class")
class TestCorners(KerasContract):
    """What a random search found."""


@pytest.mark.slow
@pytest.mark.parametrize("case", [("dense", seed) for seed in range(10, 40)], indirect=True, scope="class")
class TestManyDense(VerilogContract):
    """Many models of dense layers."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [(family, seed) for family in ("images", "lines", "branches") for seed in range(10, 15)],
    indirect=True,
    scope="class",
)
class TestManyVerilog(VerilogContract):
    """Models of the other families, with all meanings; the five seeds have each kind of second layer of the images."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [(family, seed) for family in ("images", "lines", "branches") for seed in range(15, 25)],
    indirect=True,
    scope="class",
)
class TestManyKeras(KerasContract):
    """Many more of them."""
