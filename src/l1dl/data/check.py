"""The one check that every loaded data set passes, whatever file it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.artifacts import digest_array, digest_json
from l1dl.data.dataset import Dataset, Pixels, Split
from l1dl.data.store import split_by_event
from l1dl.errors import InputError, did_you_mean

_MAX_CLASSES = 1_000
_HINTS = {
    (4, 2): '; for images set content = "images" in the card',
    (3, 4): "; for a single channel use x[..., None]",
}
"""What to do about x, by its number of axes and the number that is wanted."""


@dataclass(frozen=True, eq=False)
class RawData:
    """What a file holds, before any check.

    Attributes
    ----------
    source
        The file, as named in messages.
    x, y
        Features and labels.
    event_id, split
        Event number and `Split` value of each object, or None.
    features, classes
        Names in the file, or None.
    pixels
        How images are meant, or None.
    """

    source: str
    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    event_id: npt.NDArray[Any] | None = None
    split: npt.NDArray[Any] | None = None
    features: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    pixels: Pixels | None = None


def check(
    raw: RawData,
    features: Sequence[str] | None,
    classes: Sequence[str] | None,
    seed: int,
    axes: tuple[str, ...] | None = None,
) -> Dataset:
    """Check a data set, pick its columns and classes, and split it by event if the file does not.

    Parameters
    ----------
    raw
        Content of the file.
    features
        Columns (channels of images) to use, in order; names of all of them where the file has none. None keeps all.
    classes
        Classes to use, in order (objects of others are left out); names of all classes where the file has none.
    seed
        Seed of the split.
    axes
        What the axes of x must be, in words, the objects first; any number from two on if None.

    Raises
    ------
    InputError
        Anything that training could not use.
    """
    _check_shapes(raw, axes)
    raw = _pick_features(raw, features)
    x = _finite(raw)
    raw = replace(raw, y=_integers(raw, "labels", raw.y))
    names = raw.classes or (tuple(classes) if classes else _numbered(raw))
    _check_range(raw, names)
    event_id = np.arange(len(x)) if raw.event_id is None else _integers(raw, "event ids", raw.event_id)
    split = None if raw.split is None else _split_values(raw)
    if raw.classes and classes and tuple(classes) != raw.classes:
        names, y, kept = _pick_classes(raw, classes)
        x, y, event_id = x[kept], y[kept], event_id[kept]
        split = None if split is None else split[kept]
    else:
        y = raw.y
    if split is None:
        split = split_by_event(event_id, y, seed)
    _check_split(raw.source, y, event_id, split, names)
    digest = digest_json([digest_array(array) for array in (x, y, split)])
    columns = raw.features or tuple(f"x{i}" for i in range(x.shape[-1]))
    return Dataset(x, y, event_id, split, columns, names, raw.source, digest, raw.pixels)


def _fail(source: str, text: str) -> InputError:
    return InputError(f"{source}: {text}")


def _what(raw: RawData) -> str:
    return "column" if raw.x.ndim == 2 else "channel"


def _check_shapes(raw: RawData, axes: tuple[str, ...] | None) -> None:
    if raw.x.dtype.kind not in "fiub":
        raise _fail(raw.source, f"x has dtype {raw.x.dtype}; allowed: real numbers; use x.astype('float32')")
    if raw.x.ndim < 2 or 0 in raw.x.shape or (axes is not None and raw.x.ndim != len(axes)):
        wanted = " or (objects, ..., channels)" if axes is None else ""
        wanted = f"({', '.join(axes or ('objects', 'features'))}){wanted}"
        hint = _HINTS.get((raw.x.ndim, len(axes or ())), "")
        raise _fail(raw.source, f"x has shape {raw.x.shape}; allowed: {wanted}, none of them 0{hint}")
    rows = raw.x.shape[0]
    columns = {"y": raw.y, "event_id": raw.event_id, "split": raw.split}
    for name, values in columns.items():
        if values is not None and values.shape != (rows,):
            hint = "; for one-hot labels use y.argmax(axis=1)" if name == "y" and values.ndim == 2 else ""
            raise _fail(raw.source, f"{name} has shape {values.shape}; allowed: ({rows},), one for each row of x{hint}")


def _pick_features(raw: RawData, features: Sequence[str] | None) -> RawData:
    width, what = raw.x.shape[-1], _what(raw)
    if raw.features is not None and len(raw.features) != width:
        raise _fail(raw.source, f"x has {width} {what}s but the file names {len(raw.features)} features")
    for names in (raw.features or (), tuple(features or ())):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise _fail(raw.source, f"feature {twice!r} is named twice; name each {what} once")
    if not features:
        return raw
    if raw.features is None:
        if len(features) != width:
            text = f"x has {width} {what}s but {len(features)} feature names were given; allowed: one name a {what}"
            raise _fail(raw.source, text)
        return replace(raw, features=tuple(features))
    position = {name: i for i, name in enumerate(raw.features)}
    folded = {name.casefold(): i for i, name in enumerate(raw.features)}
    chosen = []
    for name in features:
        index = position.get(name, folded.get(name.casefold()))
        if index is None:
            hint = did_you_mean(name, raw.features)
            raise _fail(raw.source, f"no feature {name!r}; the file has {', '.join(raw.features)}{hint}")
        chosen.append(index)
    pixels = raw.pixels
    if pixels is not None and len(pixels.scales) > 1:
        pixels = replace(pixels, scales=tuple(pixels.scales[index] for index in chosen))
    return replace(raw, x=raw.x[..., chosen], features=tuple(features), pixels=pixels)


def _finite(raw: RawData) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(raw.x, np.float32)
    bad = ~np.isfinite(x)
    if bad.any():
        where = np.nonzero(bad)
        row, column = int(where[0][0]), int(where[-1][0])
        name = raw.features[column] if raw.features else f"x{column}"
        count = int(bad[..., column].sum())
        text = (
            f"{int(bad.sum())} values are NaN, infinite or beyond float32, {count} of them in {_what(raw)} {column} "
            f"({name}), the first in row {row}; allowed: finite numbers; remove or replace them"
        )
        raise _fail(raw.source, text)
    return x


def _integers(raw: RawData, what: str, values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if values.dtype.kind not in "iu":
        raise _fail(raw.source, f"{what} have dtype {values.dtype}; allowed: integers; use .astype('int64')")
    if values.dtype.kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
        raise _fail(raw.source, f"{what} go up to {values.max()}; allowed: at most {np.iinfo(np.int64).max}")
    return np.ascontiguousarray(values, np.int64)


def _numbered(raw: RawData) -> tuple[str, ...]:
    """Name the classes 0, 1, ... up to the highest label."""
    highest = int(raw.y.max())
    if highest >= _MAX_CLASSES:
        text = f"label {highest} in row {int(raw.y.argmax())}, allowed 0..{_MAX_CLASSES - 1}; y must be a class index"
        raise _fail(raw.source, text)
    return tuple(str(label) for label in range(highest + 1))


def _check_range(raw: RawData, names: tuple[str, ...]) -> None:
    if len(names) < 2 or len(set(names)) != len(names):
        raise _fail(raw.source, f"the classes are {', '.join(names)}; allowed: at least two, all different")
    outside = np.flatnonzero((raw.y < 0) | (raw.y >= len(names)))
    if outside.size:
        text = (
            f"label {int(raw.y[outside[0]])}, allowed 0..{len(names) - 1} ({', '.join(names)}); first in row "
            f"{int(outside[0])}, {outside.size} in all; correct the labels or name all classes"
        )
        raise _fail(raw.source, text)


def _pick_classes(
    raw: RawData, classes: Sequence[str]
) -> tuple[tuple[str, ...], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the class names, the new labels (of all rows), and which rows are kept."""
    known = raw.classes or ()
    position = {name: i for i, name in enumerate(known)}
    folded = {name.casefold(): i for i, name in enumerate(known)}
    renumber = np.full(len(known), -1, np.int64)
    for new, name in enumerate(classes):
        old = position.get(name, folded.get(name.casefold()))
        if old is None:
            raise _fail(raw.source, f"no class {name!r}; the file has {', '.join(known)}{did_you_mean(name, known)}")
        if renumber[old] >= 0:
            raise _fail(raw.source, f"class {name!r} is asked for twice; name each class once")
        renumber[old] = new
    if len(classes) < 2:
        raise _fail(raw.source, f"the classes are {', '.join(classes)}; allowed: at least two, all different")
    y = renumber[raw.y]
    return tuple(classes), y, y >= 0


