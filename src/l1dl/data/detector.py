"""A detector in few numbers: tracks, an electromagnetic and a hadron calorimeter with cells and resolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from l1dl.data.settings import Detector

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ELECTRON, _MUON, _PHOTON = 11, 13, 22
_INVISIBLE = (12, 14, 16, 5100039)


@dataclass(frozen=True)
class Calorimeter:
    """Cell size in eta and phi, and the energy resolution stochastic/sqrt(E/GeV) added in quadrature to constant."""

    cell: float
    stochastic: float
    constant: float


@dataclass(frozen=True)
class Response:
    """The response of a detector.

    Attributes
    ----------
    track_efficiency
        Probability that a charged particle with enough momentum leaves a track.
    track_constant, track_slope
        Resolution of a track: ``constant`` added in quadrature to ``slope * pt`` (slope in 1/GeV).
    ecal, hcal
        The calorimeters for photons and electrons, and for hadrons.
    track_eta_max, calorimeter_eta_max
        Coverage in absolute pseudorapidity.
    pt_min_gev
        Threshold of tracks and of cells.
    """

    track_efficiency: float
    hcal: Calorimeter
    ecal: Calorimeter = Calorimeter(cell=0.0174, stochastic=0.03, constant=0.006)
    track_constant: float = 0.01
    track_slope: float = 1.5e-4
    track_eta_max: float = 2.5
    calorimeter_eta_max: float = 3.0
    pt_min_gev: float = 0.5


RESPONSES: Mapping[Detector, Response] = MappingProxyType(
    {
        Detector.FINE: Response(track_efficiency=0.99, hcal=Calorimeter(0.022, 0.5, 0.03)),
        Detector.COARSE: Response(track_efficiency=0.95, hcal=Calorimeter(0.087, 1.0, 0.05)),
    }
)


@dataclass(frozen=True)
class Particles:
    """Particles or detector objects of a batch of events, as columns of equal length.

    Attributes
    ----------
    event
        Index of the event in the batch, int64, ascending.
    pt, eta, phi, energy
        float64, in GeV and radians.
    kind
        Absolute PDG identifier, int64.
    charged
        Whether the particle has electric charge, bool.
    """

    event: IntArray
    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    energy: FloatArray
    kind: IntArray
    charged: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Objects:
    """What the detector sees: massless objects, ordered by event.

    Attributes
    ----------
    event
        Index of the event in the batch, int64.
    pt, eta, phi
        float64, in GeV and radians.
    charged
        Whether the object is a track, bool; the others are calorimeter cells.
    """

    event: IntArray
    pt: FloatArray
    eta: FloatArray
    phi: FloatArray
    charged: npt.NDArray[np.bool_]


def respond(particles: Particles, response: Response, rng: np.random.Generator) -> Objects:
    """Return the tracks and the calorimeter cells that a batch of events leaves.

    A charged particle gives a track if it is found, else its energy goes to a calorimeter (a lost muon leaves
    nothing; one below the momentum threshold never arrives). Neutral particles fill cells, which are smeared as a
    whole; an object sits at its cell's centre. Neutrinos are invisible.
    """
    visible = ~np.isin(particles.kind, _INVISIBLE)
    within = np.abs(particles.eta) < response.track_eta_max
    trackable = particles.charged & within & (particles.pt > response.pt_min_gev)
    curled = particles.charged & (particles.pt <= response.pt_min_gev)
    found = trackable & (rng.random(particles.pt.size) < response.track_efficiency)
    spread = np.hypot(response.track_constant, response.track_slope * particles.pt[found])
    track_pt = particles.pt[found] * (1.0 + spread * rng.standard_normal(spread.size))
    tracks = Objects(
        particles.event[found], track_pt, particles.eta[found], particles.phi[found], np.ones(track_pt.size, np.bool_)
    )
    rest = visible & ~found & ~curled & (particles.kind != _MUON)
    electromagnetic = np.isin(particles.kind, (_ELECTRON, _PHOTON))
    parts = [
        tracks,
        _cells(particles, rest & electromagnetic, response.ecal, response.calorimeter_eta_max, rng),
        _cells(particles, rest & ~electromagnetic, response.hcal, response.calorimeter_eta_max, rng),
    ]
    event, pt, eta, phi, charged = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("event", "pt", "eta", "phi", "charged")
    )
    order = np.argsort(event, kind="stable")
    order = order[pt[order] > response.pt_min_gev]
    return Objects(event[order], pt[order], eta[order], phi[order], charged[order])


def _cells(
    particles: Particles,
    chosen: npt.NDArray[np.bool_],
    calorimeter: Calorimeter,
    eta_max: float,
    rng: np.random.Generator,
) -> Objects:
    chosen = chosen & (np.abs(particles.eta) < eta_max)
    n_phi = round(2 * np.pi / calorimeter.cell)
    n_eta = 2 * int(np.ceil(eta_max / calorimeter.cell))
    phi_width = 2 * np.pi / n_phi
    i_eta = np.floor(particles.eta[chosen] / calorimeter.cell).astype(np.int64) + n_eta // 2
    i_phi = np.floor((particles.phi[chosen] + np.pi) / phi_width).astype(np.int64) % n_phi
    key = (particles.event[chosen] * n_eta + i_eta) * n_phi + i_phi
    cell, inverse = np.unique(key, return_inverse=True)
    energy = np.bincount(inverse, weights=particles.energy[chosen], minlength=cell.size)
    spread = np.hypot(calorimeter.stochastic / np.sqrt(np.maximum(energy, 1e-9)), calorimeter.constant)
    energy = energy * (1.0 + spread * rng.standard_normal(cell.size))
    eta = (cell // n_phi % n_eta - n_eta // 2 + 0.5) * calorimeter.cell
    phi = (cell % n_phi + 0.5) * phi_width - np.pi
    return Objects(cell // (n_phi * n_eta), energy / np.cosh(eta), eta, phi, np.zeros(cell.size, np.bool_))
