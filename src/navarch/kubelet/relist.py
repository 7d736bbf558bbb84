"""What the runtime has, by pod: kept current by the runtime's events and our own calls, re-listed as a fallback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from navarch.kubelet.cri import Cri, CriError
from navarch.kubelet.cri_tables import RUNNING
from navarch.kubelet.runtime_state import POD_UID, Container, PodRuntime, Sandbox, container_of, sandbox_of
from navarch.kubelet.termination import termination_message

log = logging.getLogger(__name__)

RELIST_SECONDS = 60.0
RETRY_SECONDS = 0.5
EXIT_TRIES = 8
"""An exit is told before the runtime has noted it: it is asked again at most so often, waiting twice as long each time."""
STATUS_CALLS = 16
Tree = dict[str, Any]


class RuntimeCache:
    """`changed` is called with the uid of a pod whose containers or sandboxes changed otherwise than by our own hand."""

    def __init__(
        self, cri: Cri, changed: Callable[[str], None], ended: Callable[[str, Container], None] = lambda uid, run: None
    ) -> None:
        """`changed(uid)` is called when a pod's state is other than before, `ended(uid, run)` as a container exits."""
        self._cri = cri
        self._changed, self._ended = changed, ended
        self._pods: dict[str, PodRuntime] = {}
        self._owners: dict[str, str] = {}
        """Container or sandbox id -> its pod's uid."""
        self.labels: dict[str, Tree] = {}
        """Pod's uid -> labels and annotations of one of its sandboxes: what is known of pods that nobody else knows."""
        self._stamps: dict[str, int] = {}
        self._stamp = 0
        """Counts changes; a pod that changed while a list was under way keeps what is newer than the list."""
        self._limit = asyncio.Semaphore(STATUS_CALLS)
        self._tasks: set[asyncio.Task[None]] = set()
        self.relists = 0
        self.connected = False

    def get(self, uid: str) -> PodRuntime:
        return self._pods.get(uid) or PodRuntime()

    def uids(self) -> Iterable[str]:
        return list(self._pods)

    # -- what we did ourselves

    async def refresh_sandbox(self, uid: str, sandbox: str) -> Sandbox | None:
        try:
            status = await self._cri.sandbox_status(sandbox)
        except CriError as error:
            if not error.not_found:
                raise
            self._remove(uid, sandbox)
            return None
        found = sandbox_of(status)
        self._put_sandbox(uid, found)
        return found

    async def refresh_container(self, uid: str, container: str) -> Container | None:
        try:
            status = await self._cri.container_status(container)
        except CriError as error:
            if not error.not_found:
                raise
            self._remove(uid, container)
            return None
        found = _with_message(status)
        self._put_container(uid, found)
        return found

    def expect(self, uid: str, id: str) -> None:
        """The container belongs to the pod: its exit will be noticed, however soon it comes."""
        self._owners[id] = uid

    def removed(self, uid: str, id: str) -> None:
        self._remove(uid, id)

    def forget(self, uid: str) -> None:
        """The pod is gone, with all that it had."""
        self._pods.pop(uid, None)
        self.labels.pop(uid, None)
        self._stamps.pop(uid, None)
        for id in [id for id, owner in self._owners.items() if owner == uid]:
            del self._owners[id]

    # -- lists

    async def relist(self, uid: str = "") -> None:
        """Everything, or one pod. Raises CriError."""
        began = self._stamp
        sandboxes, containers = await asyncio.gather(self._cri.sandboxes(uid), self._cri.containers(uid))
        found: dict[str, list[Any]] = {}
        for tree in sandboxes:
            owner = tree.get("labels", {}).get(POD_UID)
            if owner:
                found.setdefault(owner, []).append(self._list_sandbox(owner, tree))
                self.labels.setdefault(
                    owner, {"labels": tree.get("labels", {}), "annotations": tree.get("annotations", {})}
                )
        for tree in containers:
            owner = tree.get("labels", {}).get(POD_UID)
            if owner:
                found.setdefault(owner, []).append(self._list_container(owner, tree))
        for owner in [uid] if uid else {*self._pods, *found}:
            before = self._pods.get(owner)
            parts = [part for part in await asyncio.gather(*found.get(owner, [])) if part is not None]
            if self._stamps.get(owner, 0) > began:
                continue
            if parts:
                self._pods[owner] = _assembled(parts)
            else:
                self.forget(owner)
            if not uid and self._pods.get(owner) != before:
                self._changed(owner)
        if not uid:
            self.relists += 1

    async def _list_sandbox(self, uid: str, tree: Tree) -> Sandbox | None:
        summary = sandbox_of(tree)
        self._owners[summary.id] = uid
        known = next((s for s in self.get(uid).sandboxes if s.id == summary.id), None)
        if known and known.ready == summary.ready and (known.ips or not known.ready):
            return known
        if not summary.ready:
            return replace(known, ready=False) if known else summary
        async with self._limit:
            try:
                return sandbox_of(await self._cri.sandbox_status(summary.id))
            except CriError as error:
                if error.not_found:
                    return None
                raise

    async def _list_container(self, uid: str, tree: Tree) -> Container | None:
        self._owners[tree["id"]] = uid
        known = next((c for c in self.get(uid).all() if c.id == tree["id"]), None)
        if known and known.state == tree.get("state", 0):
            return known
        async with self._limit:
            try:
                return _with_message(await self._cri.container_status(tree["id"]))
            except CriError as error:
                if error.not_found:
                    return None
                raise

    # -- events

    async def run(self) -> None:
        """Follows the runtime until cancelled; re-lists whenever the stream had to be opened anew, and once a minute."""
        while True:
            follower = asyncio.create_task(self._follow())
            try:
                while True:
                    await asyncio.wait({follower}, timeout=RELIST_SECONDS)
                    if follower.done():
                        break
                    await self.relist()
                follower.result()
            except CriError as error:
                if self.connected:
                    log.warning("the runtime is not answering: %s", error)
                self.connected = False
            finally:
                follower.cancel()
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self.relist()
                self.connected = True
            except CriError:
                continue

    async def _follow(self) -> None:
        async for id in self._cri.exits():
            uid = self._owners.get(id)
            if uid is not None:
                task = asyncio.create_task(self._exited(uid, id))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _exited(self, uid: str, id: str) -> None:
        """Asks until the runtime has noted the exit that it told of."""
        delay = 0.004
        is_sandbox = any(s.id == id for s in self.get(uid).sandboxes)
        for _ in range(EXIT_TRIES):
            try:
                if is_sandbox:
                    sandbox = await self.refresh_sandbox(uid, id)
                    over = sandbox is None or not sandbox.ready
                else:
                    container = await self.refresh_container(uid, id)
                    over = container is None or container.exited
            except CriError as error:
                log.warning("the state of %s is unknown: %s", id, error)
                return
            if over:
                break
            await asyncio.sleep(delay)
            delay *= 2
        self._changed(uid)

    # -- the tables

    def _touch(self, uid: str) -> None:
        self._stamp += 1
        self._stamps[uid] = self._stamp

    def _put_sandbox(self, uid: str, sandbox: Sandbox) -> None:
        self._touch(uid)
        self._owners[sandbox.id] = uid
        pod = self.get(uid)
        others = [s for s in pod.sandboxes if s.id != sandbox.id]
        self._pods[uid] = replace(pod, sandboxes=_newest_first([sandbox, *others]))

    def _put_container(self, uid: str, container: Container) -> None:
        self._touch(uid)
        self._owners[container.id] = uid
        pod = self.get(uid)
        others = [c for c in pod.containers.get(container.name, ()) if c.id != container.id]
        before = next((c for c in pod.containers.get(container.name, ()) if c.id == container.id), None)
        if container.exited and (before is None or not before.exited):
            self._ended(uid, container)
        runs = {**pod.containers, container.name: _newest_first([container, *others])}
        self._pods[uid] = replace(pod, containers=runs)

    def _remove(self, uid: str, id: str) -> None:
        self._touch(uid)
        self._owners.pop(id, None)
        pod = self.get(uid)
        parts: list[Any] = [s for s in pod.sandboxes if s.id != id] + [c for c in pod.all() if c.id != id]
        if parts:
            self._pods[uid] = _assembled(parts)
        else:
            self.forget(uid)


def _with_message(status: Tree) -> Container:
    found = container_of(status)
    if found.state == RUNNING or not found.exited:
        return found
    message = termination_message(status)
    joined = f"{found.message}: {message}" if found.message and message else found.message or message
    return replace(found, message=joined)


def _newest_first(parts: list[Any]) -> tuple[Any, ...]:
    return tuple(sorted(parts, key=lambda part: (part.attempt, part.created), reverse=True))


def _assembled(parts: list[Any]) -> PodRuntime:
    containers: dict[str, list[Container]] = {}
    for part in parts:
        if isinstance(part, Container):
            containers.setdefault(part.name, []).append(part)
    sandboxes = [part for part in parts if isinstance(part, Sandbox)]
    return PodRuntime(_newest_first(sandboxes), {name: _newest_first(runs) for name, runs in containers.items()})
