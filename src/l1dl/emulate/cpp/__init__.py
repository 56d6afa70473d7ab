"""Exact C++ of a FixedGraph: arithmetic as templates over lanes of events, tables and calls as generated text."""
