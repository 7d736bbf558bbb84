"""Hollow nodes: they register, renew their leases, and live the pods bound to them, without a container anywhere.

Ordinary controllers on the ordinary control loop, so that they run on a virtual clock too. A pod's status is made by
the kubelet's own `status.pod_status`, of containers that start at once. A pod may say how it goes on:

    navarch.hollow/run-seconds: "30"     its containers exit after so long (never, unless it says so)
    navarch.hollow/exit-code: "1"        with this code (0)
    navarch.hollow/start-seconds: "2"    they start so long after the pod was bound (0)
    navarch.hollow/ready: "false"        they run, and never get ready
    navarch.hollow/cpu: "250m"           each uses so much CPU time (1m), and
    navarch.hollow/memory: "64Mi"        so much memory (1Mi)
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from navarch.api.metrics.samples import Sample, Use
from navarch.client.informer import Informer, InformerFactory
from navarch.client.interface import Client
from navarch.client.resources import LEASES, NODES, PODS
from navarch.controlloop.loop import ControllerLoop
from navarch.controlloop.plan import Caches, Create, Delete, Patch, Plan, Watch
from navarch.kubelet.cri_tables import EXITED, RUNNING
from navarch.kubelet.runtime_state import Container, PodRuntime, Sandbox
from navarch.kubelet.status import View, pod_status
from navarch.kubelet.volumes.provisioner import LocalProvisioner
from navarch.machinery.clock import World, parse_time, rfc3339, rfc3339_micro
from navarch.machinery.errors import StatusError
from navarch.machinery.quantity import NANO, Quantity
from navarch.machinery.types import Key, Obj

LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
RETRY_SECONDS = 10.0
"""At most between attempts at what failed: a node works with its pods again soon after it has been cut off."""
REGISTERING = 64
"""Registrations under way at once."""
PREFIX = "navarch.hollow/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a hollow node looks like."""

    capacity: Mapping[str, str] = field(
        default_factory=lambda: {"cpu": "32", "memory": "64Gi", "ephemeral-storage": "200Gi", "pods": "110"}
    )
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    taints: Sequence[Obj] = ()
    zones: Sequence[str] = ()
    """Dealt out in turn."""


def node_object(name: str, index: int, shape: Shape, now: float) -> Obj:
    """A node as its kubelet registers it, ready from the start."""
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    if shape.zones:
        labels["topology.kubernetes.io/zone"] = shape.zones[index % len(shape.zones)]
    spec: Obj = {"taints": list(shape.taints)} if shape.taints else {}
    status: Obj = {
        "capacity": dict(shape.capacity),
        "allocatable": dict(shape.capacity),
        "conditions": [_ready(now)],
        "addresses": [{"type": "InternalIP", "address": _address("10.128.0.0", index + 1)}],
        "nodeInfo": {
            "kubeletVersion": "v1.36.0-hollow",
            "kubeProxyVersion": "",
            "containerRuntimeVersion": "hollow://",
            "operatingSystem": "linux",
            "architecture": "amd64",
            "osImage": "none",
            "kernelVersion": "none",
            "machineID": "",
            "systemUUID": "",
            "bootID": "",
        },
    }
    return {"metadata": {"name": name, "labels": {**labels, **shape.labels}}, "spec": spec, "status": status}


def _ready(now: float) -> Obj:
    stamp = rfc3339(now)
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
    return {**ready, "lastHeartbeatTime": stamp, "lastTransitionTime": stamp}


