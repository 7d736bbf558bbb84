"""What a plugin is to the cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from navarch.machinery.types import Obj
from navarch.scheduler.nodes import Bools, Ints, Nodes
from navarch.scheduler.podinfo import PodInfo

MAX_SCORE = 100


class NodePlugin(Protocol):
    """Judges a node by its object alone."""

    name: str
    weight: int
    """Of its score in the sum; 0 where it only filters."""
    normalise: str
    """`max`: scores are scaled so that the best feasible node has 100; `inverse`: so that the lowest has 100."""

    def prepare(self, pod: Obj) -> object:
        """What `filter` and `score` need of the pod, worked out once per class of pods."""
        ...

    def filter(self, prepared: object, node: Obj) -> str:
        """Why the pod cannot run there, in upstream's words; "" where it can."""
        ...

    def score(self, prepared: object, node: Obj) -> int:
        """Raw score, normalised later."""
        ...


class Refusal(NamedTuple):
    """Nodes that are out for one reason."""

    mask: Bools
    reason: str


class UsagePlugin(Protocol):
    """Judges all nodes at once by what is on them. `slots` limits the work to some of them (None: all)."""

    name: str
    weight: int
    shared: bool
    """Whether its verdict depends on a pod's requests alone, so that pods which request the same share it."""

    def applies(self, pod: PodInfo) -> bool: ...

    def feasible(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Bools: ...

    def score(self, pod: PodInfo, nodes: Nodes, slots: Ints | None) -> Ints | None:
        """0 to 100 each; None where the plugin has no say in scores."""
        ...

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        """Why nodes are out, for the message; only asked when a pod fits nowhere, or by `navarch why`."""
        ...
