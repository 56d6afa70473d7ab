"""Real synthesis of a design whose cells are known by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from alir_designs import alir_design
from support import need_packages
from tiny_design import ESTIMATE, FILES, STAGE0, STAGE1, tiny

from l1dl.errors import InputError, ToolFailedError
from l1dl.fixed import FixedSpec
from l1dl.synth import yosys as module
from l1dl.synth.design import SynthDesign
from l1dl.synth.resources import Resources
from l1dl.synth.yosys import synthesise
from l1dl.tools import Tool

pytestmark = pytest.mark.usefixtures("yosys")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def resources(yosys: Tool, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return synthesise(tiny(), work=tmp_path_factory.mktemp("work"), cache=cache)


def test_counts_are_those_made_by_hand(resources: Resources) -> None:
    rows = {stage.name: (stage.lut, stage.ff, stage.dsp, stage.bram, stage.carry) for stage in resources.stages}
    assert rows == {"tiny_stage0": (4, 0, 0, 0, 0), "tiny_stage1": (2, 0, 0, 0, 0), "registers": (1, 17, 0, 0, 0)}
    assert (resources.lut, resources.ff, resources.dsp, resources.bram) == (7, 17, 0, 0)
    assert resources.estimate == ESTIMATE
    assert resources.reason == ""
    assert resources.origin.startswith("synthesised (Yosys 0.")
    assert resources.origin.endswith(", UltraScale+ xcup, stage by stage)")


def test_known_design_starts_no_tool(
    resources: Resources, cache: Path, tmp_path: Path, yosys: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Tool("yosys", ("/bin/false",), yosys.version)
    monkeypatch.setattr(module, "find_tool", lambda name: broken)
    steps: list[tuple[int, int]] = []
    again = synthesise(
        tiny(), work=tmp_path / "work", cache=cache, progress=lambda done, total: steps.append((done, total))
    )
    assert again == resources
    assert steps == [(3, 3)]
    assert not (tmp_path / "work").exists()
    with pytest.raises(ToolFailedError, match="tiny_stage1"):
        synthesise(tiny(tiny_stage1=STAGE1.replace("[2]", "[3]")), work=tmp_path / "work", cache=cache)


def test_syntax_error_names_the_stage_and_the_rest_is_kept(resources: Resources, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ToolFailedError, match=r"(?s)stage 'tiny_stage1'.*tiny_stage1\.v:3: ERROR: syntax error"
    ) as caught:
        synthesise(tiny(tiny_stage1=STAGE1.replace("parity op", "parity parity op")), work=tmp_path, cache=cache)
    assert "tiny_stage0'" not in str(caught.value)


def test_latch_is_an_error(cache: Path, tmp_path: Path) -> None:
    latch = STAGE0.replace("output [3:0]", "output reg [3:0]").replace(
        "both #(.W(4)) op (.a(model_inp[7:4]), .b(model_inp[3:0]), .y(model_out));",
        "always @* if (model_inp[7]) model_out = model_inp[3:0];",
    )
    with pytest.raises(ToolFailedError, match=r"'tiny_stage0': .*unknown kind.*4 LDCE"):
        synthesise(tiny(tiny_stage0=latch), work=tmp_path, cache=cache)


def test_stage_instantiated_twice_is_an_error(cache: Path, tmp_path: Path) -> None:
    twice = FILES["tiny_pipeline.v"].replace(
        "    always",
        "    wire [1:0] spare;\n    tiny_stage1 again (.model_inp(stage1_inp), .model_out(spare));\n    always",
    )
    with pytest.raises(InputError, match=r"stage 'tiny_stage1' is instantiated 2 times below 'tiny'"):
        synthesise(tiny(tiny_pipeline=twice), work=tmp_path, cache=cache)


def test_stage_that_is_only_mentioned_is_an_error(cache: Path, tmp_path: Path) -> None:
    without = FILES["tiny_pipeline.v"].replace(
        "tiny_stage1 stage1 (.model_inp(stage1_inp), .model_out(stage1_out));",
        "assign stage1_out = stage1_inp[1:0]; wire tiny_stage1;",
    )
    with pytest.raises(InputError, match=r"stage 'tiny_stage1' is instantiated 0 times"):
        synthesise(tiny(tiny_pipeline=without), work=tmp_path, cache=cache)


def test_product_takes_a_dsp_block(tmp_path: Path) -> None:
    text = "module product (input signed [15:0] a, b, output signed [31:0] y);\n    assign y = a * b;\nendmodule\n"
    design = SynthDesign("product", ("product",), (), {"product.v": text}, ESTIMATE)
    resources = synthesise(design, work=tmp_path / "work", cache=tmp_path / "cache")
    assert (resources.lut, resources.ff, resources.dsp) == (0, 0, 1)


def test_lookup_tables_become_logic(tmp_path: Path) -> None:
    """A table of 64 entries of random single bits takes one LUT6, in each of the two places that read it."""
    need_packages("alkaid")
    table = np.random.default_rng(1).integers(0, 2, 64).astype(float)
    spec = FixedSpec(True, 6, 3)
    rtl = alir_design(lambda x: [x[0].lookup(table), x[1].lookup(table)], [spec, spec])
    files = rtl.sources()
    assert sum(name.startswith("table_") for name in files) == 1
    design = SynthDesign(rtl.top, rtl.stage_modules, (f"{rtl.top}_pipeline", rtl.top), files, rtl.estimate)
    resources = synthesise(design, work=tmp_path / "work", cache=tmp_path / "cache")
    assert {stage.name: stage.lut for stage in resources.stages} == {"net_stage0": 2, "registers": 0}
    assert resources.bram == 0


def test_damaged_cache_entry_is_made_again(resources: Resources, cache: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cache"
    shutil.copytree(cache, copy)
    for entry in copy.glob("*.json"):
        if '"tiny_stage1"' in entry.read_text() and '"FDRE"' not in entry.read_text():
            entry.write_text(entry.read_text()[:20])
    assert synthesise(tiny(), work=tmp_path / "work", cache=copy) == resources
    assert sorted(path.name for path in (tmp_path / "work").iterdir() if path.is_dir()) == ["tiny_stage1"]
