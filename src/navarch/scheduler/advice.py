"""The smallest change that would make a pod fit: on which node, and what of the pod or the node would have to differ.

Every change is tried on the arrays before it is told. Pure; source of what is tried: the default plugins' own reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from navarch.api.podspec.placement import ports_conflict, selects, tolerates
from navarch.api.podspec.resources import amount
from navarch.machinery import trees
from navarch.machinery.types import Obj
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.podinfo import PodInfo

MAX_NODES = 64
"""Nodes that are looked at, those with the fewest reasons against them first."""
MAX_SKEW = 100


@dataclass(slots=True)
class _Change:
    """What would have to differ for one node."""

    node: Obj
    pod: Obj
    words: list[str] = field(default_factory=list)
    cost: float = 0.0
    """Rough, to compare: each change of kind counts 1, a smaller request the share that is given up."""


def smallest_change(cycle: Cycle, pod: PodInfo) -> str:
    """In words; "" where the pod fits already, or where nothing of what is tried would help."""
    against: dict[str, list[tuple[str, str]]] = {}
    for name, plugin, reason in cycle.explain(pod):
        if plugin:
            against.setdefault(name, []).append((plugin, reason))
        elif reason.startswith("fits"):
            return ""
    best: _Change | None = None
    for name in sorted(against, key=lambda n: (len(against[n]), n))[:MAX_NODES]:
        change = _for_node(cycle, pod, name, {plugin for plugin, _ in against[name]})
        if change is not None and (best is None or change.cost < best.cost):
            best = change
    if best is None:
        return ""
    return f"it would fit on node {best.node['metadata']['name']} if {' and '.join(best.words)}"


def _for_node(cycle: Cycle, pod: PodInfo, name: str, plugins: set[str]) -> _Change | None:
    slot = cycle.nodes.slot(name)
    node = cycle.nodes.objects[slot] if slot is not None else None
    if slot is None or node is None or plugins - _FIXES.keys():
        return None
    change = _Change(trees.copy(node), trees.copy(pod.obj))
    for plugin in sorted(plugins):
        if not _FIXES[plugin](cycle, slot, change):
            return None
    return change if _holds(cycle, slot, change) else None


def _holds(cycle: Cycle, slot: int, change: _Change) -> bool:
    node = cycle.nodes.objects[slot]
    assert node is not None
    changed = change.node != node
    if changed:
        cycle.nodes.set_node(change.node)
    try:
        return cycle.fits(PodInfo.of(change.pod), slot)
    finally:
        if changed:
            cycle.nodes.set_node(node)


# -- one reason each: True where something can be changed


def _resources(cycle: Cycle, slot: int, change: _Change) -> bool:
    info = PodInfo.of(change.pod)
    if cycle.nodes.free_at("pods", slot) < 1:
        return False
    for resource, wanted in info.requests:
        left = cycle.nodes.free_at(resource, slot)
        if left >= wanted:
            continue
        if left <= 0:
            return False
        _lower(change.pod, resource, wanted, left)
        change.words.append(
            f"it requested {_shown(resource, left)} of {resource} instead of {_shown(resource, wanted)}"
        )
        change.cost += (wanted - left) / wanted
    return True


def _lower(pod: Obj, resource: str, wanted: int, left: int) -> None:
    """Takes what is too much from the containers that request most."""
    spec = pod["spec"]
    holders = [*spec["containers"], *(spec.get("initContainers") or ()), *([spec] if spec.get("resources") else [])]
    excess = wanted - left
    named = [h for h in holders if resource in ((h.get("resources") or {}).get("requests") or {})]
    for holder in sorted(named, key=lambda h: -amount(resource, str(h["resources"]["requests"][resource]))):
        requests = holder["resources"]["requests"]
        has = amount(resource, str(requests[resource]))
        given = min(has, excess)
        requests[resource] = _shown(resource, has - given)
        excess -= given


def _shown(resource: str, value: int) -> str:
    if resource == "cpu":
        return str(value // 1000) if value % 1000 == 0 else f"{value}m"
    for unit, size in (("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if resource == "memory" and value and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def _taints(cycle: Cycle, slot: int, change: _Change) -> bool:
    tolerations = change.pod["spec"].setdefault("tolerations", None) or []
    for taint in change.node.get("spec", {}).get("taints") or ():
        if taint["effect"] == "PreferNoSchedule" or any(tolerates(t, taint) for t in tolerations):
            continue
        value = f"={taint['value']}" if taint.get("value") else ""
        tolerations = [*tolerations, {"key": taint["key"], "operator": "Exists", "effect": taint["effect"]}]
        change.words.append(f"it tolerated the taint {taint['key']}{value}:{taint['effect']}")
        change.cost += 1
    change.pod["spec"]["tolerations"] = tolerations
    return True


def _cordon(cycle: Cycle, slot: int, change: _Change) -> bool:
    change.node["spec"].pop("unschedulable", None)
    change.words.append(f"the node were uncordoned (kubectl uncordon {change.node['metadata']['name']})")
    change.cost += 1
    return True


def _labels(cycle: Cycle, slot: int, change: _Change) -> bool:
    """Labels that the node lacks; where those are not all, the pod's required affinity is in the way."""
    spec = change.pod["spec"]
    selector = spec.get("nodeSelector") or {}
    labels = change.node["metadata"].setdefault("labels", {})
    missing = {key: value for key, value in selector.items() if labels.get(key) != value}
    for key, value in missing.items():
        change.words.append(f"the node had the label {key}={value}")
        change.cost += 1
    labels.update(missing)
    required = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if required and not selects({}, required.get("nodeSelectorTerms") or [], change.node):
        del spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        change.words.append("it had no required node affinity")
        change.cost += 1.5
    return True


