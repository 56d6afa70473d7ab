"""The choice of the Keras back end, and a `qkeras` that is not QKeras."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support import need_packages

from l1dl.models.backend import quiet_stderr


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_an_alien_qkeras_is_recognised(tmp_path: Path) -> None:
    need_packages("keras", "jax")
    (tmp_path / "qkeras").mkdir()
    (tmp_path / "qkeras" / "__init__.py").write_text("")
    code = """
from l1dl.errors import ToolMissingError
from l1dl.models.backend import import_keras, import_qkeras
assert import_keras().backend.backend() == "jax"
try:
    import_qkeras()
except ToolMissingError as error:
    print(error)
"""
    done = python(code, PYTHONPATH=str(tmp_path), KERAS_BACKEND="jax")
    assert f"the module qkeras at {tmp_path / 'qkeras' / '__init__.py'} is not QKeras" in done.stdout, done.stderr
    assert "pip install qkeras-v3" in done.stdout


def test_missing_keras_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "keras.py").write_text("raise ImportError('no keras here')")
    code = """
from l1dl.errors import ToolMissingError
from l1dl.models.backend import import_keras
try:
    import_keras()
except ToolMissingError as error:
    print(error)
"""
    done = python(code, PYTHONPATH=str(tmp_path))
    assert done.stdout == "Keras cannot be imported (no keras here); install it: pip install 'l1dl[qkeras]'\n"


def test_quiet_stderr_lets_later_messages_through() -> None:
    code = """
import os
from l1dl.models.backend import quiet_stderr
with quiet_stderr():
    os.write(2, b"noise")
os.write(2, b"news")
"""
    assert python(code).stderr == "news"
    with quiet_stderr():
        pass
