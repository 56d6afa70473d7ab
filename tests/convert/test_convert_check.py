"""Nothing may get lost between Keras and the graph: each kind of loss is seen, and named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from keras_models import images
from support import need_packages

from l1dl.convert.check import check_against_keras
from l1dl.convert.convert import convert_model
from l1dl.convert.prepare import prepare
from l1dl.convert.writer import Facts
from l1dl.errors import UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.nodes import Activation, Dense, Function, Merge, Window


def make():
    keras, qkeras = import_keras(), import_qkeras()
    bits = qkeras.quantized_bits(4, 0, alpha=1)
    source = keras.Input((5, 4, 2), name="image")
    x = qkeras.QActivation(qkeras.quantized_bits(6, 1, alpha=1), name="port")(source)
    x = qkeras.QConv2D(3, 2, padding="same", kernel_quantizer=bits, bias_quantizer=bits, name="conv")(x)
    a = qkeras.QActivation(qkeras.quantized_relu(4, 1), name="a")(x)
    b = qkeras.QActivation(qkeras.quantized_bits(5, 1, alpha=1), name="b")(x)
    x = keras.layers.Subtract(name="difference")([a, b])
    return keras.Model(source, [keras.layers.MaxPooling2D(2, name="pool")(x), a], name="net")


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    need_packages("keras", "qkeras", "jax", "hls4ml")
    model = make()
    return prepare(model), convert_model(model, tmp_path_factory.mktemp("hls") / "project").graph


def changed(graph, name, **fields):
    """Return the graph with one node changed."""
    nodes = tuple(dataclasses.replace(node, **fields) if node.name == name else node for node in graph.nodes)
    return FixedGraph(graph.name, nodes, graph.outputs, graph.producer)


def test_a_faithful_graph_passes(converted):
    check_against_keras(*converted)


def test_a_changed_weight(converted):
    prepared, graph = converted
    weight = graph["conv"].weight.copy()
    weight[0, 0] += 1 if weight[0, 0] < 0 else -1
    with pytest.raises(UnsupportedError, match="1 of 24 weights of layer 'conv' differ between hls4ml and Keras"):
        check_against_keras(prepared, changed(graph, "conv", weight=weight))


def test_a_changed_bias(converted):
    prepared, graph = converted
    bias = graph["conv"].bias + 1
    spec = FixedSpec(True, 10, 10 - graph["conv"].bias_spec.fraction)
    with pytest.raises(UnsupportedError, match="3 of 3 biases of layer 'conv' differ between hls4ml and Keras"):
        check_against_keras(prepared, changed(graph, "conv", bias=bias, bias_spec=spec))


def test_a_changed_type(converted):
    prepared, graph = converted
    with pytest.raises(
        UnsupportedError, match=r"gave layer 'a' the type ufixed<5,1>; Keras quantises to ufixed<4,1,RND"
    ):
        check_against_keras(prepared, changed(graph, "a", result=FixedSpec(False, 5, 1)))
    with pytest.raises(UnsupportedError, match=r"gave layer 'image' the type fixed<9,2>; Keras quantises to fixed<6,2"):
        check_against_keras(prepared, changed(graph, "image", result=FixedSpec(True, 9, 2)))


def test_swapped_operands(converted):
    prepared, graph = converted
    assert isinstance(graph["difference"], Merge)
    text = r"layer 'difference' \(Subtract\) reads \['b', 'a'\] in hls4ml's graph; in Keras it reads \['a', 'b'\]"
    with pytest.raises(UnsupportedError, match=text):
        check_against_keras(prepared, changed(graph, "difference", inputs=("b", "a")))


def test_another_connection(converted):
    prepared, graph = converted
    with pytest.raises(
        UnsupportedError, match=r"layer 'b' \(QActivation\) reads \['a'\] in .*; in Keras it reads \['conv'\]"
    ):
        check_against_keras(prepared, changed(graph, "b", inputs=("a",)))


def test_another_geometry(converted):
    prepared, graph = converted
    window = graph["conv__window"]
    assert isinstance(window, Window)
    assert window.padding == (0, 1, 0, 1)
    with pytest.raises(UnsupportedError, match=r"layer 'conv' .* has the kernel, strides and padding .* in Keras"):
        check_against_keras(prepared, changed(graph, "conv__window", padding=(1, 0, 0, 1)))


def test_a_lost_layer(converted):
    prepared, graph = converted
    nodes = tuple(node for node in graph.nodes if node.name != "b")
    nodes = tuple(
        dataclasses.replace(node, inputs=("a", "conv")) if node.name == "difference" else node for node in nodes
    )
    with pytest.raises(UnsupportedError, match=r"layer '.*' .* (is missing from hls4ml's graph|reads)"):
        check_against_keras(prepared, FixedGraph("net", nodes, graph.outputs, "test"))


def test_an_added_layer_and_other_outputs(converted):
    prepared, graph = converted
    extra = Activation("extra", ("a",), graph["a"].shape, graph["a"].result, Function.LINEAR)
    with pytest.raises(UnsupportedError, match="hls4ml added nodes that are no layers of the model: extra"):
        check_against_keras(prepared, FixedGraph("net", (*graph.nodes, extra), graph.outputs, "test"))
    with pytest.raises(UnsupportedError, match=r"the outputs of hls4ml's graph are \('a', 'pool'\); those of Keras"):
        check_against_keras(prepared, FixedGraph("net", graph.nodes, ("a", "pool"), "test"))


def test_a_trained_normalisation_gets_short_constants(tmp_path):
    need_packages("keras", "qkeras", "jax", "hls4ml")
    model = images(1)
    graph = convert_model(model, tmp_path / "hls").graph
    norm = graph["norm"]
    trained = prepare(model).model.get_layer("norm").get_weights()[0]
    assert norm.scale_spec.width < 24
    scale = norm.scale * norm.scale_spec.step
    np.testing.assert_allclose(scale, trained, rtol=0.02, atol=0.02)
    assert not np.array_equal(scale, trained)
    fitted = prepare(model, Facts(scalings={"norm": (scale, norm.offset * norm.offset_spec.step)}))
    assert not fitted.wide
    assert isinstance(graph["conv"], Dense)
