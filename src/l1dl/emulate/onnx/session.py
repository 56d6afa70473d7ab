"""The exported network in onnxruntime, on CPUs."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from l1dl.emulate.compare import exact_rows
from l1dl.emulate.engine import BLOCK, EmulatorBase
from l1dl.emulate.onnx.export import Real, build_model
from l1dl.errors import ToolMissingError
from l1dl.fixed import Codes, Values
from l1dl.graph import FixedGraph
from l1dl.ports import check_rows, count_values, decode_rows, split


class OnnxEmulator(EmulatorBase):
    """A FixedGraph as onnxruntime computes it, batch by batch.

    Parameters
    ----------
    graph
        A network with any number of inputs and outputs.

    Raises
    ------
    UnsupportedError
        The graph has no exact ONNX model.
    ToolMissingError
        The package `onnx` or `onnxruntime` is not installed.
    """

    def __init__(self, graph: FixedGraph) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            msg = f"onnxruntime cannot be imported ({error}); install it: pip install 'l1dl[onnx]'"
            raise ToolMissingError(msg) from error
        self.graph = graph
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = os.cpu_count() or 1
        # Inputs that float32 cannot hold would else be rounded twice.
        content = build_model(graph, real=Real.FLOAT64)
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._names = [entry.name for entry in self._session.get_inputs()]

    def run(self, rows: Codes) -> Codes:
        """Return rows of output codes, shape (events, values of all outputs), for rows of input codes.

        Codes that no real value has, e.g. the lowest one of a symmetric type, count as the nearest that one has.

        Raises
        ------
        InputError
            The shape does not fit, or a code is outside its input type.
        """
        check_rows(rows, self.graph.input_ports)
        return exact_rows(self.predict(decode_rows(rows, self.graph.input_ports)), self.graph.output_ports)

    def predict(self, values: npt.NDArray[np.floating]) -> Values:
        """Return rows of real outputs for rows of real inputs, which the model quantises.

        Raises
        ------
        InputError
            The shape does not fit, or a value is NaN or infinite.
        """
        self.check_shape(values)
        self.check_finite(values)
        results = np.empty((len(values), count_values(self.graph.output_ports)))
        for start in range(0, len(values), BLOCK):
            parts = split(values[start : start + BLOCK].astype(np.float64), self.graph.input_ports)
            feed = dict(zip(self._names, parts, strict=True))
            found = [np.reshape(each, (len(each), -1)) for each in self._session.run(None, feed)]
            results[start : start + BLOCK] = np.concatenate(found, axis=1)
        return results
