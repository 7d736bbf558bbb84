"""The composition root: PKI, processes, node set-up. The only place that wires rooms together."""
