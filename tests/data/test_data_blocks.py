"""Events from and to files, block by block."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from support import need_packages

from l1dl.data.blocks import read_events, write_events
from l1dl.errors import InputError, StorageError
from l1dl.fixed import FixedSpec
from l1dl.ports import Port, Ports

WIDE = FixedSpec(True, 16, 8)
ONE: Ports = (Port("features", (3,), WIDE),)
TWO: Ports = (Port("jets", (2, 2), WIDE), Port("met", (1,), WIDE))
SAMPLE = Path(__file__).parents[1] / "data" / "jet_images.h5"


def arrays(ports: Ports, events: int = 25) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {port.name: rng.normal(0, 1, (events, *port.shape)) for port in ports}


def write(path: Path, values: dict[str, np.ndarray]) -> Path:
    if path.suffix == ".npy":
        np.save(path, next(iter(values.values())))
    elif path.suffix == ".npz":
        np.savez_compressed(path, **values)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, value in values.items():
                file[name] = value
    else:
        need_packages("pyarrow")
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = next(iter(values.values())).reshape(len(next(iter(values.values()))), -1)
        names = [f"c{index}" for index in range(columns.shape[1])]
        pq.write_table(pa.table([*columns.T, np.arange(len(columns))], names=[*names, "label"]), path)
    return path


def read(path: Path, ports: Ports, size: int = 10) -> dict[str, np.ndarray]:
    with read_events(path, ports) as events:
        blocks = list(events.blocks(size))
        assert sum(len(next(iter(block.values()))) for block in blocks) == events.count
        assert max((len(value) for block in blocks for value in block.values()), default=0) <= size
    return {port.name: np.concatenate([block[port.name] for block in blocks]) for port in ports}


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".parquet"])
def test_what_is_read_is_what_was_written(suffix: str, tmp_path: Path) -> None:
    values = arrays(ONE)
    path = write(tmp_path / f"x{suffix}", values)
    np.testing.assert_array_equal(read(path, ONE)["features"], values["features"])


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_several_inputs_go_by_name(suffix: str, tmp_path: Path) -> None:
    values = arrays(TWO)
    found = read(write(tmp_path / f"x{suffix}", {**values, "y": np.zeros(25)}), TWO)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_single_array_may_have_any_name(tmp_path: Path) -> None:
    (values,) = arrays(ONE).values()
    for names in (("x", "y"), ("anything",), ("features", "x"), ("X_test", "other", "y")):
        path = write(tmp_path / "x.npz", dict.fromkeys(names, values))
        np.testing.assert_array_equal(read(path, ONE)["features"], values)


def test_a_jet_sample_has_features_and_images() -> None:
    images = read(SAMPLE, (Port("image", (16, 16, 4), WIDE),), 1500)["image"]
    assert images.shape[1:] == (16, 16, 4)
    assert 0 < images.max() < 1
    assert read(SAMPLE, (Port("features", (16,), WIDE),), 1500)["features"].shape == (len(images), 16)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".parquet"])
def test_outputs_come_back(suffix: str, tmp_path: Path) -> None:
    ports = ONE if suffix in (".npy", ".parquet") else TWO
    if suffix == ".parquet":
        need_packages("pyarrow")
    values, path = arrays(ports), tmp_path / f"out{suffix}"
    with write_events(path, ports, 25) as append:
        for start in (0, 10, 20):
            append([values[port.name][start : start + 10] for port in ports])
        assert not path.exists()
    found = read(path, ports)
    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
    assert list(tmp_path.iterdir()) == [path]


def interrupted(path: Path) -> None:
    with write_events(path, ONE, 25) as append:
        append([np.zeros((10, 3))])
        raise KeyboardInterrupt


def test_nothing_is_left_of_an_interrupted_file(tmp_path: Path) -> None:
    for suffix in (".npz", ".h5", ".npy"):
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path / f"out{suffix}")
    assert list(tmp_path.iterdir()) == []


def broken(tmp_path: Path, name: str) -> tuple[Path, Ports]:
    """Return a file that cannot be used, and what it is read for."""
    path = tmp_path / name
    if name == "empty.npz":
        path.touch()
    elif name == "text.h5":
        path.write_text("no HDF5")
    elif name == "text.npz":
        path.write_text("no archive")
    elif name == "cut.npz":
        np.savez(path, x=np.zeros((2000, 3)))
        path.write_bytes(path.read_bytes()[:2000])
    elif name == "objects.npy":
        np.save(path, np.array([{}, []], dtype=object))
    elif name == "texts.npz":
        np.savez(path, x=np.array(["a", "b"]))
    elif name == "counts.npz":
        np.savez(path, jets=np.zeros((5, 2, 2)), met=np.zeros((4, 1)))
        return path, TWO
    elif name == "names.npz":
        np.savez(path, jets=np.zeros((5, 2, 2)), mte=np.zeros((5, 1)))
        return path, TWO
    elif name == "one.npy":
        np.save(path, np.zeros((5, 3)))
        return path, TWO
    elif name == "x.csv":
        path.write_text("1,2,3")
    return path, ONE


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("absent.npz", "file not found"),
        ("empty.npz", "is empty"),
        ("text.h5", "cannot read .*text.h5 as h5"),
        ("text.npz", "cannot read .*text.npz as npz"),
        ("cut.npz", "cannot read .*cut.npz as npz"),
        ("objects.npy", "l1dl never unpickles"),
        ("texts.npz", "allowed: numbers"),
        ("counts.npz", "different numbers of events: jets 5, met 4"),
        ("names.npz", "no array 'met'; did you mean 'mte'"),
        ("one.npy", "the model has 2 inputs"),
        ("x.csv", "unknown format '.csv'"),
    ],
)
def test_what_cannot_be_read(name: str, text: str, tmp_path: Path) -> None:
    path, ports = broken(tmp_path, name)
    with pytest.raises(InputError, match=text), read_events(path, ports) as events:
        list(events.blocks(10))


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown format"), write_events(tmp_path / "x.root", ONE, 1):
        pass
    with pytest.raises(InputError, match="the model has 2 outputs"), write_events(tmp_path / "x.npy", TWO, 1):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(StorageError), write_events(tmp_path / "file" / "x.npy", ONE, 1):
        pass
