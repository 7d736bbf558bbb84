"""Devices that plugins offer: counted on the node, and handed to containers."""
