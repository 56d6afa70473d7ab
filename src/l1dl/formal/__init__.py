"""Formal proof of the handshakes of a streaming design, for all inputs and all stalls."""
