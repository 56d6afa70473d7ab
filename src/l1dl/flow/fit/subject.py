"""What is put to the limits: the network of a run, or that of a card with random weights."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import RunDirectory, read_json
from l1dl.card import BudgetCard, ModelCard, RtlCard, load_card
from l1dl.data.load import load_card_data
from l1dl.errors import InputError, L1dlError
from l1dl.fixed import Codes
from l1dl.flow.bench import Bench
from l1dl.flow.fit.plan import Change, Plan, changed, layers_of
from l1dl.flow.job import CardJob, Paths
from l1dl.flow.results import read_result
from l1dl.flow.stages import STAGES
from l1dl.graph import FixedGraph, load_graph
from l1dl.rtl.delays import speed_grade
from l1dl.synth.resources import Resources

_OPTIONS_WITH_VALUES = ("--out", "--hls", "--until", "--seeds", "--set")


@dataclass(frozen=True, eq=False)
class TestEvents:
    """Test events as they reach the firmware.

    Attributes
    ----------
    rows
        Input codes, shape (events, values).
    labels
        Class indices.
    float_logits
        Logits of the float model.
    """

    __test__ = False  # no class of tests

    rows: Codes
    labels: npt.NDArray[np.int64]
    float_logits: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with what is known of it.

    Attributes
    ----------
    graph
        The network.
    trained
        Whether its weights are trained; else they are random.
    settings, grade
        Of the RTL, and the speed grade of the part.
    budget
        Limits that were declared for it.
    source
        Where the network comes from, in words.
    card, card_path, changes
        The card that made it, and the values that were set in place of the card's; None where there is none.
    resources
        What synthesis found; None where it was not synthesised.
    cycles
        Latency that the co-simulation counted; None without one.
    events
        None where no labelled test events are known, with the reason.
    reason
        Why there are none.
    """

    graph: FixedGraph
    trained: bool
    settings: RtlCard
    budget: BudgetCard
    source: str
    card: ModelCard | None = None
    card_path: Path | None = None
    changes: tuple[str, ...] = ()
    resources: Resources | None = None
    cycles: int | None = None
    events: TestEvents | None = None
    reason: str = ""
    grade: int = 2


def find_subject(target: Path, changes: Sequence[str], say: Callable[[str], None]) -> Subject:
    """Return the network of a run directory, or of a card.

    A card stands for the network in ``runs/<name>`` if that is what the card as it is now gives, and otherwise for an
    untrained one.

    Raises
    ------
    InputError
        The path is neither, or the design is a streaming one.
    """
    if (target / "convert" / "graph.json").exists():
        if changes:
            msg = "--set is for a card, and a run has its values; give the card, or leave --set out"
            raise InputError(msg)
        return _of_run(target)
    if not (target / "model.toml").exists() and not target.is_file():
        msg = (
            f"{target} is neither a model card nor a run directory with a converted network; "
            "give for example models/jet_mlp or runs/jet_mlp"
        )
        raise InputError(msg)
    card = load_card(target, changes)
    _refuse_stream(card.rtl)
    run = Path("runs") / card.name
    if _is_current(card, target, run):
        return _of_run(run, (card, target, tuple(changes)))
    say("building the network with random weights")
    return Subject(
        _untrained(card, _directory(target)), trained=False, settings=card.rtl, budget=card.budget,
        source=f"{target}, with random weights, as {run} holds no network of this card", card=card, card_path=target,
        changes=tuple(changes), reason="the network is not trained", grade=speed_grade(card.hls.part),
    )  # fmt: skip


def _directory(card_path: Path) -> Path:
    return card_path if card_path.is_dir() else card_path.parent


def _refuse_stream(settings: RtlCard) -> None:
    if settings.architecture == "stream":
        msg = (
            "the design is a streaming one, and its estimates are not known layer by layer; use architecture = "
            "'parallel', or compare with `l1dl architectures RUN`"
        )
        raise InputError(msg)


def _is_current(card: ModelCard, card_path: Path, run: Path) -> bool:
    """Say whether a run directory holds the network that a card gives now."""
    if not (run / "convert" / "graph.json").exists():
        return False
    paths = Paths(run, Path("hls_projects") / card.name)
    directory = RunDirectory(run)
    bench = Bench(CardJob(card, _directory(card_path), paths), paths, directory, lambda _text, _done, _total: None, "")
    try:
        return all(directory.is_current(name, STAGES[name].digest(bench)) for name in ("train", "convert"))
    except L1dlError:
        return False


