"""Make the HLS project of a card, training it if needed: ``python scripts/make_hls_project.py models/jet_mlp``."""

import sys

from l1dl.cli.app import invoke

if __name__ == "__main__":
    sys.exit(invoke(["run", "--until", "convert", *sys.argv[1:]]))
