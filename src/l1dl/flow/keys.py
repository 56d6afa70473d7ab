"""What the result of each stage depends on: inputs, settings, versions of the tools, and our own code."""

from __future__ import annotations

from typing import Any

from l1dl.artifacts import digest_path
from l1dl.errors import ToolMissingError
from l1dl.flow.architectures import FILE as ARCHITECTURES
from l1dl.flow.bench import Bench, code_key, versions
from l1dl.flow.clocks import FILE as CLOCKS
from l1dl.flow.job import CardJob
from l1dl.flow.place import FILE as PLACEMENT
from l1dl.flow.seu import FILE as UPSETS
from l1dl.rtl.delays import speed_grade
from l1dl.tools import find_tool
from l1dl.vendor.settings import Vendor


def _package_key(*names: str) -> list[str]:
    known = versions()
    return [f"{name} {known.get(name)}" for name in ("l1dl", "numpy", *names)]


def data_key(bench: Bench) -> Any:
    """Return what the stage ``data`` depends on, as JSON."""
    assert isinstance(bench.job, CardJob)
    return [bench.job.card.data.model_dump(), bench.job.dataset.digest]  # type: ignore[union-attr]


def train_key(bench: Bench) -> Any:
    """Return what the stage ``train`` depends on, as JSON."""
    job = bench.job
    assert isinstance(job, CardJob)
    assert job.card is not None
    parts = job.card.model_dump(include={"data", "model", "quantisation", "hgq2", "training"})
    return [
        code_key("metrics", "data/augment", "models", "train"),
        parts,
        job.dataset.digest,
        job.seeds,
        _package_key("keras", "qkeras-v3", "HGQ2", "jax", "tensorflow"),
    ]


def convert_key(bench: Bench) -> Any:
    """Return what the stage ``convert`` depends on, as JSON."""
    return [
        code_key("fixed", "nodes", "ports", "graph", "models", "convert"),
        bench.job.model_key(),
        bench.job.name,
        bench.job.settings.hls.model_dump(),
        _package_key("hls4ml"),
    ]


def emulate_key(bench: Bench) -> Any:
    """Return what the stage ``emulate`` depends on, as JSON."""
    compiler = find_tool("cxx")
    settings = bench.job.settings.cosim.model_dump()
    firmware = digest_path(bench.paths.hls / "firmware")
    tools = [compiler.command, compiler.version, _package_key()]
    return [
        code_key("fixed", "nodes", "ports", "graph", "emulate", "cosim"),
        bench.graph.digest,
        firmware,
        bench.job.model_key(),
        settings,
        tools,
    ]


def rtl_key(bench: Bench) -> Any:
    """Return what the stage ``rtl`` depends on, as JSON."""
    settings = bench.job.settings.rtl.model_dump()
    return [
        code_key("fixed", "nodes", "ports", "graph", "emulate", "rtl"),
        bench.graph.digest,
        settings,
        speed_grade(bench.job.settings.hls.part),
        bench.job.features,
        bench.job.classes,
        _package_key("alkaid"),
    ]


def cosim_key(bench: Bench) -> Any:
    """Return what the stage ``cosim`` depends on, as JSON."""
    tools = [find_tool("verilator").version, find_tool("cxx").version]
    if bench.job.settings.rtl.language == "vhdl":  # a check that was left out is made once GHDL is there
        tools.append(_version_of("ghdl"))
    settings = bench.job.settings.cosim.model_dump()
    return [
        code_key("emulate", "cosim"),
        rtl_key(bench),
        digest_path(bench.paths.rtl / "src"),
        digest_path(bench.paths.rtl / "vhdl"),
        bench.job.model_key(),
        settings,
        tools,
    ]


def _version_of(tool: str) -> str:
    try:
        return find_tool(tool).version
    except ToolMissingError:
        return "missing"


def synth_key(bench: Bench) -> Any:
    """Return what the stage ``synth`` depends on, as JSON."""
    return [
        code_key("synth"),
        rtl_key(bench),
        digest_path(bench.paths.rtl / "src"),
        speed_grade(bench.job.settings.hls.part),
        find_tool("yosys").version,
    ]


def report_key(bench: Bench) -> Any:
    """Return what the stage ``report`` depends on, as JSON."""
    stages = {name: record.key for name, record in bench.directory.stages().items() if name != "report"}
    builds = [f"build/{vendor.value}.json" for vendor in Vendor]
    studies = [digest_path(bench.paths.run / file) for file in (ARCHITECTURES, CLOCKS, PLACEMENT, UPSETS, *builds)]
    return [code_key("metrics", "report"), stages, studies, bench.job.settings.budget.model_dump(), versions()]
