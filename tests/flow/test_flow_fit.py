"""Limits, changes of a network, and what is said of them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import need_packages, random_codes, random_rows

from l1dl.card import BudgetCard, ModelCard, RtlCard, load_card
from l1dl.emulate.engine import Emulator
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, Overflow, Rounding
from l1dl.flow.fit.limits import Limits, parse_count, parse_time_ns
from l1dl.flow.fit.measures import all_measures
from l1dl.flow.fit.plan import Change, Plan, changed, layers_of
from l1dl.flow.fit.result import Figure, Figures
from l1dl.flow.fit.settings import settings_of, weighted_layers
from l1dl.flow.fit.study import auc_loss, fit
from l1dl.flow.fit.subject import Subject, TestEvents, _card_of, find_subject
from l1dl.graph import FixedGraph
from l1dl.nodes import Activation, Dense, Function, Input, Node
from l1dl.ports import decode_rows
from l1dl.rtl.project import build_rtl

MODELS = Path(__file__).parents[2] / "models"

X = FixedSpec(True, 8, 3, Rounding.RND_CONV, Overflow.SAT)
WEIGHT = FixedSpec(True, 6, 1)
WIDE = FixedSpec(True, 24, 12)
RELU = FixedSpec(False, 6, 3, Rounding.RND_CONV, Overflow.SAT)


def mlp(*units: int, seed: int = 1) -> FixedGraph:
    """Return a network with the names that a card gives."""
    rng = np.random.default_rng(seed)
    nodes: list[Node] = [Input("x", (), (units[0],), X)]
    for index, (before, after) in enumerate(itertools.pairwise(units)):
        last = index == len(units) - 2
        name = "logits" if last else f"dense_{index}"
        weight, bias = random_codes(rng, WEIGHT, (before, after)), random_codes(rng, WEIGHT, (after,))
        nodes.append(Dense(name, (nodes[-1].name,), (after,), WIDE, weight, WEIGHT, bias, WEIGHT, WIDE))
        if not last:
            nodes.append(Activation(f"relu_{index}", (name,), (after,), RELU, Function.RELU))
    return FixedGraph("net", tuple(nodes), ("logits",), "test 1")


def one(layer: str, **change: object) -> Plan:
    return Plan(((layer, Change(**change)),))  # type: ignore[arg-type]


# --- texts


@pytest.mark.parametrize(
    ("text", "ns"), [("100ns", 100), ("0.1us", 100), ("0.1 µs", 100), ("250", 250), ("1e3ps", 1), (" 7.5 ns ", 7.5)]
)
def test_times(text: str, ns: float) -> None:
    assert parse_time_ns(text, "--max-latency") == pytest.approx(ns)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("100 s", ["the unit 's'", "100ns", "0.1us"]),
        ("100nss", ["'nss'", "did you mean 'ns'?"]),
        ("fast", ["no number", "100ns"]),
        ("", ["no number"]),
        ("-5ns", ["above 0"]),
        ("0", ["above 0"]),
        ("1e999", ["above 0"]),
        ("nan", ["no number"]),
        ("5 ns 3", ["no number"]),
    ],
)
def test_bad_times_say_what_is_allowed(text: str, words: list[str]) -> None:
    with pytest.raises(InputError, match="--max-latency") as caught:
        parse_time_ns(text, "--max-latency")
    assert all(word in str(caught.value) for word in words), caught.value


def test_counts() -> None:
    assert [parse_count(text, "--max-lut") for text in ("20000", "20_000", "20k", "1.5k", "2M")] == [
        20000, 20000, 20000, 1500, 2000000,
    ]  # fmt: skip
    for text, word in (("20.5", "no whole number"), ("20 LUT", "'LUT'"), ("-1", "above 0")):
        with pytest.raises(InputError, match=word):
            parse_count(text, "--max-lut")


def test_limits_that_are_not_given_are_those_of_the_card() -> None:
    card = BudgetCard(max_auc_loss=0.01, max_latency_ns=100.0, max_lut=50_000)
    assert Limits(lut=10, ff=7).or_those_of(card) == Limits(100.0, 10, 7, 0.01)
    assert Limits().or_those_of(BudgetCard()) == Limits()


# --- changes of a network


def test_fewer_bits_are_those_of_a_coarser_type() -> None:
    graph = mlp(5, 6, 3)
    less = changed(graph, one("dense_0", weight_bits=2, activation_bits=1))
    before, after = graph["dense_0"], less["dense_0"]
    assert isinstance(before, Dense)
    assert isinstance(after, Dense)
    assert (after.weight_spec.width, after.weight_spec.integer) == (4, 1)
    error = after.weight * after.weight_spec.step - before.weight * before.weight_spec.step
    largest = after.weight_spec.maximum_code
    assert np.abs(error[after.weight < largest]).max() <= after.weight_spec.step / 2
    assert (less["relu_0"].result.width, less["relu_0"].result.integer) == (5, 3)
    assert less["logits"] is not graph["dense_0"]
    np.testing.assert_array_equal(less["logits"].weight, graph["logits"].weight)  # type: ignore[attr-defined]


def test_the_smallest_weights_go() -> None:
    graph = mlp(8, 10, 3)
    before, after = (each["dense_0"].weight for each in (graph, changed(graph, one("dense_0", sparsity=0.25))))  # type: ignore[attr-defined]
    assert np.count_nonzero(after == 0) == 20
    assert np.abs(before[after == 0]).max() <= np.abs(after[after != 0]).min()


def test_units_that_go_cost_nothing() -> None:
    graph = mlp(8, 10, 3)
    fewer = changed(graph, one("dense_0", units=6))
    first, last = fewer["dense_0"], fewer["logits"]
    assert isinstance(first, Dense)
    assert isinstance(last, Dense)
    alive = np.abs(first.weight).sum(axis=0) > 0
    assert np.count_nonzero(alive) == 6
    # The network without those units, written anew.
    nodes = list(graph.nodes)
    nodes[1] = dataclasses.replace(first, shape=(6,), weight=first.weight[:, alive], bias=first.bias[alive])
    nodes[2] = dataclasses.replace(nodes[2], shape=(6,))
    nodes[3] = dataclasses.replace(last, weight=last.weight[alive])
    small = dataclasses.replace(graph, nodes=tuple(nodes))
    rows = random_rows(np.random.default_rng(1), graph.input_ports, 200)
    np.testing.assert_array_equal(Emulator(fewer).run(rows), Emulator(small).run(rows))
    need_packages("alkaid")
    assert build_rtl(fewer).estimate.lut == pytest.approx(build_rtl(small).estimate.lut, rel=0.01)


def test_a_layer_that_is_taken_out_is_gone() -> None:
    graph = mlp(12, 6, 4, 3)
    found = changed(graph, one("dense_0", removed=True))
    assert [node.name for node in found.nodes] == ["x", "dense_1", "relu_1", "logits"]
    behind = found["dense_1"]
    assert isinstance(behind, Dense)
    assert behind.weight.shape == (12, 4)
    assert set(np.unique(behind.weight)) <= set(np.unique(graph["dense_1"].weight))  # type: ignore[attr-defined]
    both = changed(graph, Plan((("dense_0", Change(removed=True)), ("dense_1", Change(removed=True)))))
    assert [node.name for node in both.nodes] == ["x", "logits"]
    rows = random_rows(np.random.default_rng(1), both.input_ports, 50)
    assert len(np.unique(Emulator(both).run(rows))) > 10


def test_only_layers_that_fit_their_follower_can_be_taken_out() -> None:
    layers = layers_of(mlp(4, 5, 6, 2))
    assert [(layer.name, layer.activation, layer.follower, layer.units) for layer in layers] == [
        ("dense_0", "relu_0", "dense_1", 5), ("dense_1", "relu_1", "logits", 6), ("logits", None, None, 2),
    ]  # fmt: skip
    graph = mlp(4, 5, 2)
    shared = dataclasses.replace(graph, outputs=("logits", "relu_0"))
    assert layers_of(shared)[0].follower is None


@settings(max_examples=40, deadline=None)
@given(
    weight_bits=st.integers(0, 4), activation_bits=st.integers(0, 2), units=st.none() | st.integers(1, 8),
    sparsity=st.sampled_from([0.0, 0.3, 0.9]), seed=st.integers(0, 5),
)  # fmt: skip
def test_any_change_leaves_a_network_that_runs(weight_bits, activation_bits, units, sparsity, seed) -> None:
    graph = mlp(6, 8, 4, seed=seed)
    change = Change(weight_bits, activation_bits, units, sparsity)
    found = changed(graph, Plan((("dense_0", change), ("logits", Change(weight_bits)))))
    rows = random_rows(np.random.default_rng(seed), found.input_ports, 20)
    codes = Emulator(found).run(rows)
    assert codes.shape == (20, 4)
    if change == Change() and not weight_bits:
        np.testing.assert_array_equal(codes, Emulator(graph).run(rows))


# --- the card


def effective(card: ModelCard) -> list[tuple[object, object, object]]:
    """Return units and types of the layers with weights."""
    types = card.quantisation
    found = []
    for name, layer in card.model.named():
        if name.split("_")[0] in ("dense", "conv"):
            units = getattr(layer, "units", None) or getattr(layer, "filters", None)
            weight, activation = layer.weight or types.weight, layer.activation or types.activation
            found.append((units, (weight.bits, weight.integer), (activation.bits, activation.integer)))
    return [*found, (None, (types.weight.bits, types.weight.integer), None)]


@pytest.mark.parametrize("model", ["jet_mlp", "digits_cnn"])
@pytest.mark.parametrize("seed", range(30))
def test_the_settings_make_the_card_of_the_plan(model: str, seed: int) -> None:
    card = load_card(MODELS / model)
    rng = np.random.default_rng(seed)
    names = weighted_layers(card)
    drops = dict.fromkeys(names, 1) if rng.random() < 0.3 else {name: int(rng.integers(0, 3)) for name in names}
    thinner = {name: int(rng.integers(0, 2)) for name in names[:-1]}
    base = effective(card)
    keep = {name: None if rng.random() < 0.5 else 4 for name in names[:-1]}
    changes = tuple((name, Change(drops[name], thinner.get(name, 0), keep.get(name), 0.5)) for name in names)
    settings_found = settings_of(card, Plan(changes, 6.25))
    assert settings_found is not None
    new = load_card(MODELS / model, settings_found)
    expected = []
    for name, (units, (bits, integer), activation) in zip(names, base, strict=True):
        thin = None if activation is None else (activation[0] - thinner[name], activation[1])
        expected.append((keep.get(name) or units, (bits - drops[name], integer), thin))
    assert effective(new) == expected
    assert (new.training.sparsity, new.rtl.clock_period_ns) == (0.5, 6.25)
    unchanged = {"data", "hls", "budget", "cosim", "name"}
    assert new.model_dump(include=unchanged) == card.model_dump(include=unchanged)


def test_settings_of_simple_plans_are_short() -> None:
    card = load_card(MODELS / "jet_mlp")
    names = weighted_layers(card)
    assert names == ("dense_0", "dense_1", "dense_2", "logits")
    assert settings_of(card, Plan()) == ()
    assert settings_of(card, Plan(tuple((name, Change(1)) for name in names))) == ("quantisation.weight.bits=5",)
    assert settings_of(card, one("dense_1", units=24)) == ("model.hidden=[64, 24, 32]",)
    assert settings_of(card, one("dense_1", removed=True)) == ("model.hidden=[64, 32]",)
    all_gone = Plan(tuple((name, Change(removed=True)) for name in names[:-1]))
    assert settings_of(card, all_gone) is None
    assert settings_of(card, one("dense_1", sparsity=0.5)) is None
    (text,) = settings_of(card, one("dense_1", weight_bits=1)) or ()
    new = load_card(MODELS / "jet_mlp", [text])
    assert new.model.hidden is None
    assert [layer.weight and layer.weight.bits for layer in new.model.layers or ()] == [None, 5, None]


# --- the study


def subject(graph: FixedGraph, **known: object) -> Subject:
    return Subject(graph, True, RtlCard(), BudgetCard(), "here", **known)  # type: ignore[arg-type]


def events_of(graph: FixedGraph, events: int = 600) -> TestEvents:
    """Return events whose labels are what the network says, mostly."""
    rng = np.random.default_rng(3)
    rows = random_rows(rng, graph.input_ports, events)
    logits = decode_rows(Emulator(graph).run(rows), graph.output_ports)
    labels = np.where(rng.random(events) < 0.9, logits.argmax(axis=1), rng.integers(0, logits.shape[1], events))
    return TestEvents(rows, labels.astype(np.int64), logits)


@pytest.fixture(autouse=True)
def _alkaid() -> None:
    need_packages("alkaid")


def test_limits_that_are_kept_need_no_measures() -> None:
    graph = mlp(8, 10, 3)
    found = fit(subject(graph), Limits(latency_ns=1000, lut=1e6, ff=1e6))
    assert found.kept
    assert (found.tried, found.suggestion) == ((), None)
    design = build_rtl(graph)
    assert found.figures.latency_ns == design.latency_cycles * 5
    assert found.figures.lut.low < found.figures.lut.value < found.figures.lut.high
    assert found.figures.lut.value > design.estimate.lut
    assert sum(lut for _, lut in found.layers) == pytest.approx(found.figures.lut.value)
    # A limit that is equalled is kept, and not beyond.
    exact = found.figures.latency_ns
    assert fit(subject(graph), Limits(latency_ns=exact)).kept
    assert not fit(subject(graph), Limits(latency_ns=exact - 0.01), clock=False).kept


def test_a_broken_limit_is_mended_with_the_harm_known() -> None:
    graph = mlp(8, 12, 10, 3)
    known = subject(graph, events=events_of(graph))
    whole = fit(known, Limits())
    limit = 0.8 * whole.figures.lut.value
    found = fit(known, Limits(lut=limit, auc_loss=0.2))
    assert not found.kept
    assert found.verdicts[0].excess == pytest.approx(whole.figures.lut.value - limit)
    assert found.suggestion is not None
    assert found.suggestion.enough
    assert found.suggestion.figures.after_training().lut.value <= limit
    assert found.suggestion.figures.auc_loss is not None
    assert found.suggestion.figures.auc_loss <= 0.2
    # Each figure again, from the network alone.
    scale = whole.figures.lut.value / build_rtl(graph).estimate.lut
    for each in found.tried[:3]:
        again = changed(graph, each.measure.plan)
        assert each.figures.lut.value == pytest.approx(scale * build_rtl(again).estimate.lut)
        if each.figures.auc_loss is not None:
            assert known.events is not None
            assert each.figures.auc_loss == auc_loss(again, known.events)[0]
    assert [each.figures.lut.value for each in found.tried] == sorted(each.figures.lut.value for each in found.tried)


def test_the_network_itself_loses_no_auc_and_a_damaged_one_does() -> None:
    graph = mlp(8, 12, 3)
    events = events_of(graph)
    assert auc_loss(graph, events)[0] == 0
    loss, error = auc_loss(changed(graph, one("dense_0", units=1)), events)
    assert loss is not None
    assert error is not None
    assert loss > 5 * error > 0


def test_training_again_is_left_a_margin() -> None:
    lut, ff = Figure(1000, 900, 1100, "here"), Figure(500, 450, 550, "here")
    later = Figures(lut, ff, 7, 35.0).after_training()
    assert (later.lut.value, later.ff.value, later.latency_cycles, later.latency_ns) == (
        pytest.approx(1100), pytest.approx(550), 8, pytest.approx(40),
    )  # fmt: skip
    graph = mlp(8, 10, 3)
    figures = fit(subject(graph), Limits()).figures
    # A slower clock alone changes no weights and needs no margin.
    found = fit(subject(graph), Limits(ff=figures.ff.value - 1, lut=figures.lut.value))
    assert found.suggestion is not None
    assert found.suggestion.enough
    assert [text.split()[0] for text in found.suggestion.measures] == ["clock"]


def test_limits_beyond_all_measures_are_called_so() -> None:
    found = fit(subject(mlp(6, 6, 2)), Limits(lut=3, latency_ns=1))
    assert found.suggestion is not None
    assert not found.suggestion.enough
    assert not found.kept
    assert len(found.suggestion.measures) > 1


def test_a_figure_from_synthesis_carries_its_ratio_to_the_measures() -> None:
    from l1dl.synth.resources import Resources

    graph = mlp(8, 10, 3)
    estimate = build_rtl(graph).estimate
    synthesised = Resources(round(2 * estimate.lut), estimate.ff, 0, 0, "synthesised (by hand)", "", (), estimate)
    found = fit(subject(graph, resources=synthesised), Limits(), always=True, clock=False)
    assert (found.figures.lut.value, found.figures.lut.origin) == (round(2 * estimate.lut), "synthesised (by hand)")
    first = found.tried[0]
    raw = build_rtl(changed(graph, first.measure.plan)).estimate.lut
    assert first.figures.lut.value == pytest.approx(synthesised.lut / estimate.lut * raw)  # type: ignore[operator]
    assert "as the synthesised network has it" in first.figures.lut.origin
    # Resources of another network are not taken for those of this one.
    other = dataclasses.replace(synthesised, estimate=dataclasses.replace(estimate, lut=estimate.lut + 1))
    assert "random networks" in fit(subject(graph, resources=other), Limits()).figures.lut.origin


def test_a_loss_of_auc_that_is_too_large_is_not_mended_by_savings() -> None:
    graph = mlp(8, 12, 3)
    events = events_of(graph)
    worse = changed(graph, one("dense_0", units=2))
    found = fit(subject(worse, events=events), Limits(auc_loss=0.001))
    assert [(verdict.name, verdict.broken) for verdict in found.verdicts] == [("auc_loss", True)]
    assert found.suggestion is None
    assert any("does not mend" in note for note in found.notes)
    untold = fit(subject(graph, reason="no events"), Limits(auc_loss=0.001))
    assert (untold.kept, untold.verdicts[0].figure, untold.verdicts[0].remark) == (True, None, "not known: no events")


def test_measures_of_a_card_can_be_set_but_for_single_layers_pruned() -> None:
    card = load_card(MODELS / "jet_mlp")
    graph = mlp(16, 64, 32, 32, 5)
    measures = all_measures(layers_of(graph), {}, card, 5.0, clock=True)
    without = [measure.text for measure in measures if measure.settings is None]
    assert [text.split(":")[0] for text in without] == list(weighted_layers(card))
    assert all(text.endswith("% of the weights zero") for text in without)
    # Where many weights are zero, a single layer loses a quarter of the others.
    sparse = changed(graph, one("dense_1", sparsity=0.6))
    pruned = all_measures(layers_of(sparse), {}, None, 5.0, clock=False)
    assert "dense_1: 70 % of the weights zero" in [measure.text for measure in pruned]
    for measure in measures:
        if measure.settings is not None:
            load_card(MODELS / "jet_mlp", measure.settings)
    clocks = [measure.plan.clock_period_ns for measure in measures if not measure.layers]
    assert clocks == [3.125, 4.1667, 6.25, 8.3333]
    named = {measure.text: measure for measure in measures}
    a = named["dense_0: weights 6 → 5 bits"]
    assert a.excludes(named["all: weights 1 bit less"])
    assert not a.excludes(named["dense_0: activations 6 → 5 bits"])
    assert a.excludes(named["without dense_0"])


def test_a_network_without_weights_has_no_measures_but_the_clock() -> None:
    relu = Activation("relu", ("x",), (4,), RELU, Function.RELU)
    graph = FixedGraph("net", (Input("x", (), (4,), X), relu), ("relu",), "test 1")
    found = fit(subject(graph), Limits(lut=0.5))
    assert all(not each.measure.layers for each in found.tried)
    assert found.suggestion is not None
    assert not found.suggestion.enough


def test_plans_join_to_the_further_of_both() -> None:
    first, second = one("a", weight_bits=1, units=8), one("a", weight_bits=2, sparsity=0.5)
    assert first.merged(second)["a"] == Change(2, 0, 8, 0.5)
    assert first.merged(Plan(clock_period_ns=4.0)).clock_period_ns == 4.0
    assert not Plan(clock_period_ns=4.0).retrains
    assert one("a", removed=True).removes


# --- where a network comes from


def test_the_card_of_a_report_is_that_of_its_command() -> None:
    text = f"l1dl run {MODELS / 'jet_mlp'} --out x --set 'model.hidden=[8]' --set=training.epochs=2 --force --seeds 2"
    card, path, changes = _card_of({"commands": [text]})
    assert card is not None
    assert (card.model.hidden, card.training.epochs, path) == ([8], 2, MODELS / "jet_mlp")
    assert changes == ("model.hidden=[8]", "training.epochs=2")
    for command in ("l1dl deploy m.keras", "l1dl run nowhere", "l1dl run", ""):
        assert _card_of({"commands": [command]}) == (None, None, ())


def test_what_is_neither_card_nor_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a model card nor a run directory"):
        find_subject(tmp_path / "nothing", (), lambda _text: None)
    with pytest.raises(InputError, match="streaming"):
        find_subject(MODELS / "digits_cnn", ["rtl.architecture=stream"], lambda _text: None)


def test_json_is_finite() -> None:
    import json

    found = fit(subject(mlp(5, 6, 2)), Limits(lut=100), clock=False)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.loads(text)["schema"] == "l1dl-fit/1"
    assert all(math.isfinite(each["figures"]["lut"]["value"]) for each in found.to_json()["measures"])
