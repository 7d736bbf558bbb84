"""The writes that link a claim and a volume, or part them, and what both say of it. Pure.

Source: pkg/controller/volume/persistentvolume (bind, unbindVolume, updateClaimStatus, updateVolumePhase).
"""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.storage.matching import BIND_COMPLETED, BOUND_BY_CONTROLLER, annotated, bound_to, reference_to
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from navarch.controllers import objects
from navarch.controlloop.plan import Action, Emit, Update
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

PRE_RESIZE_CAPACITY = "volume.alpha.kubernetes.io/pre-resize-capacity"
"""On a volume that has grown though the file system on it has not."""


def with_annotations(obj: Obj, *, add: dict[str, str] | None = None, remove: Sequence[str] = ()) -> Obj:
    kept = {k: v for k, v in objects.annotations_of(obj).items() if k not in remove} | (add or {})
    meta = {k: v for k, v in obj["metadata"].items() if k != "annotations"}
    return {**obj, "metadata": {**meta, "annotations": kept} if kept else meta}


def bind(volume: Obj, claim: Obj) -> list[Action]:
    """The volume first, then the claim: whatever is interrupted is finished by the next round."""
    actions: list[Action] = []
    held = _held(volume, claim)
    if held is not volume:
        actions.append(Update(PERSISTENT_VOLUMES, held))
    actions += volume_phase(held, "Bound")
    bound = _bound(claim, volume["metadata"]["name"])
    if bound is not claim:
        actions.append(Update(PERSISTENT_VOLUME_CLAIMS, bound))
    return [*actions, *claim_status(bound, "Bound", volume)]


def _held(volume: Obj, claim: Obj) -> Obj:
    reference, meta = volume["spec"].get("claimRef") or {}, claim["metadata"]
    ours = {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}
    made = volume
    if any(reference.get(field) != value for field, value in ours.items()):
        made = {**volume, "spec": {**volume["spec"], "claimRef": reference_to(claim)}}
    if not bound_to(volume, claim) and not annotated(volume, BOUND_BY_CONTROLLER):
        made = with_annotations(made, add={BOUND_BY_CONTROLLER: "yes"})
    return made


def _bound(claim: Obj, name: str) -> Obj:
    made, notes = claim, dict[str, str]()
    if claim["spec"].get("volumeName") != name:
        made = {**claim, "spec": {**claim["spec"], "volumeName": name}}
        notes[BOUND_BY_CONTROLLER] = "yes"
    notes[BIND_COMPLETED] = "yes"
    missing = {key: value for key, value in notes.items() if not annotated(claim, key)}
    return with_annotations(made, add=missing) if missing else made


def unbind(volume: Obj) -> list[Action]:
    """A link of ours is undone; a person's reservation stays, without the uid of the claim that was there."""
    spec = dict(volume["spec"])
    reference = spec.pop("claimRef")
    if annotated(volume, BOUND_BY_CONTROLLER):
        made = with_annotations({**volume, "spec": spec}, remove=(BOUND_BY_CONTROLLER,))
    else:
        kept = {k: v for k, v in reference.items() if k not in ("uid", "resourceVersion")}
        made = {**volume, "spec": {**spec, "claimRef": kept}}
    return [Update(PERSISTENT_VOLUMES, made), *volume_phase(made, "Available")]


def volume_phase(volume: Obj, phase: str, message: str = "") -> list[Action]:
    status = volume.get("status") or {}
    if status.get("phase") == phase:
        return []
    made = {**{k: v for k, v in status.items() if k != "message"}, "phase": phase}
    if message:
        made["message"] = message
    return [Update(PERSISTENT_VOLUMES, {**volume, "status": made}, "status")]


def volume_failed(volume: Obj, reason: str, message: str) -> list[Action]:
    written = volume_phase(volume, "Failed", message)
    return [*written, Emit(volume, "Warning", reason, message)] if written else []


def claim_status(claim: Obj, phase: str, volume: Obj | None = None) -> list[Action]:
    """What a claim says of the volume it has."""
    old: Obj = claim.get("status") or {}
    status: Obj = {**old, "phase": phase}
    if volume is None:
        for name in ("accessModes", "capacity", "currentVolumeAttributesClassName"):
            status.pop(name, None)
    else:
        status["accessModes"] = volume["spec"].get("accessModes") or []
        if old.get("phase") != phase:
            # Not later: a claim may rightly say less than its volume has, while a file system grows.
            status["capacity"] = _capacity(old.get("capacity") or {}, volume)
        attributes = volume["spec"].get("volumeAttributesClassName")
        if old.get("phase") == "Pending" and phase == "Bound" and attributes is not None:
            status["currentVolumeAttributesClassName"] = attributes
    if status == old:
        return []
    return [Update(PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status}, "status")]


def _capacity(old: Obj, volume: Obj) -> Obj:
    before = objects.annotations_of(volume).get(PRE_RESIZE_CAPACITY)
    if before is None:
        return dict(volume["spec"]["capacity"])
    try:
        Quantity.parse(before)
    except ValueError:
        before = volume["spec"]["capacity"]["storage"]
    return {**old, "storage": before}
