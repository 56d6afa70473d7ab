"""Data + card → trained float reference and quantised model."""