def _address(base: str, offset: int) -> str:
    return str(ipaddress.ip_address(base) + offset)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the life of a pod depends on."""

    pod: Obj
    ip: str


class HollowKubelet:
    """The controller of pods on hollow nodes."""

    name = "hollow-kubelet"

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(nodes)
        self._addresses: dict[str, str] = {}
        self.watches: Sequence[Watch] = [Watch(PODS, self._keys)]

    def _keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        pod = new or old
        if pod is None or pod["spec"].get("nodeName") not in self._nodes:
            return ()
        meta = pod["metadata"]
        if new is None:
            self._addresses.pop(meta["uid"], None)
        return (Key(meta["namespace"], meta["name"]),)

    def observe(self, key: Key, caches: Caches) -> Seen | None:
        pod = caches[PODS].get(key.namespace, key.name)
        if pod is None or pod["spec"].get("nodeName") not in self._nodes:
            return None
        uid = pod["metadata"]["uid"]
        if uid not in self._addresses:
            known = pod.get("status", {}).get("podIP", "")
            self._addresses[uid] = known or _address("10.132.0.0", int(uid.replace("-", "")[:5], 16) + 1)
        return Seen(pod, self._addresses[uid])

    def reconcile(self, observed: Seen, now: float) -> Plan:
        return life(observed.pod, observed.ip, now)


def life(pod: Obj, ip: str, now: float) -> Plan:
    """The next step of a pod's life on a hollow node: a pure function."""
    meta, old = pod["metadata"], pod.get("status", {})
    key = Key(meta["namespace"], meta["name"])
    if "deletionTimestamp" in meta:
        return Plan([Delete(PODS, key, meta["uid"], grace_period_seconds=0)], reasons=["the pod is being deleted"])
    if old.get("phase") in ("Succeeded", "Failed"):
        return Plan(reasons=["the pod has finished"])
    notes = {k.removeprefix(PREFIX): v for k, v in (meta.get("annotations") or {}).items() if k.startswith(PREFIX)}
    bound = parse_time(old["startTime"]) if old.get("startTime") else now
    starts = bound + _seconds(notes, "start-seconds", 0.0)
    ends = starts + _seconds(notes, "run-seconds", float("inf"))
    runtime = _runtime(pod, ip, now, starts, ends, int(_seconds(notes, "exit-code", 0.0)))
    ids = frozenset(run.id for run in runtime.all() if run.running)
    ready = frozenset[str]() if notes.get("ready") == "false" else ids
    status = pod_status(pod, runtime, View(now, "10.128.0.1", ready, ids))
    plan = Plan(reasons=["its containers run" if starts <= now < ends else "its containers do not run"])
    if any(old.get(name) != value for name, value in status.items()):
        plan.actions.append(
            Patch(PODS, key, {"metadata": {"uid": meta["uid"]}, "status": status}, subresource="status")
        )
    due = starts if now < starts else ends
    if now < due < float("inf"):
        plan.requeue_after = due - now
    return plan


