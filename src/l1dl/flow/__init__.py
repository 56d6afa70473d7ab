"""The stages in their order, each skipped when its inputs, settings and tools are unchanged."""
