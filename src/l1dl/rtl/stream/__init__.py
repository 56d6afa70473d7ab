"""Streaming RTL: an image enters pixel by pixel, and each layer is there once."""
