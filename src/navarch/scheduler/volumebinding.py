"""Before a pod is bound, its claims are: the edge that promises volumes, asks for new ones, and waits until they are there.

Source: plugins/volumebinding binder.go (bindAPIUpdate, checkBindings).
"""

from __future__ import annotations

from navarch.api.storage import matching
from navarch.client.interface import Client
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from navarch.machinery.clock import World
from navarch.machinery.types import Obj, key_of
from navarch.scheduler.storage import Choice, Storage, is_bound
from navarch.scheduler.waiting import Changes


class NotBound(Exception):
    """The claims could not be bound: the pod is to be tried again."""

    plugin = "VolumeBinding"


class VolumeBinder:
    def __init__(self, client: Client, world: World, storage: Storage, timeout: float) -> None:
        self._client = client
        self._world = world
        self._storage = storage
        self._timeout = timeout
        self._changes = Changes(world)

    def something_changed(self) -> None:
        """A claim or volume is not as it was: those who wait look again."""
        self._changes.happened()

    async def bind(self, choice: Choice, node: str) -> None:
        """Returns when all claims are bound. Raises NotBound, or what the API answers."""
        for volume, claim in choice.bindings:
            await self._client.update(PERSISTENT_VOLUMES, _held(volume, claim))
        for claim in choice.provisions:
            key, meta = key_of(claim), claim["metadata"]
            chosen = {"annotations": {matching.SELECTED_NODE: node}, "uid": meta["uid"]}
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, key.name, {"metadata": chosen}, key.namespace)
        ends = self._world.now() + self._timeout
        seen: set[str] = set()
        while not self._done(choice, node, seen):
            if self._world.now() >= ends:
                raise NotBound("binding volumes: context deadline exceeded")
            await self._changes.wait(ends)

    def _done(self, choice: Choice, node: str, seen: set[str]) -> bool:
        """`seen`: claims on which the chosen node has been read; where it goes away again, provisioning has failed."""
        claims = [*(claim for _, claim in choice.bindings), *choice.provisions]
        current = [self._storage.claims.get(key_of(claim)) for claim in claims]
        if any(claim is None for claim in current):
            raise NotBound("a claim is gone")
        for claim in choice.provisions:
            now, name = self._storage.claims[key_of(claim)], claim["metadata"]["name"]
            if (now["metadata"].get("annotations") or {}).get(matching.SELECTED_NODE) == node:
                seen.add(name)
            elif name in seen:
                raise NotBound(f'provisioning failed for PVC "{name}"')
        return all(claim is not None and is_bound(claim) for claim in current)


def _held(volume: Obj, claim: Obj) -> Obj:
    """The volume, reserved for the claim; marked where that was the scheduler's doing."""
    made = {**volume, "spec": {**volume["spec"], "claimRef": matching.reference_to(claim)}}
    if matching.bound_to(volume, claim):
        return made
    annotations = {**(volume["metadata"].get("annotations") or {}), matching.BOUND_BY_CONTROLLER: "yes"}
    return {**made, "metadata": {**volume["metadata"], "annotations": annotations}}
