"""Which limits a model breaks, and what would help: changes of its network, each put to the RTL compiler."""
