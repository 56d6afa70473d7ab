"""A back end of hls4ml, called ``L1DL``: compile, predict, trace and build run the RTL.

hls4ml finds it through the entry point group ``hls4ml.backends``::

    model = hls4ml.converters.convert_from_keras_model(keras_model, backend="L1DL", hls_config=config)
    model.compile()          # Verilog, and its simulation by Verilator
    model.predict(x)         # an event enters the RTL in each clock cycle
    model.trace(x)           # the same, with every layer led out
    model.build()            # co-simulation and synthesis by Yosys
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np

from l1dl.errors import UnsupportedError
from l1dl.ports import join, split

NAME = "L1DL"


def register(register_backend: Callable[..., Any], register_writer: Callable[..., Any]) -> None:
    """Register the back end; hls4ml calls this when it is imported."""
    from hls4ml.writer.vitis_writer import VitisWriter

    register_writer(NAME, VitisWriter)  # asked for by name when a back end is made; `write` below is what writes
    register_backend(NAME, _backend_class())


def _backend_class() -> type:
    """Return the class; it is made here since its base may only be imported once hls4ml is."""
    from hls4ml.backends.vitis.vitis_backend import VitisBackend
    from hls4ml.backends.vivado.vivado_backend import VivadoBackend
    from hls4ml.model.flow import register_flow
    from hls4ml.model.optimizer import ModelOptimizerPass

    class L1dlBackend(VitisBackend):  # type: ignore[misc]
        """Types and optimiser passes are those of Vitis; what runs is l1dl's RTL."""

        def __init__(self) -> None:
            super(VivadoBackend, self).__init__(name=NAME)
            self._register_layer_attributes()
            self._register_flows()

        def _register_flows(self) -> None:
            self.register_pass("bind_rtl", ModelOptimizerPass("bind_rtl", bind_trace))
            self._default_flow = register_flow("ip", ["l1dl:bind_rtl"], requires=["vitis:ip"], backend=self.name)
            self._writer_flow = self._default_flow

        def create_initial_config(self, io_type: str = "io_parallel", **options: Any) -> dict[str, Any]:
            if io_type not in (None, "io_parallel"):
                msg = f"io_type {io_type!r} is not supported by the back end {NAME}; use io_parallel"
                raise UnsupportedError(msg)
            config: dict[str, Any] = super().create_initial_config(io_type=io_type, **options)
            return config

        def write(self, model: Any) -> None:
            write(model)

        def compile(self, model: Any) -> str:
            return compile_model(model)

        def predict(self, model: Any, x: Any) -> Any:
            return predict(model, x)

        def build(self, model: Any, **options: Any) -> dict[str, Any]:
            return build(model, **options)

    return L1dlBackend


def bind_trace(model: Any) -> bool:
    """Let a model's `trace` run the RTL: hls4ml asks no back end for it."""
    model.trace = MethodType(trace, model)
    return False


def firmware(model: Any) -> Any:
    """Return the RTL of an hls4ml model, built once."""
    from l1dl.plugins.firmware import Firmware

    if not isinstance(getattr(model, "l1dl", None), Firmware):
        model.l1dl = Firmware(model)
    return model.l1dl


def write(model: Any) -> None:
    """Write the RTL project into the model's output directory."""
    from l1dl.artifacts import write_files
    from l1dl.rtl.project import project_files

    rtl = firmware(model)
    write_files(rtl.directory / "rtl", project_files(rtl.design))


def compile_model(model: Any) -> str:
    """Write the RTL and build its simulation; return the path of the library."""
    rtl = firmware(model)
    return str(rtl.simulation(rtl.design).library)


def predict(model: Any, x: Any) -> Any:
    """Return the outputs of the RTL in the form of hls4ml: (events, values), a list of them for several outputs."""
    rtl = firmware(model)
    return _as_hls4ml(rtl, rtl.run(x), x)


def trace(model: Any, x: Any) -> tuple[Any, dict[str, Any]]:
    """Return the outputs of the RTL, and the values of every layer by name."""
    rtl = firmware(model)
    layers = rtl.trace(x)
    outputs = join([layers[name] for name in rtl.graph.outputs])
    return _as_hls4ml(rtl, outputs, x), {name: values.astype(_dtype(x)) for name, values in layers.items()}


def build(model: Any, *, cosim: bool = True, synth: bool = True, **options: Any) -> dict[str, Any]:
    """Prove and synthesise the RTL.

    Parameters
    ----------
    cosim
        Compare the RTL with the emulator, and measure latency and initiation interval.
    synth
        Synthesise with Yosys.
    options
        hls4ml's other options; one that is set has no meaning here and is refused.

    Returns
    -------
    Report with hls4ml's key names, and the key ``Origin`` that says where the figures come from.

    Raises
    ------
    UnsupportedError
        An option is set that this back end does not have.
    MismatchError
        The RTL differs from the emulator.
    """
    known = ("reset", "csim", "validation", "export", "vsynth", "fifo_opt", "log_to_stdout")
    wrong = [name for name, value in options.items() if name not in known or (value and name not in known[:2])]
    wrong = [name for name in wrong if name != "log_to_stdout"]
    if wrong:
        msg = f"build option {wrong[0]!r} is not supported by the back end {NAME}; it has cosim and synth"
        raise UnsupportedError(msg)
    rtl = firmware(model)
    write(model)
    design, report, origin = rtl.design, {}, {}
    period = design.clock_period_ns
    if cosim:
        proof = rtl.prove()
        report["CosimReport"] = {
            "RTL": "Verilog",
            "Status": "Pass",
            **{f"Latency{end}": proof.latency_cycles for end in ("Min", "Max", "Avg")},
            **{f"Interval{end}": proof.initiation_interval for end in ("Min", "Max", "Avg")},
        }
        origin["CosimReport"] = f"simulated ({proof.agreement.events} events, 0 mismatches with the emulator)"
    if synth:
        resources = rtl.synthesise()
        report["CSynthesisReport"] = {
            "TargetClockPeriod": f"{period:g}",
            "EstimatedClockPeriod": f"{max(design.stage_delay_ns):.3f}",
            "BestLatency": str(design.latency_cycles),
            "WorstLatency": str(design.latency_cycles),
            "IntervalMin": "1",
            "IntervalMax": "1",
            **{
                key: None if value is None else str(value)
                for key, value in (
                    ("LUT", resources.lut),
                    ("FF", resources.ff),
                    ("DSP", resources.dsp),
                    ("BRAM_18K", resources.bram),
                )
            },
        }
        origin["CSynthesisReport"] = f"resources {resources.origin}; clock {design.estimate.origin}"
    return {**report, "Origin": origin}


def _dtype(x: Any) -> Any:
    first = np.asarray(x[0] if isinstance(x, (list, tuple)) else x)
    return np.float32 if first.dtype == np.float32 else np.float64


def _as_hls4ml(rtl: Any, rows: Any, x: Any) -> Any:
    """Return rows as hls4ml returns them: an event alone loses its axis, several outputs make a list."""
    parts = [part.reshape(len(rows), -1).astype(_dtype(x)) for part in split(rows, rtl.graph.output_ports)]
    parts = [part[0] if len(part) == 1 else part for part in parts]
    return parts[0] if len(parts) == 1 else parts
