"""Parsers of the vendors' reports: text in, figures out. What a text does not say whole is None, with the reason."""
