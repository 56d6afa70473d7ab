"""The finished run that the tests of this folder copy."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import finished_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory)
