"""The content of ``report.json``, from the results of the earlier stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from l1dl.emulate.bounds import Proof, prove_exactness
from l1dl.emulate.compare import Agreement
from l1dl.emulate.profile import QUANTILES, LayerProfile
from l1dl.errors import InputError, did_you_mean
from l1dl.graph import FixedGraph
from l1dl.nodes import Affine, Dense, Node
from l1dl.report import vendor
from l1dl.report.costs import costs_section
from l1dl.report.inputs import LayerAgreement, ReportInputs
from l1dl.report.judge import budget_section, verdict_section
from l1dl.report.physics import evaluate, physics_section

SCHEMA = "l1dl-report/1"
"""Name and version of the schema; the version rises when a key changes its meaning or vanishes."""

AGREEMENTS = ("keras_csim", "csim_emulator", "emulator_rtl")
"""The comparisons that make a model bit-exact from end to end."""

LOGITS = "keras_emulator"
"""The comparison in place of the first one where a softmax was kept: Keras is compared on what the softmax reads."""

LATENCY_ORIGIN = "simulated (RTL, Verilator)"


def build_report(inputs: ReportInputs) -> dict[str, Any]:
    """Return the content of ``report.json``.

    The result depends on `inputs` alone and holds nothing but JSON types; a figure that is missing is None, with
    the reason beside it.

    Raises
    ------
    InputError
        The results contradict each other: shapes, labels, or names that do not belong together.
    """
    missing: dict[str, str] = {}
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "model": _model(inputs.graph),
        "verdict": {},
        "agreement": _agreement(inputs),
        "layers": _layers(inputs),
        "physics": None if inputs.physics is None else physics_section(evaluate(inputs.physics)),
        "float_loss": [vars(loss) for loss in inputs.float_loss],
        "softmax": [vars(softmax) for softmax in inputs.softmax],
        "latency": _latency(inputs),
        "resources": inputs.resources.to_json(),
        "costs": costs_section(inputs),
        "timing": _timing(inputs),
        "architectures": [vars(architecture) for architecture in inputs.architectures],
        "vendor": [vendor.to_json(result, inputs.resources) for result in inputs.builds],
        "clocks": [{**vars(point), "slack_ns": point.slack_ns} for point in inputs.clocks],
        "placement": None if inputs.placement is None else asdict(inputs.placement),
        "upsets": None if inputs.upsets is None else asdict(inputs.upsets),
        "cosim": _cosim(inputs),
        "profiles": [_profile(profile) for profile in inputs.profiles],
        "training": dict(inputs.training),
        "history": {name: dict(curves) for name, curves in inputs.history.items()},
        "notes": list(inputs.notes),
        "timings_s": dict(inputs.timings_s),
        "versions": dict(inputs.versions),
        "digests": dict(inputs.digests),
        "commands": list(inputs.commands),
    }
    report["budget"] = budget_section(inputs.budget, report)
    report["verdict"] = verdict_section(report)
    cleaned: dict[str, Any] = to_json(report, missing)
    cleaned["missing"] = missing
    return cleaned


def to_json(value: Any, missing: dict[str, str], path: str = "") -> Any:
    """Return `value` in JSON types; NaN and infinity become None, and `missing` says where and why.

    Raises
    ------
    InputError
        A value of a type that JSON does not know.
    """
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        missing[path] = f"not a finite number ({value})"
        return None
    if isinstance(value, Mapping):
        return {str(key): to_json(item, missing, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item, missing, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    msg = f"report: {path} is a {type(value).__name__}, which has no JSON form; give numbers, text, lists or mappings"
    raise InputError(msg)


def _model(graph: FixedGraph) -> dict[str, Any]:
    constants = [node.weight for node in graph.nodes if isinstance(node, Dense)]
    constants += [node.bias for node in graph.nodes if isinstance(node, Dense)]
    constants += [array for node in graph.nodes if isinstance(node, Affine) for array in (node.scale, node.offset)]
    return {
        "name": graph.name,
        "digest": graph.digest,
        "producer": graph.producer,
        "inputs": [_port(node) for node in graph.inputs],
        "outputs": [_port(graph[name]) for name in graph.outputs],
        "nodes": len(graph.nodes),
        "parameters": sum(array.size for array in constants),
        "nonzero_parameters": sum(int(np.count_nonzero(array)) for array in constants),
    }


def _port(node: Node) -> dict[str, Any]:
    return {"name": node.name, "shape": list(node.shape), "spec": str(node.result)}


def _agreement(inputs: ReportInputs) -> dict[str, Any]:
    names = (LOGITS, *AGREEMENTS[1:]) if inputs.softmax else AGREEMENTS
    found: dict[str, Agreement] = {}
    for agreement in (*inputs.agreements, inputs.cosim.agreement):
        name = agreement.name
        if name not in names:
            msg = f"comparison {name!r} is not known; allowed are {', '.join(names)}{did_you_mean(name, names)}"
            raise InputError(msg)
        if found.setdefault(name, agreement) != agreement:
            msg = (
                f"comparison {name!r} was given twice with different results: {found[name].mismatches} mismatches in "
                f"{found[name].events} events, and {agreement.mismatches} in {agreement.events}"
            )
            raise InputError(msg)
    absent: dict[str, Any] = {"events": 0, "mismatches": None, "first": [], "reason": "these two were not compared"}
    return {name: {**found[name].to_json(), "reason": None} if name in found else absent for name in names}


def _layers(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Return all nodes in the order of the graph, with what is known of each."""
    compared = {layer.name: layer for layer in inputs.layers}
    profiles = {profile.name: profile for profile in inputs.profiles}
    names = [node.name for node in inputs.graph.nodes]
    strangers = [name for name in compared if name not in names]
    if strangers:
        msg = f"layer {strangers[0]!r} was compared but is not in the graph{did_you_mean(strangers[0], names)}"
        raise InputError(msg)
    proofs = prove_exactness(inputs.graph)
    return [
        _layer(node, compared.get(node.name), profiles.get(node.name), proofs[node.name]) for node in inputs.graph.nodes
    ]


