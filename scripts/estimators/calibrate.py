"""Synthesise random networks, and collect what the RTL compiler expected of them."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from estimators.networks import draw

NETWORKS = 39
"""So many that the extremes of a sample are the ends of a 95 % interval: 38 of 40 draws lie between them."""

FIRST_SEED = 1
GRADE = 2
"""Speed grade of the part that cards have by default."""

SMALLEST, LARGEST = 220.0, 22_000.0
"""Estimated LUTs of the networks that are taken; synthesis finds 300 to 30,000."""


def measure(seed: int, directory: Path) -> dict[str, Any] | None:
    """Return what the compiler expects of the network of a seed, and what Yosys finds; None where it is out of range.

    Parameters
    ----------
    directory
        For work and cache of the synthesis; what it holds is not synthesised again.
    """
    from l1dl.rtl.cost import operations
    from l1dl.rtl.project import build_rtl
    from l1dl.synth.design import SynthDesign
    from l1dl.synth.yosys import synthesise

    kind, graph = draw(seed)
    ebops = sum(each.ebops for each in operations(graph))
    if not SMALLEST / 4 < ebops < 8 * LARGEST:  # an empty or a huge network is not even compiled
        return None
    design = build_rtl(graph, grade=GRADE)
    if not SMALLEST < design.estimate.lut < LARGEST:
        return None
    synth = SynthDesign(design.top, design.stage_modules, design.sequential_modules, design.sources(), design.estimate)
    found = synthesise(
        synth,
        work=directory / "work" / graph.name,
        cache=directory / "cache",
        jobs=os.cpu_count() or 1,
        speed_grade=GRADE,
    )
    slowest = found.slowest
    return {
        "seed": seed,
        "kind": kind,
        "stages": len(design.stages),
        "ebops": ebops,
        "estimated_lut": round(design.estimate.lut, 2),
        "lut": found.lut,
        "estimated_ff": design.estimate.ff,
        "ff": found.ff,
        "estimated_delay_ns": round(max(design.stage_delay_ns), 4),
        "delay_ns": None if slowest is None or slowest.delay_ns is None else round(slowest.delay_ns, 4),
    }


def calibrate(directory: Path, networks: int = NETWORKS) -> dict[str, Any]:
    """Return the measurements of so many networks, in the form of ``src/l1dl/rtl/calibration.json``."""
    from importlib.metadata import version

    from l1dl.rtl.calibration import FIGURES, Calibration
    from l1dl.tools import find_tool

    os.nice(5)
    rows: list[dict[str, Any]] = []
    seed, start = FIRST_SEED, time.perf_counter()
    while len(rows) < networks:
        row = measure(seed, directory)
        seed += 1
        if row is not None:
            rows.append(row)
            took = time.perf_counter() - start
            text = f"{len(rows)} of {networks} networks, {took:.0f} s: {row['kind']}, {row['lut']} LUT"
            print(f"{text}, {row['lut'] / row['estimated_lut']:.2f} of the estimate", file=sys.stderr, flush=True)
    ratios = {name: Calibration.of(rows, name) for name in FIGURES}
    return {
        "command": "python scripts/benchmark.py --section estimators",
        "alkaid": version("alkaid"),
        "yosys": find_tool("yosys").version,
        "ratios": {
            name: {**{key: round(value, 4) for key, value in vars(found).items()}, **_coverage(rows, name)}
            for name, found in ratios.items()
        },
        "by_kind": {
            kind: round(Calibration.of([row for row in rows if kind in row["kind"]], "lut").scale, 4)
            for kind in ("dense", "cnn", "pruned")
            if any(kind in row["kind"] for row in rows)
        },
        "networks": rows,
    }


def to_text(found: dict[str, Any]) -> str:
    """Return the measurements as JSON, one network on a line."""
    head = json.dumps({key: value for key, value in found.items() if key != "networks"}, indent=2)
    rows = ",\n".join(f"    {json.dumps(row)}" for row in found["networks"])
    return head.removesuffix("\n}") + f',\n  "networks": [\n{rows}\n  ]\n}}\n'


def _coverage(rows: list[dict[str, Any]], figure: str) -> dict[str, float]:
    """Return how many networks lie in the intervals of all the others."""
    from l1dl.rtl.calibration import Calibration, ratio

    known = [row for row in rows if ratio(row, figure) is not None]
    inside = {"covered_68": 0, "covered_95": 0}
    for index, row in enumerate(known):
        others = Calibration.of(known[:index] + known[index + 1 :], figure)
        value = ratio(row, figure)
        assert value is not None
        inside["covered_68"] += others.low_68 <= value <= others.high_68
        inside["covered_95"] += others.low_95 <= value <= others.high_95
    return {name: round(number / len(known), 4) for name, number in inside.items()}
