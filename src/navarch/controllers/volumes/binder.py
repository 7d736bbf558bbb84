"""The persistent volume binder: claims and volumes in one queue, for each round may write both.

A claim's key has a namespace, a volume's has none. Source: pkg/controller/volume/persistentvolume.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

from navarch.api.core.persistentvolumeclaim import class_of
from navarch.api.storage.matching import BIND_COMPLETED, annotated, default_class
from navarch.client.interface import Client
from navarch.client.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from navarch.controllers import objects
from navarch.controllers.protection import claim_index, claims_of
from navarch.controllers.volumes import claims, reclaim
from navarch.controlloop.plan import Caches, Lister, Plan, Watch
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Key, Obj, key_of

Observed: TypeAlias = "claims.ObservedClaim | reclaim.ObservedVolume"
RECYCLER = "recycler-for-"


def _text(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"


def _for_claim(volume: Obj) -> Iterable[str]:
    reference = volume["spec"].get("claimRef")
    return [_text(reference.get("namespace", ""), reference.get("name", ""))] if reference else ()


def _of_class(volume: Obj) -> Iterable[str]:
    return (class_of(volume),)


def _unbound_class(claim: Obj) -> Iterable[str]:
    return () if annotated(claim, BIND_COMPLETED) else (class_of(claim),)


def _named_volume(claim: Obj) -> Iterable[str]:
    name = claim["spec"].get("volumeName")
    return (name,) if name else ()


class BinderController:
    name = "persistentvolume-controller"

    def __init__(self, client: Client) -> None:
        self._client = client
        self.watches = (
            Watch(PERSISTENT_VOLUME_CLAIMS, _claim_changed, {"unbound": _unbound_class, "volume": _named_volume}),
            Watch(PERSISTENT_VOLUMES, _volume_changed, {"for": _for_claim, "class": _of_class}),
            Watch(STORAGE_CLASSES, _class_changed),
            Watch(PODS, _pod_changed, {"claim": claim_index}),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        if key.namespace:
            claim = caches[PERSISTENT_VOLUME_CLAIMS].get(key.namespace, key.name)
            return None if claim is None else _observe_claim(claim, caches)
        volume = caches[PERSISTENT_VOLUMES].get("", key.name)
        if volume is None:
            return None
        reference = volume["spec"].get("claimRef") or {}
        return _observe_volume(volume, caches, lambda: self._confirm_gone(reference))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        if isinstance(observed, claims.ObservedClaim):
            return claims.reconcile(observed)
        return reclaim.reconcile(observed)

    async def _confirm_gone(self, reference: Obj) -> None:
        try:
            found = await self._client.get(PERSISTENT_VOLUME_CLAIMS, reference["name"], reference["namespace"])
        except StatusError as error:
            if error.code != 404:
                raise
            return
        if found["metadata"]["uid"] == reference["uid"]:
            resource = GroupResource("", PERSISTENT_VOLUME_CLAIMS.plural)
            raise errors.conflict(resource, reference["name"], "the cache lags behind")


def _observe_claim(claim: Obj, caches: Caches) -> claims.ObservedClaim:
    volumes, classes = caches[PERSISTENT_VOLUMES], caches[STORAGE_CLASSES]
    name = claim["spec"].get("volumeName")
    volume = volumes.get("", name) if name else None
    if annotated(claim, BIND_COMPLETED):
        return claims.ObservedClaim(claim, volume, (), None, None, ())
    text = _text(*key_of(claim))
    named = class_of(claim)
    candidates = {v["metadata"]["name"]: v for v in volumes.by_index("class", named)}
    candidates.update({v["metadata"]["name"]: v for v in volumes.by_index("for", text)})
    waiting = sorted(
        pod["metadata"]["name"]
        for pod in caches[PODS].by_index("claim", text)
        if not pod["spec"].get("nodeName") and not objects.is_terminal(pod)
    )
    storage_class = classes.get("", named) if named else None
    return claims.ObservedClaim(
        claim, volume, list(candidates.values()), storage_class, default_class(classes.list()), waiting
    )


def _observe_volume(volume: Obj, caches: Caches, confirm: Callable[[], Awaitable[None]]) -> reclaim.ObservedVolume:
    reference = volume["spec"].get("claimRef") or {}
    namespace, name = reference.get("namespace", ""), reference.get("name", "")
    claim = caches[PERSISTENT_VOLUME_CLAIMS].get(namespace, name) if namespace else None
    pods: Lister = caches[PODS]
    users = sorted(
        _text(*key_of(pod)) for pod in pods.by_index("claim", _text(namespace, name)) if not objects.is_terminal(pod)
    )
    return reclaim.ObservedVolume(volume, claim, users, pods.get(*reclaim.recycler_key(volume)), confirm)


# -- who is to be looked at when something changed


def _claim_changed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    keys: set[Key] = {key_of(new)} if new is not None else set()
    for claim in (old, new):
        if claim is not None:
            keys.update(Key("", name) for name in _named_volume(claim))
            reserved = caches[PERSISTENT_VOLUMES].by_index("for", _text(*key_of(claim)))
            keys.update(key_of(volume) for volume in reserved)
    return keys


def _volume_changed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    keys: set[Key] = {key_of(new)} if new is not None else set()
    listed = caches[PERSISTENT_VOLUME_CLAIMS]
    for volume in (old, new):
        if volume is None:
            continue
        keys.update(key_of(claim) for claim in listed.by_index("volume", volume["metadata"]["name"]))
        reference = volume["spec"].get("claimRef")
        if reference is not None:
            keys.add(Key(reference.get("namespace", ""), reference.get("name", "")))
    free = new is not None and new["spec"].get("claimRef") is None
    if new is not None and free and (new.get("status") or {}).get("phase") == "Available":
        keys.update(key_of(claim) for claim in listed.by_index("unbound", class_of(new)))
    return keys


def _class_changed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    if new is None:
        return ()
    listed = caches[PERSISTENT_VOLUME_CLAIMS]
    return [key_of(c) for name in (new["metadata"]["name"], "") for c in listed.by_index("unbound", name)]


def _pod_changed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Claims whose first consumer has come or has been placed; a volume whose recycler has ended, or whose users have."""
    if old is not None and new is not None and _state(old) == _state(new):
        return ()
    pod = new or old
    assert pod is not None
    meta = pod["metadata"]
    keys = {Key(meta["namespace"], name) for name in claims_of(pod)}
    if meta["namespace"] == reclaim.RECYCLER_NAMESPACE and meta["name"].startswith(RECYCLER):
        keys.add(Key("", meta["name"].removeprefix(RECYCLER)))
    if new is None or objects.is_terminal(new):
        for key in list(keys):
            keys.update(key_of(volume) for volume in caches[PERSISTENT_VOLUMES].by_index("for", _text(*key)))
    return keys


def _state(pod: Obj) -> tuple[str | None, bool]:
    return pod["spec"].get("nodeName"), objects.is_terminal(pod)
