"""Whether the node takes a pod that was bound to it: a pure function, upstream's predicate admission.

A pod may be bound by anyone, also past the scheduler; and what the scheduler knew may have changed since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from navarch.api.podspec.resources import aggregate
from navarch.machinery.quantity import Quantity
from navarch.machinery.trees import get
from navarch.machinery.types import Obj

STATIC_SOURCE = "kubernetes.io/config.source"
ORDER = ("pods", "cpu", "memory", "ephemeral-storage")


class Refusal(NamedTuple):
    """The reason and message of the Failed status."""

    reason: str
    message: str


def admit(pod: Obj, others: Iterable[Obj], node: Obj) -> Refusal | None:
    """None: the pod fits beside `others` (those that are not over)."""
    spec = pod["spec"]
    others = list(others)
    refusal = _resources(spec, others, node)
    if refusal:
        return refusal
    if get(spec, "os", "name", default="linux") != "linux":
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if not _selected(spec, node):
        return _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    taken = {port for other in others for port in host_ports(other["spec"])}
    if any(_conflicts(port, used) for port in host_ports(spec) for used in taken):
        return _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if not is_static(pod) and _untolerated(spec, node):
        return _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def is_static(pod: Obj) -> bool:
    return (pod["metadata"].get("annotations") or {}).get(STATIC_SOURCE, "api") != "api"


def _predicate(name: str, why: str) -> Refusal:
    return Refusal(name, f"Pod was rejected: Predicate {name} failed: {why}")


def _amount(name: str, value: Quantity) -> int:
    return value.milli() if name == "cpu" else value.value()


def _requests(spec: Obj) -> dict[str, int]:
    found = {name: _amount(name, value) for name, value in aggregate(spec, "requests").items()}
    for name, text in (spec.get("overhead") or {}).items():
        found[name] = found.get(name, 0) + _amount(name, Quantity.parse(str(text)))
    return found


def _resources(spec: Obj, others: list[Obj], node: Obj) -> Refusal | None:
    capacity = {
        name: _amount(name, Quantity.parse(str(text)))
        for name, text in get(node, "status", "allocatable", default={}).items()
    }
    used: dict[str, int] = {"pods": len(others)}
    for other in others:
        for name, value in _requests(other["spec"]).items():
            used[name] = used.get(name, 0) + value
    wanted = {"pods": 1, **_requests(spec)}
    for name in sorted(wanted, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)):
        if name not in ORDER and name not in capacity:
            continue
        if wanted[name] and wanted[name] + used.get(name, 0) > capacity.get(name, 0):
            text = (
                f"Node didn't have enough resource: {name}, requested: {wanted[name]}, "
                f"used: {used.get(name, 0)}, capacity: {capacity.get(name, 0)}"
            )
            return Refusal(f"OutOf{name}", f"Pod was rejected: {text}")
    return None


def host_ports(spec: Obj) -> list[tuple[str, str, int]]:
    """(address, protocol, port) that the pod takes of the node."""
    containers = [*spec["containers"], *(c for c in spec.get("initContainers") or [] if c.get("restartPolicy"))]
    return [
        (port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), port["hostPort"])
        for container in containers
        for port in container.get("ports") or []
        if port.get("hostPort")
    ]


def _conflicts(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    return one[1:] == other[1:] and (one[0] == other[0] or "0.0.0.0" in (one[0], other[0]))


def _selected(spec: Obj, node: Obj) -> bool:
    labels: Mapping[str, str] = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    required = get(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(_term(term, labels, fields) for term in required.get("nodeSelectorTerms") or [])


def _term(term: Obj, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    expressions, on_fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not on_fields:
        return False
    return all(_holds(e, labels) for e in expressions) and all(_holds(e, fields) for e in on_fields)


def _holds(requirement: Obj, values: Mapping[str, str]) -> bool:
    actual, wanted = values.get(requirement["key"]), requirement.get("values") or []
    match requirement["operator"]:
        case "In":
            return actual in wanted
        case "NotIn":
            return actual not in wanted
        case "Exists":
            return actual is not None
        case "DoesNotExist":
            return actual is None
        case operator:
            try:
                number, bound = int(actual or ""), int(wanted[0])
            except ValueError:
                return False
            return number > bound if operator == "Gt" else number < bound


def _untolerated(spec: Obj, node: Obj) -> bool:
    """Only NoExecute taints concern the kubelet."""
    tolerations = spec.get("tolerations") or []
    taints = [t for t in get(node, "spec", "taints", default=[]) if t.get("effect") == "NoExecute"]
    return any(not any(_tolerates(t, taint) for t in tolerations) for taint in taints)


def _tolerates(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")
