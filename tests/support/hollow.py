"""A cluster inside a test: API server, controllers (each with its own rights), scheduler, and hollow nodes."""

from navarch.testing.inside import cluster, until

__all__ = ["cluster", "until"]
