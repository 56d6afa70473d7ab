"""The split, the rounding, the digest and the committed sample."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1dl.data.dataset import Split
from l1dl.data.features import FEATURES
from l1dl.data.store import content_digest, round_mantissa, split_by_event, write_sample


@given(st.integers(0, 2**40), st.integers(15, 200))
def test_split_keeps_events_and_classes_together(seed, events):
    rng = np.random.default_rng(seed)
    event_id = rng.permutation(np.repeat(np.arange(events) * 7, 2))
    y = event_id // 7 % 5
    split = split_by_event(event_id, y, seed)
    assert np.array_equal(split, split_by_event(event_id, y, seed))
    for event in np.unique(event_id):
        assert np.unique(split[event_id == event]).size == 1
    for label in range(5):
        assert set(split[y == label]) == {0, 1, 2}


def test_split_shares_and_seed():
    event_id = np.arange(10_000)
    y = event_id % 4
    split = split_by_event(event_id, y, 1)
    assert split.dtype == np.uint8
    assert np.bincount(split).tolist() == [6400, 1600, 2000]
    assert not np.array_equal(split, split_by_event(event_id, y, 2))


@given(st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False), st.integers(4, 20))
def test_rounding_keeps_the_given_bits(value, bits):
    got = round_mantissa(np.array([value]), bits)
    assert got.dtype == np.float32
    assert abs(float(got[0]) - value) <= abs(value) * 2.0 ** -(bits + 1)
    assert got.view(np.uint32)[0] % (1 << (23 - bits)) == 0
    assert round_mantissa(got, bits)[0] == got[0]


def blocks():
    rng = np.random.default_rng(0)
    for _ in range(3):
        yield {
            "x": rng.normal(size=(10, 2)).astype(np.float32),
            "y": (np.arange(10) % 2).astype(np.uint8),
            "event_id": rng.permutation(10_000)[:10],
        }


def test_sample_is_written_in_blocks_and_sealed(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_sample(tmp_path / name, blocks(), rows=30, split_seed=1, attributes={"features": ["p", "q"]})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["hlf/x"][:], np.concatenate([block["x"] for block in blocks()]))
        assert file.attrs["content_sha256"] == content_digest(file["hlf"])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["hlf/split"][3] = 2 - file["hlf/split"][3] % 2
        assert file.attrs["content_sha256"] != content_digest(file["hlf"])


def test_an_error_in_the_middle_leaves_no_file(tmp_path):
    def broken():
        yield from blocks()
        msg = "stop"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="stop"):
        write_sample(tmp_path / "a.h5", broken(), rows=40, split_seed=1, attributes={})
    assert list(tmp_path.iterdir()) == []


def test_digest_ignores_compression(tmp_path, sample):
    shutil.copy(sample, tmp_path / "copy.h5")
    with h5py.File(tmp_path / "copy.h5", "r") as old, h5py.File(tmp_path / "plain.h5", "w") as new:
        for name in old["hlf"]:
            new.create_dataset(name, data=old["hlf"][name][:])
        assert content_digest(new) == old.attrs["content_sha256"]


def test_committed_images_are_those_of_the_sample(sample, image_sample):
    """The first jets of each class, with the same events, features and transverse momenta, and more channels."""
    assert image_sample.stat().st_size < 500_000
    with h5py.File(sample) as file, h5py.File(image_sample) as other:
        old = {name: file["hlf"][name][:] for name in ("x", "y", "kin", "event_id", "images")}
        new = {name: other["hlf"][name][:] for name in (*old, "split")}
        attributes = dict(other.attrs)
        assert "constituents" not in other["hlf"]
        assert content_digest(other["hlf"]) == attributes["content_sha256"]
    names = ("pt", "charged", "neutral", "multiplicity")
    assert tuple(attributes["image_channels"]) == names
    assert attributes["image_encodings"][3] == "min(8 * number of constituents, 255)"
    assert "constituent_columns" not in attributes
    assert attributes["command"].startswith("l1dl data images --channels pt,charged,neutral,multiplicity --jets 2000")
    rows = np.concatenate([np.flatnonzero(old["y"] == label)[:400] for label in range(5)])
    mine = np.concatenate([np.flatnonzero(new["y"] == label) for label in range(5)])
    for name in ("x", "y", "kin", "event_id"):
        assert np.array_equal(old[name][rows], new[name][mine]), name
    pt, charged, neutral, multiplicity = np.moveaxis(new["images"], -1, 0)
    assert np.array_equal(old["images"][rows], pt[mine])
    share = [(image.astype(float) / 255) ** 2 for image in (pt, charged, neutral)]
    assert abs(share[1] + share[2] - share[0]).max() < 0.01
    assert share[1].sum() / share[0].sum() == pytest.approx(0.62, abs=0.02)
    assert (multiplicity % 8 == 0).all()
    assert np.median(multiplicity.sum(axis=(1, 2)) / 8 / new["x"][:, FEATURES.index("multiplicity")]) == pytest.approx(
        0.88, abs=0.02
    )


def test_committed_sample(sample):
    with h5py.File(sample) as file:
        group, attributes = file["hlf"], dict(file.attrs)
        x, y, split, event_id = (group[name][:] for name in ("x", "y", "split", "event_id"))
        images, constituents, kin = group["images"][:], group["constituents"][:], group["kin"][:]
    assert sample.stat().st_size < 4_000_000
    assert x.shape == (22_000, 16)
    assert np.bincount(y).tolist() == [4400] * 5
    assert attributes["command"] == "l1dl data jets --jets 22000 --out data/jets.h5 --workers 2 --seed 1"
    assert list(attributes["features"]) == list(FEATURES)
    assert list(attributes["classes"]) == ["g", "q", "W", "Z", "t"]
    assert json.loads(attributes["settings"])["jets"] == 22_000
    assert np.isfinite(x).all()
    assert np.isfinite(constituents).all()
    assert np.bincount(split) / y.size == pytest.approx([0.64, 0.16, 0.20], abs=0.002)
    assert all(np.unique(event_id[split == part]).size > 0 for part in Split)
    assert np.intersect1d(event_id[split == 0], event_id[split != 0]).size == 0
    assert (kin[:, 0] >= 800).all()
    assert (kin[:, 0] <= 1200).all()
    mass = [np.median(x[y == label, FEATURES.index("mass_mmdt")]) for label in range(5)]
    assert mass[2:] == pytest.approx([79, 89, 163], abs=3)
    assert mass[1] < 20
    share = (images.astype(float) / 255) ** 2
    assert np.median(share.sum(axis=(1, 2))) == pytest.approx(0.99, abs=0.02)
    assert np.unique(x, axis=0).shape == x.shape
