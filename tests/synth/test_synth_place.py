"""Placement: caching, failures, what does not fit, and reports that are not what they should be."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from support import need_tools
from tiny_design import BOTH, STAGE0, STAGE1, tiny

from l1dl.artifacts import read_json, write_json
from l1dl.errors import InputError, ToolFailedError, ToolMissingError
from l1dl.synth import memory
from l1dl.synth import place as module
from l1dl.synth.place import DEVICES, Device, Route, place_stages, read_route
from l1dl.synth.scan import CAPTURE, LAUNCH
from l1dl.tools import Tool

STAGE = {
    "modules": {
        "STAGE": {
            "ports": {"x": {"direction": "input", "bits": [2, 3]}, "y": {"direction": "output", "bits": [4]}},
            "cells": {
                "l": {"type": "LUT4", "connections": {"A": [2], "B": [3], "Z": [4]}},
                "c": {"type": "CCU2C", "connections": {"A0": [2]}},
            },
        }
    }
}

YOSYS = """#!/bin/sh
module=$(sed -n 's/^hierarchy -check -top //p' synth.ys 2>/dev/null)
[ "$1" = -V ] && exit 0
echo "yosys $module" >> "{calls}"
sed "s/STAGE/$module/" "{stage}" > stage.json
"""

NEXTPNR = """#!/bin/sh
[ "$1" = --version ] && exit 0
module=$(basename "$PWD")
while [ $# -gt 0 ]; do
    case "$1" in --report) report=$2 ;; --seed) seed=$2 ;; esac
    shift
