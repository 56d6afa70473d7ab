"""Settings of all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

# The same examples in every run, and no time limit, since shared machines stall.
settings.register_profile("l1dl", deadline=None, derandomize=True, database=None)
settings.load_profile("l1dl")

# A shell starts background jobs with SIGINT ignored, which programs inherit; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What l1dl sets when it imports Keras first, for tests in which another library does.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
