"""VolumeAttributesClasses in use are not deleted before their users are. Source: controller/volume/vacprotection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from navarch.client.interface import Resource
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from navarch.controllers.protection import guard, own_key
from navarch.controlloop.plan import Caches, Plan, Watch
from navarch.machinery.types import Key, Obj

CLASSES = Resource("storage.k8s.io", "v1", "volumeattributesclasses", namespaced=False)
FINALIZER = "kubernetes.io/vac-protection"


@dataclass(frozen=True, slots=True)
class Observed:
    attributes: Obj
    used: bool


def classes_of(obj: Obj) -> set[str]:
    """The classes that a claim or volume names: wanted, current, and the one it is changing to."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    change = status.get("modifyVolumeStatus") or {}
    names = (
        spec.get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        change.get("targetVolumeAttributesClassName"),
    )
    return {name for name in names if name}


class AttributesClassProtectionController:
    name = "volumeattributesclass-protection-controller"

    def __init__(self) -> None:
        index: dict[str, Callable[[Obj], Iterable[str]]] = {"attributesclass": classes_of}
        self.watches = (
            Watch(CLASSES, own_key),
            Watch(PERSISTENT_VOLUME_CLAIMS, _users, index),
            Watch(PERSISTENT_VOLUMES, _users, index),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        found = caches[CLASSES].get("", key.name)
        if found is None:
            return None
        users = (PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS)
        return Observed(found, any(caches[kind].by_index("attributesclass", key.name) for kind in users))

    def reconcile(self, observed: Observed, now: float) -> Plan:
        return guard(CLASSES, observed.attributes, FINALIZER, observed.used)


def _users(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Classes that are used no more."""
    before, after = (classes_of(obj) if obj is not None else set[str]() for obj in (old, new))
    return [Key("", name) for name in before - after]
