"""The ConfigMaps and Secrets that the node's pods refer to: one watch for each, while any pod refers to it.

A node may read only what its pods name (the node authorizer), so there is no list of all: upstream's watch-based manager.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from navarch.client.informer import Informer
from navarch.client.interface import Client
from navarch.client.resources import CONFIG_MAPS, SECRETS
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

SYNC_SECONDS = 5.0
"""How long a pod's start waits for the first answer about an object; one that is missing is answered at once."""
LINGER_SECONDS = 10.0
"""A watch goes on so long after its last pod: the next pod of a Deployment is often near."""


class Reference(NamedTuple):
    kind: str
    namespace: str
    name: str


def references(pod: Obj) -> set[Reference]:
    """Every ConfigMap and Secret that the pod's spec names."""
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    found: set[Reference] = set()

    def add(kind: str, name: str | None) -> None:
        if name:
            found.add(Reference(kind, namespace, name))

    for secret in spec.get("imagePullSecrets") or []:
        add("Secret", secret.get("name"))
    for volume in spec.get("volumes") or []:
        add("ConfigMap", (volume.get("configMap") or {}).get("name"))
        add("Secret", (volume.get("secret") or {}).get("secretName"))
        for source in (volume.get("projected") or {}).get("sources") or []:
            add("ConfigMap", (source.get("configMap") or {}).get("name"))
            add("Secret", (source.get("secret") or {}).get("name"))
    for container in _containers(spec):
        for source in container.get("envFrom") or []:
            add("ConfigMap", (source.get("configMapRef") or {}).get("name"))
            add("Secret", (source.get("secretRef") or {}).get("name"))
        for entry in container.get("env") or []:
            value = entry.get("valueFrom") or {}
            add("ConfigMap", (value.get("configMapKeyRef") or {}).get("name"))
            add("Secret", (value.get("secretKeyRef") or {}).get("name"))
    return found


def _containers(spec: Obj) -> Iterator[Obj]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or []


class Sources:
    """`changed` is called with the uid of each pod that refers to what changed."""

    def __init__(self, client: Client, world: World, changed: Callable[[str], None]) -> None:
        self._client, self._world, self._changed = client, world, changed
        self._informers: dict[Reference, Informer] = {}
        self._users: dict[Reference, set[str]] = {}
        self._pods: dict[str, set[Reference]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, pod: Obj) -> None:
        """The pod's references from now on."""
        self._set(pod["metadata"]["uid"], references(pod))

    def forget(self, uid: str) -> None:
        self._set(uid, set())
        self._pods.pop(uid, None)

    async def ready(self, uid: str) -> None:
        """Returns once every reference of the pod was answered (or in SYNC_SECONDS)."""
        waits = [i.synced for r in self._pods.get(uid, ()) if not (i := self._informers[r]).synced.done()]
        if waits:
            await asyncio.wait([asyncio.ensure_future(asyncio.shield(w)) for w in waits], timeout=SYNC_SECONDS)

    def complete(self, uid: str) -> bool:
        """Whether every reference of the pod is there."""
        return all(self.look(*reference) is not None for reference in self._pods.get(uid, ()))

    def look(self, kind: str, namespace: str, name: str) -> Obj | None:
        informer = self._informers.get(Reference(kind, namespace, name))
        return informer.get(namespace, name) if informer else None

    def pull_secrets(self, pod: Obj) -> list[Obj]:
        """Those of its imagePullSecrets that are there."""
        named = [reference.get("name", "") for reference in pod["spec"].get("imagePullSecrets") or []]
        return [s for name in named if (s := self.look("Secret", pod["metadata"]["namespace"], name)) is not None]

    async def stop(self) -> None:
        await asyncio.gather(*(informer.stop() for informer in self._informers.values()))

    def _set(self, uid: str, wanted: set[Reference]) -> None:
        before = self._pods.get(uid, set())
        self._pods[uid] = wanted
        for reference in wanted - before:
            self._users.setdefault(reference, set()).add(uid)
            if reference not in self._informers:
                self._start(reference)
        self._drop(uid, before - wanted)

    def _drop(self, uid: str, references: Iterable[Reference]) -> None:
        for reference in references:
            self._users[reference].discard(uid)
            if not self._users[reference]:
                self._world.call_later(LINGER_SECONDS, lambda r=reference: self._end(r))

    def _start(self, reference: Reference) -> None:
        resource = CONFIG_MAPS if reference.kind == "ConfigMap" else SECRETS
        selector = f"metadata.name={reference.name}"
        informer = Informer(self._client, resource, self._world, namespace=reference.namespace, field_selector=selector)
        self._informers[reference] = informer
        _ = informer.synced
        informer.add_handler(lambda old, new: self._tell(reference))
        informer.start()

    def _tell(self, reference: Reference) -> None:
        for uid in self._users.get(reference, ()):
            self._changed(uid)

    def _end(self, reference: Reference) -> None:
        if self._users.get(reference) or reference not in self._informers:
            return
        self._users.pop(reference, None)
        task = asyncio.get_running_loop().create_task(self._informers.pop(reference).stop())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
