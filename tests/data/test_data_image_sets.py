"""Sets of images from elsewhere: the digits of scikit-learn, IDX files, CIFAR-10; every message of their readers."""

from __future__ import annotations

import contextlib
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from l1dl.card import DataCard, load_card
from l1dl.data import idx
from l1dl.data.dataset import BYTE_GRID, Pixels, PixelScale, Split
from l1dl.data.image_sets import DIGITS_GRID, byte_values
from l1dl.data.load import Inputs, holds_images, load_card_data, load_dataset
from l1dl.errors import InputError
from l1dl.fixed import FixedSpec, decode, encode

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def refuses(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(path, **options)
    assert "\n" not in str(caught.value)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_pair(
    directory: Path, stem: str, count: int, *, shape=(7, 5), end="", dot="-", seed=1
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, *shape)).astype(np.uint8)
    y = (np.arange(count) % 10).astype(np.uint8)
    directory.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images", x), ("labels", y)):
        content = idx_bytes(array)
        (directory / f"{stem}{kind}{dot}idx{array.ndim}-ubyte{end}").write_bytes(
            gzip.compress(content) if end else content
        )
    return x, y


@pytest.fixture
def mnist(tmp_path):
    write_pair(tmp_path / "mnist", "train-", 200, end=".gz")
    write_pair(tmp_path / "mnist", "t10k-", 50, seed=2)
    return tmp_path / "mnist"


