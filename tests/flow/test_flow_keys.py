"""What a result depends on: every file of the code that made it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import l1dl
from l1dl.flow import bench


def test_the_code_of_a_stage_is_every_file_but_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "l1dl"
    shutil.copytree(Path(l1dl.__file__).parent / "rtl", package / "rtl")
    monkeypatch.setattr(bench, "__file__", str(package / "flow" / "bench.py"))

    def key() -> str:
        bench.code_key.cache_clear()
        return bench.code_key("rtl")

    first = key()
    (package / "rtl" / "__pycache__").mkdir(exist_ok=True)
    (package / "rtl" / "__pycache__" / "lower.cpython-399.pyc").write_bytes(b"cache")
    assert key() == first
    for path in (package / "rtl" / "lower.py", package / "rtl" / "primitives" / "shift_adder.v"):
        before = key()
        path.write_text(path.read_text() + "\n")
        assert key() != before
    bench.code_key.cache_clear()
