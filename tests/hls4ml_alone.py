"""What hls4ml does by itself, case by case; run as a program, in a process in which l1dl's conversion changes nothing.

It writes name of a case → what is right (what Keras computes, or what was asked for) and what hls4ml makes of it,
as JSON; under ``errors`` what went wrong.
Layers of QKeras need l1dl's handlers, since hls4ml 1.3.0 does not read them on Keras 3: they hand a layer to
hls4ml's own parser for QKeras on Keras 2 (`l1dl.convert.qkeras_handlers`).
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.errors import ToolFailedError
from l1dl.models.backend import import_keras, import_qkeras
from l1dl.tools import find_tool, run_tool

keras, qkeras = import_keras(), import_qkeras()  # before hls4ml, so that Keras has the back end that l1dl chooses
layers = keras.layers

TIME_LIMIT_S = 300

Pair = tuple[Any, Any]
"""What is right, and what hls4ml makes of it."""

CASES: list[Callable[[Path], dict[str, Pair]]] = []


def case(function: Callable[[Path], dict[str, Pair]]) -> Callable[[Path], dict[str, Pair]]:
    """Register a function that returns cases."""
    CASES.append(function)
    return function


def bits(width: int, integer: int, **options: Any) -> Any:
    return qkeras.quantized_bits(width, integer, alpha=1, **options)


def port(source: Any, width: int = 8) -> Any:
    """Quantise an input: hls4ml's bit-exact mode needs that."""
    return qkeras.QActivation(bits(width, 2), name=f"{source.name}_port")(source)


@contextlib.contextmanager
def qkeras_layers() -> Iterator[None]:
    """Let hls4ml read QKeras on Keras 3, with its own parsers."""
    from hls4ml.converters.keras_v3 import layer_handlers

    from l1dl.convert import qkeras_handlers

    before = dict(layer_handlers)
    qkeras_handlers.register()
    layer_handlers["QActivation"] = qkeras_handlers._parse
    try:
        yield
    finally:
        layer_handlers.clear()
        layer_handlers.update(before)


