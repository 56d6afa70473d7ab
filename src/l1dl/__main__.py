"""Lets ``python -m l1dl`` do what ``l1dl`` does."""

from l1dl.cli import main

if __name__ == "__main__":
    main()
