"""The node's part where a volume has grown: what is on it grows too, and its claim says how that went.

Source: pkg/volume/util/operationexecutor/node_expander.go; KEP-1790 (recovery from failed expansion).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.client.interface import Client
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS
from navarch.kubelet.csi.registry import Driver
from navarch.kubelet.csi.wire import EXPAND, NODE
from navarch.kubelet.endpoint import PluginError, Tree
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

PENDING, IN_PROGRESS, INFEASIBLE = "NodeResizePending", "NodeResizeInProgress", "NodeResizeInfeasible"
NOT_REQUIRED = "volume.kubernetes.io/node-expansion-not-required"
HOPELESS = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "NOT_FOUND")
TEMPORARY = ("CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED")
"""What may still be going on, or go better next time."""
RESIZE_CONDITIONS = ("FileSystemResizePending", "Resizing", "ControllerResizeError", "NodeResizeError")
Emit = Callable[[Obj, str, str, str], None]


def state_of(claim: Obj) -> str:
    return ((claim.get("status") or {}).get("allocatedResourceStatuses") or {}).get("storage", "")


def is_due(claim: Obj, volume: Obj, seen: str) -> bool:
    """Whether the node is to do its part; `seen` is the size that it did it for last. A volume that several nodes write to
    has to grow on each of them."""
    if state_of(claim) in (PENDING, IN_PROGRESS):
        return True
    if state_of(claim) or size_of(volume) == seen or "ReadWriteMany" not in (claim["spec"].get("accessModes") or ()):
        return False
    annotations = claim["metadata"].get("annotations") or {}
    has = ((claim.get("status") or {}).get("capacity") or {}).get("storage", "0")
    return bool(seen) and Quantity.of(has) >= Quantity.of(size_of(volume)) and NOT_REQUIRED not in annotations


def size_of(volume: Obj) -> str:
    return (volume["spec"].get("capacity") or {}).get("storage", "0")


class Grower:
    def __init__(self, client: Client, world: World, emit: Emit) -> None:
        self._client, self._world, self._emit = client, world, emit

    async def grow(self, driver: Driver, request: Tree, pod: Obj, claim: Obj, volume: Obj) -> bool:
        """True where what is on the volume is as large as the volume now. Raises VolumeError."""
        name = volume["metadata"]["name"]
        was_told = state_of(claim) in (PENDING, IN_PROGRESS)
        if EXPAND not in driver.capabilities:
            if was_told:
                await self._done(claim, volume)
            return True
        try:
            if was_told and state_of(claim) != IN_PROGRESS:
                await self._write(claim, {"allocatedResourceStatuses": {"storage": IN_PROGRESS}})
            await driver.node.call(NODE, "NodeExpandVolume", request)
            if was_told:
                await self._done(claim, volume)
        except PluginError as error:
            await self._failed(claim, error)
            text = f'MountVolume.NodeExpandVolume failed for volume "{name}" : {error}'
            self._emit(pod, "Warning", "VolumeResizeFailed", text)
            if error.code == "FAILED_PRECONDITION":  # not while it is in use: the pod goes on with what it has
                return True
            raise VolumeError(text) from None
        except (StatusError, ConnectionError) as error:
            raise VolumeError(f"NodeExpandVolume failed for volume {name}: {error}") from None
        for told in (pod, claim):
            text = f'MountVolume.NodeExpandVolume succeeded for volume "{name}" '
            self._emit(told, "Normal", "FileSystemResizeSuccessful", text)
        return True

    async def _done(self, claim: Obj, volume: Obj) -> None:
        conditions = (claim.get("status") or {}).get("conditions") or ()
        left = [each for each in conditions if each["type"] not in RESIZE_CONDITIONS]
        size = {"capacity": {"storage": size_of(volume)}}
        await self._write(claim, {**size, "conditions": left or None, "allocatedResourceStatuses": None})

    async def _failed(self, claim: Obj, error: PluginError) -> None:
        if error.code in TEMPORARY or not state_of(claim):
            return
        conditions = (claim.get("status") or {}).get("conditions") or ()
        condition: dict[str, Any] = {
            "type": "NodeResizeError",
            "status": "True",
            "lastTransitionTime": rfc3339(self._world.now()),
            "message": f"failed to expand pvc with {error}",
        }
        status: Obj = {"conditions": [*(c for c in conditions if c["type"] != "NodeResizeError"), condition]}
        if error.code in HOPELESS:
            status["allocatedResourceStatuses"] = {"storage": INFEASIBLE}
        try:
            await self._write(claim, status)
        except (StatusError, ConnectionError) as problem:
            raise VolumeError(f"claim {claim['metadata']['name']}: {problem}") from None

    async def _write(self, claim: Obj, status: Obj) -> None:
        meta = claim["metadata"]
        body = {"metadata": {"uid": meta["uid"]}, "status": status}
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, meta["name"], body, meta["namespace"], subresource="status")
