"""Every loader, and every message of the checker."""

from __future__ import annotations

import shutil
import sys

import h5py
import numpy as np
import pytest

from l1dl.data.dataset import BYTE_GRID, Pixels, PixelScale, Split
from l1dl.data.features import FEATURES
from l1dl.data.load import Inputs, fetch_openml_jets, load_dataset
from l1dl.errors import InputError, ToolMissingError
from l1dl.fixed import decode, encode

NAMES = ("pt", "eta", "mass")
CLASSES = ("signal", "background")
ROWS = 60


def arrays(**changes):
    rng = np.random.default_rng(0)
    event_id = np.repeat(np.arange(ROWS // 2), 2)
    values = {
        "x": rng.normal(size=(ROWS, 3)),
        "y": event_id % 2,
        "event_id": event_id,
        "split": np.array([0, 0, 0, 0, 1, 1, 2, 2])[event_id % 8],
        "features": np.array(NAMES),
        "classes": np.array(CLASSES),
    }
    values.update(changes)
    return {name: value for name, value in values.items() if value is not None}


def npz(tmp_path, **changes):
    np.savez(tmp_path / "data.npz", **arrays(**changes))
    return tmp_path / "data.npz"


def with_value(name, row, value):
    changed = arrays()[name].copy()
    changed[row] = value
    return {name: changed}


def refuses(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(path, **options)
    assert "\n" not in str(caught.value)


def equal_to_arrays(got, expected):
    np.testing.assert_array_equal(got.x, expected["x"].astype(np.float32))
    assert np.array_equal(got.y, expected["y"])
    assert np.array_equal(got.event_id, expected["event_id"])
    assert np.array_equal(got.split, expected["split"])
    assert (got.features, got.classes) == (NAMES, CLASSES)
    assert (got.x.dtype, got.y.dtype, got.event_id.dtype, got.split.dtype) == (np.float32, np.int64, np.int64, np.uint8)


def test_committed_sample(sample):
    got = load_dataset(sample)
    assert got.x.shape == (22_000, 16)
    assert got.features == FEATURES
    assert got.classes == ("g", "q", "W", "Z", "t")
    assert got.source == str(sample)
    assert [got.part(part)[0].shape[0] / 22_000 for part in Split] == pytest.approx([0.64, 0.16, 0.2], abs=0.002)
    assert load_dataset(sample).digest == got.digest
    assert load_dataset(sample, features=FEATURES[:4]).digest != got.digest


def test_columns_and_classes_of_the_sample_can_be_chosen(sample):
    everything = load_dataset(sample)
    some = load_dataset(sample, features=["multiplicity", "c1_b1"], classes=["t", "q"])
    assert some.classes == ("t", "q")
    rows = np.isin(everything.y, (1, 4))
    assert np.array_equal(some.x, everything.x[rows][:, [15, 2]])
    assert np.array_equal(some.y, np.where(everything.y[rows] == 4, 0, 1))
    assert np.array_equal(some.split, everything.split[rows])


def test_constituents_of_the_sample(sample):
    got = load_dataset(sample, inputs=Inputs.CONSTITUENTS)
    assert (got.x.shape, got.features[-1], got.pixels) == ((22_000, 48), "constituent_15_2", None)
    assert np.array_equal(got.split, load_dataset(sample).split)


def test_images_of_the_sample_lie_on_the_8_bit_grid(sample):
    got = load_dataset(sample, inputs=Inputs.IMAGES)
    assert (got.x.shape, got.x.dtype, got.shape) == ((22_000, 16, 16, 1), np.float32, (16, 16, 1))
    assert (got.features, got.classes) == (("pt",), ("g", "q", "W", "Z", "t"))
    assert got.pixels == Pixels(BYTE_GRID, (PixelScale.ROOT,))
    with h5py.File(sample) as file:
        assert np.array_equal(encode(got.x, BYTE_GRID)[..., 0], file["hlf/images"][:])
    assert np.array_equal(decode(encode(got.x, BYTE_GRID), BYTE_GRID), got.x)
    features = load_dataset(sample)
    assert np.array_equal(got.split, features.split)
    assert np.array_equal(got.event_id, features.event_id)
    assert features.pixels is None


def test_images_of_several_channels(image_sample):
    got = load_dataset(image_sample, inputs=Inputs.IMAGES)
    assert got.x.shape == (2_000, 16, 16, 4)
    assert got.features == ("pt", "charged", "neutral", "multiplicity")
    assert got.pixels.scales == (*[PixelScale.ROOT] * 3, PixelScale.COUNT)
    some = load_dataset(image_sample, inputs=Inputs.IMAGES, features=["multiplicity", "pt"], classes=["q", "t"])
    rows = np.isin(got.y, (1, 4))
    assert np.array_equal(some.x, got.x[rows][..., [3, 0]])
    assert some.pixels.scales == (PixelScale.COUNT, PixelScale.ROOT)
    assert load_dataset(image_sample).features == FEATURES
    refuses(image_sample, "no feature 'neutrl'; .* did you mean 'neutral'", inputs=Inputs.IMAGES, features=["neutrl"])
    refuses(image_sample, "no dataset hlf/constituents; found event_id, images", inputs=Inputs.CONSTITUENTS)


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_images_from_elsewhere_stay_as_they_are(tmp_path, suffix):
    x = np.random.default_rng(1).normal(size=(ROWS, 4, 5, 3))
    path = tmp_path / f"data.{suffix}"
    plain_hdf5(path, x=x) if suffix == "h5" else npz(tmp_path, x=x)
    for inputs in (None, Inputs.IMAGES):
        got = load_dataset(path, inputs=inputs)
        assert np.array_equal(got.x, x.astype(np.float32))
        assert (got.features, got.pixels, got.shape) == (NAMES, None, (4, 5, 3))
    message = r"x has shape \(60, 4, 5, 3\); allowed: \(objects, features\), none of them 0; for images set content"
    refuses(path, message, inputs=Inputs.HLF)
    x[3, 2, 1, 0] = np.nan
    plain_hdf5(path, x=x) if suffix == "h5" else npz(tmp_path, x=x)
    refuses(path, r"1 of them in channel 0 \(pt\), the first in row 3")


def test_images_have_four_axes(tmp_path):
    refuses(npz(tmp_path), r"allowed: \(objects, height, width, channels\), none", inputs=Inputs.IMAGES)
    refuses(npz(tmp_path, x=np.zeros((ROWS, 4, 3))), r"x\[\.\.\., None\]", inputs=Inputs.IMAGES)
    refuses(npz(tmp_path), "no constituents; allowed: a sample of `l1dl data jets`", inputs=Inputs.CONSTITUENTS)
    plain_hdf5(tmp_path / "plain.h5")
    refuses(tmp_path / "plain.h5", "no dataset hlf/constituents; found classes", inputs=Inputs.CONSTITUENTS)


def test_images_of_an_odd_layout_are_refused(tmp_path):
    with h5py.File(tmp_path / "odd.h5", "w") as file:
        group = file.create_group("hlf")
        group["images"], group["y"] = np.zeros((ROWS, 4, 4, 2), np.uint8), arrays()["y"]
    refuses(tmp_path / "odd.h5", r"images are uint8 of shape .*width, 1\) for the channels pt", inputs=Inputs.IMAGES)
    with h5py.File(tmp_path / "odd.h5", "r+") as file:
        file.attrs["image_channels"] = [1, 2]
    refuses(tmp_path / "odd.h5", r"features are \[1, 2\]\.\.\.; allowed: texts", inputs=Inputs.IMAGES)
    with h5py.File(tmp_path / "odd.h5", "r+") as file:
        file.attrs["image_channels"] = [b"pt", b"other"]
    got = load_dataset(tmp_path / "odd.h5", inputs=Inputs.IMAGES)
    assert got.features == ("pt", "other")
    assert got.pixels.scales == (PixelScale.ROOT, PixelScale.LINEAR)


def plain_hdf5(path, **changes):
    with h5py.File(path, "w") as file:
        for name, value in arrays(**changes).items():
            file[name] = value.astype("S") if value.dtype.kind == "U" else value


def test_npz(tmp_path):
    equal_to_arrays(load_dataset(npz(tmp_path)), arrays())


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5"])
def test_plain_hdf5(tmp_path, suffix):
    plain_hdf5(tmp_path / f"data{suffix}")
    equal_to_arrays(load_dataset(tmp_path / f"data{suffix}"), arrays())


def test_npy_pair(tmp_path):
    np.save(tmp_path / "x.npy", arrays()["x"])
    np.save(tmp_path / "y.npy", arrays()["y"])
    got = load_dataset(tmp_path / "x.npy", labels=tmp_path / "y.npy", features=NAMES, classes=CLASSES)
    assert (got.features, got.classes) == (NAMES, CLASSES)
    assert np.array_equal(got.event_id, np.arange(ROWS))
    plain = load_dataset(tmp_path / "x.npy", labels=tmp_path / "y.npy")
    assert (plain.features, plain.classes) == (("x0", "x1", "x2"), ("0", "1"))
    refuses(tmp_path / "x.npy", "labels are missing; a .npy file holds x only")
    refuses(tmp_path / "x.npy", "file not found: .*none.npy", labels=tmp_path / "none.npy")


@pytest.mark.parametrize("texts", [False, True])
def test_parquet(tmp_path, pyarrow, texts):
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = arrays()
    label = [sorted(CLASSES)[i] for i in values["y"]] if texts else values["y"]
    table = {name: values["x"][:, i] for i, name in enumerate(NAMES)}
    table |= {"label": label, "event_id": values["event_id"], "split": values["split"]}
    pq.write_table(pa.table(table), tmp_path / "data.parquet")
    got = load_dataset(tmp_path / "data.parquet", classes=None if texts else CLASSES)
    assert got.classes == (tuple(sorted(CLASSES)) if texts else CLASSES)
    assert got.features == NAMES
    assert np.array_equal(got.y, values["y"])
    assert np.array_equal(got.split, values["split"])


def test_parquet_messages(tmp_path, pyarrow):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"pt": [1.0, 2.0], "lable": [0, 1]}), path)
    refuses(path, "no column of labels; found pt, lable; allowed: label, y, class")
    pq.write_table(pa.table({"pt": [1.0, 2.0], "name": ["a", "b"], "y": [0, 1]}), path)
    refuses(path, "column name has type string; allowed: numbers")
    path.write_bytes(path.read_bytes()[:-20])
    refuses(path, "cannot read .* as Parquet: truncated, corrupt or another format")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(ToolMissingError, match=r'without pyarrow; install with: pip install "l1dl\[parquet\]"'):
        load_dataset(tmp_path / "data.parquet")


