"""What a node's kubelet tells of use, and what two such samples say between them. All pure.

Source of the rules: the metrics server, which reads the same of kubelets (`/metrics/resource`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.machinery.clock import rfc3339
from navarch.machinery.quantity import NANO, Quantity
from navarch.machinery.types import Key, Obj

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
SHORTEST = 0.5
"""Seconds between two samples that say anything."""
_LINE = re.compile(r"(\w+)(?:\{([^}]*)\})? (\S+)(?: \d+)?", re.ASCII)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"', re.ASCII)
NODE_CPU, NODE_MEMORY = "node_cpu_usage_seconds_total", "node_memory_working_set_bytes"
FIELDS = {
    "container_cpu_usage_seconds_total": 0,
    "container_memory_working_set_bytes": 1,
    "container_start_time_seconds": 2,
}


class Use(NamedTuple):
    """So far: seconds of CPU time. Now: bytes of memory. Since: seconds of the epoch."""

    cpu: float
    memory: float
    started: float = 0.0


@dataclass(slots=True)
class Sample:
    """One node at one moment."""

    at: float
    node: Use
    pods: dict[Key, dict[str, Use]] = field(default_factory=dict[Key, dict[str, Use]])
    """By pod, and by name of container."""


def parse(text: str, at: float) -> Sample:
    """From the text of /metrics/resource; lines that say something else, or nothing that can be read, are passed over."""
    node: dict[str, float] = {}
    found: dict[tuple[Key, str], list[float]] = {}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        name, labels, number = match.groups()
        try:
            value = float(number)
        except ValueError:
            continue
        if name in (NODE_CPU, NODE_MEMORY):
            node[name] = value
        elif (place := FIELDS.get(name)) is not None:
            of = dict(_LABEL.findall(labels or ""))
            key = Key(of.get("namespace", ""), of.get("pod", "")), of.get("container", "")
            found.setdefault(key, [0.0, 0.0, 0.0])[place] = value
    sample = Sample(at, Use(node.get(NODE_CPU, 0.0), node.get(NODE_MEMORY, 0.0)))
    for (pod, container), values in found.items():
        sample.pods.setdefault(pod, {})[container] = Use(*values)
    return sample


class Pair(NamedTuple):
    """Two samples of a node, the older one first."""

    before: Sample
    after: Sample


class Rate(NamedTuple):
    cpu: float
    """Cores."""
    memory: float
    seconds: float
    """What it is the mean of."""


def rate(before: Use | None, after: Use, pair: Pair) -> Rate | None:
    """What was used between the samples; None where they are too near, or say nothing together. A container that has
    started anew counts from its start on."""
    since, used = pair.before.at, 0.0
    if after.started > pair.before.at:
        since = after.started
    elif before is not None and before.started == after.started:
        used = before.cpu
    else:
        return None
    seconds = pair.after.at - since
    if seconds < SHORTEST or after.cpu < used:
        return None
    return Rate((after.cpu - used) / seconds, after.memory, seconds)


def usage(found: Rate) -> Obj:
    cpu = Quantity(round(found.cpu * NANO))
    return {"cpu": f"{cpu.nano}n" if cpu.nano else "0", "memory": str(Quantity(int(found.memory) * NANO, "BinarySI"))}


def _object(kind: str, meta: Obj, labels: Mapping[str, str] | None, at: float, seconds: float) -> Obj:
    made: Obj = {**meta, "creationTimestamp": rfc3339(at)}
    if labels:
        made["labels"] = dict(labels)
    window = f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    head = {"kind": kind, "apiVersion": f"{GROUP}/{VERSION}", "metadata": made}
    return {**head, "timestamp": rfc3339(at), "window": window}


def node_metrics(node: Obj, pair: Pair) -> Obj | None:
    """The NodeMetrics of a node; None where there is nothing to say."""
    found = rate(pair.before.node, pair.after.node, pair)
    if found is None:
        return None
    meta = node["metadata"]
    made = _object("NodeMetrics", {"name": meta["name"]}, meta.get("labels"), pair.after.at, found.seconds)
    return {**made, "usage": usage(found)}


def pod_metrics(pod: Obj, pair: Pair) -> Obj | None:
    """The PodMetrics of a pod; None until there is something to say of each of its containers that run."""
    meta = pod["metadata"]
    key = Key(meta["namespace"], meta["name"])
    before, after = pair.before.pods.get(key, {}), pair.after.pods.get(key)
    if not after:
        return None
    found = {name: rate(before.get(name), use, pair) for name, use in after.items()}
    rates = {name: one for name, one in found.items() if one is not None}
    if len(rates) < len(found):
        return None
    window = min(one.seconds for one in rates.values())
    place = {"name": meta["name"], "namespace": meta["namespace"]}
    made = _object("PodMetrics", place, meta.get("labels"), pair.after.at, window)
    return {**made, "containers": [{"name": name, "usage": usage(rates[name])} for name in sorted(rates)]}
