"""Augmentation: shapes, range, sums, seeds, the grid, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l1dl.data.augment import Augmentation, augment, reflect, rotate
from l1dl.data.dataset import BYTE_GRID, Pixels, PixelScale
from l1dl.data.image_sets import DIGITS_GRID
from l1dl.data.load import Inputs, load_dataset
from l1dl.errors import InputError

EVERYTHING = Augmentation(reflect=True, rotation_deg=8.0, smear=0.2)
SETTINGS = st.builds(Augmentation, st.booleans(), st.floats(0, 45), st.floats(0, 1))
JETS = Pixels(BYTE_GRID, (PixelScale.ROOT, PixelScale.ROOT, PixelScale.LINEAR, PixelScale.COUNT))


def codes(seed, shape=(9, 6, 6, 4), share=0.3):
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, shape) * (rng.random(shape) < share)).astype(np.uint8)


def rng(seed=1):
    return np.random.default_rng(seed)


@given(st.integers(0, 99), SETTINGS, st.sampled_from([(9, 6, 6), (3, 7, 7, 4), (1, 1, 1, 4), (0, 5, 5, 4)]))
@settings(max_examples=60, deadline=None)
def test_shape_type_range_and_grid(seed, chosen, shape):
    given = codes(seed, shape)
    kept = given.copy()
    pixels = JETS if len(shape) == 4 else Pixels(BYTE_GRID, (PixelScale.ROOT,))
    got = augment(given, chosen, rng(seed), pixels)
    assert np.array_equal(given, kept)
    assert (got.shape, got.dtype) == (shape, np.uint8)
    values = augment(given.astype(np.float32) / 256, chosen, rng(seed), pixels)
    assert values.dtype == np.float32
    assert np.array_equal(values * 256, got)
    assert np.array_equal(augment(given, chosen, rng(seed), pixels), got)


@given(st.integers(0, 99), SETTINGS)
@settings(max_examples=30, deadline=None)
def test_other_grids_are_kept(seed, chosen):
    levels = np.random.default_rng(seed).integers(0, 17, (5, 8, 8, 1))
    got = augment((levels / 16).astype(np.float32), chosen, rng(seed), Pixels(DIGITS_GRID))
    assert np.array_equal(np.rint(got * 16), got * 16)
    assert got.min() >= 0
    assert got.max() <= 31 / 16


def test_off_is_the_identity():
    assert not Augmentation().changes
    given = codes(1)
    assert augment(given, Augmentation(), rng()) is given
    off_grid = np.random.default_rng(1).random((4, 5, 5))
    assert augment(off_grid, Augmentation(), rng()) is off_grid


def test_each_setting_changes_images_and_the_seed_matters():
    given = codes(3, (50, 8, 8, 4))
    for chosen in (Augmentation(reflect=True), Augmentation(rotation_deg=3.0), Augmentation(smear=0.1)):
        assert chosen.changes
        got = augment(given, chosen, rng(1), JETS)
        assert not np.array_equal(got, given)
        assert not np.array_equal(got, augment(given, chosen, rng(2), JETS))


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_reflection_is_an_involution(seed):
    given = codes(seed)
    assert np.array_equal(reflect(reflect(given)), given)
    assert np.array_equal(reflect(given)[:, 2, 0], given[:, 2, 5])
    once = augment(given, Augmentation(reflect=True), rng(seed))
    assert np.array_equal(augment(once, Augmentation(reflect=True), rng(seed)), given)


def test_about_half_of_the_images_are_mirrored_and_nothing_else():
    given = codes(4, (1000, 4, 4, 1), share=0.9)
    got = augment(given, Augmentation(reflect=True), rng())
    mirrored = (got == reflect(given)).all(axis=(1, 2, 3))
    assert 440 < mirrored.sum() < 560
    assert np.array_equal(got[~mirrored], given[~mirrored])


@given(st.integers(0, 99), st.floats(-0.7, 0.7))
@settings(max_examples=30, deadline=None)
def test_a_rotation_keeps_the_sum_of_what_stays_inside(seed, angle):
    inner = np.random.default_rng(seed).random((3, 6, 6, 2))
    images = np.pad(inner, ((0, 0), (3, 3), (3, 3), (0, 0)))
    got = rotate(images, np.full(3, angle))
    np.testing.assert_allclose(got.sum(axis=(1, 2)), images.sum(axis=(1, 2)), rtol=1e-12)
    assert (got >= 0).all()
    edge = np.ones((3, 4, 4, 1))
    assert (rotate(edge, np.full(3, angle)).sum(axis=(1, 2)) <= 16 + 1e-9).all()


def test_rotations_turn_about_the_centre():
    image = np.random.default_rng(1).random((1, 5, 5, 1))
    np.testing.assert_allclose(rotate(image, np.zeros(1)), image)
    quarter = rotate(image, np.array([np.pi / 2]))[0, ..., 0]
    np.testing.assert_allclose(quarter, np.rot90(image[0, ..., 0]), atol=1e-12)
    back = rotate(rotate(image, np.array([np.pi])), np.array([np.pi]))
    np.testing.assert_allclose(back, image, atol=1e-12)


def test_a_rotation_moves_the_centre_of_gravity_by_its_angle():
    image = np.zeros((1, 15, 15, 1))
    image[0, 12, 7, 0] = 1.0
    got = rotate(image, np.array([0.3]))[0, ..., 0]
    rows, columns = np.mgrid[:15, :15]
    assert (got * rows).sum() - 7 == pytest.approx(5 * np.cos(0.3))
    assert (got * columns).sum() - 7 == pytest.approx(5 * np.sin(0.3))


def test_roots_keep_their_momentum(image_sample):
    """The sum of the squares is the momentum in the image; rounding and the edge cost little of it."""
    data = load_dataset(image_sample, inputs=Inputs.IMAGES)
    for chosen in (Augmentation(rotation_deg=10.0), Augmentation(smear=0.05)):
        got = augment(data.x, chosen, rng(), data.pixels)
        ratio = (got[..., 0] ** 2).sum(axis=(1, 2)) / (data.x[..., 0] ** 2).sum(axis=(1, 2))
        assert ratio.mean() == pytest.approx(1, abs=0.003)
        assert np.quantile(np.abs(ratio - 1), 0.99) < 0.1
        assert not np.array_equal(got, augment(data.x, chosen, rng()))


def test_smearing_has_its_width_and_leaves_counts_alone():
    given = np.full((400, 5, 5, 4), 100, np.uint8)
    got = augment(given, Augmentation(smear=0.1), rng(), JETS)
    assert np.array_equal(got[..., 3], given[..., 3])
    momenta = (got[..., :2].astype(float) / 100) ** 2
    assert momenta.std() == pytest.approx(0.1, rel=0.03)
    assert momenta.mean() == pytest.approx(1, abs=0.005)
    assert np.array_equal(got[..., 0], got[..., 1])
    assert (got[..., 2] / 100).std() == pytest.approx(0.1, rel=0.03)
    extreme = augment(np.full((400, 5, 5, 1), 250, np.uint8), Augmentation(smear=1.0), rng())
    assert extreme.min() == 0
    assert extreme.max() == 255


def test_empty_pixels_stay_empty_when_smeared():
    given = codes(8)
    got = augment(given, Augmentation(smear=0.3), rng(), JETS)
    assert not got[given == 0].any()


def test_blocks_do_not_show(monkeypatch):
    given = codes(9, (100, 6, 6, 4))
    whole = augment(given, EVERYTHING, rng(), JETS)
    monkeypatch.setattr("l1dl.data.augment._BLOCK_IMAGES", 7)
    assert np.array_equal(augment(given, EVERYTHING, rng(), JETS), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation_deg": -1.0}, r"rotation_deg is -1\.0; allowed: 0 to 45"),
        ({"rotation_deg": 46.0}, r"rotation_deg is 46\.0; allowed: 0 to 45"),
        ({"rotation_deg": float("nan")}, r"rotation_deg is nan; allowed"),
        ({"smear": 1.5}, r"smear is 1\.5; allowed: 0 to 1"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**change)


@pytest.mark.parametrize(
    ("images", "pixels", "message"),
    [
        (np.zeros((4, 4), np.uint8), None, r"images are uint8 of shape \(4, 4\); allowed: uint8 or floating"),
        (np.zeros((4, 4, 4), np.int64), None, r"images are int64 of shape"),
        (np.zeros((4, 4, 5), np.uint8), None, r"images of 4 x 5 pixels cannot be rotated; allowed: square ones"),
        (np.zeros((4, 4, 4, 3), np.uint8), JETS, r"images have 3 channels, but scales are given for 4"),
    ],
)
def test_bad_images_are_named(images, pixels, message):
    with pytest.raises(InputError, match=message):
        augment(images, EVERYTHING, rng(), pixels)
