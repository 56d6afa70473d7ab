"""l1dl: quantised networks for Level-1 triggers, from training to proved firmware.

The packages, in the order of the data:

``data``     jets and other labelled data → `Dataset`
``models``   model card → Keras model
``train``    card + data → trained float reference and quantised model
``convert``  quantised model → hls4ml project + `FixedGraph`, the one description all back ends read
``emulate``  the graph in exact NumPy, XLA and ONNX; the C++ of hls4ml; their comparison with Keras
``rtl``      the graph as pipelined Verilog
``cosim``    the Verilog in Verilator against the emulator, cycle by cycle
``formal``   proof of the handshakes of streaming Verilog
``synth``    LUT, FF, DSP and BRAM from Yosys
``vendor``   Vitis, Vivado and Quartus, where they are installed or on another machine
``ip``       the Verilog as an IP core: script for Vivado, test benches, vectors
``plugins``  l1dl as a back end of hls4ml and a tracer of alkaid
``report``   report.json and report.html
``flow``     the stages one after the other, resumable
``cli``      the command line

``fixed``, ``metrics``, ``nodes``, ``ports``, ``graph``, ``card``, ``artifacts``, ``tools``, ``reserved`` and ``errors``
serve them all.

The names below are the public API; each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_API = {
    "FixedGraph": "l1dl.graph",
    "FixedSpec": "l1dl.fixed",
    "L1dlError": "l1dl.errors",
    "build_rtl": "l1dl.rtl.project",
    "convert_model": "l1dl.convert.convert",
    "cosimulate": "l1dl.cosim.cosim",
    "deploy": "l1dl.flow.run",
    "Emulator": "l1dl.emulate.engine",
    "export_onnx": "l1dl.emulate.onnx",
    "generate_jets": "l1dl.data.generate",
    "load_card": "l1dl.card",
    "load_dataset": "l1dl.data.load",
    "load_graph": "l1dl.graph",
    "load_model": "l1dl.train.train",
    "run_card": "l1dl.flow.run",
    "save_graph": "l1dl.graph",
    "synthesise": "l1dl.synth.yosys",
    "train_model": "l1dl.train.train",
    "write_report": "l1dl.report.write",
}

__all__ = ["__version__", *sorted(_API)]  # noqa: PLE0604  names from a literal above


def __getattr__(name: str) -> Any:
    """Import a name of the public API."""
    if name not in _API:
        msg = f"module 'l1dl' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_API[name]), name)


def __dir__() -> list[str]:
    """Return the names of the public API."""
    return sorted([*globals(), *_API])
