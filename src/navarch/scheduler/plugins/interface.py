"""What a plugin is to the cycle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeGuard

from navarch.machinery.types import Obj
from navarch.scheduler.nodes import Bools, Ints, Nodes
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.surroundings import Surroundings

MAX_SCORE = 100


class Plugin(Protocol):
    name: str
    weight: int
    """Of its score in the sum; 0 where it only filters."""
    filters: bool
    """Whether it has a say in where pods may go; false where it is to score only."""


class NodePlugin(Plugin, Protocol):
    """Judges a node by its object alone. What it says of a class of pods is kept, and renewed for changed nodes."""

    reason: str
    """Why nodes that do not pass are out, in upstream's words. No removal of pods would help."""
    normalise: str
    """`max`: scores are scaled so that the best feasible node has 100; `inverse`: so that the lowest has 100."""

    def prepare(self, pod: Obj) -> Any:
        """What `passes` and `score` need of the pod, worked out once per class of pods."""
        ...

    def passes(self, prepared: Any, node: Obj) -> bool: ...

    def score(self, prepared: Any, node: Obj) -> int:
        """Raw score, normalised later."""
        ...


class Refusal(NamedTuple):
    """Nodes that are out for one reason."""

    mask: Bools
    reason: str
    helpless: Bools | bool = False
    """Where removing pods from the node could not help."""


class UsagePlugin(Plugin, Protocol):
    """Judges all nodes at once by what is requested on them, and by a pod's requests alone: pods that request the same
    share what it says, and only what changed since is asked for again."""

    def applies(self, pod: PodInfo) -> bool: ...

    def feasible(self, pod: PodInfo, nodes: Nodes) -> Bools: ...

    def score(self, pod: PodInfo, nodes: Nodes) -> Ints:
        """0 to 100 each."""
        ...

    def at(self, pod: PodInfo, nodes: Nodes, slot: int) -> tuple[bool, int]:
        """Both for one slot, in plain numbers: many times faster than arrays of one."""
        ...

    def refusals(self, pod: PodInfo, nodes: Nodes) -> Sequence[Refusal]:
        """Why nodes are out, for the message; only asked when a pod fits nowhere, or by `navarch why`."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """The cluster as it is when one pod is judged."""

    nodes: Nodes
    around: Surroundings
    affine: Bools
    """Slots that pass the pod's node selector and required node affinity."""
    tolerated: Bools
    """Slots without a taint that keeps the pod out."""


class Rejected(NamedTuple):
    """The pod fits nowhere, whatever the nodes are."""

    reason: str
    plugin: str = ""


class PluginFailed(Exception):
    """Something is wrong that no node can help: the pod is tried again after a while."""


class PodPlugin(Plugin, Protocol):
    """Judges by anything: it sees the pod and the whole cluster, and answers for all nodes at once."""

    def prepare(self, pod: PodInfo, view: View) -> Any:
        """What the other calls need; None where it has no say about this pod, or `Rejected`."""
        ...

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        """Nodes that are out, over all slots. The masks of one plugin may overlap only where both reasons are told.
        Raises PluginFailed."""
        ...

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        """0 to 100 for each of the feasible slots, normalised; None where nothing tells them apart."""
        ...


def is_node_plugin(plugin: Plugin) -> TypeGuard[NodePlugin]:
    return hasattr(plugin, "passes")


def is_usage_plugin(plugin: Plugin) -> TypeGuard[UsagePlugin]:
    return hasattr(plugin, "feasible")
