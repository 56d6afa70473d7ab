"""Generation: settings, the committed sample made again, any number of processes, stopping and resuming."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from l1dl.data import pool, pythia
from l1dl.data.generate import generate_jets
from l1dl.data.settings import EVENTS_PER_SHARD, Channel, Detector, JetSettings, ShardKey
from l1dl.errors import InputError, StorageError, ToolFailedError, ToolMissingError

TINY = JetSettings(jets=20, seed=3, shard_jets=4, batch_events=2)


class StopError(Exception):
    """Raised by a progress callback."""


def stop_after(jets):
    def progress(done, total):
        if done >= jets:
            raise StopError

    return progress


def content(path):
    with h5py.File(path) as file:
        return {name: file["hlf"][name][:] for name in file["hlf"]}, file.attrs["content_sha256"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jets": 4}, r"jets is 4; allowed: an integer from 5 to"),
        ({"jets": 10.0}, r"jets is 10\.0; allowed: an integer"),
        ({"jets": True}, r"jets is True; allowed"),
        ({"seed": -1}, r"seed is -1; allowed: an integer from 0 to"),
        ({"seed": 2**63}, r"seed is 9223372036854775808; allowed"),
        ({"detector": "fin"}, r"detector is 'fin'; allowed: fine, coarse; did you mean 'fine'\?"),
        ({"shard_jets": 0}, r"shard_jets is 0; allowed: an integer from 1 to 20000"),
        ({"batch_events": 5000}, r"batch_events is 5000; allowed: an integer from 1 to 1000"),
        ({"channels": ()}, r"channels are nothing; allowed: at least one, each once, of pt, charged, neutral, mult"),
        ({"channels": ("pt", "pt")}, r"channels are pt, pt; allowed: at least one, each once"),
        ({"channels": ("charge",)}, r"channel is 'charge'; allowed: .*; did you mean 'charged'\?"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(InputError, match=message):
        JetSettings(**{"jets": 100, **change})


def test_settings_take_text_and_spread_the_classes():
    settings = JetSettings(jets=23, detector="coarse", shard_jets=3)
    assert settings.detector is Detector.COARSE
    assert json.loads(json.dumps(settings.to_json()))["detector"] == "coarse"
    keys = settings.shards()
    assert [sum(key.jets for key in keys if key.label == label) for label in range(5)] == [5, 5, 5, 4, 4]
    assert keys[0].name == "g-00000"
    assert len({key.first_event for key in keys}) == len(keys)
    assert all(key.first_event % EVENTS_PER_SHARD == 0 for key in keys)


def test_settings_of_the_default_say_nothing_about_channels():
    """Their JSON enters digests and files, which must stay valid."""
    assert JetSettings(jets=10).to_json() == {
        "jets": 10, "seed": 1, "detector": "fine", "shard_jets": 1_000, "batch_events": 100,
    }  # fmt: skip
    content = JetSettings(jets=10, channels=["charged", "pt"], constituents=False).to_json()
    assert content["channels"] == ["charged", "pt"]
    assert content["constituents"] is False
    assert JetSettings(**json.loads(json.dumps(content))).channels == (Channel.CHARGED, Channel.PT)


@pytest.mark.parametrize(
    ("out", "workers", "message"),
    [
        ("jets.h5", 0, r"workers is 0; allowed: an integer from 1"),
        ("jets.root", 1, r"the output is '.*jets\.root'; allowed: a file name that ends in \.h5 or \.hdf5"),
        ("folder.h5", 1, r"folder\.h5 is a directory; name a file in it"),
    ],
)
def test_bad_calls_are_named(tmp_path, out, workers, message):
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(InputError, match=message):
        generate_jets(TINY, tmp_path / out, workers=workers)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(pythia, "GENERATORS", ("h5py", "no_such_pythia", "no_such_fastjet"))
    with pytest.raises(
        ToolMissingError, match=r'no_such_pythia, no_such_fastjet; install with: pip install "l1dl\[gen\]"'
    ):
        generate_jets(TINY, tmp_path / "jets.h5", workers=1)
    assert list(tmp_path.iterdir()) == []


def test_import_is_light():
    script = "import sys, l1dl.data, l1dl.data.generate, l1dl.data.load; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"pythia8mc", "fastjet", "awkward", "numba", "pyarrow", "sklearn", "scipy", "h5py"}
    assert heavy.isdisjoint(loaded)


def test_the_committed_sample_comes_out_again(generators, sample):
    """One shard, bit for bit: of the class with the longest chain of decays, the top quark."""
    from l1dl.data.shards import make_shard

    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the sample was made on x86-64 Linux; Pythia rounds differently elsewhere")
    with h5py.File(sample) as file:
        stored = json.loads(file.attrs["settings"])
        stored.pop("generation")
        settings = JetSettings(**stored)
        key = [key for key in settings.shards() if key.label == 4][-1]
        event_id = file["hlf/event_id"][:]
        rows = np.flatnonzero((event_id >= key.first_event) & (event_id < key.first_event + EVENTS_PER_SHARD))
        old = {name: file["hlf"][name][:][rows] for name in ("x", "y", "kin", "event_id", "images", "constituents")}
    new = make_shard(settings, key)
    assert rows.size == key.jets == 400
    for name, values in old.items():
        assert new[name].dtype == values.dtype
        assert np.array_equal(new[name], values), name


def test_processes_and_interruptions_do_not_change_the_jets(generators, tmp_path):
    """One process in one go, against two processes that were stopped and continued."""
    steps = []
    generate_jets(TINY, tmp_path / "one.h5", workers=1, progress=lambda *step: steps.append(step), command="c")
    assert steps == [(done, 20) for done in range(0, 21, 4)]
    with pytest.raises(StopError):
        generate_jets(TINY, tmp_path / "two.h5", workers=2, progress=stop_after(4))
    assert multiprocessing.active_children() == []
    (work,) = tmp_path.glob(".two.h5.*.shards")
    assert not (tmp_path / "two.h5").exists()
    kept = sorted(work.glob("*-*.npz"))
    assert len(kept) >= 1
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    steps = []
    generate_jets(TINY, tmp_path / "two.h5", workers=1, progress=lambda *step: steps.append(step))
    assert steps[0] == (4 * (len(kept) - 1), 20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.h5", "two.h5"]
    first, first_digest = content(tmp_path / "one.h5")
    second, second_digest = content(tmp_path / "two.h5")
    assert first_digest == second_digest
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert first["y"].tolist() == [0, 1, 2, 3, 4] * 4
    with h5py.File(tmp_path / "one.h5") as file:
        assert file.attrs["command"] == "c"
        assert json.loads(file.attrs["versions"])["pythia8mc"]


def test_channels_change_the_images_only(generators, tmp_path):
    generate_jets(TINY, tmp_path / "plain.h5", workers=1)
    more = dataclasses.replace(TINY, channels=(Channel.NEUTRAL, Channel.PT), constituents=False)
    generate_jets(more, tmp_path / "more.h5", workers=1)
    plain, _ = content(tmp_path / "plain.h5")
    other, _ = content(tmp_path / "more.h5")
    assert sorted(set(plain) - set(other)) == ["constituents"]
    assert all(np.array_equal(plain[name], other[name]) for name in other if name != "images")
    assert plain["images"].shape == (20, 16, 16)
    assert other["images"].shape == (20, 16, 16, 2)
    assert np.array_equal(other["images"][..., 1], plain["images"])
    assert (other["images"][..., 0] <= plain["images"]).all()
    with h5py.File(tmp_path / "plain.h5") as file:
        assert {"image_channels", "image_encodings"}.isdisjoint(file.attrs)
    with h5py.File(tmp_path / "more.h5") as file:
        assert list(file.attrs["image_channels"]) == ["neutral", "pt"]
        assert file.attrs["image_encodings"][0] == (
            "round(255 * sqrt(pt of calorimeter cells / sum of all pt of the jet))"
        )


def test_seed_and_detector_change_the_jets(generators):
    from l1dl.data.shards import make_shard

    key = ShardKey(1, 0, 2)
    base, seed, coarse = (
        make_shard(JetSettings(jets=10, batch_events=2, **change), key)
        for change in ({}, {"seed": 2}, {"detector": "coarse"})
    )
    assert not np.array_equal(base["x"], seed["x"])
    assert not np.array_equal(base["x"], coarse["x"])


def test_longitudinal_weight_is_sine_squared():
    """A boson along z with mass 80 and energy 1000 that decays at a known angle in its rest frame."""

    class Vector:
        def __init__(self, *components, mass=0.0):
            self._p, self._m = components, mass

        def e(self):
            return self._p[0]

        def px(self):
            return self._p[1]

        def py(self):
            return self._p[2]

        def pz(self):
            return self._p[3]

        def m(self):
            return self._m

    gamma = 1000 / 80
    beta_gamma = np.sqrt(gamma**2 - 1)
    boson = Vector(1000, 0, 0, 80 * beta_gamma, mass=80)
    for cosine in (-0.9, 0.0, 0.4, 1.0):
        energy, pz = 40 * (gamma + beta_gamma * cosine), 40 * (beta_gamma + gamma * cosine)
        fermion = Vector(energy, 40 * np.sqrt(1 - cosine**2), 0, pz)
        weight = pythia.longitudinal_weight(Vector(2000, 0, 0, 0, mass=2000), boson, fermion)
        assert weight == pytest.approx(1 - cosine**2, abs=1e-9)


def test_unwritable_place_is_named(generators, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        generate_jets(TINY, tmp_path / "file" / "jets.h5", workers=1)


def test_pythia_refusal_is_an_error(generators, monkeypatch):
    monkeypatch.setattr(pythia, "SETTINGS", ("No:suchKey=on",))
    with pytest.raises(ToolFailedError, match=r"Pythia refuses the setting 'No:suchKey=on'"):
        pythia.EventSource(0, 1, np.random.default_rng(1))


def test_pythia_seeds_are_allowed_values():
    seeds = [pythia.pythia_seed(np.random.SeedSequence(i)) for i in range(200)]
    assert min(seeds) >= 1
    assert max(seeds) <= 900_000_000
    assert len(set(seeds)) == 200


def test_damaged_or_short_shards_are_made_again(tmp_path):
    path, key = tmp_path / "g-00000.npz", ShardKey(0, 0, 3)
    assert pool.read_shard(path, key) is None
    path.write_bytes(b"no zip")
    assert pool.read_shard(path, key) is None
    np.savez(path, x=np.zeros((2, 16)))
    assert pool.read_shard(path, key) is None
    np.savez(path, x=np.zeros((3, 16)))
    assert pool.read_shard(path, key)["x"].shape == (3, 16)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_a_signal(generators, tmp_path, sent):
    script = tmp_path / "run.py"
    script.write_text(
        "from pathlib import Path\n"
        "from l1dl.data.generate import JetSettings, generate_jets\n"
        "if __name__ == '__main__':\n"
        "    generate_jets(JetSettings(jets=5000, shard_jets=20), Path('jets.h5'), workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".jets.h5.*.shards/*-0*.npz")) and time.monotonic() < deadline:
        time.sleep(0.2)
    children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(children) >= 2
    os.kill(process.pid, sent)
    assert process.wait(30) != 0
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not (tmp_path / "jets.h5").exists()
