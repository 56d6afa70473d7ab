"""What hls4ml does otherwise than Keras when it is left alone, and that l1dl does not.

Each row of the table in ``docs/hls4ml.md`` has a case here. The cases of hls4ml run in a process of their own
(`hls4ml_alone`). One that fails says that hls4ml has changed, and which place in l1dl may then go.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import absent, need_packages, need_tools

from l1dl.convert.convert import convert_model
from l1dl.convert.model_graph import read_model_graph
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_outputs
from l1dl.errors import UnsupportedError
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.ports import decode_rows

ROOT = Path(__file__).parents[2]
NO_RULE = "NotImplementedError: No implementation of produce_kif"
NOT_A_SHAPE = "TypeError: only integer scalar arrays can be converted to a scalar index"
PADDING = "bit-exact mode on padding, cropping, upsampling, embeddings, global pooling before `Concatenate`"
FUNCTIONS = "bit-exact mode on `PReLU`, `relu6`, `softsign`, … with several axes or more than 64 values"


@dataclass(frozen=True)
class Difference:
    """A case in which hls4ml is wrong.

    Attributes
    ----------
    row
        First cell of its row in ``docs/hls4ml.md``.
    case
        Its name in `hls4ml_alone`.
    found
        What hls4ml makes of it; a text is a regular expression.
    place
        Where l1dl takes care of it.
    """

    row: str
    case: str
    found: Any
    place: str


DIFFERENCES = [
    Difference(
        "`QActivation(quantized_relu(…)) → QActivation(quantized_bits(…))` in bit-exact mode",
        "quantiser behind quantiser", ["fixed<3,2,RND_CONV,SAT,0>", None], "convert/qkeras_handlers.py, _kept",
    ),
    Difference(
        "default conversion of a `quantized_bits` behind a scaling",
        "quantiser behind scaling", False, "convert/convert.py, BitExact",
    ),
    Difference(
        "`quantized_relu(2, 2)`, types of whole numbers",
        "whole numbers", [2.0, 1.0, 0.0], "convert/activations.py, _Type",
    ),
    Difference(
        "`quantized_bits(symmetric=True)`, `keep_negative=False`",
        "symmetric", [-2.0, 0.5], "convert/activations.py, _Type",
    ),
    Difference(
        "`quantized_bits(symmetric=True)`, `keep_negative=False`",
        "without negative values", [-1.0, 1.9375], "convert/activations.py, _Type",
    ),
    Difference(
        "`Permute → Flatten → Dense`",
        "permute, flatten, dense", [126.0], "convert/rules/structure.py, reshape",
    ),
    Difference(
        "`Permute` behind an input whose first size is 1",
        "permute of one row", [0.0, 1.0, 2.0, 3.0], "convert/prepare.py, _quantise_early",
    ),
    Difference(
        "max pooling, padding same, unsigned type",
        "maximum pooling", [2.0, 0.5, 2.0], "convert/rules/pooling.py, max_pool, and Facts.pad_pools",
    ),
    Difference(
        "`Concatenate` with a positive axis",
        "concatenation", "AxisError: axis 2 is out of bounds", "convert/rules/structure.py, concatenate",
    ),
    Difference(
        "dense layer on more than one axis",
        "dense on two axes", [0.125, 0.25], "convert/rules/products.py, dense: weights are quantised before",
    ),
    *(
        Difference(PADDING, f"bit-exact {kind}", NO_RULE, f"convert/bit_exact.py, {function}")
        for kind, function in {
            "ZeroPadding1D": "_moved", "ZeroPadding2D": "_moved", "Cropping1D": "_moved", "Cropping2D": "_moved",
            "UpSampling1D": "_moved", "UpSampling2D": "_moved", "Embedding": "_embedding",
        }.items()
    ),
    Difference(
        PADDING, "bit-exact global pooling", "ValueError: all the input arrays must have same number of dimensions",
        "convert/bit_exact.py, _global_pool",
    ),
    Difference(
        "bit-exact mode on depthwise convolutions",
        "bit-exact depthwise", re.escape("fixed<13,8,TRN,WRAP,0>"), "convert/bit_exact.py, _depthwise",
    ),
    Difference(
        "`UpSampling` behind a `Reshape` with a type of its own",
        "upsampling behind reshape", "no matching function for call to .resize_nearest",
        "convert/bit_exact.py, _same_type",
    ),
    Difference(
        'a layer called like one of its attributes, `Permute(name="perm")`',
        "permute called perm", "TypeError", "convert/support.py, MISREAD",
    ),
    Difference(
        "an input called like the project",
        "input called like the project", ".top. cannot be used as a function", "convert/convert.py, convert_model",
    ),
    Difference(
        "`SeparableConv` of Keras 3",
        "separable convolution", "AttributeError: .* no attribute 'kernel'", "convert/rules/products.py, separable",
    ),
    Difference(
        "`Embedding`, entry beyond the vocabulary", "embedding", ["embedding"], "convert/rules/products.py, embedding"
    ),
    Difference(
        "weights of type `ap_int<2>` with the value -2", "two bits", [3.0], "convert/readers/common.py, check_kernel"
    ),
    Difference("`keepdims`", "keepdims", [2], "convert/rules/pooling.py, _without_axes"),
    Difference(
        '`QConv1D(padding="causal")` with strides', "causal padding", 1, "nothing: QKeras refuses it too"
    ),
    Difference(
        "`dilation_rate`", "dilation", [1.0, 3.0, 5.0, 7.0, 4.0], "convert/rules/__init__.py, check_layer",
    ),
    Difference(
        "Keras 3 `ReLU()`, `ReLU(max_value=…)`", "ReLU", ["thresholdedrelu", 0.0], "convert/activations.py, _function"
    ),
    Difference(
        "Keras 3 `ReLU()`, `ReLU(max_value=…)`", "ReLU with maximum", "AssertionError: Only ReLU with max_value=None",
        "convert/activations.py, _function",
    ),
    Difference(
        "Keras 3 `hard_sigmoid`, `hard_tanh`", "hard sigmoid", 0.2, "convert/activations.py, _own_form"
    ),
    Difference(
        "Keras 3 `hard_sigmoid`, `hard_tanh`", "hard tanh", ".slope. is not a member of",
        "convert/activations.py, _own_form",
    ),
    Difference("`PReLU(shared_axes=…)`", "PReLU", ["prelu"], "convert/activations.py, _own_form"),
    Difference(
        '`Activation("softmax")` on several axes', "softmax on two axes", [0.25] * 4,
        "convert/activations.py, _own_form (is_native refuses it before)",
    ),
    Difference(
        "softmax tables whose size is no power of two", "softmax tables", ["softmax_latency"],
        "convert/readers/softmax.py, _top_bits",
    ),
    Difference(
        '`Precision: {"table": …}`; `table_t` of the legacy softmax',
        "precision of tables", re.escape("fixed<18,8,TRN,WRAP,0>"), "nothing",
    ),
    Difference(
        '`Precision: {"table": …}`; `table_t` of the legacy softmax',
        "legacy softmax", False, "convert/readers/softmax.py, _legacy",
    ),
    Difference("stable softmax", "stable softmax", [0.61, 1.0], "convert/softmax.py, DISTANCE"),
    Difference("`GRU(reset_after=False)`", "GRU", "equal", "convert/readers/recurrent.py, _check"),
    Difference(
        "LSTM whose input, result and accumulator types differ", "types of LSTM", "cannot convert",
        "convert/readers/recurrent.py, _check",
    ),
    Difference(
        "a value rounded to a type whose last bit stands more than one place above all bits of the value",
        "rounded away", ".*Attempting to read bit beyond MSB", "emulate/csim.py, NDEBUG",
    ),
    Difference(
        "LSTM, GRU with `static=True`", "static state", ["gru_static"], "nothing: conversion refuses the layers"
    ),
    *(
        Difference(FUNCTIONS, f"bit-exact {name}", NOT_A_SHAPE, "convert/truth_table.py, install")
        for name in ("relu6", "softsign", "PReLU")
    ),
    Difference(
        FUNCTIONS, "bit-exact relu6 of 70 values", "ValueError: maximum supported dimension for an ndarray",
        "convert/truth_table.py, install",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def facts(tmp_path_factory) -> dict[str, Any]:
    """Return what `hls4ml_alone` writes."""
    need_packages("keras", "qkeras", "hls4ml", "jax")
    need_tools("cxx")
    work = tmp_path_factory.mktemp("alone")
    script = Path(__file__).parents[1] / "hls4ml_alone.py"
    done = subprocess.run([sys.executable, script, work], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((work / "facts.json").read_text())


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.case)
def test_hls4ml_alone(facts, difference):
    assert difference.case in facts, facts["errors"]
    right, found = facts[difference.case]
    if right is None:
        absent(found)
    where = f"hls4ml {version('hls4ml')}, {difference.case!r}"
    assert found != right, (
        f"{where} is right now; the row {difference.row!r} of docs/hls4ml.md may go, and what works around it: "
        f"src/l1dl/{difference.place}"
    )
    same = bool(re.match(difference.found, found)) if isinstance(found, str) else found == difference.found
    assert same, f"{where} is wrong in another way: {found} where {right} is right; 1.3.0 had {difference.found}"


def test_every_row_of_the_document_has_a_case():
    text = (ROOT / "docs" / "hls4ml.md").read_text(encoding="utf-8").partition("## Where hls4ml")[2]
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    assert sorted(set(rows)) == sorted({difference.row for difference in DIFFERENCES})


def quantiser(name: str, width: int = 6, integer: int = 1, **options: Any) -> Any:
    qkeras = import_qkeras()
    return qkeras.QActivation(qkeras.quantized_bits(width, integer, alpha=1, **options), name=name)


def model_of_differences() -> Any:
    """Return a model of what hls4ml alone gets wrong and no other test of conversions has."""
    keras, qkeras = import_keras(), import_qkeras()
    layers = keras.layers
    row, image = keras.Input((1, 2, 3), name="row"), keras.Input((4, 2, 2), name="image")
    ids = keras.Input((2,), dtype="int32", name="ids")
    x = quantiser("image_port")(image)
    slopes = layers.PReLU(shared_axes=[1, 2], name="slopes")
    weights = {
        "symmetric": qkeras.quantized_bits(4, 0, symmetric=True, alpha=1),
        "positive": qkeras.quantized_bits(4, 1, keep_negative=False, alpha=1),
        "pair": qkeras.quantized_bits(2, 1, alpha=1),
    }
    whole = [layers.GlobalMaxPooling2D(name="top")(x), layers.GlobalAveragePooling2D(name="mean")(x)]
    outputs = [
        quantiser("row_port")(layers.Permute((1, 3, 2), name="turned")(row)),
        quantiser("symmetric", symmetric=True)(x),
        quantiser("positive", keep_negative=False)(x),
        *(
            qkeras.QDense(2, kernel_quantizer=each, use_bias=False, name=f"dense_{name}")(x)
            for name, each in weights.items()
        ),
        layers.Concatenate(axis=1, name="both")(whole),
        layers.GlobalAveragePooling2D(keepdims=True, name="mean_row")(x),
        *(
            quantiser(f"{name}_act", 7, 2)(layers.Activation(name, name=f"f_{name}")(x))
            for name in ("relu6", "softsign", "hard_sigmoid", "hard_tanh")
        ),
        slopes(x),
        layers.ReLU(name="relu")(x),
        layers.ReLU(max_value=1, name="relu1")(x),
        layers.ZeroPadding2D(1, name="padded")(x),
        layers.Cropping2D(((1, 0), (0, 1)), name="cropped")(x),
        layers.UpSampling2D(2, name="larger")(layers.Reshape((2, 4, 2), name="other")(x)),
        quantiser("entries_act", 5, 0)(layers.Embedding(11, 2, name="entries")(ids)),
    ]
    model = keras.Model([row, image, ids], outputs, name="differences")
    rng = np.random.default_rng(8)
    model.set_weights([rng.normal(0, 0.9, each.shape) for each in model.get_weights()])
    slopes.set_weights([np.array([[[0.25, -0.5]]])])
    model.get_layer("dense_pair").set_weights([np.array([[-2.0, 1.0], [1.0, -2.0]])])
    return model


def test_l1dl_is_right(tmp_path):
    need_packages("keras", "qkeras", "hls4ml", "jax")
    need_tools("cxx")
    model = model_of_differences()
    conversion = convert_model(model, tmp_path / "hls")
    graph, emulator = conversion.graph, Emulator(conversion.graph)
    rng = np.random.default_rng(9)
    x = [rng.normal(0, 1.5, (300, *port.shape)).astype(np.float32) for port in graph.input_ports]
    x[2] = rng.integers(0, 11, (300, 2))
    codes = emulator.encode(x)
    np.testing.assert_array_equal(keras_outputs(model, x, graph), emulator.run(codes))
    x[2] = rng.integers(11, 16, (300, 2))  # beyond the vocabulary, where Keras has no answer
    codes = np.concatenate([codes, emulator.encode(x)])
    expected = emulator.run(codes)
    values = Csim(conversion.project, tmp_path / "csim", optimise=0).run(decode_rows(codes, graph.input_ports))
    np.testing.assert_array_equal(exact_rows(values, graph.output_ports), expected)
    assert len(np.unique(expected, axis=0)) > 1
    start = 0
    for port in graph.output_ports:
        assert len(np.unique(expected[:, start : start + port.size])) > 1, port.name
        start += port.size


def test_weights_that_are_read_as_1_are_refused(tmp_path):
    need_packages("keras", "qkeras", "hls4ml", "jax")
    keras = import_keras()
    import hls4ml

    source = keras.Input((2,), name="x")
    model = keras.Model(source, keras.layers.Dense(1, use_bias=False, name="dense")(source))
    model.set_weights([np.array([[-2.0], [1.0]])])
    with contextlib.redirect_stdout(io.StringIO()):
        config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
        config["LayerName"]["dense"]["Precision"]["weight"] = "ap_int<2>"
        model_graph = hls4ml.converters.convert_from_keras_model(
            model, hls_config=config, backend="Vitis", output_dir=str(tmp_path), project_name="top"
        )
    with pytest.raises(UnsupportedError, match="'dense' has weights of -2 in two bits, which hls4ml reads as 1"):
        read_model_graph(model_graph, "top")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda layers: layers.Activation("softmax", name="layer"), "the function softmax has no exact firmware"),
        (lambda layers: layers.GRU(2, name="layer"), "has unquantised weights; use QGRU with quantisers"),
        (lambda layers: layers.LSTM(2, name="layer"), "has unquantised weights; use QLSTM with quantisers"),
    ],
)
def test_l1dl_refuses(tmp_path, make, text):
    need_packages("keras", "qkeras", "hls4ml", "jax")
    keras = import_keras()
    source = keras.Input((4, 3), name="x")
    model = keras.Model(source, make(keras.layers)(quantiser("port")(source)), name="net")
    with pytest.raises(UnsupportedError, match=f"layer 'layer' .*{text}"):
        convert_model(model, tmp_path / "hls")
