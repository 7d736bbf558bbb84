"""Persistent volumes on the node: from a claim (or a generic ephemeral volume) to a path of the host.

Source: the kubelet's desired_state_of_world_populator, pkg/volume/local, pkg/volume/hostpath.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from navarch.client.interface import Client
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from navarch.kubelet.volumes import ownership
from navarch.kubelet.volumes.host_path import host_path
from navarch.kubelet.volumes.payload import VolumeError
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj


class Claimed(NamedTuple):
    """A bound persistent volume, as a pod uses it."""

    volume: Obj
    read_only: bool
    claim: Obj


def claim_name(volume: Obj, pod: Obj) -> str:
    if "ephemeral" in volume:
        return f"{pod['metadata']['name']}-{volume['name']}"
    return volume["persistentVolumeClaim"]["claimName"]


def check_claim(claim: Obj, volume: Obj, pod: Obj) -> str:
    """The bound volume's name. Raises VolumeError."""
    meta, owner = claim["metadata"], pod["metadata"]
    if "ephemeral" in volume:
        controllers = [r["uid"] for r in meta.get("ownerReferences") or [] if r.get("controller")]
        if owner["uid"] not in controllers:
            raise VolumeError(
                f"PVC {meta['namespace']}/{meta['name']} was not created for pod"
                f" {owner['namespace']}/{owner['name']} (pod is not owner)"
            )
    if "deletionTimestamp" in meta:
        raise VolumeError("PVC is being deleted")
    name = claim["spec"].get("volumeName", "")
    if (claim.get("status") or {}).get("phase") != "Bound" or not name:
        raise VolumeError("PVC is not bound")
    return name


def check_volume(volume: Obj, claim: Obj) -> None:
    """Raises VolumeError where the volume is not (or not any more) this claim's."""
    name, reference = volume["metadata"]["name"], volume["spec"].get("claimRef")
    if reference is None:
        raise VolumeError(
            f"found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        )
    if reference.get("uid") != claim["metadata"]["uid"]:
        raise VolumeError(
            f"found PV object {name} but its pv.Spec.ClaimRef.UID {reference.get('uid', '')}"
            f" does not point to claim.UID {claim['metadata']['uid']}"
        )


async def claimed(client: Client, volume: Obj, pod: Obj) -> Claimed:
    """The persistent volume behind a pod's volume. Raises VolumeError."""
    namespace, name = pod["metadata"]["namespace"], claim_name(volume, pod)
    try:
        try:
            claim = await client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
        except (StatusError, ConnectionError) as error:
            raise VolumeError(f"failed to fetch PVC from API server: {error}") from None
        bound = check_claim(claim, volume, pod)
        try:
            found = await client.get(PERSISTENT_VOLUMES, bound)
        except (StatusError, ConnectionError) as error:
            raise VolumeError(f"failed to fetch PV {bound} from API server: {error}") from None
        check_volume(found, claim)
    except VolumeError as error:
        raise VolumeError(f"error processing PVC {namespace}/{name}: {error}") from None
    return Claimed(found, bool((volume.get("persistentVolumeClaim") or {}).get("readOnly")), claim)


def check_mode(found: Claimed, name: str, pod: Obj) -> None:
    """A device is no folder. Raises VolumeError where a container takes one for the other."""
    mode = found.volume["spec"].get("volumeMode") or "Filesystem"
    other = "volumeMounts" if mode == "Block" else "volumeDevices"
    spec = pod["spec"]
    for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
        if any(use["name"] == name for use in container.get(other) or ()):
            raise VolumeError(f"volume {name} has volumeMode {mode}, but is specified in {other}")


def device_of(found: Claimed) -> Path | None:
    """The block device behind a local volume, whichever mode it is used in; None where it is none. Raises VolumeError."""
    if "local" not in found.volume["spec"]:
        return None
    path = Path(found.volume["spec"]["local"]["path"])
    if not path.exists():
        raise VolumeError(f'path "{path}" does not exist')
    real = path.resolve()
    return real if real.is_block_device() else None


def path_of(found: Claimed, group: int | None, policy: str) -> str:
    """Where the volume is on this host, given to the pod's group. Raises VolumeError."""
    spec = found.volume["spec"]
    if "hostPath" in spec:  # as upstream: a host's own folder is nobody's to give away
        return host_path(spec["hostPath"])
    if "local" in spec:
        path = Path(spec["local"]["path"])
        if not path.exists():
            raise VolumeError(f'path "{path}" does not exist')
        if not path.is_dir():
            raise VolumeError(f'path "{path}" is not a directory')
        ownership.give_all(path, group, found.read_only, policy)
        return str(path)
    sources = [key for key, value in spec.items() if isinstance(value, dict) and key not in NOT_SOURCES]
    raise VolumeError(f"no volume plugin matched: {', '.join(sources) or 'the volume has no source'}")


NOT_SOURCES = ("capacity", "claimRef", "nodeAffinity")
