"""A run up to its RTL, and programs that do as the vendors' tools do as far as anybody outside sees."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support import need_packages, need_tools
from tiny import PACKAGES, copy_run, write_card

from l1dl import tools
from l1dl.cli.app import invoke

FAKE = """\
#!{python}
import sys
sys.path[:0] = {path!r}
import fake_vendor
fake_vendor.main()
"""


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_packages(*PACKAGES)
    need_tools("cxx")
    directory = tmp_path_factory.mktemp("compiled")
    assert invoke(["run", str(write_card(directory)), "--until", "rtl", "--out", str(directory / "out")]) == 0
    return directory


@pytest.fixture
def run(compiled: Path, tmp_path: Path) -> Path:
    copy_run(compiled, tmp_path / "copy")
    return tmp_path / "copy" / "out"


@pytest.fixture
def vendor_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put all the tools on the PATH; return their directory. ``L1DL_FAKE`` says how they misbehave."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("vitis-run", "vivado", "quartus_sh"):
        program = directory / name
        program.write_text(FAKE.format(python=sys.executable, path=[str(Path(__file__).parent)]))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    for variable in ("L1DL_VITIS", "L1DL_VIVADO", "L1DL_QUARTUS", "L1DL_FAKE"):
        monkeypatch.delenv(variable, raising=False)
    tools._find_tool.cache_clear()
    yield directory
    tools._find_tool.cache_clear()
