"""What becomes of a volume: available, bound, released; and then kept, recycled or deleted as its policy says. Pure.

Source: pkg/controller/volume/persistentvolume/pv_controller.go (syncVolume, reclaimVolume), pkg/volume/host_path.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from navarch.api.storage import matching
from navarch.api.storage.matching import PROVISIONED_BY, annotated
from navarch.client.resources import PERSISTENT_VOLUMES, PODS
from navarch.controllers import objects
from navarch.controllers.volumes import binding
from navarch.controlloop.plan import Call, Create, Delete, Emit, Plan
from navarch.machinery.types import Key, Obj, key_of

RECYCLER_NAMESPACE = "default"
RECYCLER_IMAGE = "busybox"
SCRIPT = 'test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1'
TEMPORARY = re.compile(r"/tmp/.+", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class ObservedVolume:
    volume: Obj
    claim: Obj | None
    """The claim of the name that it is for, whichever uid that has."""
    users: Sequence[str]
    """namespace/name of pods that use that claim and have not ended."""
    recycler: Obj | None
    """The pod that empties it."""
    confirm: Callable[[], Awaitable[None]]
    """Asks the API whether the claim is gone, for a cache may lag behind; raises a conflict where it is not."""


def recycler_key(volume: Obj) -> Key:
    return Key(RECYCLER_NAMESPACE, f"recycler-for-{volume['metadata']['name']}")


def reconcile(observed: ObservedVolume) -> Plan:
    volume, claim = observed.volume, observed.claim
    reference = volume["spec"].get("claimRef")
    if reference is None or not reference.get("uid"):
        why = "nobody claims it" if reference is None else "it is reserved for a claim"
        return Plan(binding.volume_phase(volume, "Available"), reasons=[why])
    if claim is None or claim["metadata"]["uid"] != reference["uid"]:
        return _released(observed, "its claim is gone", lost=True)
    held = claim["spec"].get("volumeName")
    if not held:
        return _half_bound(volume, claim)
    if held == volume["metadata"]["name"]:
        return Plan(binding.volume_phase(volume, "Bound"), reasons=["it is bound"])
    if annotated(volume, PROVISIONED_BY) and _policy(volume) == "Delete":
        return _released(observed, "it was made for a claim that has another volume")
    return Plan(binding.unbind(volume), reasons=["its claim has another volume"])


def _policy(volume: Obj) -> str:
    return volume["spec"].get("persistentVolumeReclaimPolicy", "")


def _half_bound(volume: Obj, claim: Obj) -> Plan:
    """The claim's own round finishes the binding, unless the two can never match."""
    if matching.mode_of(volume) == matching.mode_of(claim):
        return Plan(reasons=["its claim is about to be bound"])
    names = volume["metadata"]["name"], claim["metadata"]["name"]
    told = (
        f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{names[1]}" due to incompatible volumeMode.'
    )
    heard = (
        f'Cannot bind PersistentVolume "{names[0]}" to requested PersistentVolumeClaim due to incompatible volumeMode.'
    )
    return Plan(
        [Emit(volume, "Warning", "VolumeMismatch", told), Emit(claim, "Warning", "VolumeMismatch", heard)],
        reasons=["the claim asks for another volumeMode"],
    )


def _released(observed: ObservedVolume, why: str, *, lost: bool = False) -> Plan:
    volume = observed.volume
    plan = Plan(reasons=[why])
    if (volume.get("status") or {}).get("phase") not in ("Released", "Failed"):
        # The write wakes this key again: what the policy asks for is decided on the released volume.
        if lost:
            plan.actions.append(Call("ask whether the claim is gone", observed.confirm))
        plan.actions += binding.volume_phase(volume, "Released")
        return plan
    match _policy(volume):
        case "Retain":
            plan.reasons.append("it is retained")
        case "Recycle":
            _recycle(observed, plan)
        case "Delete":
            _delete(volume, plan)
        case _:
            message = "Volume has unrecognized PersistentVolumeReclaimPolicy"
            plan.actions += binding.volume_failed(volume, "VolumeUnknownReclaimPolicy", message)
    return plan


