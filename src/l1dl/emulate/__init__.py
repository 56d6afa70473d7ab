"""The exact emulator on the FixedGraph, in NumPy, XLA and ONNX; the C++ of hls4ml, and their comparison with Keras."""
