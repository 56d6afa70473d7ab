"""Keras model → hls4ml project + FixedGraph. The only package that knows hls4ml."""