@pytest.fixture
def cifar(tmp_path):
    directory = tmp_path / "cifar-10-batches-bin"
    directory.mkdir()
    for number, name in enumerate((*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch")):
        records = np.random.default_rng(number).integers(0, 256, (30, 3073)).astype(np.uint8)
        records[:, 0] = np.arange(30) % 10
        (directory / f"{name}.bin").write_bytes(records.tobytes())
    (directory / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return directory


def test_digits():
    got = load_dataset(Path("digits"))
    assert (got.x.shape, got.x.dtype, got.shape) == ((1797, 8, 8, 1), np.float32, (8, 8, 1))
    assert got.classes == tuple("0123456789")
    assert got.features == ("intensity",)
    assert got.source.startswith("digits (scikit-learn ")
    assert got.pixels == Pixels(FixedSpec(signed=False, width=5, integer=1))
    assert np.array_equal(decode(encode(got.x, DIGITS_GRID), DIGITS_GRID), got.x)
    assert (got.x.min(), got.x.max()) == (0, 1)
    assert np.unique(got.x).size == 17
    assert np.bincount(got.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(got.split) / 1797 == pytest.approx([0.64, 0.16, 0.20], abs=0.003)


def test_digits_are_split_by_the_seed_class_by_class():
    first, again, other = (load_dataset("digits", seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.split, again.split)
    assert first.digest == again.digest != other.digest
    for label in range(10):
        shares = np.bincount(first.split[first.y == label]) / np.sum(first.y == label)
        assert shares == pytest.approx([0.64, 0.16, 0.20], abs=0.01)


def test_digits_of_some_classes():
    got = load_dataset("digits", classes=["3", "8"], inputs=Inputs.IMAGES)
    assert (got.classes, len(got.y)) == (("3", "8"), 183 + 174)
    refuses("digits", r"digits .*: x has shape \(1797, 8, 8, 1\); allowed: \(objects, features\)", inputs=Inputs.HLF)
    refuses("digits", "digits: no constituents", inputs=Inputs.CONSTITUENTS)
    refuses("digits", r"digits: a file of labels was given .*; allowed with \.npy only", labels=Path("y.npy"))


def test_byte_values_are_exact_and_below_one():
    codes = np.arange(256, dtype=np.uint8)
    values = byte_values(codes)
    assert values.dtype == np.float32
    assert np.array_equal(encode(values, BYTE_GRID), codes)
    assert values.max() == 255 / 256


def test_mnist_keeps_the_official_split(mnist):
    got = load_dataset(mnist)
    x, y = write_pair(mnist.parent / "again", "train-", 200)
    assert got.x.shape == (250, 7, 5, 1)
    assert np.array_equal(got.x[:200, ..., 0], x / np.float32(256))
    assert np.array_equal(got.y[:200], y)
    assert (got.split[200:] == Split.TEST).all()
    assert np.bincount(got.split).tolist() == [160, 40, 50]
    assert all(np.bincount(got.y[got.split == part]).min() > 0 for part in Split)
    assert not np.array_equal(got.split, load_dataset(mnist, seed=5).split)
    assert (got.classes, got.features, got.source) == (tuple("0123456789"), ("intensity",), str(mnist))
    assert got.pixels == Pixels(BYTE_GRID, (PixelScale.LINEAR,))
    assert load_dataset(mnist, inputs=Inputs.IMAGES).digest == got.digest


def test_one_file_of_images_is_split_by_the_seed(tmp_path):
    x, y = write_pair(tmp_path, "emnist-letters-train-", 100, end=".gz", dot=".")
    got = load_dataset(tmp_path / "emnist-letters-train-images.idx3-ubyte.gz")
    assert np.array_equal(got.x[..., 0] * 256, x)
    assert np.array_equal(got.y, y)
    assert np.bincount(got.split).tolist() == [60, 20, 20]


def test_what_belongs_together_may_be_packed_differently(tmp_path):
    write_pair(tmp_path, "train-", 100)
    labels = tmp_path / "train-labels-idx1-ubyte"
    (tmp_path / "train-labels.idx1-ubyte.gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert load_dataset(tmp_path / "train-images-idx3-ubyte").x.shape == (100, 7, 5, 1)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("t10k-labels-idx1-ubyte", None, "t10k-images-idx3-ubyte: the labels are missing; put t10k-labels-idx1-ubyte"),
        ("t10k-images-idx3-ubyte", None, "mnist has no t10k-images-idx3-ubyte, plain or .gz"),
        ("t10k-images-idx3-ubyte", lambda old: b"", r"begins with 0x\(nothing\), not with 0x00000803 of IDX images"),
        ("t10k-images-idx3-ubyte", lambda old: old[:10], "ends after 10 bytes, within its header; truncated"),
        ("t10k-images-idx3-ubyte", lambda old: old[:-1], "announces 50 x 7 x 5 bytes but holds only 1749; truncated"),
        ("t10k-images-idx3-ubyte", lambda old: old + b"x", "announces 50 x 7 x 5 bytes but holds more; truncated or c"),
        ("t10k-images-idx3-ubyte", lambda old: b"<html>" + old, "begins with 0x3c68746d, not with 0x00000803"),
        ("t10k-images-idx3-ubyte", gzip.compress, "begins with 0x1f8b.*; rename it to t10k-images-idx3-ubyte.gz"),
        ("t10k-labels-idx1-ubyte", lambda old: idx_bytes(np.zeros((5, 5, 5), np.uint8)), "0x00000801 of IDX labels"),
        ("t10k-labels-idx1-ubyte", lambda old: idx_bytes(np.zeros(49, np.uint8)), "holds 50 images but .* 49 labels"),
        ("t10k-images-idx3-ubyte", lambda old: old[:4] + b"\xff" * 12, "announces 4294967295 x .* allowed: 1 to 1,073"),
        ("t10k-images-idx3-ubyte", lambda old: old[:4] + bytes(12), "announces 0 x 0 x 0 bytes; allowed: 1 to"),
        (
            "t10k-images-idx3-ubyte",
            lambda old: idx_bytes(np.zeros((50, 7, 6), np.uint8)),
            r"training images have shape \(7, 5\), test images \(7, 6\); allowed: one shape",
        ),
        ("train-images-idx3-ubyte.gz", lambda old: old[:500], "cannot read .*gz as IDX: truncated or corrupt"),
        ("train-images-idx3-ubyte.gz", lambda old: b"no gzip", "cannot read .*gz as IDX: truncated or corrupt"),
        ("train-images-idx3-ubyte.gz", lambda old: old[:40] + b"\0" * 40 + old[80:], "cannot read .*gz as IDX"),
    ],
)
def test_messages_of_idx(mnist, name, change, message):
    path = mnist / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    refuses(mnist, message)


def test_labels_and_absent_files_are_no_images(mnist):
    refuses(mnist / "t10k-labels-idx1-ubyte", "is no file of IDX images; allowed: a name such as train-images")
    refuses(mnist / "none-images-idx3-ubyte", "file not found: .*none-images-idx3-ubyte")


def test_a_compressed_file_unpacks_no_further_than_it_announces(mnist, monkeypatch):
    """A bomb: zeros without end behind an honest header."""
    bomb = idx_bytes(np.zeros((200, 7, 5), np.uint8)) + bytes(50_000_000)
    (mnist / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bomb))
    sizes = []
    real = gzip.GzipFile.read

    def read(self, size=-1):
        sizes.append(size)
        return real(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", read)
    refuses(mnist, "announces 200 x 7 x 5 bytes but holds more")
    assert min(sizes) > 0
    assert max(sizes) == 200 * 7 * 5 + 1


def test_an_array_may_not_be_larger_than_the_limit(mnist, monkeypatch):
    monkeypatch.setattr(idx, "MAX_BYTES", 6_999)
    refuses(mnist, "announces 200 x 7 x 5 bytes; allowed: 1 to 6,999")


@given(st.binary(max_size=40))
def test_any_content_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any-images-idx3-ubyte"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert idx.read_idx(path, 3).ndim == 3


def test_cifar10(cifar):
    got = load_dataset(cifar)
    assert got.x.shape == (180, 32, 32, 3)
    assert got.x.flags.c_contiguous
    assert (got.features, got.classes) == (("red", "green", "blue"), NAMES)
    record = np.fromfile(cifar / "data_batch_2.bin", np.uint8).reshape(-1, 3073)[4]
    assert got.y[34] == record[0]
    for channel in range(3):
        plane = record[1 + 1024 * channel : 1 + 1024 * (channel + 1)].reshape(32, 32)
        assert np.array_equal(got.x[34, ..., channel] * 256, plane)
    assert np.bincount(got.split).tolist() == [120, 30, 30]
    assert (got.split[150:] == Split.TEST).all()
    grey = load_dataset(cifar, features=["green"])
    assert np.array_equal(grey.x, got.x[..., 1:2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3.bin", None, "lacks data_batch_3.bin of CIFAR-10; unpack cifar-10-binary.tar.gz again"),
        ("batches.meta.txt", None, "lacks batches.meta.txt of CIFAR-10"),
        ("data_batch_3.bin", b"", "data_batch_3.bin has 0 bytes; allowed: a multiple of 3,073"),
        ("data_batch_3.bin", bytes(3072), "data_batch_3.bin has 3,072 bytes; allowed: a multiple of 3,073"),
        ("data_batch_3.bin", bytes(3073 * 29), "the six batches hold 30, 30, 29, 30, 30, 30 images; allowed: the same"),
        ("test_batch.bin", bytes([11] * 3073 * 30), r"label 11, allowed 0\.\.9 \(airplane, .*; first in row 150"),
        ("batches.meta.txt", b"cat\ndog\n", "names 2 classes; allowed: 10"),
        ("batches.meta.txt", b"\xff" * 9000, "names 1 classes; allowed: 10"),
    ],
)
def test_messages_of_cifar10(cifar, name, content, message):
    if content is None:
        (cifar / name).unlink()
    else:
        (cifar / name).write_bytes(content)
    refuses(cifar, message)


def test_pickles_of_cifar10_are_refused(tmp_path):
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (tmp_path / name).write_bytes(b"\x80\x02}q\x01.")
    refuses(tmp_path, "holds the Python version of CIFAR-10, which l1dl never unpickles; download cifar-10-binary")


def test_other_directories_are_refused(tmp_path):
    refuses(tmp_path, r"is a directory; name a file in it, or a directory with train-images.*; found nothing")
    for number in range(7):
        (tmp_path / f"{number}.txt").touch()
    refuses(tmp_path, r"found 0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt, \.\.\.$")


def test_cards_name_images(mnist, sample, image_sample):
    assert load_card_data(DataCard(file="digits", content="images"), mnist).x.shape == (1797, 8, 8, 1)
    assert load_card_data(DataCard(file="mnist", content="images"), mnist.parent).x.shape == (250, 7, 5, 1)
    jets = DataCard(file=image_sample.name, content="images", features=["pt", "neutral"], classes=["q", "W"])
    got = load_card_data(jets, image_sample.parent)
    assert (got.shape, got.features, got.classes) == ((16, 16, 2), ("pt", "neutral"), ("q", "W"))
    assert load_card_data(DataCard(file=sample.name), sample.parent).shape == (16,)
    assert load_card_data(DataCard(file=sample.name, content="constituents"), sample.parent).shape == (48,)
    with pytest.raises(InputError, match='for images set content = "images" in the card'):
        load_card_data(DataCard(file="digits"), mnist)
    (mnist / "x.npy").write_bytes(b"")
    np.save(mnist / "x.npy", np.random.default_rng(1).random((60, 4, 4, 1)))
    np.save(mnist / "y.npy", np.arange(60) % 2)
    assert load_card_data(DataCard(file="x.npy", labels="y.npy", content="images"), mnist).shape == (4, 4, 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('content = "imges"', r"data\.content = 'imges': input should be 'features', 'images' or 'constituents'"),
        ('contents = "images"', r"unknown key 'data\.contents'; did you mean 'content'"),
        ('inputs = "raw"', r"data\.inputs = 'raw': input should be 'physical', 'scaled' or 'unscaled'"),
        (
            'inputs = "unscaled"\n[quantisation]\nscaled_input = { bits = 8 }',
            r'scaled_input has no meaning with data\.inputs = "unscaled"; remove it',
        ),
    ],
)
def test_cards_are_strict_about_images(tmp_path, line, message):
    (tmp_path / "model.toml").write_text(card_text(line))
    with pytest.raises(InputError, match=message):
        load_card(tmp_path)


def test_cards_take_images_as_they_are(tmp_path):
    text = card_text('content = "images"\ninputs = "unscaled"')
    layers = 'layers = [{ kind = "flatten" }, { kind = "dense", units = 8 }]'
    (tmp_path / "model.toml").write_text(text.replace("hidden = [8]", layers))
    card = load_card(tmp_path)
    assert (card.data.content, card.data.inputs) == ("images", "unscaled")
    assert load_card_data(card.data, tmp_path).shape == (8, 8, 1)


def card_text(line: str) -> str:
    types = "\n".join(f"{name} = {{ bits = 9 }}" for name in ("weight", "bias", "activation", "input"))
    quantisation = "" if "[quantisation]" in line else "[quantisation]"
    return f'name = "net"\nmodel = {{ hidden = [8] }}\n[data]\nfile = "digits"\n{line}\n{quantisation}\n{types}\n'


def test_which_files_hold_images_of_jets(mnist, sample, tmp_path):
    assert holds_images(sample)
    assert not holds_images(mnist)
    assert not holds_images(Path("digits"))
    (tmp_path / "no.h5").write_bytes(b"no HDF5")
    assert not holds_images(tmp_path / "no.h5")
    assert not holds_images(tmp_path / "none.h5")