def _layer(node: Node, compared: LayerAgreement | None, profile: LayerProfile | None, proof: Proof) -> dict[str, Any]:
    return {
        "name": node.name,
        "kind": node.kind,
        "shape": list(node.shape),
        "spec": str(node.result) if compared is None else compared.spec,
        "events": 0 if compared is None else compared.events,
        "mismatches": None if compared is None else compared.mismatches,
        "reason": "no Keras layer of this name was compared" if compared is None else None,
        "values": None if profile is None else profile.values,
        "wraps": None if profile is None else profile.wraps,
        "saturations": None if profile is None else profile.saturations,
        "exactness": vars(proof),
    }


def _latency(inputs: ReportInputs) -> dict[str, Any]:
    return {
        "cycles": inputs.cosim.latency_cycles,
        "ns": round(inputs.cosim.latency_cycles * inputs.clock_period_ns, 9),
        "clock_period_ns": inputs.clock_period_ns,
        "initiation_interval": inputs.cosim.initiation_interval,
        "origin": LATENCY_ORIGIN,
    }


def _timing(inputs: ReportInputs) -> dict[str, Any]:
    """Return the slowest stage against the clock period, for designs with all logic in stages between registers."""
    slowest, reason = inputs.resources.slowest, None
    if inputs.cosim.stream is not None:
        reason = "the logic of queues, windows and multipliers, outside of the stages, is not estimated"
    elif slowest is None:
        reason = inputs.resources.reason or "a stage has cells whose delay is not known"
    if reason is not None or slowest is None or slowest.delay_ns is None:
        return {"stage": None, "levels": None, "delay_ns": None, "slack_ns": None, "origin": "", "reason": reason}
    return {
        "stage": slowest.name,
        "levels": slowest.levels,
        "delay_ns": slowest.delay_ns,
        "slack_ns": inputs.clock_period_ns - slowest.delay_ns,
        "origin": inputs.resources.delay_origin,
        "reason": None,
    }


def _cosim(inputs: ReportInputs) -> dict[str, Any]:
    cosim = inputs.cosim
    test = cosim.self_test
    return {
        "vectors": dict(cosim.vectors),
        "cycles": cosim.cycles,
        "bubbles": cosim.bubbles,
        "resets": cosim.resets,
        "events_per_s": cosim.events_per_s,
        "build_s": cosim.build_s,
        "self_test": None
        if test is None
        else {"fault": test.fault, "events": test.events, "mismatches": test.mismatches, "seen": test.mismatches > 0},
        "stream": None
        if cosim.stream is None
        else {
            "frame_beats": cosim.stream.frame_beats,
            "stalled_frames": cosim.stream.stalled_frames,
            "queues": [vars(queue) for queue in cosim.stream.queues],
        },
        "vhdl": None
        if cosim.vhdl is None
        else {
            "checked": cosim.vhdl.agreement is not None,
            "events": None if cosim.vhdl.agreement is None else cosim.vhdl.agreement.events,
            "mismatches": None if cosim.vhdl.agreement is None else cosim.vhdl.agreement.mismatches,
            "simulator": cosim.vhdl.simulator,
            "reason": cosim.vhdl.reason,
        },
    }


def _profile(profile: LayerProfile) -> dict[str, Any]:
    fields = dict(vars(profile))
    fields["quantiles"] = {
        f"{probability:g}": value for probability, value in zip(QUANTILES, profile.quantiles, strict=True)
    }
    return fields
