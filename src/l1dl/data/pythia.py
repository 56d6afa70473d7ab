"""Pythia 8 as the source of events: heavy gravitons that decay to two partons of one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from l1dl.data.detector import FloatArray, IntArray, Particles
from l1dl.data.settings import CLASSES
from l1dl.errors import ToolFailedError, ToolMissingError

GENERATORS = ("pythia8mc", "fastjet", "awkward", "vector", "numba")
GRAVITON = 5100039
PARTON_PT_GEV = (990.0, 1010.0)
_MAX_PYTHIA_SEED = 900_000_000
_MAX_EMPTY_BATCHES = 5
_DECAYS = ("21", "1 2 3", "24", "23", "6")
_BOSONS = (23, 24)

SETTINGS = (
    "Print:quiet=on",
    "Beams:eCM=13000",
    "ExtraDimensionsG*:all=on",
    "ExtraDimensionsG*:SMinBulk=off",
    f"{GRAVITON}:m0=2000",
    f"{GRAVITON}:doForceWidth=on",
    f"{GRAVITON}:mWidth=20",
    f"{GRAVITON}:mMin=1600",
    f"{GRAVITON}:mMax=2400",
    f"{GRAVITON}:onMode=off",
    "24:onMode=off",
    "24:onIfAny=1 2 3 4 5",
    "23:onMode=off",
    "23:onIfAny=1 2 3 4 5",
    "Random:setSeed=on",
)
"""Settings common to all classes: a narrow graviton of 2 TeV (arXiv:hep-ph/9905221), hadronic W and Z decays."""


@dataclass(frozen=True)
class EventBatch:
    """A batch of events: final particles, and the two partons of each event.

    Attributes
    ----------
    particles
        Stable particles.
    parton_eta, parton_phi
        Directions of the graviton's daughters, float64 of shape (events, 2).
    """

    particles: Particles
    parton_eta: FloatArray
    parton_phi: FloatArray


def import_generators() -> tuple[Any, Any]:
    """Import and return pythia8mc and fastjet.

    Raises
    ------
    ToolMissingError
        A package that generation needs is absent.
    """
    import importlib
    from importlib.util import find_spec

    missing = [name for name in GENERATORS if find_spec(name) is None]
    if missing:
        msg = f'cannot generate jets without {", ".join(missing)}; install with: pip install "l1dl[gen]"'
        raise ToolMissingError(msg)
    pythia, fastjet = importlib.import_module("pythia8mc"), importlib.import_module("fastjet")
    # FastJet prints a banner on its first use; its citation is in the docstring of `l1dl.data.shards.find_jets`.
    fastjet._swig.ClusterSequence.set_fastjet_banner_stream(None)
    return pythia, fastjet


class EventSource:
    """One Pythia that makes events of one jet class.

    Parameters
    ----------
    label
        Index into `CLASSES`.
    pythia_seed
        Random seed of Pythia, 1 to 900,000,000.
    rng
        Random numbers of the polarisation.
    """

    def __init__(self, label: int, pythia_seed: int, rng: np.random.Generator) -> None:
        module, _ = import_generators()
        self._pythia = module.Pythia(xmlDir="", printBanner=False)
        for line in (*SETTINGS, f"{GRAVITON}:onIfAny={_DECAYS[label]}", f"Random:seed={pythia_seed}"):
            if not self._pythia.readString(line):
                msg = f"Pythia refuses the setting {line!r}; allowed version: pythia8mc 8.317"
                raise ToolFailedError(msg)
        self._hook = make_hook(module, rng)
        self._pythia.setUserHooksPtr(self._hook)
        if not self._pythia.init():
            msg = f"Pythia cannot be initialised for class {CLASSES[label]}"
            raise ToolFailedError(msg)
        self._charged: dict[int, bool] = {}

    def next_batch(self, events: int) -> EventBatch:
        """Generate about `events` events (Pythia leaves out those that fail).

        Raises
        ------
        ToolFailedError
            Several batches in a row came out empty.
        """
        for _ in range(_MAX_EMPTY_BATCHES):
            record = self._pythia.nextBatch(events)
            if len(record):
                return self._unpack(record.prt)
        msg = f"Pythia made no event in {_MAX_EMPTY_BATCHES} batches of {events}"
        raise ToolFailedError(msg)

    def _unpack(self, record: Any) -> EventBatch:
        layout = record.layout
        offsets = np.asarray(layout.offsets, np.int64)
        fields = layout.content
        kind = np.asarray(fields["id"].data)
        mother = np.asarray(fields["mother1"].data)
        px, py, pz, energy = (np.asarray(fields["p"][name].data) for name in ("px", "py", "pz", "e"))
        event = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
        from_graviton = (kind[offsets[event] + mother] == GRAVITON) & (mother > 0) & (kind != GRAVITON)
        partons = _first_two(np.flatnonzero(from_graviton), event)
        stable = np.flatnonzero(np.asarray(fields["status"].data) > 0)
        pt = np.hypot(px[stable], py[stable])
        stable = stable[pt > 0]
        pt = pt[pt > 0]
        particles = Particles(
            event=event[stable],
            pt=pt,
            eta=np.arcsinh(pz[stable] / pt),
            phi=np.arctan2(py[stable], px[stable]),
            energy=energy[stable],
            kind=np.abs(kind[stable]).astype(np.int64),
            charged=self._is_charged(kind[stable]),
        )
        parton_pt = np.hypot(px[partons], py[partons])
        return EventBatch(particles, np.arcsinh(pz[partons] / parton_pt), np.arctan2(py[partons], px[partons]))

    def _is_charged(self, kind: IntArray) -> Any:
        known, inverse = np.unique(kind, return_inverse=True)
        for pdg in known.tolist():
            if pdg not in self._charged:
                self._charged[pdg] = self._pythia.particleData.charge(pdg) != 0
        return np.array([self._charged[pdg] for pdg in known.tolist()])[inverse]


def make_hook(module: Any, rng: np.random.Generator) -> Any:
    """Return a Pythia user hook that selects the hard process.

    It keeps a parton transverse momentum between 990 and 1010 GeV, and accepts each W or Z with probability
    1 - cos² of its decay angle: Pythia decays them isotropically, whereas those of such a graviton are longitudinal.
    """

    class Selection(module.UserHooks):  # type: ignore[misc]
        def canVetoProcessLevel(self) -> bool:  # noqa: N802
            return True

        def doVetoProcessLevel(self, process: Any) -> bool:  # noqa: N802
            graviton = next(i for i in range(process.size()) if process[i].id() == GRAVITON)
            daughters = [i for i in range(graviton + 1, process.size()) if process[i].mother1() == graviton]
            low, high = PARTON_PT_GEV
            if not all(low < process[i].pT() < high for i in daughters):
                return True
            bosons = [process[i] for i in daughters if process[i].idAbs() in _BOSONS]
            return not all(
                rng.random() < longitudinal_weight(process[graviton], boson, process[boson.daughter1()])
                for boson in bosons
            )

    return Selection()


def longitudinal_weight(parent: Any, boson: Any, fermion: Any) -> float:
    """Return sin² of the angle between boson and decay fermion, in the boson's rest frame, from invariants.

    With energies taken in the parent's rest frame, ``2 E_fermion / E_boson = 1 + beta cos(theta)`` for a massless
    fermion.
    """
    e_boson = _dot(boson, parent) / parent.m()
    e_fermion = _dot(fermion, parent) / parent.m()
    beta = np.sqrt(max(1.0 - (boson.m() / e_boson) ** 2, 1e-12))
    cosine = (2.0 * e_fermion / e_boson - 1.0) / beta
    return max(0.0, 1.0 - float(cosine) ** 2)


def pythia_seed(sequence: np.random.SeedSequence) -> int:
    """Return a seed that Pythia accepts, 1 to 900,000,000 (0 would mean the clock)."""
    return int(sequence.generate_state(1, np.uint64)[0] % _MAX_PYTHIA_SEED) + 1


def _dot(first: Any, second: Any) -> float:
    return float(
        first.e() * second.e() - first.px() * second.px() - first.py() * second.py() - first.pz() * second.pz()
    )


def _first_two(candidates: IntArray, event: IntArray) -> IntArray:
    """Return the first two candidates of each event, shape (events, 2)."""
    owner = event[candidates]
    _, start = np.unique(owner, return_index=True)
    return np.stack([candidates[start], candidates[start + 1]], axis=1)