done
echo "nextpnr $module $seed" >> "{calls}"
{extra}
sed "s/SEED/$seed/" "{report}" > "$report"
"""


def step(kind: str, delay: float, start: str, end: str) -> dict[str, Any]:
    return {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}


def report(**changed: Any) -> dict[str, Any]:
    """Return a report of nextpnr: a path of 4 ns, and one from a pin."""
    first, last = f"{LAUNCH}x[1]", f"{CAPTURE}y[0]"
    steps = [step("clk-to-q", 0.5, first, first), step("routing", 2.5, first, "l"), step("logic", 1.0, "l", last)]
    paths = [
        {"from": "<async>", "to": "posedge clk", "path": [step("routing", 9.0, "pin", "l1dl.shift.x[0]")]},
        {"from": "posedge clk", "to": "posedge clk", "path": steps},
    ]
    return {"fmax": {"clk": {"achieved": 250.0, "constraint": 400}}, "critical_paths": paths, **changed}


class Programs:
    """Stand-ins for Yosys and nextpnr that note their calls."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory, self.calls_file = directory, directory / "calls"
        self.versions = {"yosys": "0.99", "nextpnr": "0.88"}
        write_json(directory / "stage.json", STAGE)
        write_json(directory / "report.json", report())
        self._write("yosys", YOSYS.format(calls=self.calls_file, stage=directory / "stage.json"))
        self.change("")

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text)
        (self.directory / name).chmod(0o755)

    def change(self, extra: str) -> None:
        """Let nextpnr do something else first."""
        self._write(
            "nextpnr", NEXTPNR.format(calls=self.calls_file, extra=extra, report=self.directory / "report.json")
        )

    def find(self, name: str) -> Tool:
        return Tool(name, (str(self.directory / name),), self.versions[name])

    def calls(self) -> list[str]:
        """Return what was called since the last question."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        return sorted(lines)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    found = Programs(tmp_path / "bin")
    monkeypatch.setattr(module, "find_tool", found.find)
    return found


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {"work": tmp_path / "work", "cache": tmp_path / "cache"}


STAGES = ("tiny_stage0", "tiny_stage1")


def test_each_stage_is_placed_once_for_each_seed(programs: Programs, places: dict[str, Path]) -> None:
    steps: list[tuple[str, int, int]] = []
    found = place_stages(tiny().files, STAGES, seeds=(1, 2), **places, progress=lambda *step: steps.append(step))
    assert programs.calls() == [
        "nextpnr tiny_stage0 1", "nextpnr tiny_stage0 2", "nextpnr tiny_stage1 1", "nextpnr tiny_stage1 2",
        "yosys tiny_stage0", "yosys tiny_stage1",
    ]  # fmt: skip
    assert [(stage.name, stage.lut4, stage.ff) for stage in found] == [("tiny_stage0", 3, 3), ("tiny_stage1", 3, 3)]
    assert found[1].routes == tuple(Route(seed, 250.0, 4.0, 1.5, 2.5, "x[1]", "y[0]", of_stage=True) for seed in (1, 2))
    assert [done for text, done, total in steps if text == "placement and routing"] == [0, 1, 2, 3, 4]

    # Nothing runs again but what is new: a seed, a stage that was changed, another device or version.
    assert place_stages(tiny().files, STAGES, seeds=(1, 2), **places) == found
    assert programs.calls() == []
    place_stages(tiny().files, STAGES[:1], seeds=(1, 2, 3), **places)
    assert programs.calls() == ["nextpnr tiny_stage0 3", "yosys tiny_stage0"]
    changed = tiny(tiny_stage1=STAGE1.replace("~", "")).files
    place_stages(changed, STAGES, seeds=(2,), **places)
    assert programs.calls() == ["nextpnr tiny_stage1 2", "yosys tiny_stage1"]
    place_stages(tiny().files, STAGES[:1], seeds=(1,), device=Device("LFE5U-25F", 7), **places)
    assert len(programs.calls()) == 2
    programs.versions["nextpnr"] = "0.89"
    place_stages(tiny().files, STAGES[:1], seeds=(1,), **places)
    assert len(programs.calls()) == 2


def test_a_damaged_cache_entry_is_made_again(
    programs: Programs, places: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    first = place_stages(tiny().files, STAGES[:1], seeds=(1,), **places)
    (entry,) = places["cache"].iterdir()
    whole = read_json(entry)
    programs.calls()
    for damaged in ("{", json.dumps({**whole, "route": {}}), json.dumps({**whole, "lut4": "many"})):
        entry.write_text(damaged)
        with caplog.at_level(logging.WARNING):
            assert place_stages(tiny().files, STAGES[:1], seeds=(1,), **places) == first
        assert "is damaged; tiny_stage0 is placed again" in caplog.text
        assert len(programs.calls()) == 2
        assert read_json(entry) == whole


def test_a_failure_names_stage_and_seed_and_keeps_what_is_finished(programs: Programs, places: dict[str, Path]) -> None:
    programs.change('[ $module$seed = tiny_stage12 ] && { sleep 0.5; echo "ERROR: unroutable"; exit 1; }')
    with pytest.raises(ToolFailedError, match=r"(?s)placement of 'tiny_stage1', seed 2: .*exit code 1.*unroutable"):
        place_stages(tiny().files, STAGES, seeds=(1, 2), jobs=4, **places)
    assert len(list(places["cache"].iterdir())) == 3
    programs.calls()
    programs.change("")
    place_stages(tiny().files, STAGES, seeds=(1, 2), **places)
    assert programs.calls() == ["nextpnr tiny_stage1 2", "yosys tiny_stage1"]


def test_the_time_limit(programs: Programs, places: dict[str, Path]) -> None:
    programs.change("sleep 60")
    with pytest.raises(ToolFailedError, match=r"placement of 'tiny_stage0', seed 1: nextpnr ran past its limit of 2 s"):
        place_stages(tiny().files, STAGES[:1], seeds=(1,), timeout_s=2, **places)


def test_a_stage_that_is_too_large(
    programs: Programs, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEVICES, "LFE5U-25F", ("--25k", 4))
    text = r"'tiny_stage0' with the registers around it needs 4 LUT4 and 6 flip-flops, and LFE5U-25F has 4 of each"
    with pytest.raises(InputError, match=text):
        place_stages(tiny().files, STAGES[:1], device=Device("LFE5U-25F"), **places)
    assert programs.calls() == ["yosys tiny_stage0"]


def test_a_stage_that_does_not_fit_in_memory(
    programs: Programs, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 300 * memory.MIB)
    with pytest.raises(
        InputError, match=r"stage 'tiny_stage0' needs about 340 MiB to place, and 300 MiB of memory are"
    ):
        place_stages(tiny().files, STAGES[:1], **places)


def test_settings_and_names_are_checked(programs: Programs, places: dict[str, Path]) -> None:
    for wrong in ({"jobs": 0}, {"timeout_s": 0}):
        with pytest.raises(InputError, match="must be positive"):
            place_stages(tiny().files, STAGES, **places, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"'tiny_stage7' is defined in none of the 6 files; did you mean 'tiny_stage"):
        place_stages(tiny().files, ["tiny_stage7"], **places)
    with pytest.raises(InputError, match=r"device 'LFE5U-84F' is not known; did you mean 'LFE5U-"):
        Device("LFE5U-84F")
    with pytest.raises(InputError, match="speed grade 7 of LFE5UM5G-85F does not exist; it has 8"):
        Device(speed=7)
    assert Device("LFE5U-85F", 6).options == ("--85k", "--package", "CABGA381", "--speed", "6")


def test_a_missing_nextpnr(tmp_path: Path, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    need_tools("yosys")
    monkeypatch.setenv("L1DL_NEXTPNR", str(tmp_path / "absent"))
    with pytest.raises(ToolMissingError, match=r'nextpnr: .*absent.*pip install "l1dl\[nextpnr\]"'):
        place_stages(tiny().files, STAGES, **places)


def test_a_path_outside_of_the_stage_is_told_apart(tmp_path: Path) -> None:
    found = report()
    found["critical_paths"][1]["path"][0]["from"]["cell"] = "l1dl.capture.y[0]"
    write_json(tmp_path / "report.json", found)
    route = read_route(tmp_path / "report.json", 1, "placement")
    assert not route.of_stage
    assert route.start == "l1dl.capture.y[0]"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"fmax": {}}, "without a clock frequency"),
        ({"fmax": {"clk": {"achieved": 0.0}}}, "without a clock frequency"),
        ({"fmax": {"clk": {"achieved": 250.0}, "other": {"achieved": 99.0}}}, "without a clock frequency"),
        ({"critical_paths": []}, "without a clock frequency"),
        ({"critical_paths": [{"from": "posedge c", "to": "posedge c", "path": []}]}, "without a clock frequency"),
        ({"fmax": {"clk": {"achieved": 251.0}}}, r"takes 4\.000 ns, and its clock period is 3\.984 ns"),
        ({"fmax": {"clk": {"achieved": float("nan")}}}, r"its clock period is nan ns"),
    ],
)  # fmt: skip
def test_a_report_without_the_figures_is_an_error(changed: dict[str, Any], text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report(**changed)))
    with pytest.raises(ToolFailedError, match=f"placement of x: .*{text}"):
        read_route(path, 1, "placement of x")
    path.unlink()
    with pytest.raises(ToolFailedError, match="file not found"):
        read_route(path, 1, "placement of x")


def test_a_small_stage_in_a_device(places: dict[str, Path]) -> None:
    """The real programs: a path from launch to capture through one LUT, faster than 100 and slower than 2000 MHz."""
    need_tools("yosys", "nextpnr")
    wires = "module wires (input [1:0] x, output [2:0] y);\n    assign y = {1'b0, x};\nendmodule\n"
    files = {"s.v": STAGE0, "b.v": BOTH, "w.v": wires}
    device = Device("LFE5U-25F", 6)
    found = place_stages(files, ["tiny_stage0", "wires"], device=device, seeds=(1,), **places)
    assert [(stage.name, stage.lut4, stage.ff) for stage in found] == [("tiny_stage0", 4, 12), ("wires", 0, 4)]
    for stage in found:
        (route,) = stage.routes
        assert 100 < route.fmax_mhz < 2000
        assert route.delay_ns == pytest.approx(route.logic_ns + route.routing_ns, rel=1e-3)
    assert not found[1].routes[0].of_stage, "a stage of wires is faster than the XOR behind it"
    assert place_stages(files, ["wires"], device=device, seeds=(1,), **places) == found[1:]
