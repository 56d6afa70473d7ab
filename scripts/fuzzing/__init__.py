"""The random networks of `fuzz.py`."""
