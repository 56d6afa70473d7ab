"""The front of accuracy and resources over a model card: an automatic search, each trial a list of ``--set`` values."""
