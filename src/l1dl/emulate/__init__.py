"""The exact emulator on the FixedGraph, the compiled C++ of hls4ml, and their comparison with Keras."""
