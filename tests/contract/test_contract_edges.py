"""Classic edge filters: every meaning of a convolution gives the answers that its definition gives."""

from __future__ import annotations

import numpy as np
import pytest
from support import need_packages, need_tools

from l1dl.card import CosimCard, HlsCard
from l1dl.convert.convert import convert_model
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.stream import cosimulate_stream
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.fixed import decode
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.ports import decode_rows
from l1dl.rtl.lower import lower
from l1dl.rtl.project import build_rtl
from l1dl.rtl.stream.design import build_stream

SIZE, KERNEL = 6, 3
SMOOTHINGS = {"difference": (1, 1, 1), "sobel": (1, 2, 1), "scharr": (3, 10, 3)}
FEW = CosimCard(random_vectors=3600)

VERTICAL = {name: np.outer(smoothing, (1, 0, -1)) for name, smoothing in SMOOTHINGS.items()}
"""Filters that answer to vertical edges, as they are laid on the image."""

FILTERS = VERTICAL | {f"{name}_horizontal": kernel.T for name, kernel in VERTICAL.items()}

STEP = np.repeat([[10, 10, 10, 0, 0, 0]], SIZE, axis=0)
"""A vertical edge: the left half is 10, the right half 0."""

BY_HAND = {
    "difference": [0, 30, 30, 0],
    "sobel": [0, 40, 40, 0],
    "scharr": [0, 160, 160, 0],
    "difference_horizontal": [0, 0, 0, 0],
    "sobel_horizontal": [0, 0, 0, 0],
    "scharr_horizontal": [0, 0, 0, 0],
}
"""Each row of the answers to the vertical edge, without padding."""


def make_images():
    """Return a vertical edge, a horizontal one, a constant image, single pixels, the extremes, and noise."""
    rng = np.random.default_rng(1)
    pixel = np.zeros((SIZE, SIZE), dtype=np.int64)
    pixel[2, 3] = 1
    corner = np.zeros((SIZE, SIZE), dtype=np.int64)
    corner[-1, -1] = -128
    checks = np.where(np.indices((SIZE, SIZE)).sum(0) % 2, 127, -128)
    special = [STEP, STEP.T, np.full((SIZE, SIZE), 7), pixel, corner, checks]
    return np.concatenate([special, rng.integers(-128, 128, (200, SIZE, SIZE))])


IMAGES = make_images()


