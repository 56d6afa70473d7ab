"""The Keras back end, chosen once per process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from l1dl.errors import InputError, ToolMissingError
from l1dl.models.engines import check_engine


def import_keras(backend: str | None = None) -> Any:
    """Import Keras on `backend` (``jax`` or ``tensorflow``) and return the module.

    Parameters
    ----------
    backend
        None takes the one that is imported already, that ``KERAS_BACKEND`` names, or JAX.

    Raises
    ------
    InputError
        Keras runs on another back end in this process already.
    ToolMissingError
        Keras or the back end is not installed.
    """
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend or os.environ.get("KERAS_BACKEND", "jax")
        # TensorFlow's C++ start-up messages are no news to a user, and oneDNN must not change the order of sums.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        import keras
    except ImportError as error:
        msg = f"Keras cannot be imported ({error}); install it: pip install 'l1dl[qkeras]'"
        raise ToolMissingError(msg) from error
    running: str = keras.backend.backend()
    if backend is not None and running != backend:
        msg = (
            f"Keras runs on {running} in this process, {backend} was asked for; "
            f"start a new process with KERAS_BACKEND={backend}"
        )
        raise InputError(msg)
    return keras


def import_qkeras() -> Any:
    """Import QKeras for Keras 3 and return the module.

    Raises
    ------
    ToolMissingError
        QKeras is absent, or another package's ``qkeras`` is found in its place.
    """
    import_keras()
    try:
        with quiet_stderr():
            import qkeras
    except ImportError as error:
        check_engine("qkeras")
        msg = f"QKeras cannot be imported ({error}); install it: pip install 'l1dl[qkeras]'"
        raise ToolMissingError(msg) from error
    if not hasattr(qkeras, "QDense"):
        check_engine("qkeras")
        msg = (
            f"the module qkeras at {qkeras.__file__} is not QKeras; "
            "another package installed it: use a fresh environment and pip install qkeras-v3"
        )
        raise ToolMissingError(msg)
    return qkeras


def import_hgq() -> Any:
    """Import HGQ2 and return the module ``hgq``.

    Raises
    ------
    ToolMissingError
        It is not installed, or QKeras is beside it.
    """
    check_engine("hgq2")
    import_keras()
    import hgq.layers
    import hgq.utils

    return hgq


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what native code writes to file descriptor 2 to nowhere: TensorFlow greets there when it is imported."""
    sys.stderr.flush()
    saved = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def devices() -> list[str]:
    """Return the names of the accelerators that the Keras back end sees, e.g. ``["gpu:0"]``; empty on a CPU."""
    keras = import_keras()
    found: list[str] = keras.distribution.list_devices()
    return [device for device in found if not device.startswith("cpu")]


def predict_arrays(model: Any, arrays: Sequence[Any], batch_size: int = 4096) -> list[npt.NDArray[np.float64]]:
    """Return the outputs of a Keras model, with float32 products in full precision on every device.

    Parameters
    ----------
    arrays
        One array for each input, shape (events, *shape).
    batch_size
        Events that are computed together.

    Returns
    -------
    For each output an array, float64 of shape (events, *shape).
    """
    inputs = arrays[0] if len(arrays) == 1 else list(arrays)
    precision: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if import_keras().backend.backend() == "jax":
        import jax

        precision = jax.default_matmul_precision("highest")
    with precision:
        answers = model.predict(inputs, batch_size=batch_size, verbose=0)
    answers = answers if isinstance(answers, (list, tuple)) else [answers]
    return [np.asarray(answer, dtype=np.float64) for answer in answers]
