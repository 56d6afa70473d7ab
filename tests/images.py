"""A tiny card of a CNN with its images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny import change_card

CARD = """\
name = "tiny_cnn"

[data]
file = "images.npz"
content = "images"
inputs = "unscaled"

[model]
layers = [
  { kind = "conv", filters = 3, kernel = 3, padding = "same" },
  { kind = "pool", size = 2 },
  { kind = "conv", filters = 4, kernel = 2, weight = { bits = 4 }, activation = { bits = 5, integer = 1 } },
  { kind = "flatten" },
  { kind = "dense", units = 6 },
]

[quantisation]
weight = { bits = 6 }
bias = { bits = 6 }
activation = { bits = 6, integer = 2 }
input = { bits = 8, integer = 0, signed = false }

[training]
epochs = 10
batch_size = 32
learning_rate = 0.01

[cosim]
random_vectors = 300
"""

CLASSES = ("left", "right", "both")


def tiny_images(events: int = 1200) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, 6, 6, 1) with spots on the left, on the right or on both sides, on the 8-bit grid."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 3, events)
    spots = rng.integers(0, 6, (events, 2)), rng.integers(0, 3, (events, 2))
    codes = rng.integers(0, 40, (events, 6, 6))
    for side in (0, 1):
        lit = np.flatnonzero((y == side) | (y == 2))
        codes[lit, spots[0][lit, side], spots[1][lit, side] + 3 * side] += 200
    return (codes[..., None] / 256).astype(np.float32), y


def write_images(directory: Path, **replace: str) -> Path:
    """Write card and images into a directory; keywords replace values of the card by key."""
    directory.mkdir(parents=True, exist_ok=True)
    x, y = tiny_images()
    np.savez(directory / "images.npz", x=x, y=y, features=np.array(["light"]), classes=np.array(CLASSES))
    card = directory / "model.toml"
    card.write_text(CARD)
    return change_card(card, **replace)
