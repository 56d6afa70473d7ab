"""Many layers side by side in one model: hls4ml's compiled C++ against the emulated graph, and against Keras."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.convert import activations, qkeras_handlers
from l1dl.convert.model_graph import read_model_graph
from l1dl.emulate.engine import Emulator
from l1dl.fixed import decode
from l1dl.graph import FixedGraph
from l1dl.models.backend import import_keras, import_qkeras


@contextlib.contextmanager
def our_handlers() -> Iterator[None]:
    """Give hls4ml the handlers of element-wise layers for a time."""
    from hls4ml.converters.keras_v3 import layer_handlers

    qkeras_handlers.register()
    before = dict(layer_handlers)
    for kind, handler in activations.HANDLERS.items():
        layer_handlers[kind] = handler
        layer_handlers.update({key: handler for key in before if key.endswith(f".{kind}")})
    try:
        yield
    finally:
        layer_handlers.clear()
        layer_handlers.update(before)


@dataclass
class Bench:
    """Layers that read one input, each an output of the model.

    Attributes
    ----------
    config
        Name of a layer → entries of its hls4ml configuration.
    pairs
        Name of a layer → its output, in order.
    """

    shape: tuple[int, ...]
    port: str
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    pairs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keras, self.qkeras = import_keras(), import_qkeras()
        self.input = self.keras.Input(self.shape, name="port")
        self.config["port"] = {"Precision": {"result": self.port}}
        self.source = self.input

    def add(self, layer: Any, source: Any = None, **config: Any) -> Any:
        """Add a layer as an output; `config` holds entries of its hls4ml configuration."""
        result = layer(self.source if source is None else source)
        self.pairs[layer.name] = result
        self.config[layer.name] = config
        return result

    def model(self) -> Any:
        """Return the Keras model."""
        return self.keras.Model(self.input, list(self.pairs.values()), name="bench")

    def convert(self, directory: Path, *, exact: bool) -> tuple[Any, FixedGraph]:
        """Return hls4ml's model and the graph."""
        import hls4ml

        model = self.model()
        quiet = contextlib.redirect_stdout(io.StringIO())
        with our_handlers(), quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
            for name, entries in self.config.items():
                for key, value in entries.items():
                    if key == "Precision":
                        config["LayerName"][name].setdefault(key, {}).update(value)
                    else:
                        config["LayerName"][name][key] = value
            hls = hls4ml.converters.convert_from_keras_model(
                model, hls_config=config, output_dir=str(directory / "hls"), project_name="bench", backend="Vitis",
                allow_da_fallback=False, allow_v2_fallback=False, bit_exact=exact,
            )  # fmt: skip
        return hls, read_model_graph(hls, "bench")

    def run(
        self, directory: Path, x: np.ndarray, *, exact: bool, compiled: bool = True
    ) -> dict[str, tuple[np.ndarray, ...]]:
        """Return for each layer what C++, emulator and Keras yield for the inputs `x`.

        Without `compiled` the emulator stands in for the C++.
        """
        hls, graph = self.convert(directory, exact=exact)
        inputs = np.ascontiguousarray(x, dtype=np.float32)
        csim: Any = [None] * len(self.pairs)
        if compiled:
            with contextlib.redirect_stdout(io.StringIO()):
                hls.compile()
            csim = hls.predict(inputs)
            csim = csim if isinstance(csim, list) else [csim]
        keras = self.model().predict(inputs, verbose=0)
        keras = keras if isinstance(keras, list) else [keras]
        emulator = Emulator(graph)
        trace = emulator.trace(emulator.encode(x))
        results = {}
        for name, output, made, wanted in zip(self.pairs, graph.outputs, csim, keras, strict=True):
            emulated = decode(trace[output], graph[output].result)
            values = (emulated if made is None else made, emulated, wanted)
            results[name] = tuple(np.asarray(each, np.float64).reshape(emulated.shape) for each in values)
        return results


def every_value(width: int, fraction: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return every value of a signed type, in rows of `shape`."""
    values = np.arange(-(2 ** (width - 1)), 2 ** (width - 1)) / 2.0**fraction
    size = int(np.prod(shape))
    return np.resize(values, (-(-len(values) // size), *shape))


def check_all(results: dict[str, tuple[np.ndarray, ...]], *, keras: bool) -> None:
    """Assert that C++ equals the emulator, with `keras` also Keras, in values that are not constant."""
    for name, (compiled, emulated, wanted) in results.items():
        np.testing.assert_array_equal(emulated, compiled, err_msg=f"{name}: emulator and C++")
        if keras:
            np.testing.assert_array_equal(emulated, wanted, err_msg=f"{name}: emulator and Keras")
        assert len(np.unique(emulated)) > 1, f"{name} is constant"
