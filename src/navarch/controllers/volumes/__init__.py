"""Volumes: binding claims, ephemeral claims, growing."""
