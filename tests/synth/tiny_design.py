"""A design of two stages and a pipeline whose cells can be counted by hand, and a stand-in for Yosys."""

from __future__ import annotations

from pathlib import Path

from l1dl.rtl.estimate import Estimate
from l1dl.synth.design import SynthDesign
from l1dl.tools import Tool

BOTH = """
module both #(parameter W = 1) (input [W-1:0] a, input [W-1:0] b, output [W-1:0] y);
    assign y = a & b;
endmodule
"""

# Four LUT2.
STAGE0 = """
module tiny_stage0 (input [7:0] model_inp, output [3:0] model_out);
    both #(.W(4)) op (.a(model_inp[7:4]), .b(model_inp[3:0]), .y(model_out));  // not `parity`
endmodule
"""

# One LUT4 and one INV.
STAGE1 = """
module tiny_stage1 (input [3:0] model_inp, output [1:0] model_out);
    parity op (.x(model_inp), .y(model_out[0]));
    assign model_out[1] = ~model_inp[2];
endmodule
"""

PARITY = """
module parity (input [3:0] x, output y);
    assign y = ^x;
endmodule
"""

# 8 + 4 + 2 flip-flops.
PIPELINE = """
module tiny_pipeline (input clk, input [7:0] model_inp, output reg [1:0] model_out);
    reg [7:0] stage0_inp;
    reg [3:0] stage1_inp;
    wire [3:0] stage0_out;
    wire [1:0] stage1_out;
    tiny_stage0 stage0 (.model_inp(stage0_inp), .model_out(stage0_out));
    tiny_stage1 stage1 (.model_inp(stage1_inp), .model_out(stage1_out));
    always @(posedge clk) begin
        stage0_inp <= model_inp;
        stage1_inp <= stage0_out;
        model_out <= stage1_out;
    end
endmodule
"""

# 3 flip-flops with reset for the valid bit, and a LUT2 that gates bit 0 with it.
TOP = """
module tiny (input clk, input rst, input valid_in, input [7:0] x, output valid_out, output [1:0] y);
    reg [2:0] valid;
    wire [1:0] out;
    tiny_pipeline pipeline (.clk(clk), .model_inp(x), .model_out(out));
    always @(posedge clk)
        if (rst) valid <= 3'b000;
        else valid <= {valid[1:0], valid_in};
    assign valid_out = valid[2];
    assign y = {out[1], out[0] & valid[2]};
endmodule
"""

FILES = {
    "tiny.v": TOP,
    "tiny_pipeline.v": PIPELINE,
    "tiny_stage0.v": STAGE0,
    "tiny_stage1.v": STAGE1,
    "static/both.v": BOTH,
    "static/parity.v": PARITY,
}
ESTIMATE = Estimate(lut=6.5, ff=17, origin="by hand")


def tiny(**changed: str) -> SynthDesign:
    """Return the design; `changed` maps a file's stem to another text."""
    files = {name: changed.pop(Path(name).stem, text) for name, text in FILES.items()}
    assert not changed
    return SynthDesign("tiny", ("tiny_stage0", "tiny_stage1"), ("tiny_pipeline", "tiny"), files, ESTIMATE)


FAKE = """#!/bin/sh
# What Yosys would leave behind: each module has one LUT2, and the top its two stages.
module=$(sed -n 's/^hierarchy -check -top //p' synth.ys)
echo "$module" >> "$(dirname "$0")/calls"
{extra}
boxes=""
[ "$module" = tiny ] && boxes=', "tiny_stage0": 1, "tiny_stage1": 1, "FDRE": 17'
printf '{{"modules": {{"\\\\\\\\%s": {{"num_cells_by_type": {{"LUT2": 1%s}}}}}}}}\n' "$module" "$boxes" > stat.json
"""


class FakeYosys:
    """A program that notes for which module it was called and does `extra` (shell code)."""

    def __init__(self, directory: Path, extra: str = "") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.script = directory / "fake"
        self.change(extra)
        self.tool = Tool("yosys", (str(self.script),), "0.99")

    def change(self, extra: str) -> None:
        self.script.write_text(FAKE.format(extra=extra))
        self.script.chmod(0o755)

    def calls(self) -> list[str]:
        """Return the modules it was called for since the last question."""
        file = self.script.parent / "calls"
        names = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return sorted(names)
