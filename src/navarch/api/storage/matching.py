"""Which volume serves which claim. The controllers, the scheduler and the kubelet judge by these same rules. All pure.

Source: component-helpers storage/volume pv_helpers.go, controller/volume/persistentvolume index.go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from navarch.api.core.persistentvolumeclaim import CLASS_ANNOTATION, class_of
from navarch.api.podspec.placement import term_matches
from navarch.machinery.quantity import Quantity
from navarch.machinery.selectors import LabelSelector, from_label_selector
from navarch.machinery.types import Obj

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
"""On a claim that has once been bound."""
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
"""On a claim or volume whose link a controller made; without it, a person did."""
SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""The scheduler's choice, on a claim that waits for its first consumer: provision there."""
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
MIGRATED_TO = "pv.kubernetes.io/migrated-to"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT = "WaitForFirstConsumer"
DEFAULT_CLASS = ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")


def reference_to(claim: Obj) -> Obj:
    """What a volume's claimRef says of the claim."""
    meta = claim["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "resourceVersion": meta.get("resourceVersion", ""),
    }


def annotated(obj: Obj, name: str) -> bool:
    return name in (obj["metadata"].get("annotations") or {})


def has_class(claim: Obj) -> bool:
    """Whether a claim names a class, if only "": none was wanted."""
    return annotated(claim, CLASS_ANNOTATION) or claim["spec"].get("storageClassName") is not None


def default_class(classes: Iterable[Obj]) -> Obj | None:
    """The default class: the newest, and the first by name of those that are equally new."""
    found: Obj | None = None
    for each in sorted(classes, key=lambda c: c["metadata"]["name"]):
        annotations = each["metadata"].get("annotations") or {}
        if not any(annotations.get(name) == "true" for name in DEFAULT_CLASS):
            continue
        if found is None or each["metadata"]["creationTimestamp"] > found["metadata"]["creationTimestamp"]:
            found = each
    return found


def waits_for_consumer(storage_class: Obj | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == WAIT


def bound_to(volume: Obj, claim: Obj) -> bool:
    """Whether a volume is a claim's, or reserved for it by name."""
    reference, meta = volume["spec"].get("claimRef"), claim["metadata"]
    if reference is None:
        return False
    if (reference.get("namespace"), reference.get("name")) != (meta["namespace"], meta["name"]):
        return False
    return reference.get("uid") in (None, "", meta["uid"])


def size_of(obj: Obj) -> Quantity:
    """What a claim asks for, or a volume has."""
    spec = obj["spec"]
    amounts = spec.get("capacity") or (spec.get("resources") or {}).get("requests") or {}
    return Quantity.of(amounts.get("storage", "0"))


def mode_of(obj: Obj) -> str:
    return obj["spec"].get("volumeMode") or "Filesystem"


def attributes_of(obj: Obj) -> str:
    return obj["spec"].get("volumeAttributesClassName") or ""


def has_modes(volume: Obj, claim: Obj) -> bool:
    return set(claim["spec"].get("accessModes") or ()) <= set(volume["spec"].get("accessModes") or ())


def reaches(volume: Obj, node: Obj) -> bool:
    """Whether a volume may be used on a node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required is None or any(term_matches(term, node) for term in required.get("nodeSelectorTerms") or ())


def mismatch(volume: Obj, claim: Obj) -> str:
    """Why a volume that a claim asks for by name does not satisfy it; "" where it does."""
    if volume["metadata"].get("deletionTimestamp"):
        return f'the volume is marked for deletion "{volume["metadata"]["name"]}"'
    if size_of(volume).value() < size_of(claim).value():
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if attributes_of(volume) != attributes_of(claim):
        return "volumeAttributesClassName does not match"
    if mode_of(volume) != mode_of(claim):
        return "incompatible volumeMode"
    return "" if has_modes(volume, claim) else "incompatible accessMode"


def find(claim: Obj, volumes: Iterable[Obj], *, waits: bool) -> Obj | None:
    """The volume that the binder would give to a claim: one that is reserved for it, or the smallest that fits of those
    with the fewest access modes. `waits`: the claim waits for its first consumer, so only a reserved one will do.
    `volumes` may hold any: those of the claim's class and those reserved for it suffice."""
    groups: dict[tuple[str, ...], list[Obj]] = {}
    for volume in volumes:
        if has_modes(volume, claim):
            groups.setdefault(tuple(sorted(set(volume["spec"].get("accessModes") or ()))), []).append(volume)
    for _, group in sorted(groups.items(), key=lambda item: (len(item[0]), item[0])):
        if (found := match(claim, group, waits=waits)) is not None:
            return found
    return None


def usable(claim: Obj, volumes: Iterable[Obj]) -> list[Obj]:
    """Those of some volumes that could be a claim's on some node: of all of them, `match` finds none else there. One that
    is reserved for it leaves no other."""
    selector = from_label_selector(claim["spec"]["selector"]) if claim["spec"].get("selector") else None
    found: list[Obj] = []
    for volume in sorted(volumes, key=lambda v: v["metadata"]["name"]):
        if _could_serve(volume, claim):
            if bound_to(volume, claim):
                return [volume]
            if _is_free(volume, claim, selector) and has_modes(volume, claim):
                found.append(volume)
    return found


def match(
    claim: Obj,
    volumes: Iterable[Obj],
    *,
    node: Obj | None = None,
    waits: bool = False,
    excluded: Collection[str] = (),
) -> Obj | None:
    """The best of some volumes for a claim, on a node where one is given (the scheduler's question). `excluded`: names of
    volumes that other claims of the same pod have been given."""
    selector = from_label_selector(claim["spec"]["selector"]) if claim["spec"].get("selector") else None
    best: Obj | None = None
    for volume in sorted(volumes, key=lambda v: v["metadata"]["name"]):
        if volume["metadata"]["name"] in excluded or not _could_serve(volume, claim):
            continue
        near = node is None or reaches(volume, node)
        if bound_to(volume, claim):
            return volume if near else None
        if not near or (node is None and waits) or not _is_free(volume, claim, selector):
            continue
        if node is not None and not has_modes(volume, claim):
            continue
        if best is None or size_of(volume) < size_of(best):
            best = volume
    return best


def _could_serve(volume: Obj, claim: Obj) -> bool:
    if volume["spec"].get("claimRef") is not None and not bound_to(volume, claim):
        return False
    if volume["metadata"].get("deletionTimestamp") or mode_of(volume) != mode_of(claim):
        return False
    return size_of(volume) >= size_of(claim) and attributes_of(volume) == attributes_of(claim)


def _is_free(volume: Obj, claim: Obj, selector: LabelSelector | None) -> bool:
    if (volume.get("status") or {}).get("phase") != "Available" or class_of(volume) != class_of(claim):
        return False
    return selector is None or selector.matches(volume["metadata"].get("labels") or {})