def _ports(cycle: Cycle, slot: int, change: _Change) -> bool:
    for container in change.pod["spec"]["containers"]:
        for port in container.get("ports") or ():
            wanted = (port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port.get("hostPort", 0))
            if wanted[2] and ports_conflict([wanted], cycle.nodes.ports[slot]):
                change.words.append(f"host port {wanted[2]} were not taken there")
                change.cost += 1
                del port["hostPort"]
    return True


def _skew(cycle: Cycle, slot: int, change: _Change) -> bool:
    """The least maxSkew that would do, for all hard constraints together."""
    hard = [c for c in _constraints(change.pod) if c["whenUnsatisfiable"] == "DoNotSchedule"]
    before = [c["maxSkew"] for c in hard]
    for more in range(1, MAX_SKEW):
        for constraint, skew in zip(hard, before, strict=True):
            constraint["maxSkew"] = skew + more
        if _holds(cycle, slot, change):
            said = ", ".join(f"{skew + more} for {c['topologyKey']}" for c, skew in zip(hard, before, strict=True))
            change.words.append(f"its spread constraints allowed a maxSkew of {said}")
            change.cost += 1 + more / MAX_SKEW
            return True
    return False


def _constraints(pod: Obj) -> Iterator[Obj]:
    yield from pod["spec"].get("topologySpreadConstraints") or ()


def _company(cycle: Cycle, slot: int, change: _Change) -> bool:
    affinity = change.pod["spec"].get("affinity") or {}
    for side in ("podAffinity", "podAntiAffinity"):
        terms = (affinity.get(side) or {}).pop("requiredDuringSchedulingIgnoredDuringExecution", None)
        if terms:
            change.words.append(f"it had no required {side}")
            change.cost += 1.5
    return True


_FIXES: dict[str, Callable[[Cycle, int, _Change], bool]] = {
    "NodeResourcesFit": _resources,
    "TaintToleration": _taints,
    "NodeUnschedulable": _cordon,
    "NodeAffinity": _labels,
    "NodePorts": _ports,
    "PodTopologySpread": _skew,
    "InterPodAffinity": _company,
}
