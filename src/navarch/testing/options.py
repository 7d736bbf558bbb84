"""What a test's cluster is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    controllers: bool = False
    """Deployments get pods, namespaces their service account, deleted owners take what they own along."""
    scheduler: bool = False
    """Pods get a node."""
    nodes: int = 0
    """Hollow nodes: pods bound to them get ready, without a container anywhere (see `navarch.sim.hollow`)."""
