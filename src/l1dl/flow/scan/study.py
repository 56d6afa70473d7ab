"""The search: Optuna proposes, a process for each trial trains and compiles, and a database keeps what came of it."""

from __future__ import annotations

import contextlib
import platform
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from l1dl import __version__
from l1dl.artifacts import RunDirectory, digest_json, read_json, write_json
from l1dl.card import ModelCard, load_card
from l1dl.data.load import load_card_data
from l1dl.errors import InputError, StorageError, ToolFailedError, ToolMissingError
from l1dl.flow.scan.results import SCHEMA, Objectives, Point, Results, read_proof, write_results
from l1dl.flow.scan.space import Choice, Domain, Draw, Space, make_space
from l1dl.flow.scan.trial import LOG, RESULT, TASK, check_architecture
from l1dl.models.engines import check_engine
from l1dl.models.network import check_layers
from l1dl.tools import Tool, is_stopped, run_parallel, run_tool

SETTINGS, DATABASE, POINTS, TRIALS, FLOAT = "scan.json", "study.db", "points", "trials", "float"
"""What a scan's directory holds: settings, study, runs of proved points, work of the trials, and of the float model."""

WORKER = (sys.executable, "-m", "l1dl.flow.scan.trial")
"""Command that does a trial."""

TRIAL_LIMIT_S = 24 * 3600.0
"""Time limit of a trial, in s."""

