"""A scan: its space, its front, what it keeps when it is interrupted, and the whole of it on a small sample."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from support import need_packages
from tiny import PACKAGES, change_card, l1dl, write_card

from l1dl.artifacts import digest_json
from l1dl.card import load_card
from l1dl.data.load import load_card_data
from l1dl.errors import InputError, StorageError, ToolFailedError
from l1dl.flow.scan import study
from l1dl.flow.scan.points import card_text, export_card
from l1dl.flow.scan.results import Objectives, Results, front
from l1dl.flow.scan.space import Choice, Range, Space, make_space, parse_vary
from l1dl.flow.scan.study import prepare, read_scan, scan_card
from l1dl.flow.scan.trial import judge

MODELS = Path(__file__).parents[2] / "models"
VARY = ("training.epochs=1..50",)


def random_changes(space: Space, seed: int) -> tuple[str, ...]:
    rng = random.Random(seed)

    def draw(name, domain):
        if isinstance(domain, Choice):
            return rng.choice(domain.samples)
        return rng.randint(domain.low, domain.high) if domain.whole else rng.uniform(domain.low, domain.high)

    return space.changes(draw)


@pytest.mark.parametrize("name", ["jet_mlp", "jet_hgq2", "digits_cnn"])
def test_every_network_of_the_usual_space_is_a_card(name: str) -> None:
    path = MODELS / name
    card = load_card(path)
    space = make_space(card, ())
    drawn = {random_changes(space, seed) for seed in range(50)}
    assert len(drawn) > 40
    for changes in drawn:
        varied = load_card(path, changes)
        assert varied.model.engine == card.model.engine
        assert len(list(varied.model.named())) <= len(list(card.model.named())) + 1


@pytest.mark.parametrize("name", ["jet_mlp", "digits_cnn"])
def test_the_card_itself_is_in_its_space(name: str) -> None:
    path = MODELS / name
    space = make_space(load_card(path), ())
    own = space.own()
    mine, other = load_card(path, space.changes(lambda name, domain: own[name])), load_card(path)
    assert mine.training == other.training
    assert mine.quantisation == other.quantisation
    for (left, one), (right, two) in zip(mine.model.named(), other.model.named(), strict=True):
        assert left == right
        for key, value in two.model_dump(exclude_none=True).items():
            assert getattr(one, key) == value or getattr(one, key).model_dump() == value


def test_layers_have_bits_of_their_own() -> None:
    space = make_space(load_card(MODELS / "jet_mlp"), ("weight_bits.dense_1=3", "weight_bits.logits=5"), usual=False)
    card = load_card(MODELS / "jet_mlp", random_changes(space, 1))
    assert [layer.weight.bits for _, layer in card.model.named()] == [6, 3, 6]  # type: ignore[union-attr]
    assert card.quantisation.weight is not None
    assert card.quantisation.weight.bits == 5


@pytest.mark.parametrize(
    ("text", "key", "domain"),
    [
        ("training.epochs=10,20", "training.epochs", Choice(("10", "20"))),
        ("quantisation.weight.bits=2..8", "quantisation.weight.bits", Range(2, 8)),
        (" hgq2.ebops = 300..20_000:log ", "hgq2.ebops", Range(300, 20000, log=True)),
        ("training.learning_rate=1e-3..0.1:log", "training.learning_rate", Range(1e-3, 0.1, log=True)),
        ("model.hidden=[8, 8],[16]", "model.hidden", Choice(("[8, 8]", "[16]"))),
        ('data.file="a,b",../c', "data.file", Choice(('"a,b"', "../c"))),
        ("depth=3..3", "depth", Choice(("3",))),
    ],
)
def test_what_varies(text: str, key: str, domain: Range | Choice) -> None:
    assert parse_vary(text) == (key, domain)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.epochs", "no key or no values"),
        ("=3", "no key or no values"),
        ("units=1,,2", "a value is empty"),
        ("units=8..2", "goes down"),
        ("units=0..2:log", "above 0"),
    ],
)
def test_what_cannot_vary(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_vary(text)


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ("training.epoch=1..3", "unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("unit=1..3", "--vary unit is unknown; did you mean 'units'?"),
        ("units.dens_0=1..3", "no layer 'dens_0' has units; did you mean 'dense_0'?"),
        ("units=many", "'many' is no integer"),
        ("training.epochs=10,many", "training.epochs = 'many': input should be a valid integer"),
        ("training.epochs=-2..0", "training.epochs = -2"),
        ("beta=1e-7..1e-6", 'for engine = "hgq2"'),
    ],
)
def test_keys_are_strict(vary: str, words: str, tmp_path: Path) -> None:
    card = write_card(tmp_path)
    with pytest.raises(InputError) as caught:
        prepare(card, (), (vary,), Objectives(), usual=True, seed=1)
    assert words in str(caught.value)


def test_one_end_of_a_range_may_be_no_card(tmp_path: Path) -> None:
    vary = ("quantisation.activation.bits=2..6", "training.epochs=1,2")
    prepare(write_card(tmp_path), (), vary, Objectives(), usual=True, seed=1)


def test_what_the_user_sets_does_not_vary() -> None:
    card = load_card(MODELS / "jet_mlp")
    assert "training.sparsity" not in make_space(card, (), ["training.sparsity=0.5"]).domains
    assert "weight_bits" not in make_space(card, ["quantisation.weight.bits=2..8"]).domains
    assert {"depth", "units"}.isdisjoint(make_space(card, (), ["model.hidden=[8]"]).domains)
    assert make_space(card, ["training.epochs=1,2"], usual=False).domains == {"training.epochs": Choice(("1", "2"))}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_front_is_what_nothing_beats(values: Sequence[tuple[float, float]]) -> None:
    def beaten(mine: int) -> bool:
        (gain, cost), earlier = values[mine], values[:mine]
        better = any(g >= gain and c <= cost and (g, c) != (gain, cost) for g, c in values)
        return better or (gain, cost) in earlier

    found = front(values)
    assert sorted(found) == [index for index in range(len(values)) if not beaten(index)]
    assert [values[index][1] for index in found] == sorted(values[index][1] for index in found)


def test_the_judge_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500)
    logits = rng.normal(size=500) + labels
    found = judge(labels, logits)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    assert found["accuracy"] == np.mean((logits > 0) == labels)
    assert judge(labels, -logits)["auc"] < 0.5 < found["auc"]


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a card whose trials a script stands for."""
    need_packages("optuna", "qkeras")
    monkeypatch.setattr(study, "WORKER", (sys.executable, str(Path(__file__).parents[1] / "scan_worker.py")))
    return write_card(tmp_path / "card")


