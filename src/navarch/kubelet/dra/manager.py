"""Claims of pods, prepared by the drivers whose devices were allocated, and given back. Source: pkg/kubelet/cm/dra."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from navarch.client.interface import Client, Resource
from navarch.kubelet.dra import cdi
from navarch.kubelet.dra.drivers import Drivers, NotRegistered
from navarch.kubelet.dra.health import Place
from navarch.kubelet.endpoint import PluginError, Tree
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims")
Key = tuple[str, str]
"""Namespace, claim."""


class ClaimError(Exception):
    """A pod's claims cannot be prepared (yet)."""


@dataclass(slots=True)
class Prepared:
    """A claim as its drivers have prepared it."""

    namespace: str
    name: str
    uid: str
    drivers: dict[str, list[Tree]]
    """Driver -> its devices: {"request_names", "pool_name", "device_name", "cdi_device_ids", "share_id"}"""
    pods: set[str] = field(default_factory=set)
    """Uids of the pods that have it."""
    done: bool = False
    """All drivers have prepared it."""

    @property
    def devices(self) -> Iterator[tuple[str, Tree]]:
        for driver, devices in self.drivers.items():
            for device in devices:
                yield driver, device

    @property
    def asked(self) -> Tree:
        return {"namespace": self.namespace, "uid": self.uid, "name": self.name}


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


def extended_claim(pod: Obj) -> Mapping[str, Any]:
    """What the scheduler tells of the claim that serves the pod's extended resources: `resourceClaimName`,
    `requestMappings`; empty where there is none."""
    return pod.get("status", {}).get("extendedResourceClaimStatus") or {}


def is_claimed(pod: Obj, container: str, resource: str) -> bool:
    """Whether a container's extended resource is served by a claim."""
    mappings: Sequence[Obj] = extended_claim(pod).get("requestMappings") or ()
    return any((m["containerName"], m["resourceName"]) == (container, resource) for m in mappings)


