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

from l1dl.artifacts import atomic_directory
from l1dl.card import HlsCard
from l1dl.convert.check import check_against_keras
from l1dl.convert.model_graph import read_model_graph
from l1dl.convert.prepare import Prepared, prepare
from l1dl.convert.readers.common import spec_of
from l1dl.convert.reference import predict_rows
from l1dl.convert.scaling import short_scaling
from l1dl.convert.softmax import PROBABILITY
from l1dl.convert.stream import check_same_arithmetic, check_streamable
from l1dl.convert.writer import Facts
from l1dl.errors import ToolMissingError, UnsupportedError
from l1dl.fixed import FixedSpec
from l1dl.graph import FixedGraph, check_design_name
from l1dl.ports import Arrays, Port, Ports, as_rows, split

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
        Its ports, in the order of its arguments.
    """

    directory: Path
    top: str
    inputs: Ports
    outputs: Ports


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
    samples: Arrays | None = None,
) -> Conversion:
    """Convert a QKeras model exactly.

    The graph does not depend on ``settings.io_type``; a project with ``io_stream`` is proved to have its arithmetic.

    Parameters
    ----------
    model
        A functional or sequential Keras 3 model of QKeras layers, with a quantiser behind each input.
    directory
        Where the HLS project is written; an older project there is replaced.
    name
        Name of the firmware; that of the model by default.
    samples
        Inputs for the project's test bench: an array for each input.

    Raises
    ------
    UnsupportedError
        The model has a layer or an option that has no exact firmware, or hls4ml resolved the
        conversion differently from what was asked.
    ToolMissingError
        hls4ml is not installed.
    """
    prepared = prepare(model)
    top = check_design_name(name or model.name)
    if top in prepared.ports:
        msg = f"input {top!r} has the name of the firmware, which C++ does not allow; rename one of them"
        raise UnsupportedError(msg)
    parallel = settings.model_copy(update={"io_type": "io_parallel"})
    with tempfile.TemporaryDirectory() as scratch, atomic_directory(directory) as project:
        bench = _write_test_bench(model, _ports_of(prepared), samples, Path(scratch))
        model_graph = _run_hls4ml(prepared, project, top, parallel, bench)
        facts = _find_facts(prepared, model_graph)
        if facts != Facts():
            prepared = prepare(model, facts)
            model_graph = _run_hls4ml(prepared, project, top, parallel, bench)
        graph = read_model_graph(model_graph, top)
        check_against_keras(prepared, graph)
        if settings.io_type == "io_stream":
            prepared = prepare(model, facts, stream=True)
            check_streamable(prepared)
            model_graph = _run_hls4ml(prepared, project, top, settings, bench)
            check_same_arithmetic(model_graph, graph)
        _check_resolution(model_graph, settings)
        with _captured_output():
            model_graph.write()
    return Conversion(HlsProject(directory, top, graph.input_ports, graph.output_ports), graph)


def input_ports(model: Any) -> Ports:
    """Return the firmware's input ports: each has the type of the quantiser behind it."""
    return _ports_of(prepare(model))


def _ports_of(prepared: Prepared) -> Ports:
    return tuple(
        Port(name, tuple(tensor.shape[1:]), prepared.ports[name])
        for tensor in prepared.model.inputs
        for name in [tensor._keras_history.operation.name]
    )


def hls_type(spec: FixedSpec, *, whole: bool = False) -> str:
    """Return a type as hls4ml writes it; `whole` numbers can count the entries of a table."""
    sign = "" if spec.signed else "u"
    if whole and spec.fraction == 0:
        return f"ap_{sign}int<{spec.width}>"
    return f"ap_{sign}fixed<{spec.width},{spec.integer},AP_{spec.rounding.value},AP_{spec.overflow.value}>"


