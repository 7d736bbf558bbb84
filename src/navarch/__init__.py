"""Navarch: Kubernetes, whole, in Python.

The rooms and the walk of a request through them are in ARCHITECTURE.md.
"""

__version__ = "0.1.0"

KUBERNETES_VERSION = "v1.36.2"
"""The release of the Kubernetes API that every part of Navarch speaks."""
