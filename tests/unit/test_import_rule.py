"""A package imports only what comes before it; heavy libraries are imported where they are needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import l1dl

ROOT = Path(l1dl.__file__).parent
ORDER = (
    "data", "models", "train", "convert", "emulate", "rtl", "cosim", "formal", "synth", "vendor", "ip", "plugins",
    "report",
    "flow", "cli",
)  # fmt: skip
BASE = ("errors", "reserved", "fixed", "metrics", "nodes", "ports", "graph", "card", "artifacts", "tools")
HEAVY = (
    "tensorflow", "keras", "qkeras", "hls4ml", "jax", "pythia8mc", "fastjet", "matplotlib", "mplhep", "alkaid",
    "sklearn", "pyarrow", "optuna", "sqlalchemy",
)  # fmt: skip
LOADED_BY = {"plugins/alir_tracer.py": "alkaid"}
"""Files that only the named library loads, as its plugin."""
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT / "ip" / "files")
"""All but what is copied into IP cores, where it runs without l1dl."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every imported module with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or "", node.lineno
            if node.module == "l1dl":
                yield from ((f"l1dl.{alias.name}", node.lineno) for alias in node.names)


def at_module_level(tree: ast.Module) -> ast.Module:
    """Return the tree without what runs later: functions, and what only type checkers read."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Strip().visit(tree)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_package_imports_only_what_comes_before_it(path):
    parts = path.relative_to(ROOT).parts
    own = parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    assert own in (*BASE, *ORDER), f"{own} has no place in the order"
    allowed = (*BASE, *ORDER[: ORDER.index(own) + 1]) if own in ORDER else BASE
    for module, line in imports(parse(path)):
        if module.startswith("l1dl."):
            package = module.split(".")[1]
            if package in (*BASE, *ORDER):
                assert package in allowed, f"{path}:{line}: {own} imports {module}, which comes after it"
                assert package != "cli" or own == "cli", f"{path}:{line}: nothing imports cli"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_heavy_libraries_are_imported_inside_functions(path):
    for module, line in imports(at_module_level(parse(path))):
        top = module.split(".")[0]
        if top != LOADED_BY.get(name_of(path)):
            assert top not in HEAVY, f"{path}:{line}: {module} is imported at module level"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_shell_no_pickle_no_evaluation(path):
    tree = parse(path)
    for module, line in imports(tree):
        top = module.split(".")[0]
        assert top not in ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"), f"{path}:{line}: {module}"
        assert top != "subprocess" or name_of(path) == "tools.py", f"{path}:{line}: only tools.py starts programs"
        assert top != "multiprocessing" or path.is_relative_to(ROOT / "data"), f"{path}:{line}: {module}"
    for node in ast.walk(tree):
        where = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "os.system", "os.popen", "os.chdir", "__import__"), where
            assert not called.startswith(("os.exec", "os.spawn")), where
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle"):
                    assert isinstance(keyword.value, ast.Constant), where
                    assert keyword.value.value is False, where


def test_the_rule_sees_what_it_must():
    lines = (
        "def f():",
        " import keras",
        "if TYPE_CHECKING:",
        " import jax",
        "import hls4ml.model",
        "from l1dl import cli",
    )
    tree = ast.parse("\n".join(lines))
    assert {module for module, _ in imports(tree)} == {"keras", "jax", "hls4ml.model", "l1dl", "l1dl.cli"}
    assert {module for module, _ in imports(at_module_level(tree))} == {"hls4ml.model", "l1dl", "l1dl.cli"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_the_help_imports_nothing_heavy(arguments):
    script = f"""
import sys
from l1dl.cli import main
sys.argv = ["l1dl", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("HEAVY", sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
