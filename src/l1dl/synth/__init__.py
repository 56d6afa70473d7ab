"""Synthesis without a licence: what the firmware takes on the device, stage by stage."""
