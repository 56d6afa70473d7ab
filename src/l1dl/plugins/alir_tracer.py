"""A tracer of alkaid for hls4ml's ModelGraph, found through the entry point group ``alir_tracer.plugins``.

``alkaid.converter.trace_model(model)`` replays the FixedGraph of the model on symbolic inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from alkaid.converter.plugin import ALIRTracerPluginBase
from alkaid.trace.fixed_variable_array import FVArray

from l1dl.convert.model_graph import read_model_graph
from l1dl.graph import check_design_name
from l1dl.rtl.conversion import convert
from l1dl.rtl.lower import lower_nodes
from l1dl.rtl.passes import exact_passes


class ModelGraphTracer(ALIRTracerPluginBase):  # type: ignore[misc]
    """Traces an ``hls4ml.model.ModelGraph``; inputs are converted to the types of its input ports."""

    def __init__(self, model: Any, hwconf: Any, solver_options: Any = None, **options: Any) -> None:
        super().__init__(model, hwconf, solver_options, **options)
        self._graph = read_model_graph(model, check_design_name(model.config.get_project_name()))

    def get_input_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of the model's inputs."""
        return [port.shape for port in self._graph.input_ports]

    def apply_model(self, verbose: bool, inputs: tuple[Any, ...]) -> tuple[dict[str, Any], list[str]]:  # noqa: ARG002
        """Return node name → symbolic values, and the names of the outputs."""
        with exact_passes():
            ports = [
                np.vectorize(lambda signal, spec=node.result: convert(signal, spec), otypes=[object])(
                    np.asarray(signals)
                )
                for node, signals in zip(self._graph.inputs, inputs, strict=True)
            ]
            results = lower_nodes(self._graph, ports)
        return {
            name: FVArray(signals, self.solver_options, hwconf=self.hwconf) for name, signals in results.items()
        }, list(self._graph.outputs)
