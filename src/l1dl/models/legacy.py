"""Models that Keras 2 wrote (tf.keras, with QKeras 0.9): HDF5 files, and JSON with HDF5 weights.

Nothing of a file is run: the configuration is rebuilt on Keras 3 layer by layer (`l1dl.models.rebuild`), and the
weights are matched by layer and name, and checked for their number and shape. The HDF5 files that Keras 3 writes
have the same layout and are read in the same way.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, did_you_mean
from l1dl.models.rebuild import Rebuilt, rebuild_model

Array = npt.NDArray[Any]
Stored = dict[str, Array]
"""Name of a weight, as in the file → its values."""

_ALIASES = {"depthwise_kernel": "kernel"}
"""Weights that Keras 3 calls otherwise; the name is changed where the layer has no weight of the old one."""

_PRUNING = ("mask", "threshold", "pruning_step")
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError)
MAXIMUM_CONFIG_BYTES = 64 * 2**20
"""Longest configuration that is read, in bytes."""


def load_legacy(path: Path, weights: Path | None = None) -> Rebuilt:
    """Load a full HDF5 file, or the architecture of one (or of a JSON file) with the weights of another.

    Raises
    ------
    InputError
        A file is missing, damaged or of another kind, or weights and architecture do not fit; the text names
        the layer.
    UnsupportedError
        A layer or an option is not known.
    """
    architecture = read_architecture(path)
    rebuilt = rebuild_model(architecture, keras_version=_major(architecture.get("keras_version")))
    source = path if weights is None else weights
    with _open_hdf5(source) as file:
        group = file.get("model_weights", file)
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            assign_by_layer(rebuilt, read_weights(group, source), source)
        elif "layers" in group or "_layer_checkpoint_dependencies" in group:
            _assign_by_order(rebuilt, group, source)
        else:
            msg = f"{source} holds no weights of a Keras model{_found(group)}"
            raise InputError(msg)
    return rebuilt


def load_archive(path: Path) -> Rebuilt:
    """Load a ``.keras`` file that Keras 2 wrote.

    Raises
    ------
    InputError
        It is damaged, or its weights do not fit.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            architecture = json.loads(_member(archive, "config.json"))
            weights = archive.read("model.weights.h5")
    except (*_UNREADABLE, zipfile.BadZipFile) as error:
        raise _damaged(path, "a .keras file", error) from None
    rebuilt = rebuild_model(architecture, keras_version=2)
    with _open_hdf5(path, io.BytesIO(weights)) as file:
        _assign_by_order(rebuilt, file, path)
    return rebuilt


def read_architecture(path: Path) -> dict[str, Any]:
    """Return the configuration of a model from a JSON or HDF5 file, with the Keras version that wrote it."""
    if is_hdf5(path):
        with _open_hdf5(path) as file:
            text = file.attrs.get("model_config")
            version = file.attrs.get("keras_version")
            if text is None:
                msg = (
                    f"{path} holds weights but no architecture{_found(file)}; give the JSON file of model.to_json() as "
                    "the model and this file with --weights, or save the whole model"
                )
                raise InputError(msg)
    else:
        try:
            text, version = path.read_bytes()[: MAXIMUM_CONFIG_BYTES + 1], None
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}"
            raise InputError(msg) from None
    try:
        text = text.decode() if isinstance(text, bytes) else text
        if len(text) > MAXIMUM_CONFIG_BYTES:
            raise ValueError(f"it is longer than {MAXIMUM_CONFIG_BYTES} bytes")  # noqa: EM102
        architecture = json.loads(text)
        if isinstance(architecture, str):  # some tools write the text of model.to_json() with json.dump
            architecture = json.loads(architecture)
    except (ValueError, TypeError, RecursionError) as error:
        msg = f"{path} is no model: neither HDF5 nor the JSON of model.to_json() ({error})"
        raise InputError(msg) from None
    if not isinstance(architecture, dict) or "class_name" not in architecture:
        msg = f"{path} is JSON, but not that of a Keras model (model.to_json()): it has no class_name"
        raise InputError(msg)
    if version is not None:
        architecture["keras_version"] = version.decode() if isinstance(version, bytes) else str(version)
    return architecture


