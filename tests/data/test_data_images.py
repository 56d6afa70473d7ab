"""Jet images: centring, rotation, normalisation, and their bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1dl.data.images import (
    ENCODINGS,
    IMAGE_HALF_WIDTH,
    IMAGE_SIZE,
    SCALES,
    encode_counts,
    encode_images,
    image_bytes,
    jet_images,
)
from l1dl.data.settings import Channel

pytestmark = pytest.mark.usefixtures("numba")


def image(pt, eta, phi):
    return jet_images(*(np.asarray(values, np.float64) for values in (pt, eta, phi)), np.array([0, len(pt)]))[0]


def blob(seed, size=30):
    """Constituents with a long axis, well inside the grid."""
    rng = np.random.default_rng(seed)
    return rng.exponential(10, size) + 0.5, rng.normal(0, 0.1, size).clip(-0.2, 0.2), rng.normal(0, 0.03, size)


@given(st.integers(0, 1000), st.floats(-2, 2), st.floats(-3.14, 3.14))
@settings(max_examples=30, deadline=None)
def test_images_do_not_depend_on_the_place(seed, d_eta, d_phi):
    pt, eta, phi = blob(seed)
    moved = image(pt, eta + d_eta, (phi + d_phi + np.pi) % (2 * np.pi) - np.pi)
    np.testing.assert_allclose(moved, image(pt, eta, phi), atol=1e-9)


@given(st.integers(0, 1000), st.floats(-3.14, 3.14))
@settings(max_examples=30, deadline=None)
def test_images_do_not_depend_on_the_orientation(seed, angle):
    pt, eta, phi = blob(seed)
    turned = image(pt, eta * np.cos(angle) - phi * np.sin(angle), eta * np.sin(angle) + phi * np.cos(angle))
    np.testing.assert_allclose(turned, image(pt, eta, phi), atol=1e-9)


def test_a_contained_jet_sums_to_one():
    assert image(*blob(1)).sum() == pytest.approx(1.0)
    assert (image(*blob(1)) >= 0).all()


def test_two_prongs_lie_on_the_first_axis():
    got = image([100, 100], [0.0, 0.3], [0.0, 0.3])
    rows, columns = np.nonzero(got)
    distance = np.hypot(0.3, 0.3) / (2 * IMAGE_HALF_WIDTH / IMAGE_SIZE)
    assert abs(rows[1] - rows[0] - distance) < 1
    assert np.isin(columns, (IMAGE_SIZE // 2 - 1, IMAGE_SIZE // 2)).all()
    assert got[rows, columns].tolist() == [0.5, 0.5]


def test_the_longer_tail_is_at_high_rows():
    for sign in (1, -1):
        rows = np.nonzero(image([300, 100], [0.0, sign * 0.4], [0.0, 0.0]).sum(axis=1))[0]
        assert rows.tolist() == [6, 14]


def test_wide_angle_radiation_is_lost():
    assert image([1000, 1], [0.0, 0.7], [0.0, 0.0]).sum() == pytest.approx(1000 / 1001)


def test_one_constituent_is_in_the_centre():
    assert image([5], [1.0], [1.0])[IMAGE_SIZE // 2, IMAGE_SIZE // 2] == 1.0


def test_bytes_are_the_root_of_the_share():
    shares = np.array([0.0, 1e-6, 0.25, 1.0, 1.0 + 1e-12]).reshape(1, 1, 5)
    assert encode_images(shares).tolist() == [[[0, 0, 128, 255, 255]]]
    assert encode_images(shares).dtype == np.uint8


def test_images_of_many_jets(jets):
    got = jet_images(*jets)
    assert got.shape == (20, IMAGE_SIZE, IMAGE_SIZE)
    assert (got.sum(axis=(1, 2)) <= 1 + 1e-12).all()
    assert (got.sum(axis=(1, 2)) > 0.5).all()


def test_every_channel_is_described():
    assert set(ENCODINGS) == set(SCALES) == set(Channel)


def test_counts_are_exact_until_they_saturate():
    counts = np.array([0.0, 1, 2, 31, 32, 33, 500]).reshape(1, 1, 7)
    assert encode_counts(counts).tolist() == [[[0, 8, 16, 248, 255, 255, 255]]]
    assert encode_counts(counts).dtype == np.uint8


def test_the_default_channel_keeps_the_old_layout(jets):
    charged = np.zeros(jets[0].size, np.bool_)
    got = image_bytes(*jets, charged=charged, channels=(Channel.PT,))
    assert np.array_equal(got, encode_images(jet_images(*jets)))
    assert image_bytes(*jets, charged=charged, channels=(Channel.CHARGED,)).shape == (20, 16, 16, 1)


def test_channels_share_the_frame_and_add_up(jets):
    charged = np.random.default_rng(2).random(jets[0].size) < 0.6
    got = image_bytes(*jets, charged=charged, channels=tuple(Channel)).astype(np.float64)
    assert got.shape == (20, 16, 16, 4)
    pt, tracks, cells, multiplicity = np.moveaxis(got, -1, 0)
    share = [(image / 255) ** 2 for image in (pt, tracks, cells)]
    np.testing.assert_allclose(share[1] + share[2], share[0], atol=0.01)
    assert tracks.any()
    assert cells.any()
    assert np.array_equal(multiplicity > 0, jet_images(*jets) > 0)
    assert (multiplicity.sum(axis=(1, 2)) / 8 <= np.diff(jets[3])).all()
    turned = image_bytes(*jets, charged=charged, channels=tuple(Channel)[::-1])
    assert np.array_equal(turned[..., ::-1], got)


def test_two_prongs_of_known_charge():
    pt, eta, phi = (np.array(values) for values in ([75.0, 25.0, 25.0], [0.0, 0.3, 0.3], [0.0, 0.0, 0.0]))
    got = image_bytes(
        pt, eta, phi, np.array([0, 3]), charged=np.array([True, False, False]), channels=tuple(Channel)
    )[0]  # fmt: skip
    rows, columns = np.nonzero(got[..., 0])
    assert got[rows, columns].tolist() == [
        [round(255 * np.sqrt(0.6)), round(255 * np.sqrt(0.6)), 0, 8],
        [round(255 * np.sqrt(0.4)), 0, round(255 * np.sqrt(0.4)), 16],
    ]
