"""The data set that every later stage reads: features or images, labels, event numbers and split."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
import numpy.typing as npt

from l1dl.fixed import FixedSpec

BYTE_GRID = FixedSpec(signed=False, width=8, integer=0)
"""The unsigned type of 8 fractional bits: the values 0, 1/256, ... 255/256."""


class Split(IntEnum):
    """The part of a data set that an event belongs to, as stored in files."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


class PixelScale(Enum):
    """What the number in a pixel measures."""

    LINEAR = "linear"
    """An intensity, or a quantity proportional to it."""
    ROOT = "root"
    """The square root of an intensity, as in the momenta of jet images."""
    COUNT = "count"
    """A number of objects."""


@dataclass(frozen=True)
class Pixels:
    """How the numbers in the pixels of a set of images are meant.

    Attributes
    ----------
    grid
        An unsigned type that holds every pixel exactly.
    scales
        What each channel measures; a single one counts for all channels.
    """

    grid: FixedSpec = BYTE_GRID
    scales: tuple[PixelScale, ...] = (PixelScale.LINEAR,)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled jets (or other objects), split by event.

    Attributes
    ----------
    x
        What a network sees, float32 of shape (N, *shape), all finite: features (N, F), or images (N, H, W, C) with
        the channels last.
    y
        Class index, int64 of shape (N,), within ``range(len(classes))``.
    event_id
        Event number, int64 of shape (N,); objects of one event are always in the same split.
    split
        A `Split` value for each object, uint8 of shape (N,).
    features, classes
        Names along the last axis of `x` (features, or channels of images), and of the classes.
    source
        Where the data came from, for the report.
    digest
        SHA-256 of x, y and split.
    pixels
        How images are meant; None for features, and for images of which nothing is known.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    event_id: npt.NDArray[np.int64]
    split: npt.NDArray[np.uint8]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    source: str
    digest: str
    pixels: Pixels | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one object: ``(F,)`` or ``(H, W, C)``."""
        return tuple(self.x.shape[1:])

    def part(self, split: Split) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return `x` and labels of one split."""
        chosen = self.split == split
        return self.x[chosen], self.y[chosen]
