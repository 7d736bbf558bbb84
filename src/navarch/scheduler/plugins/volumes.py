"""VolumeBinding and VolumeZone: nodes that a pod's volumes reach, or on which volumes can be had for its claims.

Sources: plugins/volumebinding, plugins/volumezone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from navarch.api.core.persistentvolumeclaim import class_of
from navarch.api.storage import matching
from navarch.machinery.types import Obj
from navarch.scheduler.nodemasks import NodeMasks
from navarch.scheduler.nodes import Bools, Ints, Nodes
from navarch.scheduler.plugins.interface import Refusal, Rejected, View
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.storage import (
    BIND_CONFLICT,
    NO_SPACE,
    NO_VOLUME,
    NODE_CONFLICT,
    Choice,
    Storage,
    claims_named,
    is_bound,
    is_for,
)

ZONE_CONFLICT = "node(s) had no available volume zone"
_GA = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_ZONES = (*_GA, *_GA.values())


def claims_of(pod: PodInfo, storage: Storage) -> list[Obj] | str:
    """A pod's claims, or why it has to wait for one of them."""
    found: list[Obj] = []
    for name, own in claims_named(pod.obj):
        claim = storage.claim(pod.key.namespace, name)
        if claim is None:
            if own:
                return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
            return f'persistentvolumeclaim "{name}" not found'
        if (claim.get("status") or {}).get("phase") == "Lost":
            lost = claim["spec"].get("volumeName", "")
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{lost}"'
        if claim["metadata"].get("deletionTimestamp"):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if own and not is_for(claim, pod.obj):
            return f"PVC {pod.key.namespace}/{name} was not created for pod {pod.key} (pod is not owner)"
        found.append(claim)
    return found


def delayed_of(claims: Sequence[Obj], storage: Storage) -> list[Obj] | str:
    """Those that wait for their first consumer; or that others should have been bound by now."""
    found: list[Obj] = []
    for claim in claims:
        if is_bound(claim):
            continue
        waits = matching.waits_for_consumer(storage.classes.get(class_of(claim)))
        if not waits or claim["spec"].get("volumeName"):
            return "pod has unbound immediate PersistentVolumeClaims"
        found.append(claim)
    return found


class VolumeBinding:
    name = "VolumeBinding"
    filters = True
    weight = 0

    def __init__(self) -> None:
        self._masks = NodeMasks()

    def prepare(self, pod: PodInfo, view: View) -> Any:
        if not pod.claims:
            return None
        storage = view.around.storage
        claims = claims_of(pod, storage)
        if isinstance(claims, str):
            return Rejected(claims)
        delayed = delayed_of(claims, storage)
        if isinstance(delayed, str):
            return Rejected(delayed)
        bound = [storage.volumes.get(c["spec"]["volumeName"]) for c in claims if is_bound(c)]
        return bound, delayed

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        bound, delayed = prepared
        nodes = view.nodes
        found: list[Refusal] = []
        if any(volume is None for volume in bound):
            found.append(Refusal(nodes.alive, NO_VOLUME, True))
        far = np.zeros(len(nodes.alive), bool)
        for volume in bound:
            if volume is not None and volume["spec"].get("nodeAffinity"):
                far |= ~self._reached(volume, nodes)
        found.append(Refusal(nodes.alive & far, NODE_CONFLICT, True))
        if delayed:
            found += self._unserved(delayed, view)
        return found

    def _reached(self, volume: Obj, nodes: Nodes) -> Bools:
        slots = _slots_at(volume, nodes)
        if slots is None:
            key = orjson.dumps(volume["spec"]["nodeAffinity"], option=orjson.OPT_SORT_KEYS)
            return self._masks.ask(nodes, key, lambda node: matching.reaches(volume, node))
        found = np.zeros(len(nodes.alive), bool)
        found[slots] = True
        return found

    def _unserved(self, claims: Sequence[Obj], view: View) -> list[Refusal]:
        """Nodes that have no volume for some claim, and cannot be given one."""
        nodes, storage = view.nodes, view.around.storage
        masks = {reason: np.zeros(len(nodes.alive), bool) for reason in (BIND_CONFLICT, NO_SPACE)}
        usable = {c["metadata"]["uid"]: matching.usable(c, storage.volumes_for(c)) for c in claims}
        if len(claims) == 1 and any(_is_everywhere(v) for v in usable[claims[0]["metadata"]["uid"]]):
            return []
        here = self._by_slot(usable, nodes)
        asked = view.affine & view.tolerated
        slots: Iterable[int] = np.flatnonzero(asked).tolist()
        if all(storage.is_alike(claim) for claim in claims):
            bare = next((slot for slot in slots if slot not in here), None)
            if bare is not None and isinstance(why := storage.choose(claims, _node(nodes, bare), lambda _: ()), str):
                masks[why] |= asked
            slots = [slot for slot in here if asked[slot]]
        for slot in slots:
            choice = storage.choose(claims, _node(nodes, slot), _of(here.get(slot, {})))
            for reason, mask in masks.items():
                mask[slot] = choice == reason
        return [Refusal(mask, reason, True) for reason, mask in masks.items()]

    def _by_slot(self, usable: Mapping[str, Sequence[Obj]], nodes: Nodes) -> dict[int, dict[str, list[Obj]]]:
        """Slot -> uid of a claim -> the volumes there that it could have; slots where no claim could have any are left out."""
        found: dict[int, dict[str, list[Obj]]] = {}
        for uid, volumes in usable.items():
            for volume in volumes:
                slots = _slots_at(volume, nodes)
                if slots is None:
                    mask = nodes.alive if _is_everywhere(volume) else self._reached(volume, nodes)
                    slots = np.flatnonzero(mask).tolist()
                for slot in slots:
                    found.setdefault(slot, {}).setdefault(uid, []).append(volume)
        return found

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        return None

    @staticmethod
    def choose(pod: PodInfo, storage: Storage, node: Obj) -> Choice | str:
        """What becomes of the pod's claims on the node that was chosen."""
        claims = claims_of(pod, storage)
        delayed = claims if isinstance(claims, str) else delayed_of(claims, storage)
        return delayed if isinstance(delayed, str) else storage.choose(delayed, node)


