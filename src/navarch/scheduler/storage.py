"""Claims, volumes and classes as the scheduler sees them: what the API says, and what it has just decided itself.

All pure but for the tables. Source: plugins/volumebinding (binder.go, assume_cache.go).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from navarch.api.core.persistentvolumeclaim import class_of
from navarch.api.storage import matching
from navarch.machinery.quantity import Quantity
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import Key, Obj

BIND_CONFLICT = "node(s) didn't find available persistent volumes to bind"
NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of a pod's claims on a node: those that get a volume that is there, and those to provision for."""

    bindings: tuple[tuple[Obj, Obj], ...] = ()
    """(volume, claim)"""
    provisions: tuple[Obj, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.bindings or self.provisions)


@dataclass(slots=True)
class Storage:
    claims: dict[Key, Obj] = field(default_factory=dict)
    volumes: dict[str, Obj] = field(default_factory=dict)
    classes: dict[str, Obj] = field(default_factory=dict)
    csi_nodes: dict[str, Obj] = field(default_factory=dict)
    drivers: dict[str, Obj] = field(default_factory=dict)
    capacities: dict[Key, Obj] = field(default_factory=dict)
    attachments: dict[str, Obj] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    """Volumes that were promised to claims (by uid) which the API does not know to be theirs yet."""
    sent: dict[str, str] = field(default_factory=dict)
    """uid of claims -> the node that was chosen for them, likewise."""

    def claim(self, namespace: str, name: str) -> Obj | None:
        return self.claims.get(Key(namespace, name))

    def volumes_for(self, claim: Obj) -> list[Obj]:
        """Those of the claim's class, but for those that were promised to others."""
        wanted, uid = class_of(claim), claim["metadata"]["uid"]
        return [
            volume
            for name, volume in self.volumes.items()
            if class_of(volume) == wanted and self.taken.get(name, uid) == uid
        ]

    def selected_node(self, claim: Obj) -> str:
        annotations = claim["metadata"].get("annotations") or {}
        return self.sent.get(claim["metadata"]["uid"]) or annotations.get(matching.SELECTED_NODE, "")

    # -- on one node

    def choose(
        self, claims: Iterable[Obj], node: Obj, usable: Callable[[Obj], Iterable[Obj]] | None = None
    ) -> Choice | str:
        """How a node serves claims that wait for their consumer; or why it does not. `usable`: the volumes there that a
        claim could have, where that is known already."""
        usable = usable or self.volumes_for
        to_match: list[Obj] = []
        to_provision: list[Obj] = []
        for claim in claims:
            chosen = self.selected_node(claim)
            if chosen and chosen != node["metadata"]["name"]:
                return BIND_CONFLICT
            (to_provision if chosen else to_match).append(claim)
        bindings: list[tuple[Obj, Obj]] = []
        given: set[str] = set()
        for claim in sorted(to_match, key=lambda c: matching.size_of(c)):
            volume = matching.match(claim, usable(claim), node=node, waits=True, excluded=given)
            if volume is None:
                to_provision.append(claim)
            else:
                given.add(volume["metadata"]["name"])
                bindings.append((volume, claim))
        for claim in to_provision:
            if why := self._provisions(claim, node):
                return why
        return Choice(tuple(bindings), tuple(to_provision))

    def is_alike(self, claim: Obj) -> bool:
        """Whether a volume can be made for a claim on every node, or on none."""
        storage_class = self.classes.get(class_of(claim))
        if storage_class is None or self.selected_node(claim):
            return False
        driver = self.drivers.get(storage_class["provisioner"])
        counted = driver is not None and bool(driver["spec"].get("storageCapacity"))
        return not counted and not storage_class.get("allowedTopologies")

    def _provisions(self, claim: Obj, node: Obj) -> str:
        """Why a volume cannot be made for a claim on a node; "" where it can."""
        storage_class = self.classes.get(class_of(claim))
        if storage_class is None or storage_class["provisioner"] in ("", matching.NO_PROVISIONER):
            return BIND_CONFLICT
        labels: Mapping[str, str] = node["metadata"].get("labels") or {}
        allowed = storage_class.get("allowedTopologies") or ()
        if allowed and not any(_allows(term, labels) for term in allowed):
            return BIND_CONFLICT
        return "" if self._has_room(claim, storage_class, labels) else NO_SPACE

    def _has_room(self, claim: Obj, storage_class: Obj, labels: Mapping[str, str]) -> bool:
        """Only of drivers that say how much room there is where."""
        driver = self.drivers.get(storage_class["provisioner"])
        if driver is None or not driver["spec"].get("storageCapacity"):
            return True
        size, name = matching.size_of(claim), storage_class["metadata"]["name"]
        for capacity in self.capacities.values():
            limit = capacity.get("maximumVolumeSize") or capacity.get("capacity")
            if capacity["storageClassName"] != name or limit is None or Quantity.of(limit) < size:
                continue
            topology = capacity.get("nodeTopology")
            if topology is not None and from_label_selector(topology).matches(labels):
                return True
        return False

    # -- what was decided here

    def promise(self, choice: Choice, node: str) -> None:
        for volume, claim in choice.bindings:
            self.taken[volume["metadata"]["name"]] = claim["metadata"]["uid"]
        for claim in choice.provisions:
            self.sent[claim["metadata"]["uid"]] = node

    def forget(self, choice: Choice) -> None:
        for volume, _ in choice.bindings:
            self.taken.pop(volume["metadata"]["name"], None)
        for claim in choice.provisions:
            self.sent.pop(claim["metadata"]["uid"], None)


def _allows(term: Obj, labels: Mapping[str, str]) -> bool:
    return all(labels.get(one["key"]) in one["values"] for one in term.get("matchLabelExpressions") or ())


def is_bound(claim: Obj) -> bool:
    return bool(claim["spec"].get("volumeName")) and matching.annotated(claim, matching.BIND_COMPLETED)


def claims_named(pod: Obj) -> Iterator[tuple[str, bool]]:
    """(name of a claim, whether it is made for the pod), volume by volume."""
    for volume in pod["spec"].get("volumes") or ():
        if reference := volume.get("persistentVolumeClaim"):
            yield reference["claimName"], False
        elif volume.get("ephemeral"):
            yield f"{pod['metadata']['name']}-{volume['name']}", True


def is_for(claim: Obj, pod: Obj) -> bool:
    """Whether a claim was made for this pod."""
    owners = claim["metadata"].get("ownerReferences") or ()
    return any(o.get("controller") and o["uid"] == pod["metadata"]["uid"] for o in owners)
