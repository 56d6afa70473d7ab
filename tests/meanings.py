"""The contract of every quantised Keras model: all its meanings agree in every output code, for every event."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from keras_models import random_inputs
from reference import run_graph
from support import (
    need_packages,
    need_tools,
)

from l1dl.card import CosimCard
from l1dl.convert.convert import convert_model
from l1dl.cosim.cosim import cosimulate
from l1dl.cosim.stimuli import corner_codes
from l1dl.emulate.compare import exact_rows
from l1dl.emulate.compiled import CompiledEmulator
from l1dl.emulate.csim import Csim
from l1dl.emulate.engine import Emulator
from l1dl.emulate.keras_codes import keras_layers, keras_outputs
from l1dl.emulate.onnx.session import OnnxEmulator
from l1dl.emulate.xla import XlaEmulator
from l1dl.ports import decode_rows, split
from l1dl.rtl.lower import lower
from l1dl.rtl.project import build_rtl

EVENTS = 400


def make_case(make: Callable[[int], Any], seed: int, work: Path) -> tuple[Any, ...]:
    """Return a model, its conversion, its emulator, random inputs with the corners, and a directory."""
    for draw in range(seed, seed + 300, 100):
        model = make(draw)
        conversion = convert_model(model, work / "hls")
        emulator = Emulator(conversion.graph)
        ports = conversion.graph.input_ports
        corners = split(decode_rows(corner_codes(ports), ports), ports)
        x = [
            np.concatenate([values, corner.astype(values.dtype)])
            for values, corner in zip(random_inputs(ports, EVENTS, draw), corners, strict=True)
        ]
        # A random network may answer all events alike: such a one shows little, and has no RTL.
        if len(np.unique(emulator.run(emulator.encode(x)), axis=0)) > 1:
            break
    return model, conversion, emulator, x, work


class KerasContract:
    """What every quantised Keras model must pass."""

    def test_outputs_are_not_constant(self, case):
        _, _, emulator, x, _ = case
        assert len(np.unique(emulator.run(emulator.encode(x)), axis=0)) > 1

    def test_keras_equals_emulator(self, case):
        model, conversion, emulator, x, _ = case
        np.testing.assert_array_equal(keras_outputs(model, x, conversion.graph), emulator.run(emulator.encode(x)))

    def test_every_keras_layer_equals_its_node(self, case):
        model, conversion, emulator, x, _ = case
        trace = emulator.trace(emulator.encode(x))
        layers = keras_layers(model, x, conversion.graph)
        for name, codes in layers.items():
            np.testing.assert_array_equal(codes, trace[name], err_msg=name)
        # Left out are inputs, parts of layers, and normalisations that count only behind their quantiser.
        left_out = {name for name in trace if name not in layers and "__" not in name}
        inputs = {port.name for port in conversion.graph.input_ports}
        assert left_out <= inputs | {"norm", "whole"}
        assert len(layers) >= 2

    def test_csim_equals_emulator(self, case):
        _, conversion, emulator, x, work = case
        codes, graph = emulator.encode(x), conversion.graph
        values = Csim(conversion.project, work / "csim", optimise=0).run(decode_rows(codes, graph.input_ports))
        np.testing.assert_array_equal(exact_rows(values, graph.output_ports), emulator.run(codes))

    def test_alir_equals_emulator(self, case):
        _, conversion, emulator, x, _ = case
        codes = emulator.encode(x)
        alir = lower(conversion.graph).predict(decode_rows(codes, conversion.graph.input_ports), n_threads=1)
        np.testing.assert_array_equal(alir, emulator.decode(emulator.run(codes)))

    def test_engines_equal_emulator(self, case):
        need_packages("onnxruntime")
        _, conversion, emulator, x, work = case
        graph, codes = conversion.graph, emulator.encode(x)
        compiled = CompiledEmulator(graph, work / "compiled", optimise=0)
        for engine in (compiled, XlaEmulator(graph, batch=256), OnnxEmulator(graph)):
            np.testing.assert_array_equal(engine.run(codes), emulator.run(codes), err_msg=type(engine).__name__)

    def test_emulator_equals_its_definition(self, case):
        _, conversion, emulator, x, _ = case
        codes = emulator.encode(x)[:8]
        slow, _ = run_graph(conversion.graph, codes)
        for name, values in emulator.trace(codes).items():
            np.testing.assert_array_equal(values, slow[name], err_msg=name)


class VerilogContract(KerasContract):
    """The same, and the Verilog cycle by cycle."""

    def test_verilog_equals_emulator(self, case):
        need_tools("verilator")
        _, conversion, emulator, x, work = case
        report, _ = cosimulate(
            conversion.graph,
            build_rtl(conversion.graph),
            emulator.encode(x),
            work / "cosim",
            settings=CosimCard(random_vectors=2000),
            self_test=False,
        )
        assert report.agreement.mismatches == 0
        assert report.initiation_interval == 1
