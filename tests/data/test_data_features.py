"""The 16 features against analytic jets, a plain NumPy version, and FastJet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1dl.data.features import FEATURES, jet_features, leading_constituents

pytestmark = pytest.mark.usefixtures("numba")
COLUMN = {name: i for i, name in enumerate(FEATURES)}


def one_jet(pt, eta, phi):
    arrays = [np.asarray(values, np.float64) for values in (pt, eta, phi)]
    row = jet_features(*arrays, np.array([0, len(pt)]))[0]
    return dict(zip(FEATURES, row, strict=True))


def plain_features(pt, eta, phi):
    """The features written directly from their definitions, without any cleverness."""
    z = pt / pt.sum()
    d_phi = (phi[:, None] - phi + np.pi) % (2 * np.pi) - np.pi
    r = np.hypot(eta[:, None] - eta, d_phi)

    def pairs(beta):
        return sum(z[i] * z[j] * r[i, j] ** beta for i, j in itertools.combinations(range(z.size), 2))

    def triplets(beta, angles):
        total = 0.0
        for i, j, k in itertools.combinations(range(z.size), 3):
            sides = sorted([r[i, j], r[i, k], r[j, k]])
            total += z[i] * z[j] * z[k] * np.prod(sides[:angles]) ** beta
        return total

    def ratio(numerator, denominator):
        return numerator / denominator if denominator > 0 else 0.0

    e2 = {beta: float(pairs(beta)) for beta in (1, 2)}
    e3 = {(v, beta): triplets(beta, v) for v in (1, 2, 3) for beta in (1, 2)}
    values = [
        np.sum(z * np.log(z)),
        sum(z[i] * z[j] for i, j in itertools.combinations(range(z.size), 2)),
        e2[1],
        e2[2],
    ]
    values += [ratio(e3[3, beta], e2[beta] ** 2) for beta in (1, 2)]
    values += [ratio(e3[3, beta], e2[beta] ** 3) for beta in (1, 2)]
    values += [ratio(e3[3, 1], e2[beta] ** (3 / beta)) for beta in (1, 2)]
    values += [ratio(e3[1, beta], e2[beta]) for beta in (1, 2)]
    values += [ratio(e3[2, beta], e2[beta] ** 2) for beta in (1, 2)]
    return np.array([*values, plain_mmdt(pt, eta, phi), z.size])


def plain_mmdt(pt, eta, phi, z_cut=0.1):
    """Cambridge/Aachen by searching all pairs at each step, then declustering."""
    nodes = [
        (np.array([p * np.cos(f), p * np.sin(f), p * np.sinh(e), p * np.cosh(e)]), None)
        for p, e, f in zip(pt, eta, phi, strict=True)
    ]

    def place(p):
        return np.arctanh(p[2] / p[3]), np.arctan2(p[1], p[0])

    def distance(a, b):
        (y1, f1), (y2, f2) = place(a), place(b)
        return (y1 - y2) ** 2 + ((f1 - f2 + np.pi) % (2 * np.pi) - np.pi) ** 2

    while len(nodes) > 1:
        i, j = min(
            itertools.combinations(range(len(nodes)), 2), key=lambda ij: distance(nodes[ij[0]][0], nodes[ij[1]][0])
        )
        merged = (nodes[i][0] + nodes[j][0], (nodes[i], nodes[j]))
        nodes = [node for k, node in enumerate(nodes) if k not in (i, j)] + [merged]
    p, parents = nodes[0]
    while parents is not None:
        pts = [np.hypot(*parent[0][:2]) for parent in parents]
        if min(pts) > z_cut * sum(pts):
            return np.sqrt(max(p[3] ** 2 - np.sum(p[:3] ** 2), 0.0))
        p, parents = parents[int(np.argmax(pts))]
    return 0.0


@pytest.mark.parametrize(("share", "angle"), [(0.5, 0.3), (0.2, 0.05), (0.11, 0.7)])
def test_two_particles(share, angle):
    jet = one_jet([1000 * share, 1000 * (1 - share)], [0.4, 0.4], [3.1, 3.1 + angle - 2 * np.pi])
    product = share * (1 - share)
    assert jet["c1_b0"] == pytest.approx(product)
    assert jet["c1_b1"] == pytest.approx(product * angle)
    assert jet["c1_b2"] == pytest.approx(product * angle**2)
    assert jet["zlogz"] == pytest.approx(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert jet["mass_mmdt"] == pytest.approx(1000 * np.sqrt(2 * product * (1 - np.cos(angle))))
    assert jet["multiplicity"] == 2
    assert [jet[name] for name in FEATURES[4:14]] == [0.0] * 10


def test_soft_partner_is_groomed_away():
    assert one_jet([91, 9], [0, 0], [0, 0.4])["mass_mmdt"] == 0.0
    assert one_jet([89, 11], [0, 0], [0, 0.4])["mass_mmdt"] > 0.0


@pytest.mark.parametrize("side", [0.1, 0.6])
def test_three_particles_in_an_equilateral_triangle(side):
    jet = one_jet([50, 50, 50], [1.0, 1.0 + side, 1.0 + side / 2], [0.0, 0.0, side * np.sqrt(3) / 2])
    expected = {
        "zlogz": -np.log(3),
        "c1_b0": 1 / 3,
        "c1_b1": side / 3,
        "c1_b2": side**2 / 3,
        "c2_b1": side / 3,
        "c2_b2": side**2 / 3,
        "d2_b1": 1.0,
        "d2_b2": 1.0,
        "d2_a1_b1": 1.0,
        "d2_a1_b2": (1 / 27) / (1 / 3) ** 1.5,
        "m2_b1": 1 / 9,
        "m2_b2": 1 / 9,
        "n2_b1": 1 / 3,
        "n2_b2": 1 / 3,
    }
    for name, value in expected.items():
        assert jet[name] == pytest.approx(value, rel=1e-12), name


def test_one_particle_has_no_substructure():
    jet = one_jet([900], [0.1], [0.2])
    assert jet.pop("multiplicity") == 1
    assert set(jet.values()) == {0.0}


@st.composite
def random_jet(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(1, 12))
    width = draw(st.sampled_from([1e-3, 0.1, 0.4]))
    return rng.exponential(30, size) + 0.5, rng.normal(1, width, size), rng.normal(3, width, size)


@given(random_jet())
@settings(max_examples=40, deadline=None)
def test_features_equal_the_plain_version(jet):
    pt, eta, phi = jet
    got = jet_features(pt, eta, phi, np.array([0, pt.size]))[0]
    expected = plain_features(pt, eta, phi)
    mass = COLUMN["mass_mmdt"]
    assert got[mass] == pytest.approx(expected[mass], rel=1e-9, abs=1e-4)  # E² - p² cancels for a narrow jet
    np.testing.assert_allclose(np.delete(got, mass), np.delete(expected, mass), rtol=1e-9)


@given(random_jet(), st.floats(-3, 3), st.permutations(range(12)))
@settings(max_examples=25, deadline=None)
def test_features_depend_on_neither_azimuth_nor_order(jet, shift, order):
    pt, eta, phi = jet
    chosen = [i for i in order if i < pt.size]
    turned = (phi + shift + np.pi) % (2 * np.pi) - np.pi
    first = jet_features(pt, eta, phi, np.array([0, pt.size]))
    second = jet_features(pt[chosen], eta[chosen], turned[chosen], np.array([0, pt.size]))
    np.testing.assert_allclose(first, second, rtol=1e-8, atol=1e-6)


def test_each_jet_is_its_own(jets):
    pt, eta, phi, offsets = jets
    together = jet_features(pt, eta, phi, offsets)
    assert together.shape == (20, 16)
    assert np.unique(together[:, COLUMN["c1_b1"]]).size == 20
    for i, (low, high) in enumerate(itertools.pairwise(offsets)):
        alone = jet_features(pt[low:high], eta[low:high], phi[low:high], np.array([0, high - low]))[0]
        assert np.array_equal(together[i], alone)


def test_groomed_mass_equals_fastjet_soft_drop(jets, need):
    need("fastjet", "awkward")
    import awkward as ak
    import fastjet

    pt, eta, phi, offsets = jets
    momenta = ak.zip(
        {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "E": pt * np.cosh(eta)},
        with_name="Momentum4D",
    )
    particles = ak.unflatten(momenta, np.diff(offsets))[1:]
    clusters = fastjet.ClusterSequence(particles, fastjet.JetDefinition(fastjet.cambridge_algorithm, 100.0))
    groomed = clusters.exclusive_jets_softdrop_grooming(1, beta=0, symmetry_cut=0.1, R0=100.0)
    expected = ak.to_numpy(groomed.msoftdrop)
    got = jet_features(pt, eta, phi, offsets)[1:, COLUMN["mass_mmdt"]]
    assert (got > 1).sum() > 5
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_leading_constituents_are_sorted_padded_and_relative(jets):
    pt, eta, phi, offsets = jets
    axis = np.stack([eta[offsets[:-1]], phi[offsets[:-1]]], axis=1)
    got = leading_constituents(pt, eta, phi, offsets, axis=axis)
    assert got.shape == (20, 16, 3)
    assert got.dtype == np.float32
    assert (np.diff(got[..., 0], axis=1) <= 0).all()
    assert np.array_equal((got[..., 0] > 0).sum(axis=1), np.minimum(np.diff(offsets), 16))
    assert np.abs(got[..., 2]).max() < 2
    assert got[0, 0].tolist() == [np.float32(pt[0]), 0.0, 0.0]
    assert not got[0, 1:].any()