# -- deleting


def _delete(volume: Obj, plan: Plan) -> None:
    """Whoever provisioned a volume deletes it; of those that a person made, only temporary folders are ours to delete."""
    spec = volume["spec"]
    provisioner = objects.annotations_of(volume).get(PROVISIONED_BY, "")
    external = provisioner and not provisioner.startswith("kubernetes.io/")
    if external or annotated(volume, matching.MIGRATED_TO) or spec.get("csi") is not None:
        plan.reasons.append("its provisioner deletes it")
        return
    name = volume["metadata"]["name"]
    if spec.get("hostPath") is None:
        why = f'error getting deleter volume plugin for volume "{name}": no deletable volume plugin matched'
        plan.actions += binding.volume_failed(volume, "VolumeFailedDelete", why)
        return
    path: str = spec["hostPath"]["path"]
    if not TEMPORARY.fullmatch(path):
        why = f"host_path deleter only supports /tmp/.+ but received provided {path}"
        plan.actions += binding.volume_failed(volume, "VolumeFailedDelete", why)
        return
    plan.actions.append(Call(f"remove {path}", lambda: asyncio.to_thread(_remove, Path(path))))
    plan.actions.append(Delete(PERSISTENT_VOLUMES, key_of(volume), objects.uid_of(volume)))
    plan.on_error = lambda error: Plan(binding.volume_failed(volume, "VolumeFailedDelete", str(error)))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


# -- recycling


def _recycle(observed: ObservedVolume, plan: Plan) -> None:
    """A pod empties the volume, which is then for anybody again."""
    volume, pod = observed.volume, observed.recycler
    if observed.users and observed.claim is None:
        message = f"Volume is used by pods: {','.join(observed.users)}"
        plan.actions.append(Emit(volume, "Normal", "VolumeFailedRecycle", message))
        return
    source = next((name for name in ("hostPath", "nfs") if volume["spec"].get(name) is not None), "")
    if not source:
        message = "No recycler plugin found for the volume!"
        plan.actions += binding.volume_failed(volume, "VolumeFailedRecycle", message)
        return
    if pod is None:
        plan.actions.append(Create(PODS, _recycler(volume, source), exists_ok=True))
        plan.actions.append(Emit(volume, "Normal", "RecyclerPod", "Recycler pod: Successfully created"))
        return
    if not objects.is_terminal(pod):
        plan.reasons.append("its recycler is at work")
        return
    if not objects.is_deleting(pod):
        plan.actions.append(Delete(PODS, key_of(pod), objects.uid_of(pod)))
    if objects.phase_of(pod) == "Succeeded":
        plan.actions.append(Emit(volume, "Normal", "VolumeRecycled", "Volume recycled"))
        plan.actions += binding.unbind(volume)
        return
    message = "Recycle failed: " + (
        (pod.get("status") or {}).get("message") or "pod failed, pod.Status.Message unknown."
    )
    plan.actions += binding.volume_failed(volume, "VolumeFailedRecycle", message)


def _recycler(volume: Obj, source: str) -> Obj:
    key, found = recycler_key(volume), volume["spec"][source]
    mount = {"hostPath": {"path": found["path"]}} if source == "hostPath" else {"nfs": dict(found)}
    spec: Obj = {
        "activeDeadlineSeconds": 60,
        "restartPolicy": "Never",
        "volumes": [{"name": "vol", **mount}],
        "containers": [
            {
                "name": "pv-recycler",
                "image": RECYCLER_IMAGE,
                "command": ["/bin/sh", "-c", SCRIPT],
                "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
            }
        ],
    }
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    if required is not None:
        spec["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return {"metadata": {"name": key.name, "namespace": key.namespace}, "spec": spec}