def ends_of(padding, stride):
    """Return the zeros before and after each axis, by the definition of Keras's paddings."""
    total = max((-(-SIZE // stride) - 1) * stride + KERNEL - SIZE, 0) if padding == "same" else 0
    return total // 2, total - total // 2


def by_definition(images, padding, stride):
    """Return the answers, shape (images, rows, columns, filters), pixel by pixel."""
    before, after = ends_of(padding, stride)
    padded = np.pad(images, ((0, 0), (before, after), (before, after)))
    count = (SIZE - KERNEL + before + after) // stride + 1  # (w - f + 2 p) / s + 1
    answers = np.zeros((len(images), count, count, len(FILTERS)), dtype=np.int64)
    for row, column in np.ndindex(count, count):
        top, left = row * stride, column * stride
        patch = padded[:, top : top + KERNEL, left : left + KERNEL]
        for index, kernel in enumerate(FILTERS.values()):
            answers[:, row, column, index] = (patch * kernel).sum(axis=(1, 2))
    return answers


def make_model(padding, stride):
    """Return a convolution with the filters as weights: whole numbers, wide enough for every sum."""
    keras, qkeras = import_keras(), import_qkeras()
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = qkeras.QActivation(qkeras.quantized_bits(8, 7, alpha=1), name="port")(image)
    edges = qkeras.QConv2D(
        len(FILTERS), KERNEL, strides=stride, padding=padding, use_bias=False,
        kernel_quantizer=qkeras.quantized_bits(5, 4, alpha=1), name="edges",
    )  # fmt: skip
    model = keras.Model(image, edges(x), name="filters")
    edges.set_weights([np.stack(list(FILTERS.values()), axis=-1)[:, :, None, :].astype(np.float32)])
    return model


@pytest.fixture(scope="class")
def case(request, tmp_path_factory):
    need_packages("keras", "qkeras", "hls4ml", "jax", "alkaid")
    padding, stride = request.param
    work = tmp_path_factory.mktemp("edges")
    model = make_model(padding, stride)
    graph = convert_model(model, work / "hls").graph
    return model, graph, by_definition(IMAGES, padding, stride), work


@pytest.fixture(scope="module")
def simulations(tmp_path_factory):
    """A directory for all simulations, so that Verilator's run-time library is compiled once."""
    return tmp_path_factory.mktemp("cosim")


class Meanings:
    """What costs little to run."""

    def test_keras(self, case):
        model, _, expected, _ = case
        answers = model.predict(IMAGES[..., None].astype(np.float32), verbose=0)
        np.testing.assert_array_equal(answers, expected)

    def test_emulator(self, case):
        _, graph, expected, _ = case
        emulator = Emulator(graph)
        answers = emulator.decode(emulator.run(codes_of(graph)))
        np.testing.assert_array_equal(answers.reshape(expected.shape), expected)

    def test_alir(self, case):
        _, graph, expected, _ = case
        answers = lower(graph).predict(decode_rows(codes_of(graph), graph.input_ports), n_threads=1)
        np.testing.assert_array_equal(answers.reshape(expected.shape), expected)


class CompiledMeanings(Meanings):
    """Also what must be compiled."""

    @pytest.mark.parametrize("io_type", ["io_parallel", "io_stream"])
    def test_csim(self, case, io_type):
        need_tools("cxx")
        model, graph, expected, work = case
        conversion = convert_model(model, work / io_type, settings=HlsCard(io_type=io_type))
        assert conversion.graph.digest == graph.digest
        library = Csim(conversion.project, work / "csim", optimise=0)
        answers = library.run(decode_rows(codes_of(graph), graph.input_ports))
        np.testing.assert_array_equal(answers.reshape(expected.shape), expected)

    def test_verilog(self, case, simulations):
        need_tools("verilator", "cxx")
        _, graph, expected, _ = case
        report, codes = cosimulate(graph, build_rtl(graph), codes_of(graph), simulations, settings=FEW, self_test=False)
        assert report.agreement.mismatches == 0
        np.testing.assert_array_equal(values_of(graph, codes, expected), expected)

    def test_streaming_verilog(self, case, simulations):
        need_tools("verilator", "cxx")
        _, graph, expected, _ = case
        report, codes = cosimulate_stream(
            graph, build_stream(graph, pixels=2), codes_of(graph), simulations, settings=FEW, self_test=False
        )
        assert report.agreement.mismatches == 0
        np.testing.assert_array_equal(values_of(graph, codes, expected), expected)


def codes_of(graph):
    """Return the rows of input codes: the type of the port has steps of one."""
    assert graph.inputs[0].result.step == 1
    return IMAGES.reshape(len(IMAGES), -1)


def values_of(graph, codes, expected):
    return decode(codes, graph[graph.outputs[0]].result).reshape(expected.shape)


def ids(parameters):
    return [f"{padding}-{stride}" for padding, stride in parameters]


FAST, SLOW = [("valid", 1), ("same", 2)], [("same", 1), ("valid", 2)]


@pytest.mark.parametrize("case", FAST, ids=ids(FAST), indirect=True, scope="class")
class TestEdges(CompiledMeanings):
    """Without padding, and with padding and a stride of two."""


@pytest.mark.parametrize("case", SLOW, ids=ids(SLOW), indirect=True, scope="class")
class TestOtherEdges(Meanings):
    """The other way round."""


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=ids(SLOW), indirect=True, scope="class")
class TestOtherEdgesCompiled(CompiledMeanings):
    """The other way round, with compiled meanings."""


def test_the_definition_gives_what_was_worked_out_by_hand():
    answers = by_definition(IMAGES, "valid", 1)
    assert answers.shape == (len(IMAGES), 4, 4, 6)
    for index, name in enumerate(FILTERS):
        np.testing.assert_array_equal(answers[0, :, :, index], [BY_HAND[name]] * 4)
        # The transposed image gives the transposed answer of the transposed filter.
        other = list(FILTERS).index(name.removesuffix("_horizontal") if "_" in name else f"{name}_horizontal")
        np.testing.assert_array_equal(answers[1, :, :, other], answers[0, :, :, index].T)
    assert not answers[2].any()  # a constant image has no edges
    np.testing.assert_array_equal(answers[3, :, :, 1], [[0, -1, 0, 1], [0, -2, 0, 2], [0, -1, 0, 1], [0, 0, 0, 0]])
    padded = by_definition(IMAGES, "same", 1)
    np.testing.assert_array_equal(padded[:, 1:-1, 1:-1], answers)
    np.testing.assert_array_equal(padded[0, :, :, 0], [[-20, 0, 20, 20, 0, 0]] + [[-30, 0, 30, 30, 0, 0]] * 4
                                  + [[-20, 0, 20, 20, 0, 0]])  # fmt: skip
    np.testing.assert_array_equal(by_definition(IMAGES, "valid", 2), answers[:, ::2, ::2])
    assert by_definition(IMAGES, "same", 2).shape == (len(IMAGES), 3, 3, 6)


@pytest.mark.parametrize(
    ("padding", "stride", "size"), [("valid", 1, 4), ("same", 1, 6), ("valid", 2, 2), ("same", 2, 3)]
)
def test_sizes_follow_the_formula(padding, stride, size):
    need_packages("keras", "qkeras")
    ends = sum(ends_of(padding, stride))
    assert (SIZE - KERNEL + ends) // stride + 1 == size
    assert make_model(padding, stride).output.shape == (None, size, size, 6)
