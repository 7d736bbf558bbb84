"""Probes of running containers: pure thresholds, and the edge that asks."""

from navarch.kubelet.probes.manager import ProbeManager

__all__ = ["ProbeManager"]