def scan(card: Path, out: Path, trials: int, jobs: int = 1, seed: int = 1, storage: str | None = None) -> Results:
    found, space = prepare(card, (), VARY, Objectives(), usual=False, seed=seed)
    return scan_card(found, space, out, trials=trials, jobs=jobs, storage=storage)


def drawn(results: Results) -> list[tuple[str, ...]]:
    return [point.changes for point in results.points]


def calls(card: Path) -> list[str]:
    return (card.parent / "calls.txt").read_text().splitlines()


def test_a_scan_can_be_repeated_and_continued(card: Path, tmp_path: Path) -> None:
    whole = scan(card, tmp_path / "whole", 12)
    assert len(whole.points) == 12
    assert drawn(whole)[0] == ("training.epochs=8",)  # the card itself
    scan(card, tmp_path / "parts", 3)
    before = len(calls(card))
    assert scan(card, tmp_path / "parts", 3).points == whole.points[:3]
    assert len(calls(card)) == before
    assert drawn(scan(card, tmp_path / "parts", 12)) == drawn(whole)
    assert drawn(scan(card, tmp_path / "other", 3, seed=2)) != drawn(whole)[:3]


def test_the_files_of_a_scan(card: Path, tmp_path: Path) -> None:
    results = scan(card, tmp_path / "out", 6, jobs=3)
    assert len(results.points) == 6
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [point["number"] for point in content["points"] if point["front"]] == sorted(content["front"])
    assert [row["number"] for row in rows if row["front"] == "1"] == [
        str(number) for number in sorted(content["front"])
    ]
    assert (tmp_path / "out" / "front.png").read_bytes().startswith(b"\x89PNG")
    assert content["float"]["auc"] > 0
    assert read_scan(tmp_path / "out")[1] == results
    assert calls(card).count("float float") == 1