def arff(tmp_path, rows=None, header=None):
    values = arrays()
    header = header or [
        "% a comment",
        "@RELATION jets",
        *(f"@ATTRIBUTE {name} REAL" for name in NAMES),
        "@ATTRIBUTE class {signal, background}",
        "@DATA",
    ]
    rows = rows or [
        ",".join([*map(repr, map(float, x)), CLASSES[y]]) for x, y in zip(values["x"], values["y"], strict=True)
    ]
    (tmp_path / "data.arff").write_text("\n".join([*header, *rows]) + "\n")
    return tmp_path / "data.arff"


def test_arff(tmp_path):
    got = load_dataset(arff(tmp_path))
    assert np.array_equal(got.x, arrays()["x"].astype(np.float32))
    assert np.array_equal(got.y, arrays()["y"])
    assert (got.features, got.classes) == (NAMES, CLASSES)
    renamed = load_dataset(arff(tmp_path), classes=["Background", "Signal"])
    assert np.array_equal(renamed.y, 1 - arrays()["y"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,2,3"], "data row 0 has 3 values; allowed: 4, one for each @attribute"),
        (["1,2,3,signal", "1,2,3,tau"], "data row 1 has class 'tau'; allowed: signal, background"),
        (["1,?,3,signal"], "data row 0 holds a value that is no number"),
        (["% nothing"], "no rows after @data; truncated"),
    ],
)
def test_arff_rows(tmp_path, rows, message):
    refuses(arff(tmp_path, rows=rows), message)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (["hello"], "unexpected header line 'hello'"),
        (["@attribute a string", "@data"], "attribute a has type 'string'; allowed: numeric, real, integer"),
        (
            ["@attribute a real", "@data"],
            r"0 nominal attributes; allowed: one, the class, such as @attribute class \{g,q",
        ),
        (["@attribute", "@data"], "cannot read '@attribute'"),
    ],
)
def test_arff_headers(tmp_path, header, message):
    refuses(arff(tmp_path, header=header), message)