def _split_values(raw: RawData) -> npt.NDArray[np.uint8]:
    values = _integers(raw, "split values", np.asarray(raw.split))
    outside = np.flatnonzero(~np.isin(values, [part.value for part in Split]))
    if outside.size:
        text = (
            f"split value {int(values[outside[0]])} in row {int(outside[0])}; "
            "allowed: 0 (training), 1 (validation), 2 (test)"
        )
        raise _fail(raw.source, text)
    return values.astype(np.uint8)


def _check_split(
    source: str,
    y: npt.NDArray[np.int64],
    event_id: npt.NDArray[np.int64],
    split: npt.NDArray[np.uint8],
    names: tuple[str, ...],
) -> None:
    for part in Split:
        counts = np.bincount(y[split == part], minlength=len(names))
        if not counts.any():
            text = f"the {part.name.lower()} split is empty; allowed: training, validation and test; split anew"
            raise _fail(source, text)
        missing = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
        if missing:
            text = (
                f"class {', '.join(missing)} is absent from the {part.name.lower()} split; allowed: every class in "
                "every split; add objects of it, leave the class out, or split anew"
            )
            raise _fail(source, text)
    _, event = np.unique(event_id, return_inverse=True)
    low = np.full(event.max() + 1, len(Split), np.int64)
    high = np.full(event.max() + 1, -1, np.int64)
    np.minimum.at(low, event, split)
    np.maximum.at(high, event, split)
    shared = np.flatnonzero(low != high)
    if shared.size:
        first = int(event_id[np.argmax(event == shared[0])])
        text = (
            f"{shared.size} events have objects in more than one split, the first is event {first}; "
            "allowed: all objects of an event in one split; split by event, or remove the split column"
        )
        raise _fail(source, text)
