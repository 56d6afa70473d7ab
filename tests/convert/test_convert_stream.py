"""Projects with ``io_stream``: Keras, the C++ of hls4ml and the emulated graph agree in every code."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from keras_models import FAMILIES, Layers, random_inputs, randomise
from support import need_packages, need_tools

from l1dl.card import HlsCard
from l1dl.convert.convert import HlsProject, _captured_output, _run_hls4ml, convert_model
from l1dl.convert.prepare import prepare
from l1dl.convert.stream import check_same_arithmetic, check_streamable
from l1dl.cosim.stimuli import corner_codes
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_outputs
from l1dl.errors import UnsupportedError
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Dense, Rearrange
from l1dl.ports import decode_rows, split

EVENTS = 300
STREAM = HlsCard(io_type="io_stream")


@pytest.fixture(scope="module", autouse=True)
def _packages():
    need_packages("keras", "qkeras", "jax", "hls4ml")


class Maker(Layers):
    """Makes layers from short descriptions."""

    def source(self, shape, name="image", bits=6, integer=1):
        source = self.keras.Input(shape, name=name)
        return source, self.quantise(f"{name}_port", bits, integer)(source)

    def quantise(self, name, bits=6, integer=1):
        return self.qkeras.QActivation(self.qkeras.quantized_bits(bits, integer, alpha=1), name=name)

    def relu(self, name, bits=5, integer=2):
        return self.qkeras.QActivation(self.qkeras.quantized_relu(bits, integer), name=name)

    def kernel(self, kind, name, *arguments, **options):
        """A layer of products with quantised constants."""
        kernel = {"depthwise_quantizer": self.bits()} if "wise" in kind else {"kernel_quantizer": self.bits()}
        return getattr(self.qkeras, kind)(*arguments, **kernel, bias_quantizer=self.bits(), name=name, **options)

    def model(self, inputs, outputs, name):
        return randomise(self.keras.Model(inputs, outputs, name=name), self.rng)


def maker(seed=0):
    return Maker(np.random.default_rng(seed))


def network(seed=1):
    """Convolutions, a skip connection, pooling, and two heads."""
    make = maker(seed)
    layers = make.layers
    image, x = make.source((6, 5, 2))
    first = make.relu("first_act")(make.kernel("QConv2D", "first", 3, (3, 3), padding="same")(x))
    second = make.quantise("second_act")(make.kernel("QConv2D", "second", 3, (3, 2), padding="same")(first))
    joined = make.relu("skip_act")(layers.Add(name="joined")([first, second]))
    pooled = layers.MaxPooling2D(2, name="pool")(joined)
    flat = make.relu("flat_act")(layers.Flatten(name="flat")(pooled))
    hidden = make.relu("hidden_act")(make.kernel("QDense", "hidden", 4)(flat))
    return make.model(image, [make.kernel("QDense", "logits", 3)(hidden), pooled], "network")


def geometry(seed=2):
    """Kernels, strides and padding of all kinds behind one image."""
    make = maker(seed)
    image, x = make.source((7, 6, 2))
    outputs = [
        make.kernel("QConv2D", "strided", 2, (2, 3), strides=(2, 2), padding="same")(x),
        make.kernel("QConv2D", "point", 3, (1, 1), strides=(2, 2), padding="same")(x),
        make.kernel("QConv2D", "column", 2, (3, 1), strides=(1, 2))(x),
        make.kernel("QConv2D", "sparse", 2, (2, 2), strides=(3, 3), padding="same")(x),
        make.kernel("QDepthwiseConv2D", "depthwise", kernel_size=(2, 3), strides=(2, 2), padding="same")(x),
        make.kernel("QDepthwiseConv2D", "row", kernel_size=(1, 2))(x),
    ]
    return make.model(image, outputs, "geometry")


def moves(seed=3):
    """Layers that move values, pooling, merges and truth tables."""
    make = maker(seed)
    layers, qkeras = make.layers, make.qkeras
    image, x = make.source((4, 3, 2))
    table = qkeras.QActivation(qkeras.quantized_tanh(5), name="lookup")(x)
    whole = layers.GlobalMaxPooling2D(keepdims=True, name="whole")(table)
    outputs = [
        layers.Reshape((2, 4, 3), name="reshaped")(table),
        layers.Permute((3, 1, 2), name="turned")(x),
        layers.Concatenate(axis=1, name="stacked")([x, layers.Cropping2D(((1, 0), (0, 0)), name="cropped")(table)]),
        layers.Add(name="spread")([whole, x]),
        layers.AveragePooling2D((2, 1), name="mean")(x),
        layers.Flatten(name="flat")(layers.UpSampling2D((1, 2), name="wide")(x)),
    ]
    return make.model(image, outputs, "moves")


def line(seed=4):
    """One dimension: two padded convolutions of one image, separable and overlapping windows."""
    make = maker(seed)
    layers, qkeras = make.layers, make.qkeras
    values, x = make.source((9, 2), "values")
    first = make.kernel("QConv1D", "first", 2, 3, padding="same")(x)
    second = make.kernel("QConv1D", "second", 2, 3, strides=2, padding="same")(x)
    separable = qkeras.QSeparableConv1D(
        2, 2, depthwise_quantizer=make.bits(), pointwise_quantizer=make.bits(), bias_quantizer=make.bits(),
        name="separable",
    )(x)  # fmt: skip
    pooled = layers.MaxPooling1D(3, strides=2, name="pool")(make.quantise("first_act")(first))
    mean = make.quantise("mean_act")(layers.GlobalAveragePooling1D(name="mean")(x))
    return make.model(values, [pooled, second, separable, make.kernel("QDense", "logits", 2)(mean)], "lines")


def check(model, work, events=EVENTS, backend="Vitis"):
    """Check that all meanings agree; return the conversion."""
    need_tools("cxx")
    conversion = convert_model(model, work / "hls", settings=HlsCard(io_type="io_stream", backend=backend))
    graph = conversion.graph
    emulator, ports = Emulator(graph), graph.input_ports
    corners = split(decode_rows(corner_codes(ports), ports), ports)
    x = [
        np.concatenate([values, corner.astype(values.dtype)])
        for values, corner in zip(random_inputs(ports, events, 1), corners, strict=True)
    ]
    codes = emulator.encode(x)
    expected = emulator.run(codes)
    assert len(np.unique(expected, axis=0)) > events // 10
    np.testing.assert_array_equal(keras_outputs(model, x, graph), expected)
    values = Csim(conversion.project, work / "csim", optimise=0).run(decode_rows(codes, ports))
    np.testing.assert_array_equal(exact_rows(values, graph.output_ports), expected)
    return conversion


@pytest.mark.parametrize("make", [network, moves, line])
def test_keras_csim_and_emulator_agree(make, tmp_path):
    check(make(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["Vitis", "Vivado"])
@pytest.mark.parametrize("make", [network, geometry, moves, line])
def test_other_seeds_and_back_ends_agree(make, backend, tmp_path):
    check(make(11), tmp_path, backend=backend)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "seed"), [("dense", 2), ("dense", 3), ("dense", 5), ("lines", 1), ("lines", 3), ("lines", 5)]
)
def test_families_agree(family, seed, tmp_path):
    check(FAMILIES[family](seed), tmp_path)


def test_a_perceptron_has_the_same_graph_as_in_parallel(tmp_path):
    model = FAMILIES["dense"](1)
    streamed = check(model, tmp_path / "stream")
    parallel = convert_model(model, tmp_path / "parallel")
    assert streamed.graph.digest == parallel.graph.digest
    headers = [
        (each.project.directory / "firmware" / f"{each.project.top}.h").read_text() for each in (streamed, parallel)
    ]
    assert ["hls::stream<" in header for header in headers] == [True, False]


def test_callers_in_several_threads_wait_for_each_other(tmp_path):
    """The C++ keeps its place in the image, and lines of it, in static variables."""
    need_tools("cxx")
    make = maker()
    image, x = make.source((4, 4, 1))
    model = make.model(image, make.kernel("QConv2D", "edges", 2, (3, 3))(x), "threads")
    conversion = convert_model(model, tmp_path / "hls", settings=STREAM)
    graph = conversion.graph
    emulator = Emulator(graph)
    codes = emulator.encode(random_inputs(graph.input_ports, 2000, 1))
    rows, expected = decode_rows(codes, graph.input_ports), emulator.decode(emulator.run(codes))
    libraries = [Csim(conversion.project, tmp_path / "csim", optimise=0) for _ in range(2)]
    answers = []
    threads = [
        threading.Thread(target=lambda library=library: answers.append(library.run(rows))) for library in libraries * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    for answer in answers:
        np.testing.assert_array_equal(answer, expected)


def pooled(kind, size, **options):
    def build(make, x):
        return getattr(make.layers, kind)(size, name="pool", **options)(x)

    return build


REFUSED = {
    "layer 'pool' (MaxPooling2D) pads its input": pooled("MaxPooling2D", 2, padding="same"),
    "layer 'pool' (AveragePooling2D) pads its input": pooled("AveragePooling2D", 2, strides=1, padding="same"),
    "layer 'pool' (MaxPooling2D) has strides (1, 1) other than its pool size (2, 2)": pooled(
        "MaxPooling2D", 2, strides=1
    ),
    "layer 'row' (Conv2D) has the kernel (1, 3) and strides (2, 2), of which hls4ml's C++ ignores the vertical one": (
        lambda make, x: make.kernel("QConv2D", "row", 2, (1, 3), strides=2)(x)
    ),
    "layer 'row' (DepthwiseConv2D) has the kernel (1, 1) and strides (2, 2)": (
        lambda make, x: make.kernel("QDepthwiseConv2D", "row", kernel_size=(1, 1), strides=2)(x)
    ),
    "layer 'clip' (ReLU) has the function relu6, which hls4ml's streams lack": (
        lambda make, x: make.layers.ReLU(6, name="clip")(x)
    ),
    "layer 'product' (Dot) multiplies vectors, which hls4ml's streams cannot": (
        lambda make, x: make.layers.Dot(axes=1, name="product")([make.layers.Flatten(name="flat")(x)] * 2)
    ),
    "layer 'image_port' (QActivation) is read 8 times; hls4ml copies a stream 7 times at most": (
        lambda make, x: [make.relu(f"reader_{index}", 3 + index)(x) for index in range(8)]
    ),
}
"""Text of the error → what is behind the image of 5 by 5 pixels."""


@pytest.mark.parametrize("text", REFUSED)
def test_what_hls4ml_cannot_stream_is_refused_by_name(text):
    make = maker()
    image, x = make.source((5, 5, 2))
    model = make.model(image, REFUSED[text](make, x), "refused")
    with pytest.raises(UnsupportedError) as caught:
        check_streamable(prepare(model, stream=True))
    assert str(caught.value).startswith(text)
    assert str(caught.value).endswith("use io_parallel")
    prepare(model)  # io_parallel has it


def test_a_refused_model_leaves_nothing_behind(tmp_path):
    make = maker()
    image, x = make.source((5, 5, 1))
    model = make.model(image, make.layers.MaxPooling2D(2, padding="same", name="pool")(x), "refused")
    with pytest.raises(UnsupportedError, match="pads its input"):
        convert_model(model, tmp_path / "hls", settings=STREAM)
    assert not list(tmp_path.iterdir())


def test_max_pooling_may_pad_what_is_never_negative(tmp_path):
    make = maker()
    image, x = make.source((5, 5, 2))
    check(
        make.model(image, make.layers.MaxPooling2D(2, padding="same", name="pool")(make.relu("act")(x)), "padded"),
        tmp_path,
    )


def raw(model, directory, **options):
    """Return what hls4ml makes of a model in ``io_stream`` when it is not written for streams."""
    return _run_hls4ml(prepare(model, **options), directory, model.name, STREAM, None)


def test_a_difference_is_seen(tmp_path):
    model = network()
    graph = convert_model(model, tmp_path / "hls").graph
    streamed = raw(model, tmp_path / "stream", stream=True)
    check_same_arithmetic(streamed, graph)

    def changed(name, **changes):
        nodes = tuple(replace(node, **changes) if node.name == name else node for node in graph.nodes)
        return FixedGraph(graph.name, nodes, graph.outputs, graph.producer)

    dense, act = graph["hidden"], graph["second_act"]
    assert isinstance(dense, Dense)
    assert isinstance(act, Activation)
    weight = dense.weight.copy()
    weight[0, 0] ^= 1
    flat = next(node for node in graph.nodes if isinstance(node, Rearrange) and node.shape == (18,))
    for name, changes in [
        ("hidden", {"weight": weight}),
        ("hidden", {"accumulator": replace(dense.accumulator, width=dense.accumulator.width + 1)}),
        ("second_act", {"result": replace(act.result, width=act.result.width + 1)}),
        ("joined", {"inputs": ("first_act", "first_act")}),
    ]:
        with pytest.raises(UnsupportedError, match=f"computes '{name}' differently"):
            check_same_arithmetic(streamed, changed(name, **changes))
    with pytest.raises(UnsupportedError, match="computes 'flat_act' differently"):
        check_same_arithmetic(streamed, changed(flat.name, index=flat.index[::-1].copy()))
    swapped = FixedGraph(graph.name, graph.nodes, graph.outputs[::-1], graph.producer)
    with pytest.raises(UnsupportedError, match="'the outputs' differently"):
        check_same_arithmetic(streamed, swapped)
    more = Activation("more", ("logits",), (3,), graph["logits"].result, act.function)
    longer = FixedGraph(graph.name, (*graph.nodes, more), ("more", graph.outputs[1]), graph.producer)
    with pytest.raises(UnsupportedError, match="lacks the node 'more'"):
        check_same_arithmetic(streamed, longer)


def test_hls4ml_pads_another_reader_of_a_line(tmp_path):
    """Why conversion pads itself: hls4ml's padding before a ``Conv1D`` goes to the first reader of the image."""
    make = maker()
    values, x = make.source((6, 1), "values")
    valid = make.kernel("QConv1D", "valid", 1, 3)(x)
    model = make.model(values, [valid, make.kernel("QConv1D", "same", 1, 3, padding="same")(x)], "crossed")
    graph = convert_model(model, tmp_path / "hls").graph
    with pytest.raises((UnsupportedError, ValueError)):
        check_same_arithmetic(raw(model, tmp_path / "raw"), graph)
    check_same_arithmetic(raw(model, tmp_path / "stream", stream=True), graph)


