from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.card import HlsCard
from l1dl.convert.convert import _check_resolution, convert_model, input_ports
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError, UnsupportedError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.nodes import Dense
from l1dl.ports import Port, decode_rows


def make(seed: int, name: str = "net", activation=None):
    """Return a model; all have the same layer names."""

    keras, qkeras = import_keras(), import_qkeras()
    rng = np.random.default_rng(seed)
    bits = qkeras.quantized_bits(5, 0, alpha=1)
    x = inputs = keras.Input((3,), name="features")
    x = qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="port")(x)
    x = qkeras.QDense(4, kernel_quantizer=bits, bias_quantizer=bits, name="hidden")(x)
    x = qkeras.QActivation(activation or qkeras.quantized_relu(6, 1), name="relu")(x)
    x = qkeras.QDense(2, kernel_quantizer=bits, bias_quantizer=bits, name="logits")(x)
    model = keras.Model(inputs, x, name=name)
    model.set_weights([rng.normal(0, 0.6, value.shape) for value in model.get_weights()])
    return model


X = np.random.default_rng(4).uniform(-4, 4, (1500, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    need_packages("keras", "qkeras", "jax", "hls4ml")
    directory = tmp_path_factory.mktemp("hls") / "project"
    settings = HlsCard(part="xcku115-flvb2104-2-i", clock_period_ns=3.0)
    return convert_model(make(1), directory, samples=X, settings=settings), settings


def test_the_project_holds_what_the_vendor_flow_needs(converted):
    directory = converted[0].project.directory
    for name in ("build_prj.tcl", "project.tcl", "net_test.cpp", "net_bridge.cpp", "firmware/net.cpp", "firmware/net.h",
                 "firmware/parameters.h", "firmware/defines.h", "firmware/nnet_utils/nnet_dense.h", "firmware/ap_types",
                 "firmware/weights"):  # fmt: skip
        assert (directory / name).exists(), name
    text = (directory / "project.tcl").read_text()
    assert re.search(r'set part "xcku115-flvb2104-2-i"', text)
    assert re.search(r"set clock_period 3(\.0)?\b", text)
    assert re.search(r'set project_name "net"', text)
    assert "/tmp" not in text


def test_the_test_bench_holds_the_samples_and_what_keras_answers(converted):
    directory = converted[0].project.directory
    inputs = np.loadtxt(directory / "tb_data" / "tb_input_features.dat")
    outputs = np.loadtxt(directory / "tb_data" / "tb_output_predictions.dat")
    np.testing.assert_allclose(inputs, X[:1000], rtol=1e-6)
    emulator = Emulator(converted[0].graph)
    np.testing.assert_allclose(outputs, emulator.decode(emulator.run(emulator.encode(X[:1000]))), rtol=1e-6)


def test_the_graph_and_the_port(converted):
    conversion = converted[0]
    project, spec = conversion.project, FixedSpec(True, 8, 3, Rounding.RND_CONV, Overflow.SAT)
    assert (project.top, project.inputs) == ("net", (Port("features", (3,), spec),))
    assert [(port.name, port.shape) for port in project.outputs] == [("logits", (2,))]
    assert conversion.graph.name == "net"
    assert conversion.graph.producer.startswith("hls4ml ")
    assert input_ports(make(1)) == project.inputs == conversion.graph.input_ports
    hidden = conversion.graph["hidden"]
    assert isinstance(hidden, Dense)
    assert hidden.weight.shape == (3, 4)


def test_an_older_project_is_replaced(tmp_path):
    need_packages("keras", "qkeras", "jax", "hls4ml")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale.txt").write_text("")
    conversion = convert_model(make(1), tmp_path / "out", name="other")
    assert not (tmp_path / "out" / "stale.txt").exists()
    assert (tmp_path / "out" / "firmware" / "other.cpp").exists()
    assert conversion.project.top == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_wrong_samples_and_names_leave_nothing_behind(tmp_path):
    need_packages("keras", "qkeras", "jax", "hls4ml")
    with pytest.raises(InputError, match=r"inputs of shape \(5, 2\) do not fit port 'features' of shape"):
        convert_model(make(1), tmp_path / "out", samples=np.zeros((5, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"name 'module' is a keyword of the generated Verilog or C\+\+"):
        convert_model(make(1), tmp_path / "out", name="module")
    assert list(tmp_path.iterdir()) == []


def resolved(**changes):
    values = {"Part": "p", "ClockPeriod": 5.0, "IOType": "io_parallel", "backend": "Vitis", "strategy": "latency"}
    values |= {"reuse_factor": 1} | changes
    node = SimpleNamespace(name="hidden", get_attr=lambda key, default=None: values.get(key, default))
    config = SimpleNamespace(get_config_value=values.get, backend=SimpleNamespace(name=values["backend"]))
    return SimpleNamespace(config=config, get_layers=lambda: [node])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"Part": "q"}, r"hls4ml resolved part to 'q', 'p' was asked for"),
        ({"ClockPeriod": 6.0}, r"hls4ml resolved clock_period_ns to 6.0, 5.0 was asked for"),
        ({"IOType": "io_stream"}, r"hls4ml resolved io_type to 'io_stream'"),
        ({"backend": "Vivado"}, r"hls4ml resolved backend to 'Vivado'"),
        ({"strategy": "resource"}, r"hls4ml resolved layer 'hidden' to strategy resource with reuse factor 1"),
        ({"reuse_factor": 2}, r"hls4ml resolved layer 'hidden' to strategy latency with reuse factor 2"),
    ],
)
def test_what_hls4ml_ignored_is_seen(changes, text):
    settings = HlsCard(part="p")
    _check_resolution(resolved(), settings)
    with pytest.raises(UnsupportedError, match=text):
        _check_resolution(resolved(**changes), settings)


