"""The network between clients and comet, and what goes wrong on it."""
