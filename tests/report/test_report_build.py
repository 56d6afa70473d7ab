"""The content of report.json."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from l1dl.card import BudgetCard
from l1dl.cosim.result import SelfTest, StreamCheck
from l1dl.emulate.compare import Agreement, Difference
from l1dl.errors import InputError
from l1dl.report import LayerAgreement, Physics, ReportInputs, build_report, render_html, summary_rows
from l1dl.report.build import to_json
from l1dl.report.costs import HEADERS, cost_rows
from l1dl.rtl.estimate import LayerEstimate

Maker = Callable[..., ReportInputs]

KEYS = {
    "schema", "model", "agreement", "layers", "physics", "latency", "resources", "timing", "budget", "verdict", "cosim",
    "profiles", "training", "history", "notes", "float_loss", "softmax", "architectures", "clocks", "vendor", "upsets",
    "placement", "costs",
    "timings_s", "versions", "digests", "commands", "missing",
}  # fmt: skip


def entry(report: dict, name: str) -> dict:
    return next(limit for limit in report["budget"] if limit["name"] == name)


def test_schema(inputs: ReportInputs) -> None:
    report = build_report(inputs)
    assert report["schema"] == "l1dl-report/1"
    assert set(report) == KEYS
    assert report["model"]["digest"] == inputs.graph.digest
    assert report["model"]["inputs"] == [{"name": "features", "shape": [16], "spec": "fixed<16,12,RND,SAT>"}]
    assert report["model"]["nodes"] == len(report["layers"]) == 9
    assert set(report["agreement"]) == {"keras_csim", "csim_emulator", "emulator_rtl"}
    assert report["latency"] == {
        "cycles": 11,
        "ns": 55.0,
        "clock_period_ns": 5.0,
        "initiation_interval": 1,
        "origin": "simulated (RTL, Verilator)",
    }
    assert report["cosim"]["self_test"]["seen"] is True
    assert report["verdict"] == {
        "bit_exact": True,
        "first_differing_layer": None,
        "budget": "met",
        "good": True,
        "reasons": [],
    }


def test_the_slowest_stage_stands_against_the_clock(inputs: ReportInputs) -> None:
    timing, stages = build_report(inputs)["timing"], inputs.resources.stages
    slowest = stages[-1]
    assert slowest.delay_ns is not None
    assert (timing["stage"], timing["levels"], timing["delay_ns"]) == (slowest.name, 7, slowest.delay_ns)
    assert timing["slack_ns"] == pytest.approx(5.0 - slowest.delay_ns)
    assert (timing["origin"], timing["reason"]) == ("estimated (by hand)", None)
    # With one stage unknown, the slowest one is not known.
    unknown = (dataclasses.replace(stages[0], delay_ns=None), *stages[1:])
    resources = dataclasses.replace(inputs.resources, stages=unknown)
    found = build_report(dataclasses.replace(inputs, resources=resources))["timing"]
    assert (found["stage"], found["delay_ns"], found["slack_ns"]) == (None, None, None)
    assert found["reason"] == "a stage has cells whose delay is not known"
    # Much logic of a streaming design is outside of the stages.
    cosim = dataclasses.replace(inputs.cosim, stream=StreamCheck(256, 20, ()))
    found = build_report(dataclasses.replace(inputs, cosim=cosim))["timing"]
    assert (found["stage"], found["delay_ns"]) == (None, None)
    assert found["reason"].startswith("the logic of queues, windows and multipliers")


def test_the_layers_and_the_rest_add_up_to_the_estimate(inputs: ReportInputs) -> None:
    report = build_report(inputs)
    costs = report["costs"]
    assert costs["reason"] == "there is no estimate by layer"
    assert costs["across_layers_lut"] is None
    assert [layer["name"] for layer in costs["layers"]] == [node.name for node in inputs.graph.nodes[1:]]
    assert costs["ebops"] == sum(layer["ebops"] for layer in costs["layers"]) > 10_000
    assert inputs.resources.estimate is not None
    parts = tuple(LayerEstimate(node.name, 1000.0) for node in inputs.graph.nodes[1:])
    estimate = dataclasses.replace(inputs.resources.estimate, layers=parts)
    resources = dataclasses.replace(inputs.resources, estimate=estimate)
    costs = build_report(dataclasses.replace(inputs, resources=resources))["costs"]
    assert (costs["lut"], costs["across_layers_lut"]) == (9120.4, pytest.approx(1120.4))
    assert (costs["origin"], costs["reason"]) == (estimate.origin, None)
    expected = to_json(resources.to_json()["estimate"]["expected"], {})
    assert expected["lut"]["low"] < expected["lut"]["value"] < expected["lut"]["high"]
    assert expected["lut"]["networks"] >= 30
    rows = cost_rows(costs)
    assert {len(row) for row in rows} == {len(HEADERS)}
    assert rows[-2][:3] == (
        "optimised across layers",
        "1\N{NARROW NO-BREAK SPACE}120",
        "12.3\N{NARROW NO-BREAK SPACE}%",
    )
    assert rows[-1][0] == "all"
    page = render_html(build_report(dataclasses.replace(inputs, resources=resources)), {})
    assert "optimised across layers" in page
    assert "random networks" in page
    shown = dict(summary_rows(build_report(dataclasses.replace(inputs, resources=resources))))
    assert "random networks" in shown["before synthesis"]
    assert "before synthesis" not in dict(summary_rows(report))


def test_documentation_names_every_key(inputs: ReportInputs) -> None:
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    report = build_report(inputs)
    sections = ("model", "agreement", "costs", "latency", "resources", "timing", "verdict", "cosim", "physics")
    keys = {*report, *(key for section in sections for key in report[section])}
    keys |= {key for section in ("layers", "profiles", "budget") for key in report[section][0]}
    keys |= set(report["costs"]["layers"][0])
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


def test_json_is_strict_and_deterministic(make_inputs: Maker) -> None:
    first, second = (json.dumps(build_report(make_inputs()), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first) == build_report(make_inputs())


def test_numbers_that_are_not_finite_are_null_with_a_reason(make_inputs: Maker) -> None:
    training = {"loss": np.float32("nan"), "seeds": np.arange(2), "where": Path("runs"), "rates": [1.0, float("inf")]}
    report = build_report(make_inputs(training=training))
    assert report["training"] == {"loss": None, "seeds": [0, 1], "where": "runs", "rates": [1.0, None]}
    assert report["missing"] == {
        "training.loss": "not a finite number (nan)",
        "training.rates[1]": "not a finite number (inf)",
    }
    json.dumps(report, allow_nan=False)


def test_a_value_without_json_form_is_refused(make_inputs: Maker) -> None:
    with pytest.raises(InputError, match=r"training\.model is a object, which has no JSON form"):
        build_report(make_inputs(training={"model": object()}))


def test_mismatches_break_the_verdict(make_inputs: Maker) -> None:
    first = (Difference(17, 2, -311, -310),)
    inputs = make_inputs(agreements=(Agreement("keras_csim", 100, 3, first), Agreement("csim_emulator", 100, 0)))
    report = build_report(inputs)
    assert report["agreement"]["keras_csim"]["first"] == [{"event": 17, "output": 2, "left": -311, "right": -310}]
    assert report["verdict"]["bit_exact"] is False
    assert report["verdict"]["good"] is False
    assert report["verdict"]["reasons"] == ["Keras and C simulation disagree in 3 output codes of 100 events"]
    assert ("bit-exact", "NO") in summary_rows(report)


def test_a_comparison_that_was_not_made_is_not_bit_exact(make_inputs: Maker) -> None:
    report = build_report(make_inputs(agreements=(Agreement("keras_csim", 100, 0),)))
    assert report["agreement"]["csim_emulator"]["mismatches"] is None
    assert report["verdict"]["bit_exact"] is False
    assert report["verdict"]["reasons"] == ["C simulation and emulator were not compared"]
    assert any(value.startswith("not compared") for _, value in summary_rows(report))


def test_the_first_differing_layer_is_the_first_of_the_graph(make_inputs: Maker) -> None:
    layers = tuple(LayerAgreement(name, "dense", "fixed<8,2>", 10, 1) for name in ("logits", "fc2"))
    report = build_report(make_inputs(layers=layers))
    assert report["verdict"]["first_differing_layer"] == "fc2"
    assert report["verdict"]["bit_exact"] is False
    by_name = {layer["name"]: layer for layer in report["layers"]}
    assert by_name["relu2"]["saturations"] == 41
    assert by_name["relu2"]["mismatches"] is None
    assert by_name["relu2"]["reason"] == "no Keras layer of this name was compared"


def test_contradictions_are_refused(make_inputs: Maker) -> None:
    with pytest.raises(InputError, match=r"'keras_csin' is not known.*did you mean 'keras_csim'"):
        build_report(make_inputs(agreements=(Agreement("keras_csin", 1, 0),)))
    with pytest.raises(InputError, match="'emulator_rtl' was given twice with different results"):
        build_report(make_inputs(agreements=(Agreement("emulator_rtl", 1, 1),)))
    with pytest.raises(InputError, match="layer 'fc9' was compared but is not in the graph"):
        build_report(make_inputs(layers=(LayerAgreement("fc9", "dense", "", 1, 0),)))


@pytest.mark.parametrize("seen", [True, False])
def test_a_blind_co_simulation_is_not_good(make_inputs: Maker, seen: bool) -> None:
    cosim = dataclasses.replace(make_inputs().cosim, self_test=SelfTest("a stuck bit", 50, 9 if seen else 0))
    verdict = build_report(make_inputs(cosim=cosim))["verdict"]
    assert verdict["good"] is seen
    assert any("did not see the fault" in reason for reason in verdict["reasons"]) is not seen


def test_budget_met_at_the_limit_and_broken_above(make_inputs: Maker) -> None:
    report = build_report(make_inputs(budget=BudgetCard(max_latency_ns=55.0, max_lut=7669)))
    assert entry(report, "max_latency_ns")["verdict"] == "met"
    assert entry(report, "max_lut")["verdict"] == "broken"
    assert entry(report, "max_lut")["reason"] == "7670 LUT exceeds 7669 LUT"
    assert [limit["name"] for limit in report["budget"]] == ["max_latency_ns", "max_lut"]
    assert report["verdict"]["budget"] == "broken"
    assert report["verdict"]["bit_exact"] is True
    assert report["verdict"]["good"] is False


def test_budget_unknown_without_the_figure(make_inputs: Maker) -> None:
    resources = dataclasses.replace(make_inputs().resources, lut=None, reason="yosys was stopped after 600 s")
    report = build_report(make_inputs(resources=resources, physics=None))
    assert report["physics"] is None
    assert entry(report, "max_lut")["verdict"] == "unknown"
    assert "yosys was stopped after 600 s" in entry(report, "max_lut")["reason"]
    assert "no labelled data were given" in entry(report, "max_auc_loss")["reason"]
    assert report["verdict"]["budget"] == "unknown"
    assert report["verdict"]["good"] is False


def test_no_budget(make_inputs: Maker) -> None:
    report = build_report(make_inputs(budget=BudgetCard()))
    assert report["budget"] == []
    assert report["verdict"]["budget"] == "none"
    assert report["verdict"]["good"] is True


def test_physics_against_scikit_learn(inputs: ReportInputs) -> None:
    assert inputs.physics is not None
    section = build_report(inputs)["physics"]
    logits, labels = inputs.physics.scores["rtl"], inputs.physics.labels
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for index, name in enumerate(inputs.physics.classes):
        expected = roc_auc_score(labels == index, probabilities[:, index])
        assert section["rtl"]["auc"][name] == pytest.approx(expected, abs=1e-12)
    macro = roc_auc_score(labels, probabilities, multi_class="ovr")
    assert section["rtl"]["auc"]["macro"] == pytest.approx(macro, abs=1e-12)
    assert section["rtl"]["accuracy"] == np.mean(logits.argmax(axis=1) == labels)
    assert section["argmax_agreement"] == 1.0
    assert np.sum(section["confusion_rtl"]["counts"]) == section["events"] == 4000
    loss = section["float"]["auc"]["macro"] - section["rtl"]["auc"]["macro"]
    assert section["auc_loss"]["value"]["macro"] == pytest.approx(loss)
    assert 0 < section["auc_loss"]["error"]["macro"] < section["rtl"]["auc_error"]["macro"]
    assert 0 < section["working_points"][0]["background_efficiency"]["float"] <= 0.01


def test_ties_and_argmax_agreement(make_inputs: Maker) -> None:
    quantised = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    rtl = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    physics = Physics(("a", "b"), np.array([0, 1, 0, 1]), {"quantised": quantised, "rtl": rtl})
    section = build_report(make_inputs(physics=physics, budget=BudgetCard()))["physics"]
    assert section["ties_rtl"] == 0.25
    assert section["argmax_agreement"] == 0.75
    assert section["rtl"]["auc"]["a"] == 1.0
    assert section["auc_loss"]["reason"] == "there are no scores of the float model"


def test_a_class_without_events_has_no_auc(make_inputs: Maker) -> None:
    full = make_inputs().physics
    keep = full.labels != 3
    physics = Physics(full.classes, full.labels[keep], {name: score[keep] for name, score in full.scores.items()})
    report = build_report(make_inputs(physics=physics))
    section = report["physics"]["rtl"]
    assert section["auc"]["Z"] is None
    assert section["auc"]["macro"] is None
    assert section["auc"]["g"] > 0.8
    assert "no event of Z" in section["reason"]
    assert entry(report, "max_auc_loss")["verdict"] == "unknown"


@pytest.mark.parametrize("classes", [("top",), ("qcd", "top")])
def test_binary_model_with_a_single_logit(make_inputs: Maker, classes: tuple[str, ...]) -> None:
    generator = np.random.default_rng(8)
    labels = generator.integers(0, 2, 500)
    logit = (labels * 2 - 1 + generator.normal(0, 1, 500))[:, None]
    physics = Physics(classes, labels, {"float": logit, "quantised": logit, "rtl": np.round(logit * 4) / 4})
    section = build_report(make_inputs(physics=physics))["physics"]
    assert section["classes"] == list(classes)
    assert section["float"]["auc"]["top"] == pytest.approx(roc_auc_score(labels, logit[:, 0]))
    assert section["float"]["auc"]["macro"] == pytest.approx(section["float"]["auc"]["top"])
    assert section["float"]["accuracy"] == np.mean((logit[:, 0] > 0) == labels)


def test_scores_that_are_not_finite_are_not_judged(make_inputs: Maker) -> None:
    full = make_inputs().physics
    broken = full.scores["float"].copy()
    broken[7, 1] = np.nan
    section = build_report(make_inputs(physics=Physics(full.classes, full.labels, {**full.scores, "float": broken})))
    assert section["physics"]["float"]["accuracy"] is None
    assert section["physics"]["float"]["reason"] == "1 scores are NaN or infinite"
    assert entry(section, "max_auc_loss")["verdict"] == "unknown"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": {"hardware": np.zeros((3, 2))}}, "scores of 'hardware' are not known"),
        ({"scores": {"rtl": np.zeros((3, 4))}}, r"have shape \(3, 4\); 3 labels and 2 classes need \(3, 2\)"),
        ({"labels": np.array([0, 1, 2])}, "labels run from 0 to 2; 2 classes need 0 to 1"),
        ({"classes": ("a", "macro")}, "none may be 'macro'"),
    ],
)
def test_bad_physics_is_refused(make_inputs: Maker, change: dict, message: str) -> None:
    physics = Physics(("a", "b"), np.array([0, 1, 1]), {"rtl": np.eye(3)[:, :2]})
    with pytest.raises(InputError, match=message):
        build_report(make_inputs(physics=dataclasses.replace(physics, **change)))
