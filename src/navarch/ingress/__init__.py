"""Ingress and Gateway objects in, proxy configuration out."""