class ClaimManager:
    """`root` is the kubelet's: what is prepared is kept there, for a kubelet that starts anew. `ill` hears of pods (by uid)
    whose devices are not as well as before."""

    def __init__(
        self,
        root: Path,
        client: Client,
        world: World,
        node: str,
        ill: Callable[[str], None] = lambda uid: None,
        folders: Sequence[Path] = cdi.FOLDERS,
    ) -> None:
        self._file, self._client, self._world, self._folders = root / "dra_manager_state", client, world, folders
        self._ill = ill
        self.drivers = Drivers(client, world, node, self._health_changed)
        self._prepared: dict[Key, Prepared] = {}
        self._lock = asyncio.Lock()
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            for each in orjson.loads(self._file.read_bytes()):
                names = (each["namespace"], each["name"], each["uid"])
                prepared = Prepared(*names, dict(each["drivers"]), set(each["pods"]), each["done"])
                self._prepared[prepared.namespace, prepared.name] = prepared

    async def register(self, name: str, endpoint: Path, versions: Sequence[str]) -> None:
        """Raises PluginError."""
        await self.drivers.register(name, endpoint, versions)

    async def forget(self, name: str, endpoint: Path) -> None:
        await self.drivers.forget(name, endpoint)

    # -- preparing

    async def prepare(self, pod: Obj) -> None:
        """All of a pod's claims; may be called again. Raises ClaimError."""
        names = list(
            dict.fromkeys([*claim_names(pod).values(), *filter(None, [extended_claim(pod).get("resourceClaimName")])])
        )
        if all(self._is_done(pod, name) for name in names):  # its driver may be away meanwhile
            return
        async with self._lock:
            wanted = [await self._known(pod, name) for name in names]
            fresh: dict[str, list[Prepared]] = {}
            for prepared in wanted:
                self._prepared[prepared.namespace, prepared.name] = prepared
                prepared.pods.add(pod["metadata"]["uid"])
                for driver in prepared.drivers if not prepared.done else ():
                    fresh.setdefault(driver, []).append(prepared)
            self._keep()
            for driver, claims in fresh.items():
                answers = await self._ask(driver, "NodePrepareResources", claims)
                for prepared in claims:
                    prepared.drivers[driver] = list(answers[prepared.uid].get("devices") or ())
            for prepared in wanted:
                prepared.done = True
            self._keep()

    def _is_done(self, pod: Obj, name: str) -> bool:
        prepared = self._prepared.get((pod["metadata"]["namespace"], name))
        return prepared is not None and prepared.done and pod["metadata"]["uid"] in prepared.pods

    async def _known(self, pod: Obj, name: str) -> Prepared:
        """The claim as it is known here, or as it is to be prepared; nothing is changed yet. Raises ClaimError."""
        namespace, uid = pod["metadata"]["namespace"], pod["metadata"]["uid"]
        try:
            claim = await self._client.get(CLAIMS, name, namespace)
        except (StatusError, ConnectionError) as error:
            raise ClaimError(f"fetch ResourceClaim {name}: {error}") from None
        status, claim_uid = claim.get("status") or {}, claim["metadata"]["uid"]
        if not any(each.get("uid") == uid for each in status.get("reservedFor") or ()):
            shown = f"{pod['metadata']['name']} ({uid})"
            raise ClaimError(f"pod {shown} is not allowed to use ResourceClaim {name} ({claim_uid})")
        if not status.get("allocation"):
            raise ClaimError(f"ResourceClaim {name}: not allocated")
        results: Sequence[Obj] = (status["allocation"].get("devices") or {}).get("results") or ()
        drivers = sorted({result["driver"] for result in results})
        for driver in drivers:
            try:
                self.drivers.get(driver)
            except NotRegistered as error:
                raise ClaimError(str(error)) from None
        known = self._prepared.get((namespace, name))
        if known is not None and known.uid != claim_uid:
            raise ClaimError(
                f"old ResourceClaim with same name {name} and different UID {known.uid} still exists "
                "(previous pod force-deleted?!)"
            )
        return known or Prepared(namespace, name, claim_uid, {driver: [] for driver in drivers})

    async def _ask(self, driver: str, method: str, claims: Sequence[Prepared]) -> Mapping[str, Tree]:
        """What a driver answers for each claim, by uid. Raises ClaimError where it fails for any."""
        try:
            answer = await self.drivers.ask(driver, method, {"claims": [claim.asked for claim in claims]})
        except NotRegistered as error:
            raise ClaimError(str(error)) from None
        except PluginError as error:
            raise ClaimError(f"{method}: {error}") from None
        answers: Mapping[str, Tree] = answer.get("claims") or {}
        by_uid = {claim.uid: claim for claim in claims}
        for uid, one in answers.items():
            if uid not in by_uid:
                raise ClaimError(f"{method} returned result for unknown claim UID {uid}")
            if one.get("error"):
                raise ClaimError(f"{method} failed for ResourceClaim {by_uid[uid].name}: {one['error']}")
        if missing := len(claims) - len(answers):
            raise ClaimError(f"{method} skipped {missing} ResourceClaims")
        return answers

    async def unprepare(self, pod_uid: str) -> None:
        """Gives back what a pod had; claims that no other pod has leave the node. Raises ClaimError."""
        async with self._lock:
            mine = {key: prepared for key, prepared in self._prepared.items() if pod_uid in prepared.pods}
            last = {key: prepared for key, prepared in mine.items() if prepared.pods == {pod_uid}}
            by_driver: dict[str, list[Prepared]] = {}
            for prepared in last.values():
                for driver in prepared.drivers:
                    by_driver.setdefault(driver, []).append(prepared)
            for driver, claims in by_driver.items():
                await self._ask(driver, "NodeUnprepareResources", claims)
            for key, prepared in mine.items():
                if key in last:
                    del self._prepared[key]
                else:
                    prepared.pods.discard(pod_uid)
            if mine:
                self._keep()

    def _keep(self) -> None:
        held = [
            {
                "namespace": each.namespace, "name": each.name, "uid": each.uid, "drivers": each.drivers,
                "pods": sorted(each.pods), "done": each.done,
            }
            for each in self._prepared.values()
        ]  # fmt: skip
        with suppress(OSError):
            self._file.write_bytes(orjson.dumps(held))

    # -- containers

    def of(self, pod: Obj, container: Obj) -> Tree:
        """What a container is given with its claims: `envs`, `mounts` and `devices` as the CRI has them. Raises CdiError
        and ClaimError."""
        ids: list[str] = []
        for name, request in _wanted(pod, container):
            prepared = self._prepared.get((pod["metadata"]["namespace"], name))
            if prepared is None:
                raise ClaimError(f"unable to get claim info for ResourceClaim {name}")
            for _, device in _of_request(prepared, request):
                ids += device.get("cdi_device_ids") or ()
        if not ids:
            return {"envs": {}, "mounts": [], "devices": []}
        return cdi.edits_of(dict.fromkeys(ids), self._folders)

    def claimed(self, pod: Obj, container: Obj) -> list[tuple[Prepared, list[tuple[str, Tree]]]]:
        """The claims of a container, each once with (driver, device) of those that it uses. Raises ClaimError."""
        found: dict[str, tuple[Prepared, list[tuple[str, Tree]]]] = {}
        for name, request in _wanted(pod, container):
            if (prepared := self._prepared.get((pod["metadata"]["namespace"], name))) is not None:
                _, devices = found.setdefault(name, (prepared, []))
                devices += [each for each in _of_request(prepared, request) if each not in devices]
        return list(found.values())

    # -- health

    def status(self, pod: Obj, container: Obj) -> list[Obj]:
        """`allocatedResourcesStatus` of a container: how the devices of its claims are."""
        made: list[Obj] = []
        names: Mapping[str, str] = {}
        with suppress(ClaimError):
            names = claim_names(pod)
        for each in (container.get("resources") or {}).get("claims") or ():
            prepared = self._prepared.get((pod["metadata"]["namespace"], names.get(each["name"], "")))
            if prepared is None:
                continue
            request = each.get("request") or ""
            found = {one["resourceID"]: one for one in self._resources(_of_request(prepared, request))}
            if found:
                shown = f"claim:{each['name']}" + (f"/{request}" if request else "")
                made.append({"name": shown, "resources": [found[id] for id in sorted(found)]})
        return made

    def _resources(self, devices: Iterable[tuple[str, Tree]]) -> Iterator[Obj]:
        for driver, device in devices:
            place = (device.get("pool_name", ""), device.get("device_name", ""))
            health = self.drivers.health.of(driver, place, self._world.now())
            id = (device.get("cdi_device_ids") or [f"{driver}/{place[0]}/{place[1]}"])[0]
            yield {
                "resourceID": id,
                "health": health.state,
                **({"message": health.message} if health.message else {}),
            }

    def _health_changed(self, driver: str, places: set[Place]) -> None:
        for prepared in self._prepared.values():
            devices = prepared.drivers.get(driver, ())
            if any((d.get("pool_name", ""), d.get("device_name", "")) in places for d in devices):
                for uid in prepared.pods:
                    self._ill(uid)


def _wanted(pod: Obj, container: Obj) -> Iterator[tuple[str, str]]:
    """(claim, request; "" for all of it) of a container, those for its extended resources among them. Raises ClaimError."""
    wanted = (container.get("resources") or {}).get("claims") or ()
    names = claim_names(pod) if wanted else {}
    for each in wanted:
        if name := names.get(each["name"]):
            yield name, each.get("request") or ""
    extended = extended_claim(pod)
    for mapping in extended.get("requestMappings") or ():
        if mapping["containerName"] == container["name"]:
            yield extended["resourceClaimName"], mapping["requestName"]


def _of_request(prepared: Prepared, request: str) -> Iterator[tuple[str, Tree]]:
    """A request's devices; all where none is named, or the driver does not say whose they are."""
    base = request.partition("/")[0]
    for driver, device in prepared.devices:
        names = [name.partition("/")[0] for name in device.get("request_names") or ()]
        if not base or not names or base in names:
            yield driver, device
