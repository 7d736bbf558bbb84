"""Writes pods' statuses: one patch per pod under way, the newest status wins, and what failed is tried again.

A strategic merge patch that names the uid, as upstream's status manager sends: conditions that others own are left
alone, and a status never lands on a pod of the same name that came after.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from navarch.client.interface import Client
from navarch.client.resources import PODS
from navarch.kubelet.status import RESIZING
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)

WRITES_AT_ONCE = 16
RETRY_FIRST, RETRY_LAST = 0.1, 10.0
OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled", *RESIZING)
MERGED = {"podIPs": "ip", "hostIPs": "ip"}
"""Lists that a strategic merge patch merges by a key: replaced as a whole instead."""


def status_patch(before: Obj, after: Obj) -> Obj:
    """What changes between two statuses; empty where nothing does."""
    patch: Obj = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if name == "conditions":
            known, kept = {c["type"]: c for c in old or []}, {c["type"] for c in new or []}
            gone = [{"$patch": "delete", "type": name} for name in known if name in RESIZING and name not in kept]
            if changed := gone + [_whole(known.get(c["type"], {}), c) for c in new or [] if known.get(c["type"]) != c]:
                patch["conditions"] = changed
        elif name in MERGED and old and new:
            patch[name] = [{"$patch": "replace"}, *new]
        else:
            patch[name] = new
    return patch


def _whole(old: Obj, new: Obj) -> Obj:
    """A condition as its patch: what it does not say any more is taken away."""
    return {**{name: None for name in old if name not in new}, **new}


@dataclass(slots=True)
class _Record:
    pod: Obj
    written: Obj
    wanted: Obj
    task: asyncio.Task[None] | None = None
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False


class StatusWriter:
    def __init__(self, client: Client, world: World) -> None:
        self._client, self._world = client, world
        self._records: dict[str, _Record] = {}
        self._limit = asyncio.Semaphore(WRITES_AT_ONCE)

    def set(self, pod: Obj, status: Obj) -> None:
        """Soon: the API's status becomes this one."""
        uid = pod["metadata"]["uid"]
        record = self._records.get(uid)
        if record is None:
            before = pod.get("status") or {}
            record = self._records[uid] = _Record(pod, before, before)
            record.idle.set()
        record.wanted = status
        if record.task is None and not record.gone and status_patch(record.written, status):
            record.idle.clear()
            record.task = asyncio.get_running_loop().create_task(self._write(record))

    def observed(self, pod: Obj) -> bool:
        """A newer object came from the API. True where somebody else changed what only the kubelet may say."""
        record = self._records.get(pod["metadata"]["uid"])
        if record is None or record.task is not None:
            return False
        status = pod.get("status") or {}
        ours = {c["type"]: c["status"] for c in record.written.get("conditions") or [] if c["type"] in OWN_CONDITIONS}
        theirs = {c["type"]: c["status"] for c in status.get("conditions") or [] if c["type"] in OWN_CONDITIONS}
        meant = int(pod["metadata"]["resourceVersion"]) >= int(record.pod["metadata"]["resourceVersion"])
        if meant and (ours != theirs or status.get("phase") != record.written.get("phase")):
            record.pod, record.written = pod, status
            return True
        return False

    async def settled(self, uid: str) -> None:
        """Returns once nothing is left to be written of the pod."""
        if record := self._records.get(uid):
            await record.idle.wait()

    async def delete(self, pod: Obj) -> bool:
        """Ends the pod's life in the API. False where no answer came: to be tried again."""
        meta = pod["metadata"]
        try:
            await self._client.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"], grace_period_seconds=0)
        except StatusError as error:
            if error.code not in (404, 409):
                log.warning("pod %s/%s could not be deleted: %s", meta["namespace"], meta["name"], error.message)
                return False
        except (ConnectionError, OSError):
            return False
        return True

    def forget(self, uid: str) -> None:
        record = self._records.pop(uid, None)
        if record:
            record.gone = True
            record.idle.set()

    async def stop(self) -> None:
        for record in self._records.values():
            if record.task:
                record.task.cancel()
                with suppress(asyncio.CancelledError):
                    await record.task

    async def _write(self, record: _Record) -> None:
        delay = RETRY_FIRST
        meta = record.pod["metadata"]
        try:
            while not record.gone and (patch := status_patch(record.written, record.wanted)):
                wanted = record.wanted
                body: dict[str, Any] = {"metadata": {"uid": meta["uid"]}, "status": patch}
                try:
                    async with self._limit:
                        answer = await self._client.patch(
                            PODS, meta["name"], body, meta["namespace"], type="strategic", subresource="status"
                        )
                    record.written, record.pod = wanted, answer
                    delay = RETRY_FIRST
                    continue
                except StatusError as error:
                    if error.code in (404, 409):
                        record.gone = True
                        return
                    log.warning("status of %s/%s refused: %s", meta["namespace"], meta["name"], error.message)
                except (ConnectionError, OSError) as error:
                    log.info("status of %s/%s not written yet: %s", meta["namespace"], meta["name"], error)
                await self._world.sleep(delay)
                delay = min(delay * 2, RETRY_LAST)
        finally:
            record.task = None
            record.idle.set()
