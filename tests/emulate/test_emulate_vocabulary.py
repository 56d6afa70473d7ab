"""Numbers beyond the vocabulary of an embedding: firmware gives zero, and Keras is not asked."""

from __future__ import annotations

import numpy as np
from support import need_packages

from l1dl.convert.convert import convert_model
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_outputs, within_vocabulary
from l1dl.models.backend import import_keras, import_qkeras


def test_rows_that_keras_can_compute(tmp_path):
    need_packages("keras", "qkeras", "hls4ml", "jax")
    keras, qkeras = import_keras(), import_qkeras()
    inputs = keras.Input((3,), dtype="int32", name="ids")
    entries = keras.layers.Embedding(5, 2, name="entries")
    x = qkeras.QActivation(qkeras.quantized_bits(6, 2, alpha=1), name="bits")(entries(inputs))
    model = keras.Model(inputs, x, name="words")
    entries.set_weights([np.arange(10).reshape(5, 2) / 4])
    graph = convert_model(model, tmp_path).graph
    rows = np.array([[0, 1, 4], [2, 5, 3], [7, 0, 0], [4, 4, 4]])
    known = within_vocabulary(model, rows, graph)
    assert known.tolist() == [True, False, False, True]
    emulated = Emulator(graph).run(rows)
    np.testing.assert_array_equal(keras_outputs(model, rows[known].astype(np.int32), graph), emulated[known])
    assert np.all(emulated.reshape(4, 3, 2)[1, 1] == 0)
    assert np.any(emulated.reshape(4, 3, 2)[1, 2] != 0)