def _seconds(notes: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(notes[name])
    except (KeyError, ValueError):
        return default


def _runtime(pod: Obj, ip: str, now: float, starts: float, ends: float, exit_code: int) -> PodRuntime:
    """What a runtime would have of the pod now."""
    uid, spec = pod["metadata"]["uid"], pod["spec"]
    sandbox = Sandbox(f"{uid}-sandbox", 0, now < ends, starts, (ip,))
    if now < starts:
        return PodRuntime((sandbox,))
    ended: dict[str, Any] = {"state": EXITED, "finished": ends, "exit_code": exit_code}
    runs: dict[str, tuple[Container, ...]] = {}
    for container in spec.get("initContainers") or []:
        done = container.get("restartPolicy") != "Always"
        state: dict[str, Any] = {"state": EXITED, "finished": starts} if done else {"state": RUNNING}
        runs[container["name"]] = (_run(uid, container, starts, state),)
    for container in spec["containers"]:
        runs[container["name"]] = (_run(uid, container, starts, ended if now >= ends else {"state": RUNNING}),)
    return PodRuntime((sandbox,), runs)


def _run(uid: str, container: Obj, started: float, state: dict[str, Any]) -> Container:
    image = container.get("image", "")
    return Container(
        id=f"{uid}-{container['name']}",
        name=container["name"],
        attempt=0,
        created=started,
        started=started,
        image=image,
        image_ref=image,
        **state,
    )


class HollowHeartbeat:
    """The controller of hollow nodes' leases."""

    name = "hollow-heartbeat"

    def __init__(self, nodes: Iterable[str]) -> None:
        self._nodes = frozenset(nodes)
        self.watches: Sequence[Watch] = [Watch(NODES, self._keys), Watch(LEASES, lambda old, new, caches: ())]
        self.stopped: set[str] = set()
        """Nodes whose heart stands still: a test's way to lose a node."""

    def _keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        name = (new or old or {})["metadata"]["name"]
        return (Key("", name),) if old is None and name in self._nodes else ()

    def observe(self, key: Key, caches: Caches) -> tuple[Obj, Obj | None] | None:
        node = caches[NODES].get("", key.name)
        if node is None or key.name in self.stopped:
            return None
        return node, caches[LEASES].get(LEASE_NAMESPACE, key.name)

    def reconcile(self, observed: tuple[Obj, Obj | None], now: float) -> Plan:
        node, lease = observed
        name, uid = node["metadata"]["name"], node["metadata"]["uid"]
        renewed = {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": rfc3339_micro(now)}
        plan = Plan(requeue_after=RENEW_SECONDS, reasons=["the node lives"])
        if lease is None:
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
            meta = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
            plan.actions.append(Create(LEASES, {"metadata": meta, "spec": renewed}, exists_ok=True))
        else:
            # Whatever the cache shows: a watch that lags must not cost the node its lease.
            plan.actions.append(Patch(LEASES, Key(LEASE_NAMESPACE, name), {"spec": renewed}))
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions") or ()):
            again = {"metadata": {"uid": uid}, "status": {"conditions": [_ready(now)]}}
            plan.actions.append(Patch(NODES, Key("", name), again, type="strategic", subresource="status"))
        return plan


NODE_INDEX = "hollow-node"


class HollowUse:
    """What the pods of hollow nodes use, as their kubelets would tell it."""

    def __init__(self, pods: Informer, world: World) -> None:
        self._pods = pods
        self._world = world
        self._spent: dict[str, tuple[float, float]] = {}
        """By pod's uid: seconds of CPU time that each of its containers has used, and until when they are counted."""
        pods.add_index(NODE_INDEX, lambda pod: [pod["spec"].get("nodeName", "")])

    async def sample(self, node: Obj) -> Sample:
        now = self._world.now()
        sample = Sample(now, Use(0.0, 0.0))
        cores = memory = 0.0
        for pod in self._pods.by_index(NODE_INDEX, node["metadata"]["name"]):
            status, meta = pod.get("status") or {}, pod["metadata"]
            if status.get("phase") != "Running":
                continue
            notes = meta.get("annotations") or {}
            rate = Quantity.of(notes.get(f"{PREFIX}cpu", "1m")).nano / NANO
            bytes_used = Quantity.of(notes.get(f"{PREFIX}memory", "1Mi")).value()
            started = parse_time(status["startTime"])
            spent, until = self._spent.get(meta["uid"], (0.0, started))
            spent += rate * max(0.0, now - until)
            self._spent[meta["uid"]] = spent, now
            containers = pod["spec"]["containers"]
            uses = {container["name"]: Use(spent, bytes_used, started) for container in containers}
            sample.pods[Key(meta["namespace"], meta["name"])] = uses
            cores, memory = cores + spent * len(uses), memory + bytes_used * len(uses)
        sample.node = Use(cores, memory)
        return sample


class HollowNodes:
    """A number of hollow nodes on one API server. `start()` returns when all are registered."""

    def __init__(
        self, client: Client, world: World, count: int, *, shape: Shape | None = None, prefix: str = "hollow-"
    ) -> None:
        self._client = client
        self._world = world
        self._shape = shape or Shape()
        self.names = [f"{prefix}{index}" for index in range(count)]
        self.heartbeat = HollowHeartbeat(self.names)
        self._informers = InformerFactory(client, world)
        self.use = HollowUse(self._informers[PODS], world)
        self._loops: list[ControllerLoop[Any]] = [
            ControllerLoop(
                HollowKubelet(self.names), client, self._informers, world, concurrency=32, backoff_last=RETRY_SECONDS
            ),
            ControllerLoop(
                LocalProvisioner(frozenset(self.names), None), client, self._informers, world, concurrency=2
            ),
            ControllerLoop(self.heartbeat, client, self._informers, world, concurrency=8, backoff_last=RETRY_SECONDS),
        ]

    @property
    def idle(self) -> bool:
        return all(loop.queue.idle for loop in self._loops)

    async def start(self) -> None:
        self._informers.start()
        await asyncio.gather(*(loop.start() for loop in self._loops))
        waiting = list(enumerate(self.names))
        waiting.reverse()
        await asyncio.gather(*(self._register(waiting) for _ in range(min(REGISTERING, len(waiting)))))

    async def _register(self, waiting: list[tuple[int, str]]) -> None:
        while waiting:
            index, name = waiting.pop()
            try:
                await self._client.create(NODES, node_object(name, index, self._shape, self._world.now()))
            except StatusError as error:
                if error.reason != "AlreadyExists":
                    raise

    async def stop(self) -> None:
        await asyncio.gather(*(loop.stop() for loop in self._loops))
        await self._informers.stop()
