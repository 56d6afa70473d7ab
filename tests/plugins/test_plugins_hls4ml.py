"""l1dl as a back end of hls4ml: the RTL that it runs equals what hls4ml's own C++ computes from the same request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.errors import UnsupportedError
from l1dl.models.backend import import_keras

EVENTS = 200


def perceptron() -> Any:
    """Return a plain Keras model with two inputs and two outputs."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    first, second = keras.Input((4,), name="first"), keras.Input((3,), name="second")
    hidden = keras.layers.Dense(6, activation="relu", name="hidden")(first)
    other = keras.layers.Dense(6, name="other")(second)
    both = keras.layers.Add(name="both")([hidden, other])
    return keras.Model(
        [first, second], [keras.layers.Dense(3, name="logits")(both), keras.layers.ReLU(name="side")(other)], name="net"
    )


@pytest.fixture(scope="module")
def convert(tmp_path_factory):
    need_packages("keras", "hls4ml", "alkaid")
    need_tools("cxx", "verilator", "yosys")
    import_keras()  # chooses the back end, which the import of hls4ml would otherwise do
    import hls4ml

    def run(backend: str, **options: Any) -> Any:
        model = perceptron()
        config = hls4ml.utils.config_from_keras_model(
            model, granularity="name", backend=backend, default_precision="ap_fixed<11,4>"
        )
        directory = tmp_path_factory.mktemp(backend)
        return hls4ml.converters.convert_from_keras_model(
            model, backend=backend, hls_config=config, output_dir=str(directory), project_name="net", **options
        )

    return run


@pytest.fixture(scope="module")
def model(convert):
    model = convert("L1DL")
    model.compile()
    return model


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(1)
    return [rng.normal(0, 2, (EVENTS, 4)).astype(np.float32), rng.normal(0, 2, (EVENTS, 3)).astype(np.float32)]


def test_the_rtl_predicts_what_the_cxx_predicts(convert, model, x):
    vitis = convert("Vitis")
    vitis.compile()
    ours, theirs = model.predict(x), vitis.predict(x)
    assert [values.dtype for values in ours] == [np.float32, np.float32]
    assert len(np.unique(ours[0], axis=0)) > 1
    for left, right in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(left, right)


def test_the_trace_holds_every_layer(model, x):
    outputs, layers = model.trace(x)
    for left, right in zip(outputs, model.predict(x), strict=True):
        np.testing.assert_array_equal(left, right)
    assert {"hidden", "hidden_relu", "other", "both", "logits", "side"} <= set(layers)
    assert layers["hidden"].shape == (EVENTS, 6)
    assert layers["hidden"].max() < 8
    np.testing.assert_array_equal(np.floor(np.maximum(layers["hidden"], 0) * 128) / 128, layers["hidden_relu"])
    np.testing.assert_array_equal(layers["logits"], outputs[0])


def test_one_event_loses_its_axis_as_in_hls4ml(model, x):
    alone = model.predict([part[:1] for part in x])
    for left, right in zip(alone, model.predict(x), strict=True):
        np.testing.assert_array_equal(left, right[0])


def test_a_build_proves_and_synthesises(model):
    report = model.build()
    cosim, synthesis = report["CosimReport"], report["CSynthesisReport"]
    assert cosim["Status"] == "Pass"
    assert cosim["LatencyMin"] == cosim["LatencyMax"] == int(synthesis["BestLatency"])
    assert cosim["IntervalMax"] == 1
    assert int(synthesis["LUT"]) > 100
    assert int(synthesis["FF"]) > 100
    assert float(synthesis["EstimatedClockPeriod"]) > 0
    assert "synthesised (Yosys" in report["Origin"]["CSynthesisReport"]
    assert list(model.build(cosim=False, synth=False)) == ["Origin"]


def test_the_rtl_project_is_written(model):
    from pathlib import Path

    assert (Path(model.config.get_output_dir()) / "rtl" / "src" / "net.v").is_file()


def test_what_the_back_end_does_not_have_is_refused(convert, model):
    with pytest.raises(UnsupportedError, match="io_type 'io_stream' is not supported by the back end L1DL"):
        convert("L1DL", io_type="io_stream")
    with pytest.raises(UnsupportedError, match="build option 'vsynth' is not supported by the back end L1DL"):
        model.build(vsynth=True)
    with pytest.raises(UnsupportedError, match="build option 'snyth' is not supported"):
        model.build(snyth=False)


def test_alkaid_traces_the_model(model, x):
    from alkaid.converter import trace_model
    from alkaid.trace import trace

    inputs, outputs = trace_model(model, inputs_kif=(1, 3, 7))
    values = np.concatenate([np.floor(part * 128) / 128 for part in x], axis=1)
    values = (values + 8) % 16 - 8
    program = trace(inputs, outputs)
    expected = np.concatenate(
        model.predict([values[:, :4].astype(np.float32), values[:, 4:].astype(np.float32)]), axis=1
    )
    np.testing.assert_array_equal(program.predict(values, n_threads=1), expected)
