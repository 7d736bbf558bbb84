"""An APIService for every version of custom resources, kept as long as it is served.

Source: kube-aggregator's autoregister, controlplane's crdregistration. Only what carries the label is touched.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from navarch.apiserver.localservices import MANAGED
from navarch.apiserver.watchcache import Entry
from navarch.client.resources import API_SERVICES
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

log = logging.getLogger(__name__)
PAUSE_SECONDS = 0.02
"""Between two looks: whoever else writes them is answered, not raced."""
GROUP_PRIORITY, VERSION_PRIORITY = 1000, 100


def wanted(group: str, version: str) -> Obj:
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": GROUP_PRIORITY,
        "versionPriority": VERSION_PRIORITY,
    }
    return {"metadata": {"name": f"{version}.{group}", "labels": {MANAGED: "true"}}, "spec": spec}


class Registering:
    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._cache = server.caches[GroupResource(API_SERVICES.group, API_SERVICES.plural)]
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._cache.on_change(self._service_changed)

    def start(self) -> None:
        self._due.set()
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def changed(self) -> None:
        """Other custom resources are served."""
        self._due.set()

    def _service_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        if entry is None and previous is not None and _ours(previous):
            self._due.set()

    async def _run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            kinds = [kind for kind in self._server.kinds if kind.typed_items]
            served = {f"{v.version}.{v.group}": v.gv for kind in kinds for v in kind.versions}
            present = {entry.name: entry for entry in self._cache.range()}
            missing = [self._create(wanted(*gv)) for name, gv in served.items() if name not in present]
            gone = [self._delete(e.obj) for name, e in present.items() if _ours(e) and name not in served]
            await asyncio.gather(*missing, *gone)
            await self._server.world.sleep(PAUSE_SECONDS)

    async def _create(self, obj: Obj) -> None:
        try:
            await self._server.system.create(API_SERVICES, obj)
        except StatusError as error:
            if error.reason != "AlreadyExists":  # somebody else's of that name stays
                log.warning("API service %s: %s", obj["metadata"]["name"], error)

    async def _delete(self, obj: Obj) -> None:
        meta = obj["metadata"]
        try:
            await self._server.system.delete(API_SERVICES, meta["name"], uid=meta["uid"])
        except StatusError as error:
            if error.reason not in ("NotFound", "Conflict"):
                log.warning("API service %s: %s", meta["name"], error)


def _ours(entry: Entry) -> bool:
    return entry.labels.get(MANAGED) == "true"
