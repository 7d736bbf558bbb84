"""Endpoint slices, the legacy Endpoints, and the mirror from hand-made Endpoints to slices."""
