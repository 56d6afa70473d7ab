"""Co-simulate the RTL of a card, after the stages before it: ``python scripts/cosimulate.py models/jet_mlp``."""

import sys

from l1dl.cli.app import invoke

if __name__ == "__main__":
    sys.exit(invoke(["run", "--until", "cosim", *sys.argv[1:]]))