def read_weights(group: Any, path: Path) -> dict[str, Stored]:
    """Return layer → weight → values of a group that Keras wrote by layer."""
    try:
        return {layer: _stored(group, layer) for layer in _names(group, "layer_names")}
    except _UNREADABLE as error:
        raise _damaged(path, "weights", error) from None


def assign_by_layer(rebuilt: Rebuilt, stored: Mapping[str, Stored], path: Path) -> None:
    """Give each layer its weights, and check that none is missing or left over.

    Raises
    ------
    InputError
        A number, a name or a shape does not fit.
    """
    tops = {path_of[0] for path_of in rebuilt.layers}
    for name, weights in stored.items():
        if weights and name not in tops:
            msg = f"{path} holds weights of a layer {name!r}, which the model does not have{did_you_mean(name, tops)}"
            raise InputError(msg)
    for where, layer in rebuilt.layers.items():
        top = stored.get(where[0], {})
        inside = top if len(where) == 1 else {key: value for key, value in top.items() if where[-1] in key.split("/")}
        _assign(layer, where, list(inside.items()), path, pruned=where[-1] in rebuilt.pruned)
    for name, weights in stored.items():
        used = sum(len(layer.weights) for where, layer in rebuilt.layers.items() if where[0] == name)
        extra = [key for key in weights if _short(key) in _PRUNING] if name in rebuilt.pruned else []
        if used + len(extra) != len(weights):
            msg = f"{path} holds {len(weights)} weights of layer {name!r}; the model has {used}"
            raise InputError(msg)


def _assign(layer: Any, where: tuple[str, ...], found: list[tuple[str, Array]], path: Path, *, pruned: bool) -> None:
    """Set the weights of one layer from those of the file, matched by name."""
    label = "/".join(where)
    masks = [value for key, value in found if pruned and _short(key) == "mask"]
    found = [(key, value) for key, value in found if not (pruned and _short(key) in _PRUNING)]
    wanted = [weight.name for weight in layer.weights]
    if len(wanted) != len(found):
        given = ", ".join(key for key, _ in found) or "none"
        msg = f"layer {label!r} ({type(layer).__name__}) has {len(wanted)} weights, {path} holds {len(found)}: {given}"
        raise InputError(msg)
    names = [_short(key) for key, _ in found]
    names = [_ALIASES.get(name, name) if name not in wanted else name for name in names]
    if len(set(names)) == len(names):
        missing = [name for name in wanted if name not in names]
        if missing:
            hint = did_you_mean(missing[0], names)
            kind = type(layer).__name__
            msg = f"layer {label!r} ({kind}) has a weight {missing[0]!r}, which {path} does not hold{hint}"
            raise InputError(msg)
        values = [found[names.index(name)][1] for name in wanted]
    elif names == wanted:  # two layers inside, e.g. the directions of Bidirectional, in their order
        values = [value for _, value in found]
    else:
        msg = f"the weights of layer {label!r} in {path} are {names}; expected are {wanted}"
        raise InputError(msg)
    prunable = iter(masks)
    values = [
        value * next(prunable) if masks and "kernel" in name else value
        for name, value in zip(wanted, values, strict=True)
    ]
    set_weights(layer, label, values, path)


def set_weights(layer: Any, label: str, values: Sequence[Array], path: Path) -> None:
    """Set the weights of a layer after a check of shapes, and that all are finite."""
    for weight, value in zip(layer.weights, values, strict=True):
        kind = f"weight {weight.name!r} of layer {label!r} ({type(layer).__name__})"
        if tuple(weight.shape) != value.shape:
            msg = f"{kind} has shape {tuple(weight.shape)}, in {path} it has {value.shape}"
            raise InputError(msg)
        if value.dtype.kind not in "fiub" or not np.all(np.isfinite(value)):
            msg = f"{kind} holds NaN, infinity or no numbers in {path}; train the model again"
            raise InputError(msg)
    layer.set_weights(list(values))


