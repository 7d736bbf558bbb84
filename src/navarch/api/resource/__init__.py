"""Kinds of resource.k8s.io: devices, and claims of them (dynamic resource allocation)."""
