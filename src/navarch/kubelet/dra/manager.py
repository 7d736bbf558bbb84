"""Claims of pods, prepared by the drivers whose devices were allocated, and given back. Source: pkg/kubelet/cm/dra."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from navarch.client.interface import Client, Resource
from navarch.kubelet.dra import cdi
from navarch.kubelet.endpoint import Endpoint, PluginError, Tree
from navarch.machinery.errors import StatusError
from navarch.machinery.protobuf import Tables
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)
CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims")
SERVICES = {
    "v1.DRAPlugin": "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/",
    "v1beta1.DRAPlugin": "/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/",
}
"""What a driver says that it speaks -> the service's path; the better first. Both have the same messages."""
CALL_SECONDS = 45.0
MESSAGES: dict[str, str] = {
    "Claim": "namespace=1:string uid=2:string name=3:string",
    "Device": "request_names=1:[]string pool_name=2:string device_name=3:string cdi_device_ids=4:[]string",
    "NodePrepareResourceResponse": "devices=1:[]Device error=2:string",
    "NodePrepareResourcesRequest": "claims=1:[]Claim",
    "NodePrepareResourcesResponse": "claims=1:map<NodePrepareResourceResponse>",
    "NodeUnprepareResourceResponse": "error=1:string",
    "NodeUnprepareResourcesRequest": "claims=1:[]Claim",
    "NodeUnprepareResourcesResponse": "claims=1:map<NodeUnprepareResourceResponse>",
}
codec = Tables(MESSAGES)


class ClaimError(Exception):
    """A pod's claims cannot be prepared (yet)."""


@dataclass(frozen=True, slots=True)
class Driver:
    endpoint: Endpoint
    service: str


@dataclass(slots=True)
class Prepared:
    """A claim as its drivers have prepared it."""

    namespace: str
    name: str
    uid: str
    drivers: list[str]
    devices: list[Tree]
    """{"request_names", "cdi_device_ids"}"""
    pods: set[str] = field(default_factory=set)
    """Uids of the pods that have it."""


def claim_names(pod: Obj) -> dict[str, str]:
    """Entry of the pod's resourceClaims -> the claim's name. Raises ClaimError where a claim has not been made yet."""
    made = {s["name"]: s.get("resourceClaimName") for s in pod.get("status", {}).get("resourceClaimStatuses") or ()}
    found: dict[str, str] = {}
    for entry in pod["spec"].get("resourceClaims") or ():
        if "resourceClaimName" in entry:
            found[entry["name"]] = entry["resourceClaimName"]
        elif entry["name"] not in made:
            raise ClaimError(f"resource claim {entry['name']} has not been created yet")
        elif name := made[entry["name"]]:
            found[entry["name"]] = name
    return found


