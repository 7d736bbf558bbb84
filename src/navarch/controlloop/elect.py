"""Leader election on a Lease: of many equal processes, one acts.

Source of the rules: client-go's leaderelection. The holder renews within `renew_seconds` or steps down; others take
over once they themselves have seen no renewal for `lease_seconds` (their own clock counts, never the holder's).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from navarch.client.interface import Client
from navarch.client.resources import LEASES
from navarch.machinery import trees
from navarch.machinery.clock import World, rfc3339_micro
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

JITTER = 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Election:
    """Which Lease, and the timing. Upstream's defaults."""

    name: str
    identity: str
    namespace: str = "kube-system"
    lease_seconds: int = 15
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0


class Elector:
    """`run` waits for leadership, awaits `lead()`, and returns when the lead is lost or `lead` ends."""

    def __init__(self, client: Client, world: World, election: Election) -> None:
        self.leading = False
        self._client = client
        self._world = world
        self._election = election
        self._seen: Obj | None = None
        self._seen_at = 0.0

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        while not await self.attempt():
            await self._world.sleep(self._election.retry_seconds * (1 + self._world.random().random() * JITTER))
        self.leading = True
        work = asyncio.ensure_future(lead())
        renewing = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({work, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leading = False
            for task in (work, renewing):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def _renew(self) -> None:
        """Returns when no renewal got through for `renew_seconds`."""
        renewed = self._world.now()
        while True:
            await self._world.sleep(self._election.retry_seconds)
            if await self.attempt():
                renewed = self._world.now()
            elif self._world.now() - renewed >= self._election.renew_seconds:
                return

    async def release(self) -> None:
        """Gives the lead up, so that another need not wait for the lease to run out."""
        if self._seen is None or self._holder(self._seen) != self._election.identity:
            return
        lease = trees.copy(self._seen)
        lease["spec"].update({"holderIdentity": "", "leaseDurationSeconds": 1})
        with suppress(StatusError, ConnectionError):
            await self._client.update(LEASES, lease, self._election.namespace)

    async def attempt(self) -> bool:
        """Takes or renews the lease; False where another holds it or the API did not take it."""
        try:
            return await self._attempt()
        except (StatusError, ConnectionError, OSError):
            return False

    async def _attempt(self) -> bool:
        election, now = self._election, self._world.now()
        try:
            lease = await self._client.get(LEASES, election.name, election.namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            self._remember(await self._client.create(LEASES, self._new_lease(now), election.namespace), now)
            return True
        if self._seen is None or self._seen.get("spec") != lease.get("spec"):
            self._remember(lease, now)
        mine = self._holder(lease) == election.identity
        if self._holder(lease) and not mine and now < self._seen_at + self._duration(lease):
            return False
        changed = trees.copy(lease)
        changed["spec"] = self._spec(lease.get("spec") or {}, now, mine)
        self._remember(await self._client.update(LEASES, changed, election.namespace), now)
        return True

    def _remember(self, lease: Obj, now: float) -> None:
        self._seen, self._seen_at = lease, now

    def _duration(self, lease: Obj) -> float:
        return float(trees.get(lease, "spec", "leaseDurationSeconds", default=self._election.lease_seconds))

    @staticmethod
    def _holder(lease: Obj) -> str:
        return trees.get(lease, "spec", "holderIdentity", default="")

    def _spec(self, old: Obj, now: float, mine: bool) -> Obj:
        stamp = rfc3339_micro(now)
        return {
            **old,
            "holderIdentity": self._election.identity,
            "leaseDurationSeconds": self._election.lease_seconds,
            "acquireTime": old.get("acquireTime", stamp) if mine else stamp,
            "renewTime": stamp,
            "leaseTransitions": old.get("leaseTransitions", 0) + (0 if mine else 1),
        }

    def _new_lease(self, now: float) -> Obj:
        spec = self._spec({}, now, True)
        return {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {"name": self._election.name, "namespace": self._election.namespace},
            "spec": spec,
        }
