"""Jets as data: how they are made, stored, checked and loaded.

In the order of the data:

- `settings`: how many jets, which classes, seed and detector; `generate.generate_jets` is the entry point.
- `pythia`: events; `detector`: tracks and cells; `shards`: anti-kT jets, one shard at a time.
- `features`, `images` (with the compiled `kernels`): what a network sees.
- `pool`: shards on several processes; `store`: the HDF5 file, its split and its digest.
- `load.load_dataset`: files of several formats, through the one checker `check`, to a `dataset.Dataset`.

Importing this package loads neither Pythia nor FastJet nor Numba.
"""

from __future__ import annotations

from l1dl.data.dataset import Dataset, Split
from l1dl.data.settings import CLASSES, Detector, JetSettings

__all__ = ["CLASSES", "Dataset", "Detector", "JetSettings", "Split"]