class ClaimManager:
    """`root` is the kubelet's: what is prepared is kept there, for a kubelet that starts anew."""

    def __init__(self, root: Path, client: Client, folders: Sequence[Path] = cdi.FOLDERS) -> None:
        self._file, self._client, self._folders = root / "dra_manager_state", client, folders
        self._drivers: dict[str, Driver] = {}
        self._prepared: dict[tuple[str, str], Prepared] = {}
        """(namespace, claim)"""
        self._lock = asyncio.Lock()
        with suppress(OSError, ValueError, KeyError, TypeError):
            for each in orjson.loads(self._file.read_bytes()):
                names = (each["namespace"], each["name"], each["uid"])
                prepared = Prepared(*names, each["drivers"], each["devices"], set(each["pods"]))
                self._prepared[prepared.namespace, prepared.name] = prepared

    # -- drivers

    async def register(self, name: str, endpoint: Path, versions: Sequence[str]) -> None:
        """Raises PluginError for a driver that speaks nothing known."""
        service = next((path for version, path in SERVICES.items() if version in versions), None)
        if service is None:
            raise PluginError("INVALID_ARGUMENT", f"none of {list(versions)} is supported: {list(SERVICES)} are")
        before = self._drivers.get(name)
        self._drivers[name] = Driver(Endpoint(endpoint, codec), service)
        if before is not None:
            await before.endpoint.close()

    async def forget(self, name: str) -> None:
        if (driver := self._drivers.pop(name, None)) is not None:
            await driver.endpoint.close()

    # -- claims

    async def prepare(self, pod: Obj) -> None:
        """All of a pod's claims; may be called again. Raises ClaimError."""
        names = claim_names(pod)
        if not names:
            return
        namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
        async with self._lock:
            for name in names.values():
                known = self._prepared.get((namespace, name))
                if known is None:
                    known = self._prepared[namespace, name] = await self._prepare(namespace, name, uid)
                if uid not in known.pods:
                    known.pods.add(uid)
                    self._keep()

    async def _prepare(self, namespace: str, name: str, pod_uid: str) -> Prepared:
        try:
            claim = await self._client.get(CLAIMS, name, namespace)
        except (StatusError, ConnectionError) as error:
            raise ClaimError(f"failed to fetch ResourceClaim {name}: {error}") from None
        status: Obj = claim.get("status") or {}
        if not any(each.get("uid") == pod_uid for each in status.get("reservedFor") or ()):
            raise ClaimError(f"pod {pod_uid} is not allowed to use resource claim {name} ({claim['metadata']['uid']})")
        results: list[Obj] = ((status.get("allocation") or {}).get("devices") or {}).get("results") or []
        if not status.get("allocation"):
            raise ClaimError(f"resource claim {name} is not allocated")
        drivers = sorted({result["driver"] for result in results})
        prepared = Prepared(namespace, name, claim["metadata"]["uid"], drivers, [])
        asked = {"claims": [{"namespace": namespace, "uid": prepared.uid, "name": name}]}
        for driver in drivers:
            answer = await self._ask(driver, "NodePrepareResources", asked)
            mine = (answer.get("claims") or {}).get(prepared.uid)
            if mine is None or mine.get("error"):
                why = (mine or {}).get("error") or "the driver has no answer for the claim"
                raise ClaimError(f"NodePrepareResources failed for ResourceClaim {name}: {why}")
            prepared.devices += mine.get("devices") or []
        return prepared

    async def _ask(self, name: str, method: str, asked: Tree) -> Tree:
        driver = self._drivers.get(name)
        if driver is None:
            raise ClaimError(f"DRA driver {name} is not registered")
        try:
            return await driver.endpoint.call(driver.service, method, asked, CALL_SECONDS)
        except PluginError as error:
            raise ClaimError(f"DRA driver {name}: {error}") from None

    def of(self, pod: Obj, container: Obj) -> Tree:
        """What a container is given with its claims: `envs`, `mounts` and `devices` as the CRI has them. Raises CdiError
        and ClaimError."""
        wanted = (container.get("resources") or {}).get("claims") or ()
        if not wanted:
            return {"envs": {}, "mounts": [], "devices": []}
        names, ids = claim_names(pod), list[str]()
        for each in wanted:
            prepared = self._prepared.get((pod["metadata"]["namespace"], names.get(each["name"], "")))
            if prepared is None:
                raise ClaimError(f"resource claim {each['name']} is not prepared")
            ids += _ids(prepared.devices, each.get("request") or "")
        return cdi.edits_of(dict.fromkeys(ids), self._folders)

    async def unprepare(self, pod_uid: str) -> None:
        """Gives back what a pod had; claims that no other pod has leave the node. Raises ClaimError."""
        async with self._lock:
            for key, prepared in list(self._prepared.items()):
                if pod_uid not in prepared.pods:
                    continue
                if prepared.pods == {pod_uid}:
                    claim = {"namespace": prepared.namespace, "uid": prepared.uid, "name": prepared.name}
                    for driver in prepared.drivers:
                        answer = await self._ask(driver, "NodeUnprepareResources", {"claims": [claim]})
                        if why := ((answer.get("claims") or {}).get(prepared.uid) or {}).get("error"):
                            raise ClaimError(f"NodeUnprepareResources failed for ResourceClaim {prepared.name}: {why}")
                    del self._prepared[key]
                else:
                    prepared.pods.discard(pod_uid)
                self._keep()

    def _keep(self) -> None:
        held = [
            {
                "namespace": each.namespace, "name": each.name, "uid": each.uid, "drivers": each.drivers,
                "devices": each.devices, "pods": sorted(each.pods),
            }
            for each in self._prepared.values()
        ]  # fmt: skip
        with suppress(OSError):
            self._file.write_bytes(orjson.dumps(held))


def _ids(devices: Iterable[Tree], request: str) -> Iterable[str]:
    """The names of a request's devices; of all where none is named, or the driver does not say whose they are."""
    for device in devices:
        names = [name.partition("/")[0] for name in device.get("request_names") or ()]
        if not request or not names or request in names:
            yield from device.get("cdi_device_ids") or ()