def test_equal_networks_are_trained_once(card: Path, tmp_path: Path) -> None:
    found, space = prepare(card, (), ("training.epochs=1,2",), Objectives(), usual=False, seed=1)
    results = scan_card(found, space, tmp_path / "out", trials=6)
    assert len(results.complete) == 6
    assert len(calls(card)) == 1 + 2
    assert len(results.front) == 2


def test_an_interrupted_trial_is_continued(card: Path, tmp_path: Path) -> None:
    whole, out = scan(card, tmp_path / "whole", 5), tmp_path / "out"
    (card.parent / "wait").write_text("0002")
    (card.parent / "calls.txt").unlink()
    found, space = prepare(card, (), VARY, Objectives(), usual=False, seed=1)

    def interrupt(text: str, _done: int, _total: int) -> None:
        if text.startswith("trial 1"):
            while "quantised 0002" not in calls(card):
                time.sleep(0.05)
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        scan_card(found, space, out, trials=5, progress=interrupt)
    assert time.monotonic() - start < 60
    assert [point.state for point in read_scan(out)[1].points] == ["complete", "complete", "running"]
    (card.parent / "wait").unlink()
    after = scan(card, out, 5)
    assert drawn(after) == drawn(whole)
    assert {point.state for point in after.points} == {"complete"}
    assert calls(card).count("quantised 0002") == 2
    assert len(calls(card)) == 1 + 5 + 1


def test_a_refused_trial_keeps_its_reason(card: Path, tmp_path: Path) -> None:
    (card.parent / "refuse").touch()
    results = scan(card, tmp_path / "out", 12)
    refused = [point for point in results.points if point.state == "refused"]
    assert 0 < len(refused) < 12
    assert {point.reason for point in refused} == {"odd"}
    assert not {point.number for point in refused} & {point.number for point in results.front}


def test_a_trial_that_breaks_down_is_noted(card: Path, tmp_path: Path) -> None:
    scan(card, tmp_path / "out", 1)
    (card.parent / "break").touch()
    results = scan(card, tmp_path / "out", 5)
    assert [point.state for point in results.points] == ["complete", *["failed"] * 4]
    assert "the machine is on fire" in results.points[-1].reason


def test_a_scan_in_which_nothing_works_ends(card: Path, tmp_path: Path) -> None:
    (card.parent / "break").touch()
    with pytest.raises(ToolFailedError, match="the machine is on fire"):
        scan(card, tmp_path / "out", 50)
    assert len(calls(card)) == 1 + study.HOPELESS