HOPELESS = 3
"""So many trials whose processes break down, with none that comes to an end, end the scan."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Scan:
    """What determines a scan.

    Attributes
    ----------
    name
        Of the card.
    card
        Its path.
    digest
        Of its content, with the changes.
    changes
        Values in place of the card's, in all trials.
    vary, usual
        As `make_space` takes them.
    """

    name: str
    card: str
    digest: str
    changes: tuple[str, ...]
    vary: tuple[str, ...]
    usual: bool
    objectives: Objectives
    seed: int

    @property
    def study(self) -> str:
        """Name of the study: the same command has the same on all machines."""
        return digest_json([SCHEMA, {**asdict(self), "card": None}])[:16]

    def load(self, changes: Sequence[str] = ()) -> ModelCard:
        """Return the card of a trial."""
        return load_card(Path(self.card), (*self.changes, *changes))

    def check_card(self) -> None:
        """Refuse a card that is no longer what was scanned.

        Raises
        ------
        InputError
            It has changed, or is gone.
        """
        if _digest(self.load()) != self.digest:
            msg = f"{self.card} has changed since the scan; restore it, or scan again into another --out"
            raise InputError(msg)


def _digest(card: ModelCard) -> str:
    return digest_json(card.model_dump(mode="json"))


def prepare(
    card: Path, changes: Sequence[str], vary: Sequence[str], objectives: Objectives, *, usual: bool, seed: int
) -> tuple[Scan, Space]:
    """Check what the user asks for, before anything is written.

    Raises
    ------
    InputError
        The card, its data, or what is to vary.
    ToolMissingError
        The engine of the card does not work in this environment.
    """
    known = load_card(card, changes)
    check_architecture(known)
    check_engine(known.model.engine)
    directory = card if card.is_dir() else card.parent
    check_layers(known, load_card_data(known.data, directory).shape)
    space = make_space(known, vary, changes, usual=usual)
    digest = _digest(known)
    scan = Scan(known.name, str(card.resolve()), digest, tuple(changes), tuple(vary), usual, objectives, seed)
    space.check(scan.load)
    return scan, space


def scan_card(
    scan: Scan,
    space: Space,
    directory: Path,
    *,
    trials: int,
    jobs: int = 1,
    storage: str | None = None,
    progress: Progress | None = None,
) -> Results:
    """Search until the study has so many trials; what an earlier call has begun or finished counts.

    Parameters
    ----------
    directory
        Of the scan.
    jobs
        Trials at a time.
    storage
        Database that several machines share, as an SQLAlchemy URL; a file in `directory` by default.

    Raises
    ------
    InputError
        The directory holds a scan with other settings, or another process works in it.
    ToolFailedError
        The processes of the first trials broke down.
    """
    say = progress or (lambda _text, _done, _total: None)
    with RunDirectory(directory), _database():
        _remember(scan, directory)
        search = _Search(scan, space, directory, storage)
        done = search.begun() - len(search.open)
        work = [search.one_trial] * (len(search.open) + max(0, trials - search.begun()))
        reference = [] if (directory / FLOAT / RESULT).exists() else [search.float_model]
        say(f"{done} trials are finished", done, trials)

        def finished(number: int) -> None:
            search.save()
            say(search.last, done + max(0, number - len(reference)), trials)

        try:
            run_parallel([*reference, *work], jobs=jobs, finished=finished)
        finally:
            search.save()
        results = search.results()
        write_results(results, directory)
    return results


def read_scan(
    directory: Path, *, storage: str | None = None, objectives: Objectives | None = None
) -> tuple[Scan, Results]:
    """Return what a directory holds.

    Parameters
    ----------
    objectives
        Another pair than that of the search.

    Raises
    ------
    InputError
        It is no scan.
    """
    scan = _recall(directory)
    if storage is None and not (directory / DATABASE).exists():
        msg = f"{directory / DATABASE} is missing; give the --storage of the scan"
        raise InputError(msg)
    study = _open(scan, _url(directory, storage))
    return scan, _results(scan, study, directory, objectives or scan.objectives)


def _recall(directory: Path) -> Scan:
    path = directory / SETTINGS
    if not path.exists():
        msg = f"{directory} holds no scan ({path} is missing); make one with l1dl scan CARD --out {directory}"
        raise InputError(msg)
    content = read_json(path)
    try:
        return TypeAdapter(Scan).validate_python(content["scan"])
    except (KeyError, TypeError, ValidationError):
        msg = f"{path} is damaged; choose another --out"
        raise InputError(msg) from None


def _remember(scan: Scan, directory: Path) -> None:
    """Note the settings of a scan, or refuse others than are there."""
    if not (directory / SETTINGS).exists():
        write_json(directory / SETTINGS, {"schema": SCHEMA, "version": __version__, "scan": asdict(scan)})
        return
    before = _recall(directory)
    titles = {
        "digest": "card, or --set", "vary": "--vary", "usual": "--only-vary", "objectives": "--objectives",
        "seed": "--seed",
    }  # fmt: skip
    other = [title for name, title in titles.items() if getattr(before, name) != getattr(scan, name)]
    if other:
        msg = f"the scan in {directory} was begun with another {', '.join(other)}; repeat that, or choose another --out"
        raise InputError(msg)


class _Search:
    """The study, as the threads that wait for trials use it.

    Attributes
    ----------
    open
        Trials that an earlier process has begun in this directory and not finished.
    last
        What was done last, in words.
    """

    def __init__(self, scan: Scan, space: Space, directory: Path, storage: str | None) -> None:
        self._scan, self._space, self._directory = scan, space, directory
        self._lock = threading.Lock()
        self._owner = None if storage is None else f"{platform.node()}:{directory.resolve()}"
        self._study = _open(scan, _url(directory, storage), make=True)
        if not self._trials():
            self._study.enqueue_trial(space.own(), skip_if_exists=True)
        self.open = self._left_open()
        self._failures = 0
        self.last = ""

    def _trials(self) -> list[Any]:
        return list(self._study.get_trials(deepcopy=False))

    def begun(self) -> int:
        """Return the number of trials that were begun, here or elsewhere."""
        return sum(trial.state.name != "WAITING" for trial in self._trials())

    def _left_open(self) -> list[Any]:
        return [
            trial for trial in self._trials()
            if trial.state.name == "RUNNING" and (self._owner in (None, trial.user_attrs.get("owner")))
        ]  # fmt: skip

    def results(self) -> Results:
        """Return all points."""
        return _results(self._scan, self._study, self._directory, self._scan.objectives)

    def save(self) -> None:
        """Write what is known so far."""
        with self._lock:
            write_results(self.results(), self._directory, figure=False)

    def float_model(self) -> str:
        """Train the float model of the card, for reference; a scan goes on without it."""
        with contextlib.suppress(ToolFailedError):
            self._work(self._directory / FLOAT, "float", ())
        self.last = "float model trained"
        return self.last

    def one_trial(self) -> str:
        """Do the next trial."""
        with self._lock:
            trial = self._begin()
            changes = self._space.changes(_suggest(trial))
            trial.set_user_attr("changes", list(changes))
            known = self._known(changes)
        result: dict[str, Any] = {}
        try:
            result = known or self._work(self._directory / TRIALS / f"{trial.number:04}", "quantised", changes)
        except ToolFailedError as error:
            if is_stopped():  # the trial stays open, and the next call goes on with it
                raise
            with self._lock:
                self._fail(trial, error)
            return self.last
        with self._lock:
            self._tell(trial, result)
        return self.last

    def _begin(self) -> Any:
        """Return a trial that an earlier process has left unfinished, or a new one."""
        from optuna.samplers import TPESampler
        from optuna.trial import Trial

        trial = Trial(self._study, self.open.pop(0)._trial_id) if self.open else self._study.ask()
        if self._owner is not None:
            trial.set_user_attr("owner", self._owner)
        # A seed for each trial, so that a scan that was interrupted goes on as if it had not been.
        seed = int(np.random.SeedSequence([self._scan.seed, trial.number]).generate_state(1)[0])
        self._study.sampler = TPESampler(seed=seed, multivariate=False, constant_liar=True)
        return trial

    def _known(self, changes: Sequence[str]) -> dict[str, Any] | None:
        """Return the result of a trial with the same changes."""
        for trial in self._trials():
            if trial.state.name in ("COMPLETE", "PRUNED") and trial.user_attrs.get("changes") == list(changes):
                figures = trial.user_attrs.get("figures")
                return {"figures": figures, "reason": trial.user_attrs.get("reason"), "seconds": 0.0}
        return None

    def _work(self, place: Path, kind: str, changes: Sequence[str]) -> dict[str, Any]:
        """Let a process do a task in its directory; return its result."""
        task = {"kind": kind, "card": self._scan.card, "changes": [*self._scan.changes, *changes]}
        found = read_json(place / RESULT) if (place / RESULT).exists() else None
        if found is None or read_json(place / TASK) != task:
            (place / RESULT).unlink(missing_ok=True)
            write_json(place / TASK, task)
            worker = Tool(f"trial {place.name}", WORKER, __version__)
            run_tool(worker, [place.resolve()], cwd=Path.cwd(), log=place / LOG, timeout_s=TRIAL_LIMIT_S)
            found = read_json(place / RESULT)
        result: dict[str, Any] = found
        return result

    def _tell(self, trial: Any, result: dict[str, Any]) -> None:
        """Hand a result to the study."""
        from optuna.trial import TrialState

        figures, reason = result["figures"], result["reason"]
        trial.set_user_attr("seconds", result["seconds"])
        if figures is None:
            trial.set_user_attr("reason", reason)
            self._study.tell(trial, state=TrialState.PRUNED)
            self.last = f"trial {trial.number} refused: {reason}"
            return
        trial.set_user_attr("figures", figures)
        self._study.tell(trial, self._scan.objectives.values(figures))
        self.last = f"trial {trial.number}: macro AUC {figures['auc']:.4f}, {figures['lut']:.0f} LUT"

    def _fail(self, trial: Any, error: ToolFailedError) -> None:
        """Note that the process of a trial broke down; give up if it is so with all of them."""
        from optuna.trial import TrialState

        trial.set_user_attr("reason", str(error))
        self._study.tell(trial, state=TrialState.FAIL)
        self._failures += 1
        self.last = f"trial {trial.number} failed"
        if self._failures >= HOPELESS and not any(each.state.name in ("COMPLETE", "PRUNED") for each in self._trials()):
            raise error


def _suggest(trial: Any) -> Draw:
    """Return what draws a value from its domain for a trial."""

    def draw(name: str, domain: Domain) -> Any:
        if isinstance(domain, Choice):
            return trial.suggest_categorical(name, list(domain.samples))
        suggest = trial.suggest_int if domain.whole else trial.suggest_float
        return suggest(name, domain.low, domain.high, log=domain.log)

    return draw


def _url(directory: Path, storage: str | None) -> str:
    return storage or f"sqlite:///{(directory / DATABASE).resolve()}"


def _open(scan: Scan, url: str, *, make: bool = False) -> Any:
    """Return the study.

    Parameters
    ----------
    make
        Whether it is made if it does not exist.
    """
    try:
        import optuna
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        msg = f"Optuna cannot be imported ({error}); install it: pip install 'l1dl[scan]'"
        raise ToolMissingError(msg) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    directions = ["maximize", "minimize"]
    try:
        with _database():
            if not make:
                return optuna.load_study(storage=url, study_name=scan.study)
            return optuna.create_study(storage=url, study_name=scan.study, directions=directions, load_if_exists=True)
    except KeyError:
        msg = "the database holds no such scan; give the --storage that it was made with"
        raise InputError(msg) from None
    except ImportError as error:
        msg = f"--storage needs a driver that is not installed ({error.name or 'see SQLAlchemy'}); pip install it"
        raise ToolMissingError(msg) from None
    except ArgumentError:
        msg = "--storage is no URL of a database; give e.g. postgresql+psycopg://HOST/NAME"
        raise InputError(msg) from None


@contextlib.contextmanager
def _database() -> Iterator[None]:
    """Turn what a database that is damaged, full or gone raises into one line, without the address of a server."""
    try:
        yield
    except Exception as error:
        causes = [error, *([error.__cause__] if error.__cause__ else [])]
        if not any(type(each).__module__.startswith(("sqlalchemy.", "sqlite3")) for each in causes) or any(
            type(each).__name__ in ("ArgumentError", "NoSuchModuleError") for each in causes
        ):
            raise
        text = str(getattr(causes[-1], "orig", None) or causes[-1]).splitlines()[0]
        msg = f"the study of the scan cannot be read or written: {text}"
        raise StorageError(msg) from None


_STATES = {"COMPLETE": "complete", "PRUNED": "refused", "FAIL": "failed", "RUNNING": "running"}


def _results(scan: Scan, study: Any, directory: Path, objectives: Objectives) -> Results:
    points = tuple(_points(scan, study, directory))
    path = directory / FLOAT / RESULT
    reference = read_json(path)["figures"] if path.exists() else None
    return Results(scan.name, scan.card, objectives, points, reference)


def _points(scan: Scan, study: Any, directory: Path) -> Iterator[Point]:
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name in _STATES:
            facts = trial.user_attrs
            figures = facts.get("figures") or {}
            yield Point(
                trial.number, _STATES[trial.state.name], (*scan.changes, *facts.get("changes", ())), figures,
                facts.get("reason") or "", read_proof(directory / POINTS / f"{trial.number:04}", figures.get("graph")),
            )  # fmt: skip
