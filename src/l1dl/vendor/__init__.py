"""The vendor tools: implementation of a finished run with Vitis, Vivado or Quartus, here or on another machine."""
