"""Devices that were claimed (resource.k8s.io): prepared by their drivers, and handed to containers."""