def test_an_input_cannot_have_the_name_of_the_firmware(tmp_path):
    need_packages("keras", "qkeras", "jax", "hls4ml")
    with pytest.raises(UnsupportedError, match="input 'features' has the name of the firmware"):
        convert_model(make(1), tmp_path / "out", name="features")


def test_models_with_the_same_layer_names_do_not_mix(tmp_path):
    """hls4ml's C++ has global symbols of the same name in every project; each library must keep its own."""
    need_packages("keras", "qkeras", "jax", "hls4ml")
    need_tools("cxx")
    models = [make(1, "net"), make(2, "net"), make(3, "other")]
    conversions = [convert_model(model, tmp_path / f"hls{index}") for index, model in enumerate(models)]
    work = tmp_path / "csim"
    libraries = [Csim(conversion.project, work) for conversion in conversions]
    answers = []
    for _ in range(2):  # the second round runs after all libraries have loaded their weights
        for conversion, library in zip(conversions, libraries, strict=True):
            emulator = Emulator(conversion.graph)
            codes = emulator.encode(X)
            answers.append(library.run(decode_rows(codes, conversion.graph.input_ports)))
            np.testing.assert_array_equal(answers[-1], emulator.decode(emulator.run(codes)))
    assert not np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])
    # A new version under the old name and in the old place is compiled again.
    again = convert_model(models[1], tmp_path / "hls0")
    values = decode_rows(Emulator(again.graph).encode(X), again.graph.input_ports)
    np.testing.assert_array_equal(Csim(again.project, work).run(values), answers[1])
    np.testing.assert_array_equal(libraries[0].run(values), answers[0])
    assert not [path for path in work.iterdir() if path.suffix == ".o"]


def test_csim_refuses_other_shapes_and_reports_progress(converted, tmp_path):
    need_tools("cxx")
    library = Csim(converted[0].project, tmp_path)
    with pytest.raises(InputError, match=r"inputs of shape \(5, 2\) do not fit the project's inputs \(events, 3\)"):
        library.run(np.zeros((5, 2)))
    seen = []
    assert library.run(np.zeros((25_000, 3)), lambda done, total: seen.append((done, total))).shape == (25_000, 2)
    assert seen == [(10_000, 25_000), (20_000, 25_000), (25_000, 25_000)]
    assert library.run(np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_an_input_without_a_name_is_found(kind, tmp_path):
    keras, qkeras = import_keras(), import_qkeras()
    layers = [
        qkeras.QActivation(qkeras.quantized_bits(8, 2, alpha=1), name="entry"),
        qkeras.QDense(
            2,
            kernel_quantizer=qkeras.quantized_bits(4, 0, alpha=1),
            bias_quantizer=qkeras.quantized_bits(4, 0, alpha=1),
            name="logits",
        ),
    ]
    source = keras.Input((3,))
    if kind == "sequential":
        model = keras.Sequential([source, *layers], name="unnamed")
    else:
        model = keras.Model(source, layers[1](layers[0](source)), name="unnamed")
    graph = convert_model(model, tmp_path / "hls").graph
    assert graph.inputs[0].result == FixedSpec(True, 8, 3, Rounding.RND_CONV, Overflow.SAT)
