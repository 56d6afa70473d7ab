"""A FixedGraph as an ONNX model of standard operators, bit-exact in onnxruntime on CPUs.

``export``       the model, port by port and node by node
``steps``        the operators of each kind of node
``sums``         those of nodes that add up many values
``conversions``  rounding and overflow, and the quantisation of the inputs
``whole``        arithmetic on int64 codes
``gather``       values in another order
``builder``      operators, constants and tensors under construction
``model``        the file; the only module that imports `onnx`
"""

from __future__ import annotations

from l1dl.emulate.onnx.export import Real, export_onnx

__all__ = ["Real", "export_onnx"]
