"""Which nodes a pod may be on: tolerations, node selectors and host ports. The scheduler, the kubelet and the controllers
judge by these same rules. Source: component-helpers scheduling/corev1."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from navarch.api.podspec.resources import is_sidecar
from navarch.machinery.trees import get
from navarch.machinery.types import Obj

HostPort = tuple[str, str, int]
"""(address, protocol, port)"""
ANY_ADDRESS = "0.0.0.0"
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def _compares(operator: str, one: str, other: str) -> bool:
    """Gt or Lt; false where either is no integer."""
    left, right = _integer(one), _integer(other)
    if left is None or right is None:
        return False
    return left > right if operator == "Gt" else left < right


def tolerates(toleration: Obj, taint: Obj) -> bool:
    """Whether a toleration covers a taint (core/v1 Toleration.ToleratesTaint)."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    value, other = toleration.get("value") or "", taint.get("value") or ""
    if operator in ("Lt", "Gt"):
        return _compares(operator, other, value)
    return operator == "Equal" and bool(toleration.get("key")) and value == other


def requirement_matches(requirement: Obj, values: Mapping[str, str]) -> bool:
    """A NodeSelectorRequirement against labels (or fields)."""
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
        case "Gt" | "Lt" as operator:
            return bool(actual and wanted) and _compares(operator, actual or "", wanted[0])
        case _:
            return False


def term_matches(term: Obj, node: Obj) -> bool:
    """A NodeSelectorTerm: all of its requirements; one without any matches nothing."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    labels = node["metadata"].get("labels") or {}
    own = {"metadata.name": node["metadata"]["name"]}
    return all(requirement_matches(r, labels) for r in expressions) and all(requirement_matches(r, own) for r in fields)


def required_terms(spec: Obj) -> list[Obj] | None:
    """The terms one of which a node must match; None: any node will do."""
    required = get(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return None if required is None else required.get("nodeSelectorTerms") or []


def selects(selector: Mapping[str, str], terms: list[Obj] | None, node: Obj) -> bool:
    """Whether a node has what a pod's nodeSelector and required terms ask for."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    return terms is None or any(term_matches(term, node) for term in terms)


def host_ports(spec: Obj) -> tuple[HostPort, ...]:
    """What a pod takes of its node's ports; those of steps of initialisation do not count."""
    containers = [*spec["containers"], *filter(is_sidecar, spec.get("initContainers") or ())]
    return tuple(
        (port.get("hostIP") or ANY_ADDRESS, port.get("protocol", "TCP"), port["hostPort"])
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def ports_conflict(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    """Whether any wanted port is taken: 0.0.0.0 stands for every address."""
    held = list(taken)
    return any(
        protocol == other_protocol and port == other_port and (address == other or ANY_ADDRESS in (address, other))
        for address, protocol, port in wanted
        for other, other_protocol, other_port in held
    )
