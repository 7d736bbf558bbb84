"""Structural schemas: what a custom resource's OpenAPI v3 schema makes of its objects."""