def test_machines_share_a_study(card: Path, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    scan(card, tmp_path / "one", 3, storage=storage)
    both = scan(card, tmp_path / "two", 5, storage=storage)
    assert len(both.points) == 5
    assert len(list((tmp_path / "two" / "trials").iterdir())) == 2
    assert read_scan(tmp_path / "one", storage=storage)[1].points == both.points
    with pytest.raises(InputError, match="give the --storage"):
        read_scan(tmp_path / "one")


def test_other_settings_are_refused(card: Path, tmp_path: Path) -> None:
    scan(card, tmp_path / "out", 1)
    with pytest.raises(InputError, match="--seed"):
        scan(card, tmp_path / "out", 1, seed=2)
    change_card(card, batch_size="32")
    with pytest.raises(InputError, match="card, or --set"):
        scan(card, tmp_path / "out", 1)
    known, results = read_scan(tmp_path / "out")
    with pytest.raises(InputError, match="has changed since"):
        export_card(known, results, 0, tmp_path / "new")


def test_a_damaged_scan_is_one_line(card: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no scan"):
        read_scan(tmp_path)
    scan(card, tmp_path / "out", 1)
    (tmp_path / "out" / "study.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(StorageError, match="not a database"):
        read_scan(tmp_path / "out")
    (tmp_path / "out" / "scan.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        read_scan(tmp_path / "out")


def test_the_card_of_a_point_is_its_trial(card: Path, tmp_path: Path) -> None:
    found, space = prepare(card.parent, (), (), Objectives(), usual=True, seed=1)
    results = scan_card(found, space, tmp_path / "out", trials=3)
    path = export_card(found, results, 2, tmp_path / "a" / "new")

    def digest(path: Path, changes: Sequence[str] = ()) -> str:
        content = load_card(path, changes).model_dump(exclude={"name": True, "data": {"file"}})
        data = load_card_data(load_card(path).data, path if path.is_dir() else path.parent)
        return digest_json([content, data.digest])

    assert digest(path) == digest(card, results[2].changes)
    assert digest(path) != digest(card, results[1].changes)
    assert load_card(path).name == "tiny_2"
    with pytest.raises(InputError, match="exists"):
        export_card(found, results, 2, tmp_path / "a" / "new")
    with pytest.raises(InputError, match="no point 3"):
        export_card(found, results, 3, tmp_path / "b")


@pytest.mark.parametrize("name", ["jet_mlp", "jet_hgq2", "digits_cnn"])
def test_any_network_of_the_space_becomes_a_card(name: str, tmp_path: Path) -> None:
    source = MODELS / name
    space = make_space(load_card(source), ())
    for seed in range(10):
        card = load_card(source, random_changes(space, seed))
        target = tmp_path / str(seed)
        target.mkdir()
        (target / "model.toml").write_text(card_text(card, source, target, seed), encoding="utf-8")
        read = load_card(target)
        assert read.name == f"{name}_{seed}"
        assert read.model_copy(update={"name": card.name, "data": card.data}) == card
        where = (source / card.data.file).resolve()
        assert (target / read.data.file).resolve() == where if where.exists() else read.data.file == card.data.file


@pytest.mark.parametrize(
    ("storage", "kind", "words"),
    [
        ("nothing", InputError, "no URL of a database"),
        ("nodb://me:secret@host/x", InputError, "no URL of a database"),
        ("oracle+nodriver://me:secret@host/x", InputError, "no URL of a database"),
        ("sqlite:////nowhere/at/all.db", StorageError, "unable to open"),
    ],
)
def test_a_database_that_is_not_there(
    storage: str, kind: type[Exception], words: str, card: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words) as caught:
        scan(card, tmp_path / "out", 1, storage=storage)
    assert "secret" not in str(caught.value)


def test_a_trial_ends_with_the_scan_that_was_killed() -> None:
    inner = (
        "from l1dl.flow.scan.trial import _end_with_parent as f; import time; f();"
        "print('on', flush=True); time.sleep(60)"
    )
    outer = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]);"
        "print(p.pid, flush=True); p.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", outer, inner], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "on\n"
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    for _ in range(100):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the trial goes on")


def test_objectives() -> None:
    assert Objectives.parse("accuracy, latency") == Objectives("accuracy", "latency")
    for text, words in (("auc", "no pair"), ("lut,auc", "'lut' is not allowed"), ("auc,luts", "did you mean 'lut'?")):
        with pytest.raises(InputError) as caught:
            Objectives.parse(text)
        assert words in str(caught.value)


@pytest.mark.slow
def test_a_small_scan_is_proved(tmp_path: Path) -> None:
    need_packages("optuna", *PACKAGES)
    card, out = write_card(tmp_path, epochs="2"), tmp_path / "out"
    done = l1dl("scan", card, "--trials", "3", "--vary", "training.sparsity=0.0,0.25", "--out", out)
    assert done.returncode == 0, done.stderr
    known, results = read_scan(out)
    assert len(results.complete) == 3
    validation = load_card_data(known.load().data, card.parent)
    assert all(point.figures["events"] == np.sum(validation.split == 1) for point in results.complete)
    assert not list(out.glob("trials/*/hls"))
    done = l1dl("scan", "--prove", out)
    assert done.returncode == 0, done.stderr
    for point in read_scan(out)[1].front:
        assert point.proved is not None
        assert point.proved["bit_exact"]
        assert point.proved["same_network"]
        assert point.figures["lut_low"] / 2 < point.proved["lut"] < 2 * point.figures["lut_high"]