def test_arff_without_data(tmp_path):
    (tmp_path / "data.arff").write_text("@relation x\n@attribute a real\n")
    refuses(tmp_path / "data.arff", "no @data line; truncated")


def test_arff_that_is_no_text(tmp_path):
    (tmp_path / "data.arff").write_bytes(b"\xff\xfe\x00\x80")
    refuses(tmp_path / "data.arff", "as ARFF: it is no text")


def test_split_by_event_where_the_file_has_none(tmp_path):
    path = npz(tmp_path, split=None)
    got = load_dataset(path, seed=1)
    assert np.array_equal(got.split, load_dataset(path, seed=1).split)
    assert not np.array_equal(got.split, load_dataset(path, seed=2).split)
    assert np.array_equal(got.split[::2], got.split[1::2])
    assert set(got.split.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": np.zeros(ROWS)}, r"x has shape \(60,\); allowed: \(objects, features\)"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0, int)}, r"x has shape \(0, 3\); allowed"),
        (
            {"x": np.zeros((ROWS, 0, 4, 3))},
            r"x has shape \(60, 0, 4, 3\); allowed: .* or \(objects, \.\.\., channels\)",
        ),
        ({"x": np.full((ROWS, 3), "a")}, r"x has dtype <U1; allowed: real numbers"),
        ({"x": np.zeros((ROWS, 3), complex)}, r"x has dtype complex128; allowed: real numbers"),
        ({"x": np.zeros((ROWS, 4))}, r"x has 4 columns but the file names 3 features"),
        ({"features": np.array(["pt", "eta", "pt"])}, r"feature 'pt' is named twice"),
        ({"features": np.arange(3)}, r"features are \[0, 1, 2\]\.\.\.; allowed: texts"),
        (with_value("x", (7, 1), np.nan), r"1 values are NaN, .* 1 of them in column 1 \(eta\), the first in row 7"),
        (with_value("x", (slice(5, 8), 2), np.inf), r"3 values are NaN, .* 3 of them in column 2 \(mass\), .* row 5"),
        (with_value("x", (3, 0), 1e300), r"beyond float32, 1 of them in column 0 \(pt\), the first in row 3"),
        ({"y": np.zeros(ROWS - 1, int)}, r"y has shape \(59,\); allowed: \(60,\), one for each row of x"),
        ({"y": np.zeros((ROWS, 2), int)}, r"for one-hot labels use y\.argmax\(axis=1\)"),
        ({"y": np.zeros(ROWS)}, r"labels have dtype float64; allowed: integers"),
        (with_value("y", 9, 7), r"label 7, allowed 0\.\.1 \(signal, background\); first in row 9, 1 in all"),
        (with_value("y", 2, -1), r"label -1, allowed 0\.\.1"),
        ({"y": np.zeros(ROWS, int)}, r"class background is absent from the train split; allowed: every class in every"),
        ({"classes": np.array(["only"]), "y": np.zeros(ROWS, int)}, r"the classes are only; allowed: at least two"),
        ({"classes": None, "y": np.arange(ROWS) * 100}, r"label 5900 in row 59, allowed 0\.\.999; y must be a class"),
        ({"event_id": np.zeros(ROWS)}, r"event ids have dtype float64; allowed: integers"),
        ({"event_id": np.full(ROWS, 2**63, np.uint64)}, r"event ids go up to 9223372036854775808"),
        ({"split": np.zeros(3, int)}, r"split has shape \(3,\); allowed: \(60,\)"),
        ({"split": np.full(ROWS, "train")}, r"split values have dtype <U5; allowed: integers"),
        (with_value("split", 4, 3), r"split value 3 in row 4; allowed: 0 \(training\), 1 \(validation\), 2 \(test\)"),
        ({"split": np.zeros(ROWS, int)}, r"the validation split is empty; allowed: training, validation and test"),
        (with_value("split", 1, 1), r"1 events have objects in more than one split, the first is event 0"),
        ({"y": None}, r"no array 'y'; found classes, event_id, features, split, x; allowed: x, y"),
    ],
)
def test_messages_of_the_checker(tmp_path, changes, message):
    refuses(npz(tmp_path, **changes), message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["pt", "etta"]}, r"no feature 'etta'; the file has pt, eta, mass; did you mean 'eta'\?"),
        ({"features": ["pt", "pt"]}, r"feature 'pt' is named twice"),
        ({"classes": ["signal", "backgrund"]}, r"no class 'backgrund'; the file has .*; did you mean 'background'\?"),
        ({"classes": ["signal"]}, r"the classes are signal; allowed: at least two"),
        ({"classes": ["signal", "signal"]}, r"class 'signal' is asked for twice"),
        ({"labels": "y.npy"}, r"a file of labels was given .*; allowed with \.npy only"),
    ],
)
def test_messages_of_the_options(tmp_path, options, message):
    refuses(npz(tmp_path), message, **options)


