"""The scheduler's edge: watches pods and nodes, runs the cycle, binds, and says what happened."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from typing import Any

from navarch.client import resources
from navarch.client.informer import InformerFactory
from navarch.client.interface import Client
from navarch.controlloop.recorder import Recorder
from navarch.machinery.clock import Timer, World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of
from navarch.scheduler.cycle import Cycle, Decision
from navarch.scheduler.nodes import Nodes
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.queue import SchedulingQueue

log = logging.getLogger(__name__)

NAME = "default-scheduler"
SLICE_SECONDS = 0.004
"""How long cycles run before the event loop gets its turn."""
MAX_BINDING = 128
"""Bindings under way at once."""
DECISIONS_KEPT = 5000


class Scheduler:
    def __init__(self, client: Client, world: World, name: str = NAME) -> None:
        self._client = client
        self._world = world
        self._name = name
        self._recorder = Recorder(client, world, name)
        self._informers = InformerFactory(client, world)
        self._pods = self._informers[resources.PODS]
        self._node_informer = self._informers[resources.NODES]
        self._nodes = Nodes()
        self._cycle = Cycle(self._nodes, world.random())
        self._queue = SchedulingQueue()
        self._assumed: dict[Key, str] = {}
        """Pods whose binding is under way -> their uid."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._timer: Timer | None = None
        self._decisions: OrderedDict[Key, Decision] = OrderedDict()
        self.running = False

    async def start(self) -> None:
        """Returns when the caches are complete and scheduling has begun."""
        self._informers.start()
        await self._informers.wait_synced()
        self.running = True
        self._node_informer.add_handler(self._node_changed)
        self._pods.add_handler(self._pod_changed)

    async def stop(self) -> None:
        self.running = False
        if self._timer:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._recorder.stop()
        await self._informers.stop()

    # -- what changes

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            assert old
            self._nodes.remove_node(old["metadata"]["name"])
            return
        if old is None or _matters(old) != _matters(new):
            self._nodes.set_node(new)
            self._queue.something_changed(self._world.now())
            self._wake()

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        pod = new or old
        assert pod
        key = key_of(pod)
        if new is None or new.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            self._queue.remove(key)
            self._assumed.pop(key, None)
            self._decisions.pop(key, None) if new is None else None
            if self._nodes.remove_pod(key):
                self._queue.something_changed(self._world.now())
                self._wake()
            return
        spec = new["spec"]
        if spec.get("nodeName"):
            self._queue.remove(key)
            self._assumed.pop(key, None)
            if old is None or not old["spec"].get("nodeName") or old["spec"] is not spec:
                self._nodes.set_pod(PodInfo.of(new), spec["nodeName"])
            return
        if not self._is_ours(new) or key in self._assumed:
            return
        if old is not None and _wants(old) == _wants(new):
            return
        self._queue.add(PodInfo.of(new), self._world.now())
        self._wake()

    def _is_ours(self, pod: Obj) -> bool:
        spec = pod["spec"]
        return (
            spec.get("schedulerName", NAME) == self._name
            and not spec.get("schedulingGates")
            and "deletionTimestamp" not in pod["metadata"]
        )

    # -- scheduling

    def _wake(self) -> None:
        if not self._scheduled and self.running:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run_slice)

    def _run_slice(self) -> None:
        """Cycles until the slice is over, too many bindings are under way, or nothing is left to try."""
        self._scheduled = False
        if not self.running:
            return
        if self._timer:
            self._timer.cancel()
            self._timer = None
        ends = time.monotonic() + SLICE_SECONDS
        now = self._world.now()
        self._queue.flush(now)
        while len(self._tasks) < MAX_BINDING:
            info = self._queue.pop(now)
            if info is None:
                self._sleep(now)
                return
            self._schedule(info, now)
            if time.monotonic() > ends:
                self._wake()
                return

    def _sleep(self, now: float) -> None:
        wake = self._queue.next_wake()
        if wake is not None:
            self._timer = self._world.call_later(max(wake - now, 0.0), self._wake)

    def _schedule(self, info: PodInfo, now: float) -> None:
        decision = self._cycle.decide(info)
        self._decisions[info.key] = decision
        if len(self._decisions) > DECISIONS_KEPT:
            self._decisions.popitem(last=False)
        if decision.node:
            self._assumed[info.key] = info.uid
            self._nodes.set_pod(info, decision.node)
            self._start(self._bind(info, decision))
        else:
            self._queue.failed(info.key, now)
            self._start(self._report(info, decision))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("scheduling: %s", error, exc_info=error)
        if len(self._tasks) == MAX_BINDING - 1:
            self._wake()

    async def _bind(self, info: PodInfo, decision: Decision) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": info.key.name, "namespace": info.key.namespace, "uid": info.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": decision.node},
        }
        try:
            await self._client.create(
                resources.PODS, binding, info.key.namespace, name=info.key.name, subresource="binding"
            )
        except (StatusError, ConnectionError, OSError) as error:
            self._unassume(info, error)
            return
        self._recorder.emit(info.obj, "Normal", "Scheduled", f"Successfully assigned {info.key} to {decision.node}")

    def _unassume(self, info: PodInfo, error: Exception) -> None:
        """The binding failed: the node is as free as before, and the pod waits again unless it is gone."""
        if self._assumed.pop(info.key, None):
            self._nodes.remove_pod(info.key)
        if isinstance(error, StatusError) and error.code in (404, 409):
            log.info("binding %s: %s", info.key, error)
        else:
            log.warning("binding %s: %s", info.key, error)
        self._queue.failed(info.key, self._world.now(), at_once=True)
        self._wake()

    async def _report(self, info: PodInfo, decision: Decision) -> None:
        """The event and the condition of a pod that fits nowhere."""
        self._recorder.emit(info.obj, "Warning", "FailedScheduling", decision.message)
        known = self._pods.get(info.key.namespace, info.key.name)
        condition = _condition(known or info.obj)
        if condition.get("message") == decision.message and condition.get("reason") == "Unschedulable":
            return
        now = rfc3339(self._world.now())
        since = condition.get("lastTransitionTime", now) if condition.get("status") == "False" else now
        patch = {
            "metadata": {"uid": info.uid},
            "status": {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": decision.message,
                        "lastProbeTime": None,
                        "lastTransitionTime": since,
                    }
                ]
            },
        }
        try:
            await self._client.patch(
                resources.PODS, info.key.name, patch, info.key.namespace, type="strategic", subresource="status"
            )
        except (StatusError, ConnectionError, OSError) as error:
            log.info("reporting %s: %s", info.key, error)

    # -- saying why

    def why(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The last decision about a pod, and the nodes as they look to it now; None for a pod that is not known."""
        pod = self._pods.get(namespace, name)
        if pod is None:
            return None
        info = PodInfo.of(pod)
        decision = self._decisions.get(info.key)
        return {
            "pod": str(info.key),
            "node": info.node,
            "scheduler": info.scheduler,
            "requests": dict(info.requests),
            "decision": decision
            and {
                "node": decision.node,
                "message": decision.message,
                "feasible": decision.feasible,
                "total": decision.total,
                "score": decision.score,
            },
            "nodes": [list(row) for row in self._cycle.explain(info)],
            "gates": [gate["name"] for gate in pod["spec"].get("schedulingGates") or []],
        }


def _matters(node: Obj) -> tuple[Any, ...]:
    """What of a node the scheduler looks at: its heartbeat is not."""
    status, spec, meta = node.get("status", {}), node.get("spec", {}), node["metadata"]
    return status.get("allocatable"), spec.get("taints"), spec.get("unschedulable"), meta.get("labels")


def _wants(pod: Obj) -> tuple[Any, ...]:
    """What of a waiting pod could change whether it fits."""
    spec, meta = pod["spec"], pod["metadata"]
    return meta.get("uid"), spec, meta.get("labels"), meta.get("deletionTimestamp")


def _condition(pod: Obj) -> Obj:
    conditions = pod.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == "PodScheduled"), {})
