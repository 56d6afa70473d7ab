"""hls4ml's C++ in this process."""

from __future__ import annotations

import numpy as np
from graphs import random_rows
from support import need_packages, need_tools

from l1dl.convert.convert import convert_model
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.ports import decode_rows


def test_a_value_may_be_rounded_away(tmp_path):
    """The headers of the types assert that a bit exists, which they then do not use."""
    need_packages("keras", "qkeras", "hls4ml", "jax")
    need_tools("cxx")
    keras, qkeras = import_keras(), import_qkeras()
    x = keras.Input((2,), name="x")
    small = qkeras.QActivation(qkeras.quantized_bits(4, -6, alpha=1), name="fine_type")(x)
    model = keras.Model(x, [small, qkeras.QActivation(qkeras.quantized_bits(3, 1, alpha=1), name="coarse_type")(small)])
    conversion = convert_model(model, tmp_path / "hls")
    fine, coarse = (port.spec for port in conversion.graph.output_ports)
    assert fine.fraction - coarse.fraction > fine.width
    rows = random_rows(np.random.default_rng(1), conversion.graph.input_ports, 50)
    answers = Csim(conversion.project, tmp_path, optimise=0).run(decode_rows(rows, conversion.graph.input_ports))
    expected = Emulator(conversion.graph).run(rows)
    np.testing.assert_array_equal(exact_rows(answers, conversion.graph.output_ports), expected)
    assert len(np.unique(expected)) > 5