def test_number_of_feature_names(tmp_path):
    path = npz(tmp_path, features=None)
    refuses(path, "x has 3 columns but 2 feature names were given; allowed: one name a column", features=["a", "b"])
    assert load_dataset(path, features=["a", "b", "c"]).features == ("a", "b", "c")


def test_missing_empty_and_unknown_files(tmp_path):
    refuses(tmp_path / "none.h5", "file not found: .*none.h5")
    refuses(tmp_path / "data.csv", r"unknown format '.csv'; allowed: .h5, .hdf5, .npz, .npy, .parquet, .arff")
    refuses(tmp_path / "data.h55", r"did you mean '.h5'\?")
    refuses("digit", r"^digit: not found; allowed: .*, a directory of images, digits; did you mean 'digits'\?")
    (tmp_path / "data.h5").touch()
    refuses(tmp_path / "data.h5", r"data.h5 is empty \(0 bytes\)")
    (tmp_path / "folder.npz").mkdir()
    refuses(tmp_path / "folder.npz", "is a directory; name a file in it")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.9999])
def test_truncated_hdf5(tmp_path, sample, share):
    whole = sample.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: int(share * len(whole))])
    refuses(tmp_path / "cut.h5", "cannot read .*cut.h5 as HDF5: truncated, corrupt or another format")


