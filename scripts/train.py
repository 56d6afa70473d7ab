"""Train the models of a card: ``python scripts/train.py models/jet_mlp``; same options as ``l1dl train``."""

import sys

from l1dl.cli.app import invoke

if __name__ == "__main__":
    sys.exit(invoke(["train", *sys.argv[1:]]))
