"""Whether the priority level of each flow schema is there: its condition Dangling. Source: util/flowcontrol's controller."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from navarch.apiserver.watchcache import Entry
from navarch.client.resources import FLOW_SCHEMAS, PRIORITY_LEVELS
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

log = logging.getLogger(__name__)
MANAGER = "api-priority-and-fairness-config-consumer-v1"
PAUSE_SECONDS = 0.02
"""Between two looks at all schemas: whoever else writes the condition is answered, not raced."""


class FlowStatuses:
    """Looks at all schemas after any of them, or any level, has changed."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._schemas, self._levels = (
            server.caches[GroupResource(resource.group, resource.plural)]
            for resource in (FLOW_SCHEMAS, PRIORITY_LEVELS)
        )
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._schemas.on_change(self._changed)
        self._levels.on_change(self._changed)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _changed(self, entry: Entry | None, previous: Entry | None) -> None:
        self._due.set()

    async def _run(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await asyncio.gather(*(self._tell(entry.obj) for entry in self._schemas.range()))
            await self._server.world.sleep(PAUSE_SECONDS)

    async def _tell(self, schema: Obj) -> None:
        level = schema["spec"]["priorityLevelConfiguration"]["name"]
        wanted = dangling(level, self._levels.get("", level) is not None)
        conditions = (schema.get("status") or {}).get("conditions") or ()
        found = next((c for c in conditions if c.get("type") == wanted["type"]), {})
        if all(found.get(field) == value for field, value in wanted.items()):
            return
        name = schema["metadata"]["name"]
        condition = {**wanted, "lastTransitionTime": rfc3339(self._server.world.now())}
        patch = {
            "apiVersion": FLOW_SCHEMAS.api_version,
            "kind": "FlowSchema",
            "metadata": {"name": name, "uid": schema["metadata"]["uid"]},
            "status": {"conditions": [condition]},
        }
        try:
            await self._server.system.patch(
                FLOW_SCHEMAS, name, patch, type="apply", subresource="status", field_manager=MANAGER, force=True
            )
        except StatusError as error:
            if error.reason not in ("NotFound", "Conflict"):  # it is gone, or another of its name came
                log.warning("status of flow schema %s: %s", name, error)


def dangling(level: str, exists: bool) -> Obj:
    """The condition, without its time."""
    what = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if exists:
        return {"type": "Dangling", "status": "False", "reason": "Found", "message": f"{what} and it exists"}
    message = f"{what} but there is no such object"
    return {"type": "Dangling", "status": "True", "reason": "NotFound", "message": message}
