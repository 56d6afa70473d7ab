"""Random networks as they are made for triggers, to hold the RTL compiler's estimates against synthesis."""