def misread(name):
    """Return a model that hls4ml's streams compute wrongly when it is handed over as it is."""
    make = maker()
    image, x = make.source((4, 3, 2))
    layers = make.layers
    results = {
        "activation_behind_flatten": lambda: make.relu("act")(layers.Flatten(name="flat")(x)),
        "reshape_to_other_packs": lambda: make.relu("act")(layers.Reshape((4, 2, 3), name="shaped")(x)),
        "vertical_strides_of_a_row": lambda: make.kernel("QConv2D", "row", 2, (1, 2), strides=2)(x),
    }
    return make.model(image, results[name](), "misread")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["activation_behind_flatten", "reshape_to_other_packs", "vertical_strides_of_a_row"])
def test_hls4ml_streams_wrongly(name, tmp_path):
    """Why conversion writes models anew for streams, or refuses them."""
    need_tools("cxx")
    model = misread(name)
    graph = convert_model(model, tmp_path / "hls").graph
    model_graph = raw(model, tmp_path / "raw")
    with _captured_output():
        model_graph.write()
    emulator = Emulator(graph)
    codes = emulator.encode(random_inputs(graph.input_ports, 50, 1))
    project = HlsProject(tmp_path / "raw", "misread", graph.input_ports, graph.output_ports)
    values = Csim(project, tmp_path / "csim", optimise=0).run(decode_rows(codes, graph.input_ports))
    assert np.any(values != emulator.decode(emulator.run(codes)))
