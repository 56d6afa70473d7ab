// ±in0 · 2**PAD0 ± in1 · 2**PAD1 ± in2 · 2**PAD2; the result drops its lowest DROP_LSBS bits and keeps
// BW_OUT. All modulo 2**W: what the upper bits would be is not needed.
module ternary_adder #(
    parameter BW_INPUT0 = 32,
    parameter SIGNED0 = 0,
    parameter NEGATE0 = 0,
    parameter PAD0 = 0,
    parameter BW_INPUT1 = 32,
    parameter SIGNED1 = 0,
    parameter NEGATE1 = 0,
    parameter PAD1 = 0,
    parameter BW_INPUT2 = 32,
    parameter SIGNED2 = 0,
    parameter NEGATE2 = 0,
    parameter PAD2 = 0,
    parameter BW_OUT = 32,
    parameter DROP_LSBS = 0
) (
    input [BW_INPUT0-1:0] in0,
    input [BW_INPUT1-1:0] in1,
    input [BW_INPUT2-1:0] in2,
    output [BW_OUT-1:0] out
);
  localparam W = BW_OUT + DROP_LSBS;

  // verilator lint_off WIDTHTRUNC
  // verilator lint_off WIDTHEXPAND
  wire signed [W-1:0] a, b, c;
  generate
    if (SIGNED0) assign a = $signed(in0);
    else assign a = $signed({1'b0, in0});
    if (SIGNED1) assign b = $signed(in1);
    else assign b = $signed({1'b0, in1});
    if (SIGNED2) assign c = $signed(in2);
    else assign c = $signed({1'b0, in2});
  endgenerate
  // verilator lint_on WIDTHTRUNC
  // verilator lint_on WIDTHEXPAND

  wire signed [W-1:0] term0 = a <<< PAD0;
  wire signed [W-1:0] term1 = b <<< PAD1;
  wire signed [W-1:0] term2 = c <<< PAD2;
  wire signed [W-1:0] first = NEGATE0 ? (NEGATE1 ? -term0 - term1 : term1 - term0)
                                      : (NEGATE1 ? term0 - term1 : term0 + term1);
  wire signed [W-1:0] sum = NEGATE2 ? first - term2 : first + term2;
  assign out = sum[W-1:DROP_LSBS];
endmodule
