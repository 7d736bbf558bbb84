"""What the scheduler writes: bindings, why pods wait, and who has to make room."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from navarch.api.scheduling.podgroup import SCHEDULED
from navarch.client import resources
from navarch.client.interface import Client
from navarch.controlloop.recorder import Recorder
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.preemption import BY_SCHEDULER

log = logging.getLogger(__name__)

FAILURES = (StatusError, ConnectionError, OSError)
MAX_MESSAGE = 1024
"""Longer messages are cut in events (core/v1 limits their note)."""


class Writer:
    def __init__(self, client: Client, world: World, recorder: Recorder) -> None:
        self._client = client
        self._world = world
        self._recorder = recorder

    async def bind(self, info: PodInfo, node: str) -> None:
        """Raises what the API answers, where it does not bind."""
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": info.key.name, "namespace": info.key.namespace, "uid": info.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        await self._client.create(
            resources.PODS, binding, info.key.namespace, name=info.key.name, subresource="binding"
        )
        self.bound(info, node)

    def bound(self, info: PodInfo, node: str) -> None:
        note = f"Successfully assigned {info.key} to {node}"
        self._recorder.emit(info.obj, "Normal", "Scheduled", note, "Binding")

    async def unschedulable(self, pod: Obj, message: str, nominated: str | None, reason: str = "Unschedulable") -> None:
        """The event and the condition of a pod that fits nowhere. `nominated` is where room is being made for it, ""
        where no longer; None leaves that as it is."""
        said = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 4] + " ..."
        self._recorder.emit(pod, "Warning", "FailedScheduling", said, "Scheduling")
        status: dict[str, Any] = {}
        condition = _condition(pod, "PodScheduled")
        if condition.get("message") != message or condition.get("reason") != reason:
            status["conditions"] = [self._condition(pod, "PodScheduled", "False", reason, message)]
        if nominated is not None and nominated != ((pod.get("status") or {}).get("nominatedNodeName") or ""):
            status["nominatedNodeName"] = nominated or None
        if status:
            await self._patch_status(pod, status)

    async def clear_nomination(self, pod: Obj) -> None:
        if (pod.get("status") or {}).get("nominatedNodeName"):
            await self._patch_status(pod, {"nominatedNodeName": None})

    async def evict(self, preemptor: PodInfo, victims: Sequence[PodInfo], node: str, group: Obj | None = None) -> bool:
        """Tells victims to go, one after the other; those on their way out are left alone. False where that failed.
        `group`: the PodGroup for whose pods they go, together."""
        for victim in victims:
            if victim.terminating:
                continue
            try:
                await self._evict(preemptor, victim.obj, node, group)
            except FAILURES as error:
                if isinstance(error, StatusError) and error.code == 404:
                    continue
                log.warning("preempting %s for %s: %s", victim.key, preemptor.key, error)
                return False
        return True

    async def _evict(self, preemptor: PodInfo, victim: Obj, node: str, group: Obj | None) -> None:
        meta, kind, by = victim["metadata"], "pod" if group is None else "podgroup", group or preemptor.obj
        message = f"{preemptor.scheduler}: preempting to accommodate a higher priority {kind}"
        condition = self._condition(victim, "DisruptionTarget", "True", BY_SCHEDULER, message)
        await self._patch_status(victim, {"conditions": [condition]}, tolerant=False)
        await self._client.delete(resources.PODS, meta["name"], meta["namespace"], uid=meta["uid"])
        note = f"Preempted by {kind} {by['metadata'].get('uid', '')} on node {node}"
        self._recorder.emit(victim, "Normal", "Preempted", note, "Preempting", by)

    async def group_scheduled(self, group: Obj, status: str, reason: str, message: str) -> None:
        """The condition of a PodGroup; one that was scheduled once stays so."""
        meta, known = group["metadata"], _condition(group, SCHEDULED)
        changed = {"status": status, "reason": reason, "message": message}
        if (known.get("status") == "True" and status != "True") or known == {**known, **changed}:
            return
        now = rfc3339(self._world.now())
        since = known["lastTransitionTime"] if known.get("status") == status else now
        made: Obj = {"type": SCHEDULED, **changed, "lastTransitionTime": since}
        if generation := meta.get("generation"):
            made["observedGeneration"] = generation
        patch = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": [made]}}
        where = resources.POD_GROUPS, meta["name"], patch, meta["namespace"]
        try:
            await self._client.patch(*where, type="strategic", subresource="status")
        except FAILURES as error:
            log.info("status of pod group %s/%s: %s", meta["namespace"], meta["name"], error)

    def _condition(self, pod: Obj, kind: str, status: str, reason: str, message: str) -> Obj:
        known = _condition(pod, kind)
        now = rfc3339(self._world.now())
        made: Obj = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": known.get("lastTransitionTime", now) if known.get("status") == status else now,
        }
        if generation := pod["metadata"].get("generation"):
            made["observedGeneration"] = generation
        return made

    async def _patch_status(self, pod: Obj, status: Obj, tolerant: bool = True) -> None:
        meta = pod["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "status": status}
        try:
            await self._client.patch(
                resources.PODS, meta["name"], patch, meta["namespace"], type="strategic", subresource="status"
            )
        except FAILURES as error:
            if not tolerant:
                raise
            log.info("status of %s/%s: %s", meta["namespace"], meta["name"], error)


def _condition(pod: Obj, kind: str) -> Obj:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})