def _run_hls4ml(prepared: Prepared, directory: Path, top: str, settings: HlsCard, bench: tuple[str, str] | None) -> Any:
    """Run hls4ml's conversion and optimiser passes in bit-exact mode."""
    try:
        from hls4ml.converters import create_config, parse_keras_v3_model
        from hls4ml.model import ModelGraph
    except ImportError as error:
        msg = f"hls4ml cannot be imported ({error}); install it: pip install 'l1dl[qkeras]'"
        raise ToolMissingError(msg) from error
    from l1dl.convert import bit_exact, truth_table
    from l1dl.convert.qkeras_handlers import handlers

    bit_exact.install()
    truth_table.install()
    model = prepared.model
    with _captured_output(), handlers():
        try:
            layers, inputs, outputs, _ = parse_keras_v3_model(model, allow_da_fallback=False, allow_v2_fallback=False)
            config = create_config(
                output_dir=str(directory),
                project_name=top,
                backend=settings.backend,
                part=settings.part,
                clock_period=settings.clock_period_ns,
                io_type=settings.io_type,
            )
            config |= {"KerasModel": model, "InputData": None, "OutputPredictions": None}
            if bench is not None:
                config |= {"InputData": bench[0], "OutputPredictions": bench[1]}
            config["HLSConfig"] = {
                "Model": {
                    "Precision": {"default": "fixed<16,6>"},
                    "ReuseFactor": 1,
                    "Strategy": settings.strategy.capitalize(),
                    "BitExact": True,
                },
                "LayerName": _precisions(prepared, layers),
            }
            return ModelGraph.from_layer_list(config, layers, inputs, outputs)
        except (ValueError, KeyError, TypeError, AssertionError, NotImplementedError, RuntimeError) as error:
            if isinstance(error, UnsupportedError):
                raise
            msg = f"hls4ml cannot convert model {model.name!r}: {error}"
            raise UnsupportedError(msg) from error


def _precisions(prepared: Prepared, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return layer name → the type of its result, for inputs and quantisers; the pass finds all others."""
    found = {
        each["name"]: str(each["activation_quantizer"].hls_type) for each in layers if "activation_quantizer" in each
    }
    found |= {each["name"]: hls_type(PROBABILITY) for each in layers if each["class_name"] == "Softmax"}
    counting = {name for each in layers if each["class_name"] == "Embedding" for name in each["inputs"]}
    found |= {name: hls_type(spec, whole=name in counting) for name, spec in prepared.ports.items()}
    return {name: {"Precision": {"result": precision}} for name, precision in found.items()}


def _find_facts(prepared: Prepared, model_graph: Any) -> Facts:
    """Return what the types that hls4ml found say about layers that it would compute differently from Keras."""
    ends = ("pad_top", "pad_bottom", "pad_left", "pad_right")
    # hls4ml fills an unsigned type with half of its range, not with the lowest value.
    pools = [
        layer.name
        for layer in model_graph.get_layers()
        if layer.class_name in ("Pooling1D", "Pooling2D")
        and layer.get_attr("pool_op") == "Max"
        and any(layer.get_attr(end, 0) for end in ends)
        and not layer.get_input_variable().type.precision.signed
    ]
    scalings = {}
    for name, (layer, quantiser) in prepared.wide.items():
        node = model_graph.graph[name]
        node = node if "scale" in node.weights else node.get_input_node()  # behind it the shape changes
        scale = np.asarray(node.weights["scale"].data, dtype=np.float64)
        scalings[name] = short_scaling(layer, quantiser, scale, spec_of(node.get_input_variable().type.precision))
    return Facts(frozenset(pools), scalings)


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


def _write_test_bench(model: Any, ports: Ports, samples: Arrays | None, scratch: Path) -> tuple[str, str] | None:
    """Write the inputs and the Keras outputs of the project's test bench as npy files; return their paths."""
    if samples is None:
        return None
    chosen = as_rows(samples, ports)[:TEST_BENCH_EVENTS]
    np.save(scratch / "inputs.npy", chosen)
    np.save(scratch / "outputs.npy", predict_rows(model, split(chosen, ports), ports))
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
