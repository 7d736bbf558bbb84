"""Before a pod is bound, its claims for devices are allocated and reserved for it, in the API; and their devices got ready.

Source: plugins/dynamicresources (bindClaim, PreBind, Unreserve): a finalizer first, then the status.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from navarch.client.interface import Client, Resource
from navarch.client.resources import PODS
from navarch.machinery.clock import World, parse_time, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj, key_of
from navarch.scheduler.devices.extended import is_for_extended, is_unmade
from navarch.scheduler.devices.state import Devices, Given
from navarch.scheduler.plugins.dynamicresources import failure_of, is_ready
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.volumebinding import NotBound
from navarch.scheduler.waiting import Changes

log = logging.getLogger(__name__)

CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims")
FINALIZER = "resource.kubernetes.io/delete-protection"
ATTEMPTS = 5
BINDING_TIMEOUT = 600.0


class DevicesNotBound(NotBound):
    plugin = "DynamicResources"


def waits(claims: Sequence[Given]) -> bool:
    """Whether a device of the claims has to be got ready before the pod is bound."""
    for claim, given, _ in claims:
        allocation: Obj = given or (claim.get("status") or {}).get("allocation") or {}
        if any(r.get("bindingConditions") for r in (allocation.get("devices") or {}).get("results") or ()):
            return True
    return False


class ClaimBinder:
    """`timeout`: seconds that a pod waits for its devices once it has a node."""

    def __init__(self, client: Client, world: World, devices: Devices, timeout: float = BINDING_TIMEOUT) -> None:
        self._client, self._world, self._devices, self._timeout = client, world, devices, timeout
        self._changes = Changes(world)

    def something_changed(self) -> None:
        self._changes.happened()

    async def bind(
        self, pod: PodInfo, claims: Sequence[Given], written: list[Obj], pending: Callable[[], None]
    ) -> None:
        """`written` gets what is to be released where the pod is not bound after all; `pending` is called where devices
        have to be got ready. Raises NotBound, or what the API answers."""
        for given in claims:
            written.append(await self._bind(pod, given))
            if given.mappings:
                await self._tell(pod, written[-1], given.mappings)
        if waits(claims):
            pending()
            await self._wait(written)

    async def _bind(self, pod: PodInfo, given: Given) -> Obj:
        claim = given.claim
        if is_unmade(claim):
            meta = {k: v for k, v in claim["metadata"].items() if k not in ("name", "uid")}
            claim = await self._client.create(CLAIMS, {"metadata": meta, "spec": claim["spec"]}, meta["namespace"])
        key, made = key_of(claim), is_unmade(given.claim)
        try:
            for attempt in range(ATTEMPTS):
                if attempt:
                    claim = await self._client.get(CLAIMS, key.name, key.namespace)
                try:
                    return await self._write(pod, claim, given.allocation)
                except StatusError as error:
                    if error.code != 409:
                        raise
            raise DevicesNotBound(f"claim {key} is changed again and again")
        except BaseException:
            if made:
                await self.remove(claim)
            raise

    async def _write(self, pod: PodInfo, claim: Obj, allocation: Obj | None) -> Obj:
        key, meta = key_of(claim), claim["metadata"]
        status: Obj = claim.get("status") or {}
        if meta.get("deletionTimestamp"):
            raise DevicesNotBound(f"claim {key} got deleted in the meantime")
        if allocation is not None and status.get("allocation"):
            raise DevicesNotBound(f"claim {key} got allocated elsewhere in the meantime")
        if allocation is None and not status.get("allocation"):
            raise DevicesNotBound(f"claim {key} got deallocated elsewhere in the meantime")
        if allocation is not None:
            finalizers = meta.get("finalizers") or []
            if FINALIZER not in finalizers:
                made = {**claim, "metadata": {**meta, "finalizers": [*finalizers, FINALIZER]}}
                claim = await self._client.update(CLAIMS, made, key.namespace)
            status = {**status, "allocation": {**allocation, "allocationTimestamp": rfc3339(self._world.now())}}
        consumers: list[Obj] = status.get("reservedFor") or []
        if any(consumer["uid"] == pod.uid for consumer in consumers):
            if allocation is None:
                return claim
        else:
            consumers = [*consumers, {"resource": "pods", "name": pod.key.name, "uid": pod.uid}]
        made = {**claim, "status": {**status, "reservedFor": consumers}}
        return await self._client.update(CLAIMS, made, key.namespace, subresource="status")

    async def _tell(self, pod: PodInfo, claim: Obj, mappings: Sequence[Obj]) -> None:
        """The pod, of the claim that was made for its extended resources."""
        told = {"resourceClaimName": claim["metadata"]["name"], "requestMappings": list(mappings)}
        patch = {"metadata": {"uid": pod.uid}, "status": {"extendedResourceClaimStatus": told}}
        await self._client.patch(PODS, pod.key.name, patch, pod.key.namespace, type="strategic", subresource="status")

    # -- devices that have to be got ready

    async def _wait(self, claims: Sequence[Obj]) -> None:
        while True:
            late = [claim for claim in map(self._current, claims) if not is_ready(claim)]
            if not late:
                return
            ends = self._ends(late[0])
            if self._world.now() >= ends:
                self._devices.late.add(late[0]["metadata"]["uid"])
                raise DevicesNotBound(f"device binding timeout: claim={late[0]['metadata']['name']}")
            await self._changes.wait(ends)

    def _current(self, written: Obj) -> Obj:
        """The claim as it is now, or as it was written where that has not been heard of. Raises DevicesNotBound."""
        key = key_of(written)
        claim = self._devices.claims.get(key)
        if claim is None or not (claim.get("status") or {}).get("allocation"):
            return written
        if failure := failure_of(claim):
            raise DevicesNotBound(f"device binding failed: {failure}")
        return claim

    def _ends(self, claim: Obj) -> float:
        since = claim["status"]["allocation"].get("allocationTimestamp")
        return (parse_time(since) if since else self._world.now()) + self._timeout

    # -- taking back

    async def release(self, pod: PodInfo, claims: Sequence[Obj]) -> None:
        """The pod is not bound after all: nothing is reserved for it, and what was made for it goes."""
        for claim in claims:
            meta = claim["metadata"]
            patch = {
                "metadata": {"uid": meta["uid"]},
                "status": {"reservedFor": [{"$patch": "delete", "uid": pod.uid}]},
            }
            try:
                if is_for_extended(claim):
                    await self.remove(claim)
                else:
                    await self._client.patch(
                        CLAIMS, meta["name"], patch, meta["namespace"], type="strategic", subresource="status"
                    )
            except (StatusError, ConnectionError, OSError) as error:
                log.info("claim %s: %s", key_of(claim), error)

    async def free(self, claim: Obj) -> None:
        """Takes back what a claim was given; where it was written meanwhile, it is looked at again another time."""
        key = key_of(claim)
        kept = {k: v for k, v in claim["status"].items() if k not in ("allocation", "reservedFor", "devices")}
        try:
            await self._client.update(CLAIMS, {**claim, "status": kept}, key.namespace, subresource="status")
        except StatusError as error:
            if error.code not in (404, 409):
                raise
            log.info("claim %s: %s", key, error)

    async def remove(self, claim: Obj) -> None:
        """Deletes a claim that was made for extended resources, whatever it was given."""
        key = key_of(claim)
        try:
            for _ in range(ATTEMPTS):
                found = await self._client.get(CLAIMS, key.name, key.namespace)
                kept = [name for name in found["metadata"].get("finalizers") or () if name != FINALIZER]
                try:
                    made = {**found, "metadata": {**found["metadata"], "finalizers": kept}}
                    await self._client.update(CLAIMS, made, key.namespace)
                    await self._client.delete(CLAIMS, key.name, key.namespace, uid=found["metadata"]["uid"])
                    return
                except StatusError as error:
                    if error.code != 409:
                        raise
        except (StatusError, ConnectionError, OSError) as error:
            log.info("claim %s: %s", key, error)