def _of(volumes: Mapping[str, Sequence[Obj]]) -> Callable[[Obj], Iterable[Obj]]:
    return lambda claim: volumes.get(claim["metadata"]["uid"], ())


def _is_everywhere(volume: Obj) -> bool:
    return not (volume["spec"].get("nodeAffinity") or {}).get("required")


def _slots_at(volume: Obj, nodes: Nodes) -> list[int] | None:
    """The nodes that a volume reaches, where it is on those of a label's values, as local volumes are; None elsewhere."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required") or {}
    terms: list[Obj] = required.get("nodeSelectorTerms") or []
    if len(terms) != 1 or terms[0].get("matchFields") or len(terms[0].get("matchExpressions") or ()) != 1:
        return None
    one = terms[0]["matchExpressions"][0]
    if one["operator"] != "In":
        return None
    topology = nodes.topology(one["key"])
    return [slot for value in one.get("values") or () for slot in topology.slots_of(value)]


def _node(nodes: Nodes, slot: int) -> Obj:
    node = nodes.objects[slot]
    assert node is not None
    return node


def _unbound(claim: Obj, storage: Storage) -> str:
    """Why nothing is known of the zones of a claim without a volume; "" where it waits for its first consumer."""
    name = class_of(claim)
    if not name:
        return "PersistentVolumeClaim had no pv name and storageClass name"
    if name not in storage.classes:
        return f'storageclass.storage.k8s.io "{name}" not found'
    return "" if matching.waits_for_consumer(storage.classes[name]) else "PersistentVolume had no name"


class VolumeZone:
    """For volumes that say by their labels in which zones and regions they are."""

    name = "VolumeZone"
    filters = True
    weight = 0

    def __init__(self) -> None:
        self._masks = NodeMasks()

    def prepare(self, pod: PodInfo, view: View) -> Any:
        storage = view.around.storage
        wanted: list[tuple[str, frozenset[str]]] = []
        for name in pod.claims:
            claim = storage.claim(pod.key.namespace, name)
            if claim is None:
                return Rejected(f'persistentvolumeclaim "{name}" not found')
            bound = claim["spec"].get("volumeName")
            if not bound:
                if why := _unbound(claim, storage):
                    return Rejected(why)
                continue
            volume = storage.volumes.get(bound)
            if volume is None:
                return Rejected(f'persistentvolume "{bound}" not found')
            labels = volume["metadata"].get("labels") or {}
            wanted += [(key, frozenset(labels[key].split("__"))) for key in _ZONES if key in labels]
        return wanted or None

    def refusals(self, prepared: Any, pod: PodInfo, view: View) -> Sequence[Refusal]:
        def is_elsewhere(node: Obj) -> bool:
            labels = node["metadata"].get("labels") or {}
            return any(key in labels for key in _ZONES) and any(
                labels.get(key, labels.get(_GA.get(key, key))) not in zones for key, zones in prepared
            )

        mask = self._masks.ask(view.nodes, tuple(prepared), is_elsewhere)
        return [Refusal(mask, ZONE_CONFLICT, True)]

    def score(self, prepared: Any, pod: PodInfo, view: View, feasible: Ints) -> Ints | None:
        return None
