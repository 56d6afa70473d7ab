"""One shard of jets: events, detector, jets, features; a pure function of the settings and the shard's key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from l1dl.data.detector import RESPONSES, FloatArray, IntArray, Objects, respond
from l1dl.data.features import jet_features, leading_constituents
from l1dl.data.images import image_bytes
from l1dl.data.pythia import EventBatch, EventSource, import_generators, pythia_seed
from l1dl.data.settings import EVENTS_PER_SHARD, JetSettings, ShardKey
from l1dl.data.store import round_mantissa
from l1dl.errors import ToolFailedError

JET_RADIUS = 0.8
JET_PT_GEV = (800.0, 1200.0)
JET_ETA_MAX = 2.0
MATCH_RADIUS = 0.4
_MANTISSA_BITS = 14
_CONSTITUENT_BITS = 8
_ANGLE_STEP = 2.0**-10

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Jets:
    """Jets with their constituents.

    Attributes
    ----------
    event
        Index of the event in the batch, int64 of shape (jets,), ascending.
    kin
        Transverse momentum (GeV), pseudorapidity, azimuth and mass (GeV), float64 of shape (jets, 4).
    pt, eta, phi
        Constituents of all jets, float64 of shape (C,).
    charged
        Whether a constituent is a track, bool of shape (C,).
    offsets
        Boundaries of the jets in the constituents, int64 of shape (jets + 1,).
    """

    event: IntArray
    kin: FloatArray
    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    charged: npt.NDArray[np.bool_]
    offsets: IntArray


def make_shard(settings: JetSettings, key: ShardKey, keep_going: Callable[[], None] | None = None) -> Arrays:
    """Generate the jets of one shard.

    Parameters
    ----------
    settings
        Settings of the sample.
    key
        Which shard.
    keep_going
        Called before each batch; raises to stop.

    Returns
    -------
    dict
        ``x`` f4 (n, 16), ``y`` u1, ``kin`` f4 (n, 4), ``event_id`` i8, ``images`` u1 (n, 16, 16) or, with several
        channels, (n, 16, 16, C), and ``constituents`` f2 (n, 16, 3) where they are kept, with n = ``key.jets``.

    Raises
    ------
    ToolMissingError
        Pythia or FastJet is absent.
    ToolFailedError
        Pythia fails.
    """
    sequence = np.random.SeedSequence([settings.seed, key.label, key.index])
    for_pythia, for_hook, for_detector = sequence.spawn(3)
    source = EventSource(key.label, pythia_seed(for_pythia), np.random.default_rng(for_hook))
    rng = np.random.default_rng(for_detector)
    parts: list[Arrays] = []
    made = events = 0
    while made < key.jets:
        if keep_going is not None:
            keep_going()
        batch = source.next_batch(settings.batch_events)
        objects = respond(batch.particles, RESPONSES[settings.detector], rng)
        jets = select_jets(find_jets(objects, batch.parton_eta.shape[0]), batch)
        if jets.event.size:
            parts.append(_describe(jets, settings, key, events))
            made += jets.event.size
        events += batch.parton_eta.shape[0]
        if events > EVENTS_PER_SHARD - settings.batch_events:
            msg = f"shard {key.name} has only {made} of {key.jets} jets after {events} events"
            raise ToolFailedError(msg)
    return {name: np.concatenate([part[name] for part in parts])[: key.jets] for name in parts[0]}


def find_jets(objects: Objects, events: int) -> Jets:
    """Cluster the objects of each event with anti-kT, R = 0.8 (arXiv:0802.1189, 1111.6097), above 800 GeV.

    Parameters
    ----------
    objects
        Detector objects, ordered by event.
    events
        Number of events in the batch; an event may have no object.
    """
    import awkward as ak

    _, fastjet = import_generators()
    bounds = np.searchsorted(objects.event, np.arange(events + 1))
    columns = {
        "px": objects.pt * np.cos(objects.phi),
        "py": objects.pt * np.sin(objects.phi),
        "pz": objects.pt * np.sinh(objects.eta),
        "E": objects.pt * np.cosh(objects.eta),
    }
    record = ak.contents.RecordArray(
        [ak.contents.NumpyArray(column) for column in columns.values()],
        list(columns),
        parameters={"__record__": "Momentum4D"},
    )
    particles = ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(bounds), record))
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, JET_RADIUS)
    clusters = fastjet.ClusterSequence(particles, definition)
    members = clusters.constituent_index(JET_PT_GEV[0])
    per_event = ak.to_numpy(ak.num(members, axis=1))
    per_jet = ak.to_numpy(ak.flatten(ak.num(members, axis=2)))
    event = np.repeat(np.arange(events), per_event)
    index = ak.to_numpy(ak.flatten(members, axis=None)) + np.repeat(bounds[event], per_jet)
    offsets = np.concatenate([[0], np.cumsum(per_jet)]).astype(np.int64)
    momentum = np.stack([np.add.reduceat(column[index], offsets[:-1]) for column in columns.values()], axis=1)
    pt, eta, phi, charged = objects.pt[index], objects.eta[index], objects.phi[index], objects.charged[index]
    return Jets(event, _kinematics(momentum), pt, eta, phi, charged, offsets)


def select_jets(jets: Jets, batch: EventBatch) -> Jets:
    """Keep jets in the momentum window that lie within Delta R < 0.4 of a parton."""
    jet_pt, jet_eta, jet_phi, _ = jets.kin.T
    d_eta = jet_eta[:, None] - batch.parton_eta[jets.event]
    d_phi = (jet_phi[:, None] - batch.parton_phi[jets.event] + np.pi) % (2 * np.pi) - np.pi
    near = np.hypot(d_eta, d_phi).min(axis=1) < MATCH_RADIUS
    window = (jet_pt > JET_PT_GEV[0]) & (jet_pt < JET_PT_GEV[1]) & (np.abs(jet_eta) < JET_ETA_MAX)
    chosen = np.flatnonzero(near & window)
    sizes = np.diff(jets.offsets)
    kept = np.isin(np.repeat(np.arange(sizes.size), sizes), chosen)
    offsets = np.concatenate([[0], np.cumsum(sizes[chosen])]).astype(np.int64)
    pt, eta, phi, charged = jets.pt[kept], jets.eta[kept], jets.phi[kept], jets.charged[kept]
    return Jets(jets.event[chosen], jets.kin[chosen], pt, eta, phi, charged, offsets)


def _kinematics(momentum: FloatArray) -> FloatArray:
    px, py, pz, energy = momentum.T
    pt = np.hypot(px, py)
    mass = np.sqrt(np.maximum(energy**2 - pt**2 - pz**2, 0.0))
    return np.stack([pt, np.arcsinh(pz / pt), np.arctan2(py, px), mass], axis=1)


def _describe(jets: Jets, settings: JetSettings, key: ShardKey, first: int) -> Arrays:
    constituents = (jets.pt, jets.eta, jets.phi, jets.offsets)
    arrays: Arrays = {
        "x": round_mantissa(jet_features(*constituents), _MANTISSA_BITS),
        "y": np.full(jets.event.size, key.label, np.uint8),
        "kin": round_mantissa(jets.kin, _MANTISSA_BITS),
        "event_id": key.first_event + first + jets.event,
        "images": image_bytes(*constituents, charged=jets.charged, channels=settings.channels),
    }
    if settings.constituents:
        leading = leading_constituents(*constituents, axis=jets.kin[:, 1:3])
        arrays["constituents"] = _encode_constituents(leading)
    return arrays


def _encode_constituents(constituents: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Round to steps well below the detector's resolution, so that the file stays small."""
    pt = round_mantissa(constituents[..., :1], _CONSTITUENT_BITS)
    angles = np.rint(constituents[..., 1:] / _ANGLE_STEP) * _ANGLE_STEP
    return np.concatenate([pt, angles], axis=-1).astype(np.float16)
