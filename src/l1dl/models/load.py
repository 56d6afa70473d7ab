"""One door for every model that someone brings: an object, a ``.keras``, ``.h5`` or JSON file."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l1dl.errors import InputError, UnsupportedError, did_you_mean
from l1dl.models.backend import import_hgq, import_keras, import_qkeras, quiet_stderr
from l1dl.models.engines import installed_engines
from l1dl.models.fixed_point import fixed_point
from l1dl.models.layers import HGQ2_LAYERS, LAYERS, QKERAS_LAYERS, bare_name, check_class
from l1dl.models.legacy import is_hdf5, load_archive, load_legacy
from l1dl.models.quantiser_config import (
    ACTIVATIONS,
    QKERAS_FUNCTIONS,
    QUANTISERS,
    make_activation,
    make_quantiser,
    quantiser_class,
)
from l1dl.models.rebuild import MODELS, Rebuilt

_TRAINING_MODULES = ("keras.initializers", "keras.regularizers", "keras.constraints", "keras.src.initializers",
                     "keras.src.regularizers", "keras.src.constraints")  # fmt: skip
_PARTS = ("Clip", "QInitializer", "DTypePolicy", "InputLayer", "__keras_tensor__", "QSimpleRNNCell", "QLSTMCell",
          "QGRUCell", "LSTMCell", "GRUCell", "SimpleRNNCell")  # fmt: skip
_HGQ2_PARTS = ("Constant", "DefaultBitwidthMapper", "Max", "Min", "MinMax", "MonoL1", "QuantizerConfig")
_UNREADABLE = (OSError, KeyError, RuntimeError, ValueError, RecursionError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Loaded:
    """A model that someone brought.

    Attributes
    ----------
    model
        A built Keras 3 model.
    notes
        What was changed on the way, for the report.
    """

    model: Any
    notes: tuple[str, ...] = ()


def load_any(source: Any, weights: Path | str | None = None) -> Loaded:
    """Load a model; no code of a file is run, and nothing is unpickled.

    Parameters
    ----------
    source
        A Keras 3 model object; or the path of a ``.keras`` file, of a full ``.h5`` file (of Keras 2 with QKeras
        0.9, or of Keras 3), or of the JSON of ``model.to_json()`` with `weights`.
    weights
        The ``.h5`` file of ``model.save_weights()``.

    Raises
    ------
    InputError
        A file is missing, damaged or of another kind, or the weights do not fit the layers.
    UnsupportedError
        A layer, a quantiser or an option is not known, by name.
    """
    if not isinstance(source, (str, Path)):
        if weights is not None:
            msg = "weights from a file are for a model from a file; load them into the model object first"
            raise InputError(msg)
        return Loaded(_check_object(source))
    path, weights = Path(source), None if weights is None else Path(weights)
    for file in (path, weights):
        if file is not None:
            _check_file(file)
    if zipfile.is_zipfile(path):
        if weights is not None:
            msg = f"{path} holds its weights itself; leave --weights out"
            raise InputError(msg)
        return _load_archive(path)
    import_qkeras()
    if weights is None and not is_hdf5(path):
        _refuse_other(path)
    with quiet_stderr():
        rebuilt = load_legacy(path, weights)
    return Loaded(rebuilt.model, _notes(rebuilt, path))


def _check_object(model: Any) -> Any:
    keras = import_keras()
    if type(model).__module__.startswith(("tf_keras", "tensorflow.python.keras", "keras.src.engine")):
        msg = "this is a model of Keras 2; save it with model.save('model.h5') and give the path of that file"
        raise UnsupportedError(msg)
    if not isinstance(model, keras.Model):
        msg = f"a Keras model or the path of its file is needed, not a {type(model).__name__}"
        raise InputError(msg)
    if not getattr(model, "built", False) or not getattr(model, "inputs", None):
        name = getattr(model, "name", "?")
        msg = (
            f"model {name!r} ({type(model).__name__}) is not built from layers with known shapes; "
            "use keras.Model(inputs, outputs), or a Sequential with an Input"
        )
        raise UnsupportedError(msg)
    return model


def _check_file(path: Path) -> None:
    if not path.exists():
        msg = f"model file not found: {path}"
        raise InputError(msg)
    if path.is_dir():
        saved = (path / "saved_model.pb").exists()
        what = "a TensorFlow SavedModel, which holds code" if saved else "a directory"
        msg = f"{path} is {what}; save the model as .keras or .h5 and give that file"
        raise InputError(msg)
    if path.stat().st_size == 0:
        msg = f"{path} is empty (0 bytes); save or download it again"
        raise InputError(msg)


def _refuse_other(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(512).lstrip()
    if start[:1] in (b"{", b'"'):
        msg = f"{path} is the JSON of a model, which holds no weights; give their .h5 file with --weights"
        raise InputError(msg)
    if path.suffix.lower() in (".pkl", ".pickle", ".joblib", ".pt", ".pth") or start[:2] in (b"\x80\x04", b"\x80\x05"):
        msg = f"{path} is a pickle, which can run any code; l1dl never loads one: save the model as .keras or .h5"
        raise InputError(msg)
    msg = (
        f"{path} is no model that l1dl reads: truncated, or another format; allowed are .keras, .h5, and JSON with .h5"
    )
    raise InputError(msg)


def _load_archive(path: Path) -> Loaded:
    """Load a ``.keras`` file: with Keras itself in safe mode if Keras 3 wrote it and everything in it is known."""
    try:
        with zipfile.ZipFile(path) as archive:
            missing = {"config.json", "metadata.json", "model.weights.h5"} - set(archive.namelist())
            if missing:
                msg = f"{path} is a zip file without {', '.join(sorted(missing))}: no .keras file"
                raise InputError(msg)
            config = json.loads(archive.read("config.json"))
            version = str(json.loads(archive.read("metadata.json")).get("keras_version"))
    except InputError:
        raise
    except (*_UNREADABLE, AttributeError) as error:
        msg = f"cannot read {path} as a .keras file: truncated or corrupt ({error}); save or download it again"
        raise InputError(msg) from None
    if version.startswith("2."):
        import_qkeras()
        with quiet_stderr():
            rebuilt = load_archive(path)
        return Loaded(rebuilt.model, _notes(rebuilt, path))
    parts = list(_classes(config))
    if any(_is_hgq2(found) for found in parts):
        import_hgq()  # registers its classes with Keras
    for found in parts:
        (_check_hgq2 if _is_hgq2(found) else _check_part)(found)
    keras, custom = import_keras(), _custom_objects()
    try:
        with quiet_stderr():
            model = keras.models.load_model(path, custom_objects=custom, compile=False, safe_mode=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path} cannot be loaded as a Keras model: {reason}"
        raise InputError(msg) from error
    return Loaded(_check_object(model))


def _classes(value: Any) -> Iterator[Mapping[str, Any]]:
    """Yield everything in a configuration that stands for an object, but not what belongs to the training."""
    if isinstance(value, Mapping):
        if "class_name" in value:
            yield value
        for key, item in value.items():
            if key not in ("compile_config", "build_config"):
                yield from _classes(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _classes(item)


def _check_part(found: Mapping[str, Any]) -> None:
    """Refuse a class that is not on the lists, so that Keras is never asked to look it up."""
    name, module = bare_name(found["class_name"]), str(found.get("module") or "")
    if name == "function":
        config = found.get("config")
        functions = (*ACTIVATIONS, *QKERAS_FUNCTIONS)
        if config not in functions:
            msg = f"the file uses the function {config!r}{did_you_mean(str(config), functions)}; no function is loaded"
            raise UnsupportedError(msg)
        return
    config = found.get("config")
    label = config.get("name", "?") if isinstance(config, Mapping) else "?"
    for key, value in config.items() if isinstance(config, Mapping) else ():
        # QKeras would call what a text names.
        if key in ("activation", "recurrent_activation"):
            make_activation(value, f"layer {label!r} ({name}): {key}", qkeras=name in QKERAS_LAYERS)
        elif key.endswith("_quantizer"):
            make_quantiser(value, f"layer {label!r} ({name}): {key}")
    if (module, name) == (fixed_point.__module__, fixed_point.__name__):
        make_quantiser(found, f"the quantiser {name}")
        return
    ours = module.startswith(("keras.", "qkeras")) or module in ("", "keras")
    if ours and (name in (*MODELS, *LAYERS, *QUANTISERS, *_PARTS) or module.startswith(_TRAINING_MODULES)):
        return
    check_class(name, f"layer {label!r} ({name})")
    msg = f"the file uses {name!r} of the module {module!r}; only Keras and QKeras are loaded"
    raise UnsupportedError(msg)


def _is_hgq2(found: Mapping[str, Any]) -> bool:
    return str(found.get("module") or "").partition(".")[0] == "hgq"


def _check_hgq2(found: Mapping[str, Any]) -> None:
    """Refuse a class of HGQ2 that is not on the lists."""
    name, config = bare_name(found["class_name"]), found.get("config")
    if name in _HGQ2_PARTS:
        return
    label = config.get("name", "?") if isinstance(config, Mapping) else "?"
    where = f"layer {label!r} ({name} of HGQ2)"
    if name not in HGQ2_LAYERS:
        msg = f"{where} is not supported{did_you_mean(name, HGQ2_LAYERS)}; supported are {', '.join(HGQ2_LAYERS)}"
        raise UnsupportedError(msg)
    if isinstance(config, Mapping) and "activation" in config:
        make_activation(config["activation"], f"{where}: activation", qkeras=False)


def _custom_objects() -> dict[str, Any]:
    """Return the classes of QKeras, and our own quantiser, by name; none beside HGQ2, which registers its own."""
    if installed_engines() == ("hgq2",):
        return {}
    qkeras = import_qkeras()
    names = (*(name for name in LAYERS if name.startswith("Q")), "Clip", "QInitializer")
    cells = ("QSimpleRNNCell", "QLSTMCell", "QGRUCell")
    layers = {name: getattr(qkeras, name) for name in (*names, *cells)}
    return layers | {name: quantiser_class(name) for name in QUANTISERS}


def _notes(rebuilt: Rebuilt, path: Path) -> tuple[str, ...]:
    notes = [f"The model of {path.name} was rebuilt on Keras 3 layer by layer from its configuration."]
    if rebuilt.pruned:
        notes.append(f"The pruning wrappers of {len(rebuilt.pruned)} layers were taken off and their masks applied.")
    if rebuilt.renamed:
        names = ", ".join(f"{old} → {new}" for old, new in rebuilt.renamed.items())
        notes.append(f"Names that firmware cannot have were changed: {names}.")
    return tuple(notes)
