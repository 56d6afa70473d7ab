"""Values in another order: one Gather with static indices, of runs of values that stay together."""

from __future__ import annotations

import math

import numpy as np

from l1dl.emulate.onnx.builder import Builder, Tensor
from l1dl.fixed import Codes


def gather(builder: Builder, x: Tensor, shape: tuple[int, ...], index: Codes) -> str:
    """Return the values at flat places of each event, in the shape of `index`; -1 is zero.

    Parameters
    ----------
    shape
        Shape of `x`, without the batch axis.
    index
        Places among the flattened values.
    """
    size, flat = math.prod(shape), index.ravel()
    name = x.name
    if not np.array_equal(flat, np.arange(size)):
        run = longest_run(flat, size)
        rows = flat.reshape(-1, run)[:, 0] // run
        name = builder.reshape(name, (size // run, run) if run > 1 else (size,))
        if (flat < 0).any():
            pads = np.zeros(2 * (2 + (run > 1)), dtype=np.int64)
            pads[len(pads) // 2 + 1] = 1
            name = builder.apply("Pad", name, pads, np.zeros((), x.dtype))
            rows = np.where(rows < 0, size // run, rows)
        name = builder.apply("Gather", name, rows, axis=1)
    elif shape == index.shape:
        return name
    return builder.reshape(name, index.shape)


def longest_run(index: Codes, size: int) -> int:
    """Return the largest number of neighbours that always move together, among `size` values; zeros do, too."""
    common = math.gcd(len(index), size)
    for run in range(common, 1, -1):
        if common % run:
            continue
        rows = index.reshape(-1, run)
        together = (rows == rows[:, :1] + np.arange(run)).all(axis=1) & (rows[:, 0] % run == 0) & (rows[:, 0] >= 0)
        if (together | (rows < 0).all(axis=1)).all():
            return run
    return 1
