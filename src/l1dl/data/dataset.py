"""The data set that every later stage reads: features, labels, event numbers and split."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Split(IntEnum):
    """The part of a data set that an event belongs to, as stored in files."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled jets (or other objects), split by event.

    Attributes
    ----------
    x
        Features, float32 of shape (N, F), all finite.
    y
        Class index, int64 of shape (N,), within ``range(len(classes))``.
    event_id
        Event number, int64 of shape (N,); objects of one event are always in the same split.
    split
        A `Split` value for each object, uint8 of shape (N,).
    features, classes
        Names of the columns of `x` and of the classes.
    source
        Where the data came from, for the report.
    digest
        SHA-256 of x, y and split.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    event_id: npt.NDArray[np.int64]
    split: npt.NDArray[np.uint8]
    features: tuple[str, ...]
    classes: tuple[str, ...]
    source: str
    digest: str

    def part(self, split: Split) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return features and labels of one split."""
        chosen = self.split == split
        return self.x[chosen], self.y[chosen]
