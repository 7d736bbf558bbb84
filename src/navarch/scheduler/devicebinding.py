"""Before a pod is bound, its claims for devices are allocated and reserved for it, in the API.

Source: plugins/dynamicresources (bindClaim): a finalizer first, then the status.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from navarch.client.interface import Client, Resource
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj, key_of
from navarch.scheduler.devices import Given
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.volumebinding import NotBound

log = logging.getLogger(__name__)

CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims")
FINALIZER = "resource.kubernetes.io/delete-protection"
ATTEMPTS = 5


class ClaimBinder:
    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world

    async def bind(self, pod: PodInfo, claims: Sequence[Given]) -> None:
        """Raises NotBound, or what the API answers."""
        for given in claims:
            await self._bind(pod, given)

    async def free(self, claim: Obj) -> None:
        """Takes back what a claim was given; where it was written meanwhile, it is looked at again another time."""
        kept = {k: v for k, v in claim["status"].items() if k not in ("allocation", "reservedFor", "devices")}
        key = key_of(claim)
        try:
            await self._client.update(CLAIMS, {**claim, "status": kept}, key.namespace, subresource="status")
        except StatusError as error:
            if error.code not in (404, 409):
                raise
            log.info("claim %s: %s", key, error)

    async def _bind(self, pod: PodInfo, given: Given) -> None:
        key, claim = key_of(given.claim), given.claim
        for attempt in range(ATTEMPTS):
            if attempt:
                claim = await self._client.get(CLAIMS, key.name, key.namespace)
            try:
                await self._write(pod, claim, given.allocation)
                return
            except StatusError as error:
                if error.code != 409:
                    raise
        raise NotBound(f"claim {key} is changed again and again")

    async def _write(self, pod: PodInfo, claim: Obj, allocation: Obj | None) -> None:
        key, meta = key_of(claim), claim["metadata"]
        status: Obj = claim.get("status") or {}
        if meta.get("deletionTimestamp"):
            raise NotBound(f"claim {key} got deleted in the meantime")
        if allocation is not None and status.get("allocation"):
            raise NotBound(f"claim {key} got allocated elsewhere in the meantime")
        if allocation is None and not status.get("allocation"):
            raise NotBound(f"claim {key} got deallocated elsewhere in the meantime")
        if allocation is not None:
            finalizers = meta.get("finalizers") or []
            if FINALIZER not in finalizers:
                made = {**claim, "metadata": {**meta, "finalizers": [*finalizers, FINALIZER]}}
                claim = await self._client.update(CLAIMS, made, key.namespace)
            status = {**status, "allocation": {**allocation, "allocationTimestamp": rfc3339(self._world.now())}}
        consumers: list[Obj] = status.get("reservedFor") or []
        if any(consumer["uid"] == pod.uid for consumer in consumers):
            if allocation is None:
                return
        else:
            consumers = [*consumers, {"resource": "pods", "name": pod.key.name, "uid": pod.uid}]
        made = {**claim, "status": {**status, "reservedFor": consumers}}
        await self._client.update(CLAIMS, made, key.namespace, subresource="status")
