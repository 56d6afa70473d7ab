"""Drive hls4ml: Keras model → HLS project on disk and the FixedGraph of the same network."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import atomic_directory
from l1dl.card import HlsCard
from l1dl.convert.check import check_against_keras
from l1dl.convert.model_graph import read_model_graph
from l1dl.convert.quantisers import quantiser_spec
from l1dl.convert.support import check_supported
from l1dl.errors import InputError, ToolMissingError, UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph, check_design_name

log = logging.getLogger(__name__)

TEST_BENCH_EVENTS = 1000
"""Events that the project's own C++ test bench gets."""


@dataclass(frozen=True)
class HlsProject:
    """An hls4ml project on disk.

    Attributes
    ----------
    directory
        Holds ``firmware/``, ``tb_data/`` and the scripts of the vendor flow.
    top
        Name of the C++ top function.
    inputs, outputs
        Numbers of input and output values.
    """

    directory: Path
    top: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Conversion:
    """What a conversion yields: the project and the graph, two descriptions of the same arithmetic."""

    project: HlsProject
    graph: FixedGraph


def convert_model(
    model: Any,
    directory: Path,
    *,
    settings: HlsCard = HlsCard(),  # noqa: B008  frozen
    name: str | None = None,
    samples: npt.NDArray[np.float32] | None = None,
) -> Conversion:
    """Convert a QKeras model exactly.

    Parameters
    ----------
    model
        A Keras 3 model of QKeras layers with an input quantiser and logits as outputs.
    directory
        Where the HLS project is written; an older project there is replaced.
    name
        Name of the firmware; that of the model by default.
    samples
        Inputs of shape (N, F) for the project's test bench.

    Raises
    ------
    UnsupportedError
        The model has a layer or an option that has no exact firmware, or hls4ml resolved the
        conversion differently from what was asked.
    ToolMissingError
        hls4ml is not installed.
    """
    check_supported(model)
    top = check_design_name(name or model.name)
    with tempfile.TemporaryDirectory() as scratch, atomic_directory(directory) as project:
        bench = _write_test_bench(model, samples, Path(scratch))
        model_graph = _run_hls4ml(model, project, top, settings, bench)
        graph = read_model_graph(model_graph, top)
        check_against_keras(model, graph)
        _check_resolution(model_graph, settings)
        with _captured_output():
            model_graph.write()
    shape = (int(np.prod(graph.inputs[0].shape)), int(np.prod(graph[graph.outputs[0]].shape)))
    return Conversion(HlsProject(directory, top, *shape), graph)


def input_type(model: Any) -> FixedSpec:
    """Return the type of the firmware's input port: that of the model's input quantiser."""
    check_supported(model)
    quantiser = next(layer for layer in model.layers if type(layer).__name__ == "QActivation").activation
    return quantiser_spec(quantiser)


def _run_hls4ml(model: Any, directory: Path, top: str, settings: HlsCard, bench: tuple[str | None, str | None]) -> Any:
    """Run hls4ml's conversion and optimiser passes in bit-exact mode."""
    try:
        import hls4ml
    except ImportError as error:
        msg = f"hls4ml cannot be imported ({error}); install it: pip install 'l1dl[qkeras]'"
        raise ToolMissingError(msg) from error
    from l1dl.convert.qkeras_handlers import register

    register()
    with _captured_output():
        config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend=settings.backend)
        config["Model"]["Strategy"] = settings.strategy.capitalize()
        entry = model.inputs[0]._keras_history.operation.name  # the input layer, which a Sequential model hides
        port = quantiser_spec(next(layer for layer in model.layers if type(layer).__name__ == "QActivation").activation)
        if entry not in config["LayerName"]:
            msg = f"hls4ml does not know the input {entry!r}; its layers are {sorted(config['LayerName'])}"
            raise UnsupportedError(msg)
        config["LayerName"][entry]["Precision"]["result"] = f"ap_fixed<{port.width},{port.integer}>"
        try:
            return hls4ml.converters.convert_from_keras_model(
                model,
                output_dir=str(directory),
                project_name=top,
                input_data_tb=bench[0],
                output_data_tb=bench[1],
                backend=settings.backend,
                part=settings.part,
                clock_period=settings.clock_period_ns,
                io_type=settings.io_type,
                hls_config=config,
                bit_exact=True,
                allow_da_fallback=False,
                allow_v2_fallback=False,
            )
        except (ValueError, KeyError, AssertionError, NotImplementedError) as error:
            msg = f"hls4ml cannot convert model {model.name!r}: {error}"
            raise UnsupportedError(msg) from error


def _check_resolution(model_graph: Any, settings: HlsCard) -> None:
    """Compare what hls4ml resolved with what was asked; it ignores unknown keys silently."""
    config = model_graph.config
    resolved = {
        "part": config.get_config_value("Part"),
        "clock_period_ns": config.get_config_value("ClockPeriod"),
        "io_type": config.get_config_value("IOType"),
        "backend": config.backend.name,
    }
    for key, value in resolved.items():
        asked = getattr(settings, key)
        if value != asked:
            msg = f"hls4ml resolved {key} to {value!r}, {asked!r} was asked for"
            raise UnsupportedError(msg)
    for node in model_graph.get_layers():
        strategy, reuse = node.get_attr("strategy"), node.get_attr("reuse_factor", 1)
        if (strategy is not None and strategy.lower() != settings.strategy) or reuse != 1:
            msg = f"hls4ml resolved layer {node.name!r} to strategy {strategy} with reuse factor {reuse}"
            raise UnsupportedError(msg)


def _write_test_bench(
    model: Any, samples: npt.NDArray[np.float32] | None, scratch: Path
) -> tuple[str | None, str | None]:
    """Write the inputs and the Keras outputs of the project's test bench as npy files; return their paths."""
    if samples is None:
        return None, None
    if samples.ndim != 2 or samples.shape[1] != model.inputs[0].shape[1]:
        msg = f"samples of shape {samples.shape} do not fit the model's input (N, {model.inputs[0].shape[1]})"
        raise InputError(msg)
    chosen = samples[:TEST_BENCH_EVENTS]
    np.save(scratch / "inputs.npy", chosen)
    np.save(scratch / "outputs.npy", np.asarray(model.predict(chosen, verbose=0)))
    return str(scratch / "inputs.npy"), str(scratch / "outputs.npy")


@contextlib.contextmanager
def _captured_output() -> Any:
    """Send what hls4ml prints to the log."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:
        for line in text.getvalue().splitlines():
            log.debug("hls4ml: %s", line)
