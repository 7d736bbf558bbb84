"""Queueing hints: whether something that happened may let a pod fit that did not. Pure; a false yes costs an attempt, a
false no would leave the pod waiting for the flush.

Source: each plugin's EventsToRegister and its isSchedulableAfter... functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from navarch.api.podspec.placement import ports_conflict, required_terms, selects, tolerates
from navarch.api.podspec.resources import amount
from navarch.machinery.types import Obj
from navarch.scheduler.devices.state import CLASS_PREFIX, is_named
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.terms import NO_TERMS, Term, Terms, terms_of

NODE, POD, VOLUME, DEVICE, OTHER = "node", "pod", "volume", "device", "other"


class Happening(NamedTuple):
    """`old` is None where something came, `new` where it went. Pods are those with a node, or with room kept for them."""

    what: str
    """node, pod, volume (claims, volumes, classes, drivers), device (claims, classes, slices), or other."""
    old: Obj | None
    new: Obj | None


def may_help(pod: PodInfo, plugins: frozenset[str], happening: Happening) -> bool:
    """Whether any of the plugins that kept a pod off sees hope in what happened."""
    return not plugins or any(_HINTS.get(name, _always)(pod, happening) for name in plugins)


def _always(pod: PodInfo, happening: Happening) -> bool:
    return True


def _on_node(holds: Callable[[PodInfo, Obj], bool]) -> Callable[[PodInfo, Happening], bool]:
    """A node that passes now, and did not before."""

    def hint(pod: PodInfo, happening: Happening) -> bool:
        if happening.what != NODE or happening.new is None or not holds(pod, happening.new):
            return False
        return happening.old is None or not holds(pod, happening.old)

    return hint


def _schedulable(pod: PodInfo, node: Obj) -> bool:
    return not (node.get("spec") or {}).get("unschedulable")


def _tolerated(pod: PodInfo, node: Obj) -> bool:
    tolerations = pod.obj["spec"].get("tolerations") or ()
    return all(
        taint.get("effect") not in ("NoSchedule", "NoExecute") or any(tolerates(t, taint) for t in tolerations)
        for taint in (node.get("spec") or {}).get("taints") or ()
    )


def _selected(pod: PodInfo, node: Obj) -> bool:
    spec = pod.obj["spec"]
    return selects(spec.get("nodeSelector") or {}, required_terms(spec), node)


def _ports(pod: PodInfo, happening: Happening) -> bool:
    if happening.what == NODE:
        return happening.old is None
    if happening.what != POD or happening.new is not None or happening.old is None:
        return False
    return ports_conflict(pod.host_ports, PodInfo.of(happening.old).host_ports)


def _allocatable(node: Obj) -> Mapping[str, object]:
    status = node.get("status") or {}
    return status.get("allocatable") or status.get("capacity") or {}


def _fit(pod: PodInfo, happening: Happening) -> bool:
    """A pod went that took some of what is missing; or a node came that is large enough, or grew."""
    if happening.what == POD:
        return _gave_back(pod, happening)
    if happening.what == DEVICE:
        return _is_served(pod, happening.new)
    if happening.what != NODE or happening.new is None:
        return False
    given = {name: amount(name, str(value)) for name, value in _allocatable(happening.new).items()}
    if given.get("pods", 0) < 1 or any(given.get(name, 0) < value for name, value in pod.requests):
        return False
    if happening.old is None:
        return True
    before = {name: amount(name, str(value)) for name, value in _allocatable(happening.old).items()}
    return any(given.get(name, 0) > before.get(name, 0) for name in ("pods", *dict(pod.requests)))


def _is_served(pod: PodInfo, made: Obj | None) -> bool:
    """A class of devices now stands for a resource that the pod requests."""
    spec = (made or {}).get("spec") or {}
    if made is None or spec.get("driver") or "devices" in spec:
        return False
    names = (spec.get("extendedResourceName"), CLASS_PREFIX + made["metadata"]["name"])
    return any(name in names for name, _ in pod.requests)


def _devices(pod: PodInfo, happening: Happening) -> bool:
    """Slices and classes; of claims, its own, and those that gave devices back."""
    old, new = happening.old, happening.new
    if happening.what != DEVICE or new is None:
        return happening.what == NODE
    spec = new.get("spec") or {}
    if "devices" not in spec or spec.get("driver"):
        return True
    before, after = (old or {}).get("status") or {}, new.get("status") or {}
    if before.get("allocation") and not after.get("allocation"):
        return True
    return is_named(pod.obj, new) and (old is None or before != after)


def _gave_back(pod: PodInfo, happening: Happening) -> bool:
    if happening.old is None:
        return False
    if happening.new is None:
        return True  # also one that requests nothing: it counted among the node's pods
    before, after = dict(PodInfo.of(happening.old).requests), dict(PodInfo.of(happening.new).requests)
    return any(after.get(name, 0) < before.get(name, 0) for name, _ in pod.requests)


def _labels(obj: Obj | None) -> Mapping[str, str]:
    return (obj or {}).get("metadata", {}).get("labels") or {}


def _spread(pod: PodInfo, happening: Happening) -> bool:
    if happening.what == NODE:
        keys = [constraint.topology for constraint in pod.shape.spreads if constraint.hard]
        old, new = _labels(happening.old), _labels(happening.new)
        taints = _taints(happening.old) != _taints(happening.new)
        return happening.old is None or happening.new is None or taints or any(old.get(k) != new.get(k) for k in keys)
    if happening.what != POD:
        return False
    sides = [side for side in (happening.old, happening.new) if side is not None]
    if not sides or sides[0]["metadata"].get("namespace") != pod.key.namespace:
        return False
    return any(c.selector.matches(_labels(side)) for c in pod.shape.spreads for side in sides)


def _taints(node: Obj | None) -> object:
    return ((node or {}).get("spec") or {}).get("taints") or ()


def _interpod(pod: PodInfo, happening: Happening) -> bool:
    terms = pod.shape.terms
    if happening.what == NODE:
        keys = {term.topology for term in (*terms.affinity, *terms.anti)}
        old, new = _labels(happening.old), _labels(happening.new)
        return happening.old is None or not keys or any(old.get(key) != new.get(key) for key in keys)
    if happening.what != POD:
        return happening.what == OTHER
    came, went = happening.new, happening.old
    if came is not None and any(_may_match(term, came) for term in terms.affinity):
        return True
    if went is None:
        return False
    # one that went (or changed its labels) may have been what the pod, or itself, kept apart from
    return any(_may_match(term, went) for term in terms.anti) or bool(_terms(went).anti)


def _may_match(term: Term, pod: Obj) -> bool:
    """Namespaces that a selector chooses are taken to be chosen."""
    inside = pod["metadata"].get("namespace") in term.namespaces or not term.namespace_selector.nothing
    return inside and term.selector.matches(_labels(pod))


def _terms(pod: Obj) -> Terms:
    return terms_of(pod["spec"], pod["metadata"].get("namespace", "")) if pod["spec"].get("affinity") else NO_TERMS


def _volumes(pod: PodInfo, happening: Happening) -> bool:
    return happening.what in (VOLUME, NODE) or (happening.what == POD and happening.new is None)


_HINTS: Mapping[str, Callable[[PodInfo, Happening], bool]] = {
    "NodeUnschedulable": _on_node(_schedulable),
    "NodeName": lambda pod, happening: happening.what == NODE and happening.old is None,
    "TaintToleration": _on_node(_tolerated),
    "NodeAffinity": _on_node(_selected),
    "NodePorts": _ports,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _interpod,
    "DynamicResources": _devices,
    "VolumeBinding": _volumes,
    "VolumeRestrictions": _volumes,
    "VolumeZone": _volumes,
    "NodeVolumeLimits": _volumes,
}
