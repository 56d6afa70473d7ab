"""Generate jets: ``python scripts/generate_jets.py --jets 1000 --out jets.h5``; same options as ``l1dl data jets``."""

import sys

from l1dl.cli.app import invoke

if __name__ == "__main__":
    sys.exit(invoke(["data", "jets", *sys.argv[1:]]))
