"""The detector response, by its averages and its corners."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from l1dl.data.detector import RESPONSES, Particles, respond
from l1dl.data.settings import Detector

FINE = RESPONSES[Detector.FINE]


def particles(count, kind, *, pt=50.0, eta=0.1, charged=False, event=None, phi=0.3):
    eta = np.full(count, eta)
    pt = np.full(count, pt)
    return Particles(
        event=np.arange(count) if event is None else np.asarray(event),
        pt=pt,
        eta=eta,
        phi=np.full(count, phi),
        energy=pt * np.cosh(eta),
        kind=np.full(count, kind),
        charged=np.full(count, charged),
    )


def see(given, response=FINE, seed=1):
    return respond(given, response, np.random.default_rng(seed))


def test_tracks_have_their_efficiency_and_resolution():
    response = dataclasses.replace(FINE, hcal=dataclasses.replace(FINE.hcal, stochastic=0.0, constant=0.0))
    seen = see(particles(40_000, 211, charged=True), response)
    tracks = seen.eta == 0.1
    assert tracks.mean() == pytest.approx(0.99, abs=0.003)
    assert np.array_equal(seen.charged, tracks)
    assert seen.pt[tracks].std() / 50 == pytest.approx(np.hypot(0.01, 1.5e-4 * 50), rel=0.03)
    assert seen.pt.size == 40_000


@pytest.mark.parametrize(("kind", "expected"), [(22, np.hypot(0.03 / np.sqrt(50.25), 0.006)), (130, 0.0765)])
def test_calorimeters_have_their_resolution(kind, expected):
    seen = see(particles(40_000, kind))
    assert seen.pt.std() / seen.pt.mean() == pytest.approx(expected, rel=0.03)
    assert seen.pt.mean() == pytest.approx(50, rel=0.01)


def test_coarse_cells_are_wide_and_smear_more():
    coarse = RESPONSES[Detector.COARSE]
    assert coarse.track_efficiency == 0.95
    assert (coarse.hcal.cell, coarse.hcal.stochastic, coarse.hcal.constant) == (0.087, 1.0, 0.05)
    assert see(particles(20_000, 130), coarse).pt.std() > 1.9 * see(particles(20_000, 130)).pt.std()


def test_objects_sit_at_cell_centres_near_the_particle():
    seen = see(particles(1, 22))
    assert abs(seen.eta[0] - 0.1) <= FINE.ecal.cell / 2
    assert abs(seen.phi[0] - 0.3) <= FINE.ecal.cell / 2 * 1.01
    assert seen.eta[0] != 0.1


def test_a_cell_adds_up_within_its_event_only():
    seen = see(particles(5, 22, event=[0, 0, 0, 1, 1]))
    assert seen.event.tolist() == [0, 1]
    assert seen.pt == pytest.approx([150, 100], rel=0.05)


@pytest.mark.parametrize("kind", [12, 14, 16])
def test_neutrinos_are_invisible(kind):
    assert see(particles(100, kind)).pt.size == 0


def test_soft_charged_particles_curl_up_and_lost_muons_vanish():
    assert see(particles(100, 211, charged=True, pt=0.4)).pt.size == 0
    assert see(particles(100, 22, pt=0.2)).pt.size == 0
    assert see(particles(1000, 13, charged=True)).pt.size == pytest.approx(990, abs=15)


def test_coverage_ends():
    assert see(particles(50, 211, charged=True, eta=2.7)).pt.size == 50  # calorimeter instead of track
    assert see(particles(50, 22, eta=-3.1)).pt.size == 0


def test_azimuth_wraps_into_the_first_cell():
    seen = see(particles(2, 22, phi=np.pi, event=[0, 0]))
    assert np.abs(seen.phi) == pytest.approx([np.pi], abs=0.02)


def test_response_is_reproducible_and_ordered():
    given = particles(300, 211, charged=True, event=np.sort(np.arange(300) % 7))
    first, second, other = see(given), see(given), see(given, seed=2)
    assert np.array_equal(first.pt, second.pt)
    assert not np.array_equal(first.pt, other.pt)
    assert (np.diff(first.event) >= 0).all()
