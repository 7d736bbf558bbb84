"""Which plugins there are, by name: upstream's defaults, and out-of-tree ones that are installed as entry points.

An entry point of the group `navarch.scheduler.plugins` names a class (its own name is the plugin's); it is called with
`weight` and `args`, the tree below `args` in pluginConfig. See examples/scheduler-plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from navarch.machinery.types import Obj
from navarch.scheduler.plugins import (
    DynamicResources,
    ImageLocality,
    InterPodAffinity,
    NodeAffinity,
    NodeName,
    NodePorts,
    NodeResourcesBalancedAllocation,
    NodeResourcesFit,
    NodeUnschedulable,
    NodeVolumeLimits,
    PodTopologySpread,
    TaintToleration,
    VolumeBinding,
    VolumeRestrictions,
    VolumeZone,
)
from navarch.scheduler.plugins.interface import Plugin
from navarch.scheduler.plugins.resources import CPU_AND_MEMORY
from navarch.scheduler.plugins.spread import SYSTEM_DEFAULTS
from navarch.scheduler.terms import spread_of

GROUP: Final = "navarch.scheduler.plugins"
PREEMPTION: Final = "DefaultPreemption"
DEVICES: Final = "DynamicResources"
AFTER_FILTERS: Final = (PREEMPTION,)
"""Plugins that only come after the filters."""
ALWAYS: Final = frozenset(("SchedulingGates", "PrioritySort", "DefaultBinder"))
"""Part of the queue and of binding, not of the cycle; they cannot be switched off."""
DEFAULT_WEIGHTS: Final[Mapping[str, int]] = {
    "NodeUnschedulable": 0,
    "NodeName": 0,
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodePorts": 0,
    "NodeResourcesFit": 1,
    "VolumeRestrictions": 0,
    "NodeVolumeLimits": 0,
    "VolumeBinding": 0,
    "VolumeZone": 0,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "DynamicResources": 2,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}
"""In upstream's order, which decides whose reason is told of a node. Source: apis/config/v1/default_plugins.go."""


def _resources(given: Sequence[Obj] | None) -> Sequence[tuple[str, int]]:
    return [(one["name"], one.get("weight") or 1) for one in given] if given else CPU_AND_MEMORY


def _fit(weight: int, args: Obj) -> Plugin:
    strategy = args.get("scoringStrategy") or {}
    shape = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
    return NodeResourcesFit(
        weight,
        strategy.get("type") or "LeastAllocated",
        _resources(strategy.get("resources")),
        [(point["utilization"], point["score"] * 10) for point in shape],
        args.get("ignoredResources") or (),
        args.get("ignoredResourceGroups") or (),
    )


def _spread(weight: int, args: Obj) -> Plugin:
    if args.get("defaultingType") == "List":
        return PodTopologySpread(weight, [spread_of(c, {}) for c in args.get("defaultConstraints") or ()], False)
    return PodTopologySpread(weight, SYSTEM_DEFAULTS)


def _interpod(weight: int, args: Obj) -> Plugin:
    hard = args.get("hardPodAffinityWeight")
    return InterPodAffinity(weight, 1 if hard is None else hard, bool(args.get("ignorePreferredTermsOfExistingPods")))


def _fixed(make: Callable[[], Plugin]) -> Callable[[int, Obj], Plugin]:
    return lambda weight, args: make()


BUILT_IN: Final[Mapping[str, Callable[[int, Obj], Plugin]]] = {
    "NodeUnschedulable": _fixed(NodeUnschedulable),
    "NodeName": _fixed(NodeName),
    "TaintToleration": lambda weight, args: TaintToleration(weight),
    "NodeAffinity": lambda weight, args: NodeAffinity(weight, args.get("addedAffinity")),
    "NodePorts": _fixed(NodePorts),
    "NodeResourcesFit": _fit,
    "VolumeRestrictions": _fixed(VolumeRestrictions),
    "NodeVolumeLimits": _fixed(NodeVolumeLimits),
    "VolumeBinding": _fixed(VolumeBinding),
    "VolumeZone": _fixed(VolumeZone),
    "PodTopologySpread": _spread,
    "InterPodAffinity": _interpod,
    "DynamicResources": lambda weight, args: DynamicResources(weight),
    "NodeResourcesBalancedAllocation": lambda weight, args: NodeResourcesBalancedAllocation(
        weight, _resources(args.get("resources"))
    ),
    "ImageLocality": lambda weight, args: ImageLocality(weight),
}


def default_plugins() -> Sequence[Plugin]:
    return [make(name, weight, {}) for name, weight in DEFAULT_WEIGHTS.items()]


def is_known(name: str) -> bool:
    return name in BUILT_IN or name in ALWAYS or name in AFTER_FILTERS or any(entry_points(group=GROUP, name=name))


def make(name: str, weight: int, args: Obj) -> Plugin:
    """Raises KeyError where there is no such plugin."""
    if name in BUILT_IN:
        return BUILT_IN[name](weight, args)
    for entry in entry_points(group=GROUP, name=name):
        made: Any = entry.load()(weight=weight, args=args)
        return made
    raise KeyError(name)
