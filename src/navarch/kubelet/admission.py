"""Whether the node takes a pod that was bound to it: a pure function, upstream's predicate admission.

A pod may be bound by anyone, also past the scheduler; and what the scheduler knew may have changed since.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import NamedTuple

from navarch.api.podspec.placement import host_ports, ports_conflict, required_terms, selects, tolerates
from navarch.api.podspec.resources import amount, requests_of
from navarch.machinery.trees import get
from navarch.machinery.types import Obj

STATIC_SOURCE = "kubernetes.io/config.source"
SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
    )
)  # fmt: skip
"""Those that belong to a pod's namespaces and touch nobody else (the last ones since kernels of 2016 to 2022)."""
ORDER = ("pods", "cpu", "memory", "ephemeral-storage")


class Refusal(NamedTuple):
    """The reason and message of the Failed status."""

    reason: str
    message: str


def admit(pod: Obj, others: Iterable[Obj], node: Obj, allowed_sysctls: Iterable[str] = ()) -> Refusal | None:
    """None: the pod fits beside `others` (those that are not over). `allowed_sysctls`: names or patterns (`net.*`) that
    are let in though they are not known to be safe."""
    spec = pod["spec"]
    others = list(others)
    if (lack := _lack(spec, others, node)) is not None:
        return Refusal(f"OutOf{lack[0]}", f"Pod was rejected: {lack[1]}")
    if get(spec, "securityContext", "supplementalGroupsPolicy") == "Strict":
        text = "SupplementalGroupsPolicy=Strict is not supported in this node"
        return Refusal("SupplementalGroupsPolicyNotSupported", text)
    if why := _forbidden_sysctl(spec, allowed_sysctls):
        return Refusal("SysctlForbidden", f"forbidden sysctl: {why}")
    if get(spec, "os", "name", default="linux") != "linux":
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    if not selects(spec.get("nodeSelector") or {}, required_terms(spec), node):
        return _predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
    if ports_conflict(host_ports(spec), (port for other in others for port in host_ports(other["spec"]))):
        return _predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    if not is_static(pod) and _untolerated(spec, node):
        return _predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
    return None


def _forbidden_sysctl(spec: Obj, allowed: Iterable[str]) -> str:
    """Which sysctl the pod may not set, and why; "" where there is none. Source: pkg/kubelet/sysctl."""
    for each in get(spec, "securityContext", "sysctls", default=[]):
        name = each["name"].replace("/", ".") if "." not in each["name"].partition("/")[0] else each["name"]
        known = name in SAFE_SYSCTLS or any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)
        if not known:
            return f'"{name}" not allowlisted'
        for start, host, text in (("net.", "hostNetwork", "net"), ("kernel.", "hostIPC", "ipc")):
            if name.startswith(start) and spec.get(host):
                return f'"{name}" not allowed with host {text} enabled'
    return ""


def is_static(pod: Obj) -> bool:
    return (pod["metadata"].get("annotations") or {}).get(STATIC_SOURCE, "api") != "api"


def _predicate(name: str, why: str) -> Refusal:
    return Refusal(name, f"Pod was rejected: Predicate {name} failed: {why}")


def shortfalls(pod: Obj, others: Iterable[Obj], node: Obj) -> dict[str, int]:
    """How much of each resource a node is short of for a pod."""
    capacity, used, wanted = _sums(pod["spec"], list(others), node)
    known = {name: amount for name, amount in wanted.items() if name in ORDER or name in capacity}
    short = {name: amount + used.get(name, 0) - capacity.get(name, 0) for name, amount in known.items() if amount}
    return {name: amount for name, amount in short.items() if amount > 0}


def lacking(spec: Obj, others: Iterable[Obj], node: Obj) -> str | None:
    """What of its resources a node has not enough of for a pod, in words."""
    lack = _lack(spec, list(others), node)
    return None if lack is None else lack[1]


def _sums(spec: Obj, others: list[Obj], node: Obj) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """What the node has, what others take of it, and what the pod wants."""
    capacity = {name: amount(name, text) for name, text in get(node, "status", "allocatable", default={}).items()}
    used: dict[str, int] = {"pods": len(others)}
    for other in others:
        for name, value in requests_of(other["spec"]).items():
            used[name] = used.get(name, 0) + value
    return capacity, used, {"pods": 1, **requests_of(spec)}


def _lack(spec: Obj, others: list[Obj], node: Obj) -> tuple[str, str] | None:
    """(resource, message)"""
    capacity, used, wanted = _sums(spec, others, node)
    for name in sorted(wanted, key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n)):
        if name not in ORDER and name not in capacity:
            continue
        if wanted[name] and wanted[name] + used.get(name, 0) > capacity.get(name, 0):
            text = (
                f"Node didn't have enough resource: {name}, requested: {wanted[name]}, "
                f"used: {used.get(name, 0)}, capacity: {capacity.get(name, 0)}"
            )
            return name, text
    return None


def _untolerated(spec: Obj, node: Obj) -> bool:
    """Only NoExecute taints concern the kubelet."""
    tolerations = spec.get("tolerations") or []
    taints = [t for t in get(node, "spec", "taints", default=[]) if t.get("effect") == "NoExecute"]
    return any(not any(tolerates(t, taint) for t in tolerations) for taint in taints)
