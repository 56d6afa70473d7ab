"""Jets and images as data: how they are made, stored, checked and loaded.

In the order of the data:

- `settings`: how many jets, which classes, seed and detector; `generate.generate_jets` is the entry point.
- `pythia`: events; `detector`: tracks and cells; `shards`: anti-kT jets, one shard at a time.
- `features`, `images` (with the compiled `kernels`): what a network sees.
- `pool`: shards on several processes; `store`: the HDF5 file, its split and its digest.
- `load.load_dataset`: files of several formats, and sets of images (`image_sets`, `idx`), through the one checker
  `check`, to a `dataset.Dataset`; `load.load_card_data` does so for a model card.
- `augment.augment`: images with random changes that leave their class alone, for training.

Importing this package loads neither Pythia nor FastJet nor Numba.
"""

from __future__ import annotations

from l1dl.data.augment import Augmentation
from l1dl.data.dataset import Dataset, Pixels, PixelScale, Split
from l1dl.data.settings import CLASSES, Channel, Detector, JetSettings

__all__ = [
    "CLASSES", "Augmentation", "Channel", "Dataset", "Detector", "JetSettings", "PixelScale", "Pixels", "Split",
]  # fmt: skip