def _assign_by_order(rebuilt: Rebuilt, group: Any, path: Path) -> None:
    """Read weights from a file in which each layer's are numbered, and layers are named by class and number."""
    root = "layers" if "layers" in group else "_layer_checkpoint_dependencies"
    counts: dict[str, int] = {}
    for where, layer in rebuilt.layers.items():
        label = "/".join(where)
        if len(where) > 1:
            msg = f"layer {label!r} is in a nested model, whose weights in {path} have no names; save the model as .h5"
            raise InputError(msg)
        kind = _snake(type(layer).__name__)
        number = counts[kind] = counts.get(kind, -1) + 1
        place = f"{root}/{kind}_{number}" if number else f"{root}/{kind}"
        try:
            values = list(_numbered(group, place)) or list(_numbered(group, f"{place}/cell"))
        except _UNREADABLE as error:
            raise _damaged(path, "weights", error) from None
        if len(values) != len(layer.weights):
            kind = type(layer).__name__
            msg = f"layer {label!r} ({kind}) has {len(layer.weights)} weights, {path} holds {len(values)} at {place}"
            raise InputError(msg)
        set_weights(layer, label, values, path)


def _numbered(group: Any, place: str) -> Iterator[Array]:
    store = group.get(f"{place}/vars", {})
    for index in range(len(store)):
        yield _array(store, str(index))


def _stored(group: Any, layer: str) -> Stored:
    return {name: _array(group[layer], name) for name in _names(group[layer], "weight_names")}


def _array(group: Any, name: str) -> Array:
    import h5py

    link = group.get(name, getlink=True)
    dataset = group[name]
    if isinstance(link, h5py.ExternalLink) or not isinstance(dataset, h5py.Dataset) or dataset.external:
        msg = f"{name} is no array in the file itself"
        raise ValueError(msg)
    return np.asarray(dataset[()])


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names; long ones are cut over several attributes with a number behind the name."""
    if attribute in group.attrs:
        parts = [group.attrs[attribute]]
    else:
        parts = []
        while f"{attribute}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{attribute}{len(parts)}"])
    return [name.decode() if isinstance(name, bytes) else str(name) for part in parts for name in part]


def _short(name: str) -> str:
    """Return ``kernel`` for ``dense_1/kernel:0``."""
    return name.rsplit("/", 1)[-1].split(":", maxsplit=1)[0]


def _snake(name: str) -> str:
    """Return a class name as Keras writes it in files: ``re_lu`` for ReLU."""
    text = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", text).lower()


def _major(version: Any) -> int:
    match = re.match(r"(\d+)\.", str(version))
    return int(match.group(1)) if match else 2


def is_hdf5(path: Path) -> bool:
    """Say whether a file begins as HDF5 does."""
    try:
        with path.open("rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise InputError(msg) from None


def _open_hdf5(path: Path, content: io.BytesIO | None = None) -> Any:
    import h5py

    if content is None and not is_hdf5(path):
        msg = f"{path} is no HDF5 file; weights are expected in the .h5 file of model.save_weights() or model.save()"
        raise InputError(msg)
    try:
        return h5py.File(content if content is not None else path, "r")
    except _UNREADABLE as error:
        raise _damaged(path, "HDF5", error) from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAXIMUM_CONFIG_BYTES:
        msg = f"{name} is longer than {MAXIMUM_CONFIG_BYTES} bytes"
        raise ValueError(msg)
    return archive.read(name)


def _found(group: Any) -> str:
    return f" (found: {', '.join(sorted(group)[:6]) or 'nothing'})"


def _damaged(path: Path, kind: str, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    msg = f"cannot read {path} as {kind}: truncated, corrupt or another format ({reason}); save or download it again"
    return InputError(msg)