def convert(model: Any, work: Path, name: str = "top", *, exact: bool | None = None, **config: dict[str, Any]) -> Any:
    """Convert a model with hls4ml; `config` holds entries of the configuration of each layer."""
    import hls4ml

    with qkeras_layers(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asked = hls4ml.utils.config_from_keras_model(
            model, granularity="name", backend="Vitis", default_precision="fixed<24,8>"
        )
        for layer, entries in config.items():
            precision = entries.get("Precision", {})
            asked["LayerName"][layer] |= {key: value for key, value in entries.items() if key != "Precision"}
            asked["LayerName"][layer].setdefault("Precision", {}).update(precision)
        return hls4ml.converters.convert_from_keras_model(
            model, hls_config=asked, output_dir=str(work / name), project_name=name, backend="Vitis",
            io_type="io_parallel", bit_exact=exact,
        )  # fmt: skip


def result(precision: str) -> dict[str, Any]:
    """Return a configuration that gives a layer a type."""
    return {"Precision": {"result": precision}}


def error_of(function: Callable[[], Any]) -> str:
    """Return what a function raises, and nothing if it does not."""
    try:
        function()
    except Exception as error:  # noqa: BLE001  whatever hls4ml raises is the result
        return f"{type(error).__name__}: {error}"
    return ""


def types(model_graph: Any, *names: str) -> list[str | None]:
    """Return the types of layers, None for one that is not there."""
    graph = model_graph.graph
    return [str(graph[name].get_output_variable().type.precision) if name in graph else None for name in names]


def alone(layer: Any, shape: tuple[int, ...], *, quantised: bool = False) -> Any:
    """Return a model of one layer called ``layer``, whose weights are whole numbers."""
    source = keras.Input(shape, name="x")
    model = keras.Model(source, layer(port(source) if quantised else source))
    for each in model.layers:
        weights = each.get_weights()
        each.set_weights([np.resize(np.arange(4.0) - 1, weight.shape) for weight in weights])
    return model


# What is seen without compiling anything.


@case
def quantisers(work: Path) -> dict[str, Pair]:
    x = keras.Input((3,), name="x")
    relu = qkeras.QActivation(qkeras.quantized_relu(4, 2), name="relu")(port(x))
    again = keras.Model(x, qkeras.QActivation(bits(3, 1), name="again")(relu))
    scaled = layers.BatchNormalization(name="norm")(port(x))
    scaled = qkeras.QActivation(bits(6, 2), name="act")(scaled)
    dense = qkeras.QDense(2, kernel_quantizer=bits(4, 0), bias_quantizer=bits(4, 0), name="dense")
    behind = keras.Model(x, dense(scaled))
    return {
        "quantiser behind quantiser": (
            types(convert(again, work), "relu", "again"), types(convert(again, work, exact=True), "relu", "again")
        ),
        "quantiser behind scaling": tuple(
            "fixed<6,3,RND_CONV,SAT,0>" in types(convert(behind, work, exact=exact), "norm", "act")
            for exact in (True, None)
        ),
    }  # fmt: skip


@case
def concatenation(work: Path) -> dict[str, Pair]:
    a, b = keras.Input((4, 3), name="a"), keras.Input((4, 3), name="b")

    def attempt(axis: int) -> str:
        joined = layers.Concatenate(axis=axis, name="joined")([port(a), port(b)])
        model = keras.Model([a, b], qkeras.QActivation(bits(6, 2), name="act")(joined))
        return error_of(lambda: convert(model, work, exact=True))

    return {"concatenation": (attempt(-1), attempt(2))}


@case
def bit_exact(work: Path) -> dict[str, Pair]:
    line, image = (4, 2), (4, 3, 2)
    absent = {
        "ZeroPadding1D": (layers.ZeroPadding1D(1), line), "ZeroPadding2D": (layers.ZeroPadding2D(1), image),
        "Cropping1D": (layers.Cropping1D(1), line), "Cropping2D": (layers.Cropping2D(1), image),
        "UpSampling1D": (layers.UpSampling1D(2), line), "UpSampling2D": (layers.UpSampling2D(2), image),
        "Embedding": (layers.Embedding(8, 2), (4,)),
        "relu6": (layers.Activation("relu6"), line), "softsign": (layers.Activation("softsign"), line),
        "PReLU": (layers.PReLU(), line), "relu6 of 70 values": (layers.Activation("relu6"), (70,)),
    }  # fmt: skip
    found: dict[str, Pair] = {}
    for name, (layer, shape) in absent.items():
        model = alone(layer, shape, quantised=name != "Embedding")
        found[f"bit-exact {name}"] = "", error_of(functools.partial(convert, model, work, exact=True))
    source = keras.Input(image, name="x")
    quantised = port(source)
    both = [layers.GlobalMaxPooling2D(name="top")(quantised), layers.Flatten(name="flat")(quantised)]
    model = keras.Model(source, qkeras.QActivation(bits(6, 2), name="act")(layers.Concatenate(axis=-1)(both)))
    found["bit-exact global pooling"] = "", error_of(lambda: convert(model, work, exact=True))
    # 4 products of 8 bits need 10 bits; hls4ml adds up those of all 8 channels.
    ones = layers.DepthwiseConv2D(2, use_bias=False, name="layer")
    model = alone(ones, (4, 3, 8), quantised=True)
    ones.set_weights([np.ones((2, 2, 8, 1))])
    wanted = "fixed<10,5,TRN,WRAP,0>"
    found["bit-exact depthwise"] = wanted, types(convert(model, work, exact=True), "layer")[0]
    return found


@case
def keras_3(work: Path) -> dict[str, Pair]:
    def attempt(layer: Any, shape: tuple[int, ...]) -> str:
        return error_of(lambda: convert(alone(layer, shape), work))

    relu = convert(alone(layers.ReLU(name="layer"), (3,)), work).graph["layer"]
    sigmoid = convert(alone(layers.Activation("hard_sigmoid", name="layer"), (3,)), work).graph["layer"]
    kept = layers.GlobalMaxPooling1D(keepdims=True, name="layer")
    pooled = convert(alone(kept, (4, 2)), work).graph["layer"].get_output_variable()
    return {
        "permute called perm": ("", attempt(layers.Permute((2, 1), name="perm"), (2, 3))),
        "separable convolution": ("", attempt(layers.SeparableConv2D(2, 2), (4, 4, 2))),
        "ReLU": (["relu", None], [relu.get_attr("activation"), relu.get_attr("activ_param")]),
        "ReLU with maximum": ("", attempt(layers.ReLU(max_value=6), (3,))),
        "hard sigmoid": (0.17, round(float(sigmoid.get_attr("slope")), 2)),
        "keepdims": ([1, 2], [int(size) for size in pooled.shape]),
    }


@case
def causal_padding(work: Path) -> dict[str, Pair]:
    """How many zeros stand before 6 values, for a kernel of 3 and steps of 2: those of Keras, of the Keras 2 parser."""
    from hls4ml.converters.utils import compute_padding_1d

    plain = convert(alone(layers.Conv1D(1, 3, strides=2, padding="causal", name="layer"), (6, 1)), work)
    wanted = int(plain.graph["layer"].get_attr("pad_left"))
    return {"causal padding": (wanted, compute_padding_1d("causal", 6, 2, 3)[1])}


@case
def tables(work: Path) -> dict[str, Pair]:
    def table(function: str, **options: Any) -> Any:
        return convert(alone(layers.Activation(function, name="layer"), (4,)), work, layer=options).graph["layer"]

    asked = {"Precision": {"table": "ap_fixed<8,2>"}}
    wanted, found = (str(table("sigmoid", **each).get_attr("table_t").precision)
                     for each in ({"table_t": "ap_fixed<8,2>"}, asked))  # fmt: skip
    legacy = table("softmax", table_t="ap_fixed<8,2>", implementation="legacy")
    passed_on = re.search(r"typedef \w+ table_t;", legacy.get_attr("config_cpp")) is not None
    return {
        "precision of tables": (wanted, found),
        "legacy softmax": (True, passed_on),
    }


# What the compiler says.


def first_error(model: Any, work: Path, name: str = "top", **config: Any) -> str:
    """Return the compiler's first error in the C++ of a model, and nothing if it has none."""
    model_graph = convert(model, work, name, **config)
    with contextlib.redirect_stdout(io.StringIO()):
        model_graph.write()
    for source in (f"firmware/{name}.cpp", f"{name}_bridge.cpp"):
        arguments, log = ["-std=c++17", "-fsyntax-only", "-w", "-Ifirmware/ap_types", source], work / "compiler.log"
        try:
            run_tool(find_tool("cxx"), arguments, cwd=work / name, log=log, timeout_s=TIME_LIMIT_S)
        except ToolFailedError:
            return next(line.partition("error: ")[2] for line in log.read_text().splitlines() if "error: " in line)
    return ""


@case
def what_does_not_compile(work: Path) -> dict[str, Pair]:
    source, vector = keras.Input((4,), name="top"), keras.Input((4,), name="x")
    named = keras.Model(source, layers.Activation("relu", name="act")(source))
    row = layers.Reshape((2, 2), name="row")(layers.Activation("relu", name="act")(vector))
    larger = keras.Model(vector, layers.UpSampling1D(2, name="larger")(row))
    lstm = alone(layers.LSTM(2, name="layer"), (3, 2))
    narrow = {"accum_t": "ap_fixed<16,6>", "Precision": {"result": "ap_fixed<16,6>"}}
    same = {"x": result("ap_fixed<16,6>"), "layer": narrow}
    tangent = alone(layers.Activation("hard_tanh", name="layer"), (3,))
    return {
        "input called like the project": (first_error(named, work, "other"), first_error(named, work)),
        "upsampling behind reshape": (
            first_error(larger, work), first_error(larger, work, row=result("ap_fixed<9,4>"))
        ),
        "types of LSTM": (
            first_error(lstm, work, **same), first_error(lstm, work, **same | {"x": result("ap_fixed<15,6>")})
        ),
        "hard tanh": ("", first_error(tangent, work)),
    }  # fmt: skip


# What only the values show: one model of all cases, each with an input of its own and one event.


class Values:
    """Cases of one compiled model."""

    def __init__(self) -> None:
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.events: list[Any] = []
        self.names: list[str] = []
        self.config: dict[str, Any] = {}
        self.weights: list[tuple[Any, list[Any]]] = []

    def add(self, name: str, chain: list[Any], values: Any, weights: list[Any] | None = None, **config: Any) -> None:
        """Add layers one after the other; `weights` are those of the last one, `config` is by layer."""
        event = np.asarray(values, dtype=np.float32)
        source = tensor = keras.Input(event.shape, name=f"x{len(self.inputs)}")
        for layer in chain:
            tensor = layer(tensor)
        self.inputs.append(source)
        self.outputs.append(tensor)
        self.events.append(event[None])
        self.names.append(name)
        self.config |= {source.name if key == "source" else key: value for key, value in config.items()}
        self.weights.append((chain[-1], weights or []))

    def run(self, work: Path) -> dict[str, Pair]:
        """Return for each case what Keras yields and what the C++ does."""
        model = keras.Model(self.inputs, self.outputs, name="values")
        for layer, weights in self.weights:
            if weights:
                layer.set_weights([np.asarray(each, dtype=np.float64) for each in weights])
        model_graph = convert(model, work, "values", **self.config)
        with contextlib.redirect_stdout(io.StringIO()):
            model_graph.compile()
        found = model_graph.predict(self.events)
        wanted = model.predict(self.events, verbose=0)
        return {
            name: (np.ravel(right).astype(float).tolist(), np.ravel(made).astype(float).tolist())
            for name, right, made in zip(self.names, wanted, found, strict=True)
        }


@case
def what_the_values_show(work: Path) -> dict[str, Pair]:
    values, act = Values(), qkeras.QActivation
    values.add("whole numbers", [act(qkeras.quantized_relu(2, 2), name="whole")], [2.75, 5.0, 0.25])
    values.add("symmetric", [act(bits(6, 1, symmetric=True), name="symmetric")], [-4.0, 0.5])
    values.add("without negative values", [act(bits(6, 1, keep_negative=False), name="positive")], [-1.0, 1.96875])
    chain = [layers.Permute((2, 1, 3), name="turned"), layers.Flatten(name="flat"), layers.Dense(1, name="sum")]
    values.add("permute, flatten, dense", chain, np.arange(8.0).reshape(2, 2, 2), [np.arange(8.0)[:, None], [0]])
    chain = [layers.Permute((1, 3, 2), name="permuted"), layers.Activation("relu", name="behind")]
    values.add("permute of one row", chain, [[[0.0, 1.0], [2.0, 3.0]]])
    chain = [layers.Activation("relu", name="relu"), layers.MaxPooling1D(3, strides=1, padding="same", name="top")]
    values.add("maximum pooling", chain, [[0.25], [0.5], [0.25]], relu=result("ap_ufixed<8,2>"))
    dense = qkeras.QDense(1, kernel_quantizer=bits(4, 0), use_bias=False, name="matrix")
    values.add("dense on two axes", [dense], [[1.0], [2.0]], [[[0.2]]])
    two_bits = {"Precision": {"weight": "ap_int<2>"}}
    values.add("two bits", [layers.Dense(1, use_bias=False, name="two")], [1.0, 2.0], [[[-2], [1]]], two=two_bits)
    conv = layers.Conv1D(1, 2, dilation_rate=2, padding="same", use_bias=False, name="dilated")
    values.add("dilation", [conv], np.arange(5.0)[:, None], [[[[1]], [[1]]]])
    values.add("softmax on two axes", [layers.Activation("softmax", name="planes")], np.zeros((2, 2)))
    softmax = layers.Activation("softmax", name="stable")
    values.add("stable softmax", [softmax], [-2.5, 2.0], source=result("ap_fixed<8,3>"))
    for before in (True, False):
        gru = layers.GRU(2, reset_after=not before, use_bias=False, name=f"gru{before:d}")
        weights = [np.linspace(-1, 1, 12).reshape(2, 6), np.linspace(3, -3, 12).reshape(2, 6)]
        values.add(f"gru {before}", [gru], [[0.5, -1.0], [1.0, 0.25], [-0.5, 1.0]], weights)
    found = values.run(work)
    pairs = found.pop("gru True"), found.pop("gru False")
    found["GRU"] = tuple("equal" if each[0] == each[1] else "different" for each in zip(*pairs, strict=True))
    return {
        name: tuple([round(each, 2) for each in part] for part in pair) if "softmax" in name else pair
        for name, pair in found.items()
    }


# What the compiler's checkers see at run time.

_PROGRAM = """
#include "firmware/top.h"
#include <thread>
static void event() {{ {arrays} top({arguments}); }}
int main() {{ event(); {rest} return 0; }}
"""
_THREADS = "std::thread a(event), b(event); a.join(); b.join();"


def run_event(model_graph: Any, work: Path, flags: list[str], value: str, rest: str = "") -> str:
    """Compile a project, run an event, and return what the program writes to its standard error.

    Parameters
    ----------
    value
        C++ text of every input.
    rest
        What else the program does.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        model_graph.write()
    directory = work / "top"
    variables = [*model_graph.get_input_variables(), *model_graph.get_output_variables()]
    arrays = [f"{each.type.name} {each.name}[{each.size()}];" for each in variables]
    arrays += [f"for (auto &each : {each.name}) each = {value};" for each in model_graph.get_input_variables()]
    text = _PROGRAM.format(arrays=" ".join(arrays), arguments=", ".join(each.name for each in variables), rest=rest)
    (directory / "main.cpp").write_text(text)
    arguments = [
        "-std=c++17", "-O0", "-g1", "-w", "-pthread", *flags,
        "-Ifirmware/ap_types", "-I.", f'-DWEIGHTS_DIR="{directory}/firmware/weights"', "main.cpp", "firmware/top.cpp",
        "-o", "main",
    ]  # fmt: skip
    run_tool(find_tool("cxx"), arguments, cwd=directory, log=directory / "compiler.log", timeout_s=TIME_LIMIT_S)
    # All reads go through the same function of the fixed-point types, whose place would be reported once.
    environment = {
        "ASAN_OPTIONS": "halt_on_error=0:detect_leaks=0:suppress_equal_pcs=0", "UBSAN_OPTIONS": "print_stacktrace=1"
    }  # fmt: skip
    done = subprocess.run(
        ["./main"], cwd=directory, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    return done.stderr


def checked(model_graph: Any, work: Path, checker: str, value: str, rest: str = "") -> list[str]:
    """Run an event with a checker of the compiler, ``address`` or ``thread``; return the functions that it names."""
    bounds = ["-fsanitize=bounds", "-fsanitize-recover=address"] if checker == "address" else []
    text = run_event(model_graph, work, [f"-fsanitize={checker}", *bounds], value, rest)
    reports = re.split(r"={10,}\n|(?=runtime error: index)", text)
    functions = [re.search(r"nnet::(\w+)<", report) for report in reports]
    return sorted({function.group(1) for function in functions if function})


def checks(work: Path, checker: str) -> bool:
    """Say whether the compiler has a checker, and whether a program runs with it here."""
    (work / "empty.cpp").write_text("int main() { return 0; }\n")
    arguments = [f"-fsanitize={checker}", "empty.cpp", "-o", "empty"]
    with contextlib.suppress(ToolFailedError):
        run_tool(find_tool("cxx"), arguments, cwd=work, log=work / "empty.log", timeout_s=TIME_LIMIT_S)
        return subprocess.run([work / "empty"], capture_output=True, check=False).returncode == 0
    return False


@case
def rounded_away(work: Path) -> dict[str, Pair]:
    model = alone(layers.Activation("linear", name="layer"), (1,))
    model_graph = convert(model, work, x=result("ufixed<4,-6>"), layer=result("fixed<3,2,RND_CONV>"))
    return {"rounded away": ("", run_event(model_graph, work, [], "0.001"))}


@case
def reads_beyond(work: Path) -> dict[str, Pair]:
    names = "embedding", "PReLU", "softmax tables"
    if not checks(work, "address"):
        return dict.fromkeys(names, (None, "nothing runs with -fsanitize=address here"))
    ids, x, y = keras.Input((2,), name="ids"), keras.Input((3, 2), name="x"), keras.Input((4,), name="y")
    outputs = [
        layers.Embedding(11, 2, name="entries")(ids),
        layers.PReLU(shared_axes=[1], name="slopes")(x),
        layers.Activation("softmax", name="soft")(y),
    ]
    config = {"ids": result("ap_uint<4>"), "soft": {"exp_table_size": 1000, "implementation": "latency"}}
    model_graph = convert(keras.Model([ids, x, y], outputs), work, **config)
    # 15 is beyond the vocabulary; -1 has a slope, and the last of the 1024 indices.
    found = [*checked(model_graph, work, "address", "-1")]
    functions = "embedding", "prelu", "softmax_latency"
    return {
        name: ([], [each for each in found if each == function])
        for name, function in zip(names, functions, strict=True)
    }


@case
def state_of_threads(work: Path) -> dict[str, Pair]:
    if not checks(work, "thread"):
        return {"static state": (None, "nothing runs with -fsanitize=thread here")}
    model = alone(layers.GRU(2, name="layer"), (3, 2))
    wanted, found = (
        checked(convert(model, work, layer={"static": static}), work, "thread", "1", _THREADS)
        for static in (False, True)
    )
    return {"static state": (wanted, found)}


def main() -> None:
    """Run all cases in the directory given, and write what they yield to ``facts.json`` there."""
    work = Path(sys.argv[1])
    facts: dict[str, Any] = {"errors": ""}
    for function in CASES:
        directory = work / function.__name__
        directory.mkdir()
        try:
            facts |= function(directory)
        except Exception:  # noqa: BLE001  the other cases still count
            facts["errors"] += traceback.format_exc()
    (work / "facts.json").write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
