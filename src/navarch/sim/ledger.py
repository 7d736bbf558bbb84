"""What must hold whatever goes wrong, judged on every change of the store; and what must hold at rest."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from navarch.api.podspec.resources import amount, requests_of
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj
from navarch.store.interface import Event

WINDOW_SECONDS = 60.0
"""How long a number that was wanted may still be acted on: a controller that was away, or slow."""
ENDED = ("Succeeded", "Failed")
ROOT = "/registry/"
TRACKED = "batch.kubernetes.io/job-tracking"
"""The finalizer of a job's pod that is not counted yet."""


@dataclass(slots=True)
class Expected:
    """What somebody who gave these orders may expect at rest."""

    nodes: set[str]
    deployments: dict[str, int] = field(default_factory=dict[str, int])
    """Replicas by name."""
    stateful_sets: dict[str, int] = field(default_factory=dict[str, int])
    daemon_sets: set[str] = field(default_factory=set[str])
    jobs: dict[str, str] = field(default_factory=dict[str, str])
    """How each must end: `Complete` or `Failed`."""
    services: dict[str, Obj] = field(default_factory=dict[str, Obj])
    """Selectors by name."""
    gone: set[str] = field(default_factory=set[str])
    """Namespaces that were deleted."""


class Ledger:
    """The store's objects by kind, as of the last event."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.writes = 0
        self._written: list[str] = []
        self._objects: defaultdict[str, dict[str, Obj]] = defaultdict(dict)
        self._wanted: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)
        """Replica numbers by the uid of whoever wanted them, newest last."""
        self._ended: defaultdict[str, dict[str, str]] = defaultdict(dict)
        """Phases of ended pods by their job's uid, and their own."""
        self._to_count: defaultdict[str, set[str]] = defaultdict(set)
        """Uids of pods that ended or were deleted before they were counted, by their job's."""

    def __getitem__(self, resource: str) -> dict[str, Obj]:
        """Objects by `namespace/name`, or by name. `resource`: `apps/deployments`, `core/pods`."""
        return self._objects[resource]

    def enter(self, event: Event, now: float, last_lost: float) -> list[str]:
        """Takes in one change; returns what it violates. `last_lost`: when a controller last missed an answer."""
        group, resource, name = event.key.removeprefix(ROOT).split("/", 2)
        objects = self._objects[f"{group}/{resource}"]
        old = objects.get(name)
        if resource != "leases":
            self.writes += 1
            self._written.append(f"{group}/{resource}/{name}")
        if event.value is None:
            objects.pop(name, None)
            return []
        new = objects[name] = orjson.loads(event.value)
        found: list[str] = []
        if resource == "pods":
            found += self._pod(name, old, new, now, last_lost)
        elif resource in ("replicasets", "deployments", "statefulsets"):
            self._want(new, now)
            if resource == "replicasets":
                found += self._replica_set(name, new, now)
        elif resource == "jobs":
            found += self._job(name, new)
        self.violations += found
        return found

    def written_since(self, writes: int) -> Counter[str]:
        return Counter(self._written[writes:])

    # -- at every change

    def _pod(self, name: str, old: Obj | None, new: Obj, now: float, last_lost: float) -> Iterable[str]:
        same = old is not None and old["metadata"]["uid"] == new["metadata"]["uid"]
        before = old if same else None
        phase = new["status"].get("phase")
        if before is not None:
            was, last = before["spec"].get("nodeName"), before["status"].get("phase")
            if was and new["spec"].get("nodeName") != was:
                yield f"pod {name} moved from {was} to {new['spec'].get('nodeName')}"
            if last in ENDED and phase != last:
                yield f"pod {name} went from {last} to {phase}"
        node = new["spec"].get("nodeName")
        if node and not (before is not None and before["spec"].get("nodeName")):
            yield from self._fits(node)
        owner = _controller(new)
        if owner is None:
            return
        if owner["kind"] == "Job" and phase in ENDED:
            self._ended[owner["uid"]][new["metadata"]["uid"]] = phase
        over = phase in ENDED or "deletionTimestamp" in new["metadata"]
        if owner["kind"] == "Job" and over and TRACKED in (new["metadata"].get("finalizers") or ()):
            self._to_count[owner["uid"]].add(new["metadata"]["uid"])
        if before is None and owner["kind"] == "ReplicaSet" and now - last_lost > WINDOW_SECONDS:
            live = sum(_lives(pod) for pod in self._owned(owner["uid"]))
            if live > (most := self._most(owner["uid"], now)):
                yield f"{live} pods of ReplicaSet {owner['name']}, which wants {most} at most"

    def _fits(self, node: str) -> Iterable[str]:
        allocatable = (self._objects["core/nodes"].get(node) or {}).get("status", {}).get("allocatable") or {}
        there = [p for p in self._objects["core/pods"].values() if p["spec"].get("nodeName") == node]
        there = [pod for pod in there if pod["status"].get("phase") not in ENDED]
        for resource in ("cpu", "memory"):
            asked = sum(requests_of(pod["spec"]).get(resource, 0) for pod in there)
            if resource in allocatable and asked > amount(resource, Quantity.of(allocatable[resource])):
                yield f"node {node} has pods for more {resource} than it has"
        if "pods" in allocatable and len(there) > int(allocatable["pods"]):
            yield f"node {node} has {len(there)} pods"

    def _want(self, new: Obj, now: float) -> None:
        number = new["spec"].get("replicas", 1)
        surge = 0
        if new["kind"] == "Deployment":
            bounds = new["spec"]["strategy"].get("rollingUpdate") or {}
            surge = _share(bounds.get("maxSurge", 0), number)
        wanted = self._wanted[new["metadata"]["uid"]]
        if not wanted or wanted[-1][1] != number + surge:
            wanted.append((now, number + surge))

    def _most(self, uid: str, now: float) -> int:
        """The largest number wanted within the window."""
        wanted = self._wanted[uid]
        while len(wanted) > 1 and wanted[1][0] < now - WINDOW_SECONDS:
            wanted.popleft()
        return max((number for _, number in wanted), default=0)

    def _replica_set(self, name: str, new: Obj, now: float) -> Iterable[str]:
        owner = _controller(new)
        if owner is None:
            return
        sets = [
            s for s in self._objects["apps/replicasets"].values() if (_controller(s) or {}).get("uid") == owner["uid"]
        ]
        total = sum(s["spec"].get("replicas", 1) for s in sets if "deletionTimestamp" not in s["metadata"])
        if owner["uid"] in self._wanted and total > (most := self._most(owner["uid"], now)):
            yield f"the ReplicaSets of Deployment {owner['name']} want {total} pods, it wants {most} at most"

    def _job(self, name: str, new: Obj) -> Iterable[str]:
        status, ended = new.get("status") or {}, self._ended[new["metadata"]["uid"]]
        counted, were = status.get("succeeded") or 0, sum(phase == "Succeeded" for phase in ended.values())
        if counted > were:
            yield f"job {name} counts {counted} pods as succeeded, of {were}"

    def _owned(self, uid: str) -> list[Obj]:
        return [p for p in self._objects["core/pods"].values() if (_controller(p) or {}).get("uid") == uid]

    # -- at rest

    def unsettled(self, expected: Expected) -> list[str]:
        """What is not yet, or no longer, as it must be at rest."""
        found: list[str] = []
        for name, replicas in expected.deployments.items():
            found += self._counts(
                "apps/deployments", name, replicas, "replicas", "updatedReplicas", "availableReplicas"
            )
        for name, replicas in expected.stateful_sets.items():
            found += self._counts("apps/statefulsets", name, replicas, "replicas", "updatedReplicas", "readyReplicas")
        for name in expected.daemon_sets:
            found += self._counts(
                "apps/daemonsets",
                name,
                len(expected.nodes),
                "desiredNumberScheduled",
                "updatedNumberScheduled",
                "numberReady",
            )
        for name, outcome in expected.jobs.items():
            job = self._objects["batch/jobs"].get(f"default/{name}") or {}
            true = {c["type"] for c in (job.get("status") or {}).get("conditions") or () if c["status"] == "True"}
            if outcome not in true:
                found.append(f"job {name} is {sorted(true)}, not {outcome}: {job.get('status')}")
            elif job["spec"]["completionMode"] == "NonIndexed":
                counted = sum(job["status"].get(field) or 0 for field in ("succeeded", "failed"))
                if counted != (were := len(self._to_count[job["metadata"]["uid"]])):
                    found.append(f"job {name} counts {counted} pods, of {were}")
        for name, selector in expected.services.items():
            found += self._endpoints(name, selector)
        for name in expected.gone:
            left = [key for objects in self._objects.values() for key in objects if key.startswith(name + "/")]
            if left or name in self._objects["core/namespaces"]:
                found.append(f"namespace {name} is still there, with {left}")
        return [*found, *self._nodes_at_rest(expected.nodes), *self._pods_at_rest()]

    def _nodes_at_rest(self, names: Iterable[str]) -> Iterable[str]:
        for name in names:
            node = self._objects["core/nodes"].get(name)
            ready = node is not None and any(
                c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions") or ()
            )
            if node is None or not ready or node["spec"].get("taints"):
                yield f"node {name} is not ready, or tainted: {node and node['spec']}"

    def _counts(self, resource: str, name: str, wanted: int, *fields: str) -> Iterable[str]:
        obj = self._objects[resource].get(f"default/{name}")
        if obj is None:
            yield f"{resource} {name} is not there"
            return
        status: Any = obj.get("status") or {}
        seen = [status.get(f) or 0 for f in fields]
        current = status.get("observedGeneration") == obj["metadata"].get("generation")
        if not current or any(number != wanted for number in seen):
            yield f"{resource} {name}: {dict(zip(fields, seen, strict=True))} of {wanted}, up to date: {current}"

    def _endpoints(self, name: str, selector: Obj) -> Iterable[str]:
        pods = [
            p
            for p in self._objects["core/pods"].values()
            if selector.items() <= p["metadata"].get("labels", {}).items()
        ]
        ready = sorted(pod["status"].get("podIP", "") for pod in pods if _is_ready(pod))
        slices = [
            s
            for s in self._objects["discovery.k8s.io/endpointslices"].values()
            if s["metadata"]["labels"].get("kubernetes.io/service-name") == name
        ]
        served = [e for s in slices for e in s["endpoints"] or () if (e.get("conditions") or {}).get("ready")]
        listed = sorted(address for endpoint in served for address in endpoint["addresses"])
        if listed != ready:
            yield f"service {name} leads to {listed}, ready are {ready}"

    def _pods_at_rest(self) -> Iterable[str]:
        uids = {obj["metadata"]["uid"] for objects in self._objects.values() for obj in objects.values()}
        for name, pod in self._objects["core/pods"].items():
            meta = pod["metadata"]
            if "deletionTimestamp" in meta:
                yield f"pod {name} is still going"
            for owner in meta.get("ownerReferences") or ():
                if owner["uid"] not in uids:
                    yield f"pod {name} has outlived its {owner['kind']}"
            node = pod["spec"].get("nodeName")
            if node and node not in self._objects["core/nodes"]:
                yield f"pod {name} is on node {node}, which is gone"


def _controller(obj: Obj) -> Obj | None:
    return next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)


def _lives(pod: Obj) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in ENDED


def _is_ready(pod: Obj) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return _lives(pod) and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _share(bound: int | str, of: int) -> int:
    """Rounded up, as surge is."""
    return bound if isinstance(bound, int) else -(-int(bound.rstrip("%")) * of // 100)