def test_changed_hdf5(tmp_path, sample):
    path = tmp_path / "jets.h5"
    shutil.copy(sample, path)
    with h5py.File(path, "r+") as file:
        file["hlf/x"][17, 3] += 1
    refuses(
        path, "content changed since it was written: SHA-256 [0-9a-f]{64}, recorded [0-9a-f]{64}; generate it again"
    )


def test_flipped_bytes_in_hdf5(tmp_path, sample):
    content = bytearray(sample.read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "jets.h5").write_bytes(content)
    refuses(tmp_path / "jets.h5", "cannot read|content changed")


@pytest.mark.parametrize("suffix", ["npz", "npy", "h5"])
def test_rubbish(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    path.write_bytes(b"these are no numbers " * 20)
    labels = {"labels": path} if suffix == "npy" else {}
    refuses(path, "cannot read .* as HDF5" if suffix == "h5" else "cannot read|never unpickles", **labels)


@pytest.mark.parametrize("share", [0.2, 0.95])
def test_truncated_npz(tmp_path, share):
    path = npz(tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuses(path, "cannot read .* as npz: truncated, corrupt or another format")


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, **arrays(y=np.array([{}] * ROWS, object)))
    refuses(path, "holds Python objects or is no NumPy file; l1dl never unpickles")
    np.save(tmp_path / "x.npy", np.array([{}], object), allow_pickle=True)
    refuses(tmp_path / "x.npy", "l1dl never unpickles", labels=tmp_path / "x.npy")


def test_hdf5_without_arrays(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["jets"] = np.zeros(3)
    refuses(tmp_path / "data.h5", "no array 'x'; found jets; allowed: x, y, event_id, split, features, classes")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_group("x")
    refuses(tmp_path / "data.h5", "cannot read .* as HDF5")


def test_fetching_from_openml_is_explicit(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"allowed: a file name that ends in \.npz"):
        fetch_openml_jets(tmp_path / "jets.h5")
    import sklearn.datasets

    class Bunch:
        data, target, feature_names = arrays()["x"], np.array(CLASSES)[arrays()["y"]], list(NAMES)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda name, **options: Bunch)
    got = load_dataset(fetch_openml_jets(tmp_path / "jets.npz"))
    assert got.classes == tuple(sorted(CLASSES))
    assert got.features == NAMES

    def offline(name, **options):
        msg = "no network"
        raise OSError(msg)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", offline)
    with pytest.raises(InputError, match="cannot download hls4ml_lhc_jets_hlf from OpenML: no network"):
        fetch_openml_jets(tmp_path / "jets.npz")
