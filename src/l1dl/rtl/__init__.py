"""FixedGraph → ALIR (alkaid) → pipelined Verilog with a top level, interface description and constraints."""
