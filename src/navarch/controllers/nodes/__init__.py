"""Nodes: their health, who is evicted from them, their pod ranges, and pods that they left behind."""