def _untrained(card: ModelCard, directory: Path) -> FixedGraph:
    """Return the network of a card with the weights that a training begins with, pruned as the card asks for."""
    from l1dl.convert.convert import convert_model
    from l1dl.models.backend import import_keras
    from l1dl.models.network import build_quantised
    from l1dl.train.train import card_scaler

    dataset = load_card_data(card.data, directory)
    import_keras(card.training.backend).utils.set_random_seed(card.training.seed)
    model = build_quantised(card, card_scaler(card, dataset), dataset.shape, len(dataset.classes))
    with tempfile.TemporaryDirectory() as scratch:
        graph = convert_model(model, Path(scratch) / "hls", settings=card.hls, name=card.name).graph
    pruned = Change(sparsity=card.training.sparsity)
    return changed(graph, Plan(tuple((layer.name, pruned) for layer in layers_of(graph))))


def _of_run(run: Path, known: tuple[ModelCard, Path, tuple[str, ...]] | None = None) -> Subject:
    paths = Paths(run, run / "hls")
    graph = load_graph(paths.graph)
    report = _report(run, graph)
    card, card_path, changes = known or _card_of(report)
    settings = card.rtl if card else RtlCard(clock_period_ns=_clock(paths))
    _refuse_stream(settings)
    if (report.get("cosim") or {}).get("stream") is not None:
        _refuse_stream(RtlCard(architecture="stream"))
    budget = (
        card.budget if card else BudgetCard(**{entry["name"]: entry["limit"] for entry in report.get("budget", ())})
    )
    events, reason = _test_events(paths, graph)
    resources = read_result(paths.resources, Resources) if report else None
    return Subject(
        graph, trained=True, settings=settings, budget=budget, source=str(run), card=card, card_path=card_path,
        changes=changes, resources=resources, cycles=report["latency"]["cycles"] if report else None, events=events,
        reason=reason,
        **({} if card is None else {"grade": speed_grade(card.hls.part)}),
    )  # fmt: skip


def _report(run: Path, graph: FixedGraph) -> Mapping[str, Any]:
    """Return the report of a run; nothing where there is none, or one of another network."""
    path = run / "report.json"
    if not path.exists():
        return {}
    report = read_json(path)
    current = isinstance(report, dict) and report.get("model", {}).get("digest") == graph.digest
    return report if current else {}


def _clock(paths: Paths) -> float:
    try:
        return float(read_json(paths.rtl / "interface.json")["clock_period_ns"])
    except (InputError, KeyError, TypeError, ValueError):
        return RtlCard().clock_period_ns


def _card_of(report: Mapping[str, Any]) -> tuple[ModelCard | None, Path | None, tuple[str, ...]]:
    """Return the card that a report was made of, by its command; None where it is gone, or there was none."""
    for command in report.get("commands", ()):
        words = shlex.split(command)[1:]
        if not words or words[0] not in ("run", *STAGES):
            continue
        changes, places = [], []
        pending = iter(words[1:])
        for word in pending:
            option, _, value = word.partition("=")
            if option in _OPTIONS_WITH_VALUES:
                value = value or next(pending, "")
                changes += [value] if option == "--set" else []
            elif not word.startswith("-"):
                places.append(Path(word))
        try:
            return load_card(places[0], changes), places[0], tuple(changes)
        except (InputError, IndexError):
            continue
    return None, None, ()


def _test_events(paths: Paths, graph: FixedGraph) -> tuple[TestEvents | None, str]:
    try:
        with np.load(paths.cosim_outputs, allow_pickle=False) as file:
            rows = file["inputs"]
        with np.load(paths.trained.scores_path, allow_pickle=False) as file:
            labels, logits = file["labels"], file["float"]
    except (OSError, KeyError, ValueError) as error:
        return None, f"the run holds no test events with labels ({error})"
    if len(graph.outputs) != 1 or len(rows) != len(labels):
        return None, "the test events are not those of this network"
    return TestEvents(rows, labels, logits), ""
