"""The firmware of a run as an IP core: sources, constraints, a script for Vivado, test benches with vectors."""
