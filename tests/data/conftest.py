"""Shared by the tests of l1dl.data: optional packages, the committed sample, and made-up jets."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "jets.h5"
IMAGE_SAMPLE = Path(__file__).parent / "jet_images.h5"


def _need(*packages: str) -> None:
    """Skip, with the reason, where a package is absent; in CI, which installs all of them, fail."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    reason = f"{', '.join(missing)} not installed"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, though CI installs it")
    pytest.skip(reason)


@pytest.fixture
def need():
    """Return a function that skips the test unless the packages it names are installed."""
    return _need


@pytest.fixture
def numba() -> None:
    _need("numba")


@pytest.fixture
def generators() -> None:
    _need("pythia8mc", "fastjet", "awkward", "vector", "numba")


@pytest.fixture
def pyarrow() -> None:
    _need("pyarrow")


@pytest.fixture
def sample() -> Path:
    return SAMPLE


@pytest.fixture
def image_sample() -> Path:
    """Return 2,000 jets of the committed sample, with images of all channels and without constituents."""
    return IMAGE_SAMPLE


@pytest.fixture
def jets() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Twenty jets of 1 to 60 constituents around random axes: pt, eta, phi, offsets."""
    rng = np.random.default_rng(5)
    sizes = np.concatenate([[1, 2, 3], rng.integers(4, 60, 17)])
    axis_eta, axis_phi = rng.uniform(-2, 2, sizes.size), rng.uniform(-np.pi, np.pi, sizes.size)
    eta = np.repeat(axis_eta, sizes) + rng.normal(0, 0.15, sizes.sum())
    phi = np.repeat(axis_phi, sizes) + rng.normal(0, 0.15, sizes.sum())
    phi = (phi + np.pi) % (2 * np.pi) - np.pi
    return rng.exponential(20, sizes.sum()) + 0.5, eta, phi, np.concatenate([[0], np.cumsum(sizes)])
