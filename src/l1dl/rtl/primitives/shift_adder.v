// in0 ± in1 · 2**SHIFT1, or in0 · 2**-SHIFT1 ± in1 where SHIFT1 is negative; the result drops its lowest
// DROP_LSBS bits and keeps BW_OUT. All modulo 2**W: what the upper bits would be is not needed.
module shift_adder #(
    parameter BW_INPUT0 = 32,
    parameter BW_INPUT1 = 32,
    parameter SIGNED0 = 0,
    parameter SIGNED1 = 0,
    parameter BW_OUT = 32,
    parameter DROP_LSBS = 0,
    parameter SHIFT1 = 0,
    parameter IS_SUB = 0
) (
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    output [BW_OUT-1:0] out
);
  localparam W = BW_OUT + DROP_LSBS;
  localparam PAD0 = SHIFT1 < 0 ? -SHIFT1 : 0;
  localparam PAD1 = SHIFT1 > 0 ? SHIFT1 : 0;

  // verilator lint_off WIDTHTRUNC
  // verilator lint_off WIDTHEXPAND
  wire signed [W-1:0] a, b;
  generate
    if (SIGNED0) assign a = $signed(in0);
    else assign a = $signed({1'b0, in0});
    if (SIGNED1) assign b = $signed(in1);
    else assign b = $signed({1'b0, in1});
  endgenerate
  // verilator lint_on WIDTHTRUNC
  // verilator lint_on WIDTHEXPAND

  wire signed [W-1:0] sum = IS_SUB ? (a <<< PAD0) - (b <<< PAD1) : (a <<< PAD0) + (b <<< PAD1);
  assign out = sum[W-1:DROP_LSBS];
endmodule
