"""Volumes are attached to the nodes whose pods want them, and detached when those are gone.

A VolumeAttachment asks the driver's own attacher; what it has attached is shown in the node's status, where the kubelet
waits for it. Source: pkg/controller/volume/attachdetach, pkg/volume/csi/csi_attacher.go.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from navarch.client.interface import Resource
from navarch.client.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from navarch.controllers import objects
from navarch.controllers.protection import claim_index, claims_of
from navarch.controlloop.plan import Action, Caches, Create, Delete, Emit, Patch, Plan, Watch
from navarch.machinery.clock import World
from navarch.machinery.types import Key, Obj, key_of

ATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", namespaced=False)
DRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", namespaced=False)
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
FORCE_SECONDS = 360.0
"""So long the kubelet of a node that is not ready has to unmount a volume that no pod wants; then it is detached anyway."""
EXCLUSIVE = {"ReadWriteOnce", "ReadWriteOncePod"}


def attachment_name(volume: Obj, node: str) -> str:
    source = volume["spec"]["csi"]
    return "csi-" + hashlib.sha256(f"{source['volumeHandle']}{source['driver']}{node}".encode()).hexdigest()


def unique_name(volume: Obj) -> str:
    source = volume["spec"]["csi"]
    return f"kubernetes.io/csi/{source['driver']}^{source['volumeHandle']}"


@dataclass(frozen=True, slots=True)
class Observed:
    name: str
    node: Obj | None
    wanted: Mapping[str, Obj] = field(default_factory=dict)
    """Volumes that the node's pods want and that must be attached, by name."""
    pods: Mapping[str, Sequence[Obj]] = field(default_factory=dict)
    """Volume -> the node's pods that want it."""
    attachments: Sequence[Obj] = ()
    """Those of this node."""
    elsewhere: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Volume -> other nodes that it is attached to."""
    volumes: Mapping[str, Obj] = field(default_factory=dict)
    """All volumes that attachments name."""
    unwanted: Mapping[str, float] = field(default_factory=dict)
    """Attachment -> since when no pod of the node wants it."""


class AttachDetachController:
    """Keyed by node."""

    name = "attachdetach-controller"

    def __init__(self, world: World) -> None:
        self._world = world
        self._unwanted: dict[str, float] = {}
        self.watches = (
            Watch(NODES, lambda old, new, caches: [Key("", (new or old or {})["metadata"]["name"])]),
            Watch(PODS, _pod_changed, {"node": _node_index, "claim": claim_index}),
            Watch(PERSISTENT_VOLUME_CLAIMS, _claim_changed),
            Watch(PERSISTENT_VOLUMES, _volume_changed),
            Watch(ATTACHMENTS, self._attachment_changed, {"node": _attached_to, "volume": _attached_volume}),
            Watch(DRIVERS, lambda old, new, caches: ()),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        node = caches[NODES].get("", key.name)
        attachments = [each for each in caches[ATTACHMENTS].by_index("node", key.name) if _is_ours(each, caches)]
        if node is None and not attachments:
            return None
        wanted: dict[str, Obj] = {}
        pods: dict[str, list[Obj]] = {}
        for pod in caches[PODS].by_index("node", key.name) if node is not None else ():
            for volume in [] if objects.is_terminal(pod) else _volumes_of(pod, caches):
                name = volume["metadata"]["name"]
                wanted[name] = volume
                pods.setdefault(name, []).append(pod)
        elsewhere = {
            name: [
                each["spec"]["nodeName"]
                for each in caches[ATTACHMENTS].by_index("volume", name)
                if each["spec"]["nodeName"] != key.name
            ]
            for name in wanted
        }
        named = [volume for each in attachments for volume in _attached_volume(each)]
        known = {name: caches[PERSISTENT_VOLUMES].get("", name) for name in named}
        volumes = {name: volume for name, volume in known.items() if volume is not None}
        unwanted = self._note_unwanted(attachments, wanted)
        return Observed(key.name, node, wanted, pods, attachments, elsewhere, volumes, unwanted)

    def _note_unwanted(self, attachments: Sequence[Obj], wanted: Mapping[str, Obj]) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for each in attachments:
            name = each["metadata"]["name"]
            if any(volume in wanted for volume in _attached_volume(each)):
                self._unwanted.pop(name, None)
            else:
                found[name] = self._unwanted.setdefault(name, self._world.now())
        return found

    def _attachment_changed(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        attachment = new or old
        if attachment is None:
            return ()
        keys = [Key("", name) for name in _attached_to(attachment)]
        if new is None:  # others may have waited for it
            self._unwanted.pop(attachment["metadata"]["name"], None)
            for name in _attached_volume(attachment):
                keys += _volume_changed(None, caches[PERSISTENT_VOLUMES].get("", name), caches)
        return keys

    def reconcile(self, observed: Observed, now: float) -> Plan:
        plan = Plan()
        there = {name: each for each in observed.attachments for name in _attached_volume(each)}
        spare = [each for name, each in there.items() if name not in observed.wanted]
        ending = [each for each in spare if _may_detach(each, observed, now)]
        if len(ending) < len(spare):
            waiting = [observed.unwanted.get(each["metadata"]["name"], now) for each in spare if each not in ending]
            plan.requeue_after = max(min(waiting) + FORCE_SECONDS - now, 1.0)
        _report(observed, there, ending, plan)
        for each in ending:
            if not objects.is_deleting(each):
                plan.actions.append(Delete(ATTACHMENTS, key_of(each), objects.uid_of(each)))
                plan.reasons.append(f"nobody on the node wants {each['metadata']['name']}")
        for name, volume in observed.wanted.items():
            if name not in there:
                _attach(observed, volume, plan)
        return plan


def _is_ours(attachment: Obj, caches: Caches) -> bool:
    """Whether the controller made it, which its name shows; those that others make are theirs to delete."""
    name = attachment["metadata"]["name"]
    volumes = [caches[PERSISTENT_VOLUMES].get("", volume) for volume in _attached_volume(attachment)]
    if volumes and volumes[0] is not None and volumes[0]["spec"].get("csi"):
        return name == attachment_name(volumes[0], attachment["spec"]["nodeName"])
    return _is_made_up(name) is not None


_is_made_up = re.compile("csi-[0-9a-f]{64}", re.ASCII).fullmatch


def _volumes_of(pod: Obj, caches: Caches) -> Iterable[Obj]:
    """The CSI volumes of a pod's bound claims that must be attached."""
    for name in claims_of(pod):
        claim = caches[PERSISTENT_VOLUME_CLAIMS].get(pod["metadata"]["namespace"], name)
        if claim is None or (claim.get("status") or {}).get("phase") != "Bound":
            continue
        volume = caches[PERSISTENT_VOLUMES].get("", claim["spec"].get("volumeName", ""))
        if volume is None or volume["spec"].get("csi") is None:
            continue
        driver = caches[DRIVERS].get("", volume["spec"]["csi"]["driver"])
        if driver is None or driver["spec"].get("attachRequired", True):
            yield volume


def _may_detach(attachment: Obj, observed: Observed, now: float) -> bool:
    """Not while the kubelet has it mounted, unless its node is gone, declared out of service, or not ready for long."""
    if observed.node is None:
        return True
    taints = observed.node["spec"].get("taints") or ()
    if any(taint["key"] == OUT_OF_SERVICE for taint in taints):
        return True
    ready = objects.condition_of(observed.node.get("status") or {}, "Ready")
    since = observed.unwanted.get(attachment["metadata"]["name"], now)
    if (ready is None or ready["status"] != "True") and now - since >= FORCE_SECONDS:
        return True
    in_use = (observed.node.get("status") or {}).get("volumesInUse") or ()
    volumes = [observed.volumes.get(name) for name in _attached_volume(attachment)]
    return not any(volume is not None and unique_name(volume) in in_use for volume in volumes)


def _report(observed: Observed, there: Mapping[str, Obj], ending: Sequence[Obj], plan: Plan) -> None:
    """What is attached is shown before it is used, and no more before it is detached."""
    if observed.node is None:
        return
    shown = (observed.node.get("status") or {}).get("volumesAttached") or []
    made: list[Obj] = []
    for name, each in there.items():
        volume = observed.volumes.get(name)
        if volume is None or each in ending or not (each.get("status") or {}).get("attached"):
            continue
        made.append({"name": unique_name(volume), "devicePath": ""})
        if made[-1] not in shown:
            plan.actions += _told(observed, name, "Normal", f'AttachVolume.Attach succeeded for volume "{name}" ')
    made.sort(key=lambda entry: entry["name"])
    if made != shown:
        uid = {"uid": objects.uid_of(observed.node)}
        patch = {"metadata": uid, "status": {"volumesAttached": made}}
        plan.actions.insert(0, Patch(NODES, Key("", observed.name), patch, "merge", "status"))
        plan.reasons.append("other volumes are attached than its status says")


def _told(observed: Observed, volume: str, kind: str, message: str) -> list[Action]:
    reason = "SuccessfulAttachVolume" if kind == "Normal" else "FailedAttachVolume"
    return [
        Emit(pod, "Normal" if kind == "Normal" else "Warning", reason, message) for pod in observed.pods.get(volume, ())
    ]


def _attach(observed: Observed, volume: Obj, plan: Plan) -> None:
    name = volume["metadata"]["name"]
    if set(volume["spec"].get("accessModes") or ()) <= EXCLUSIVE and observed.elsewhere.get(name):
        why = "Volume is already exclusively attached to one node and can't be attached to another"
        plan.actions += _told(observed, name, "Warning", f'Multi-Attach error for volume "{name}" {why}')
        plan.reasons.append(f"{name} is attached to {', '.join(observed.elsewhere[name])}")
        return
    spec = {
        "attacher": volume["spec"]["csi"]["driver"],
        "nodeName": observed.name,
        "source": {"persistentVolumeName": name},
    }
    made = {"metadata": {"name": attachment_name(volume, observed.name)}, "spec": spec}
    plan.actions.append(Create(ATTACHMENTS, made, exists_ok=True))
    plan.reasons.append(f"a pod wants {name}")


# -- who is to be looked at when something changed


def _node_index(pod: Obj) -> Iterable[str]:
    name = pod["spec"].get("nodeName")
    return (name,) if name else ()


def _attached_to(attachment: Obj) -> Iterable[str]:
    return (attachment["spec"]["nodeName"],)


def _attached_volume(attachment: Obj) -> Sequence[str]:
    name = attachment["spec"]["source"].get("persistentVolumeName")
    return (name,) if name else ()


def _pod_changed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Only pods with claims, and only what moves them: their node and their end."""
    pod = new or old
    if pod is None or not any(True for _ in claims_of(pod)):
        return ()
    same = old is not None and new is not None and _state(old) == _state(new)
    return () if same else [Key("", name) for name in _node_index(pod)]


def _state(pod: Obj) -> tuple[str | None, bool]:
    return pod["spec"].get("nodeName"), objects.is_terminal(pod)


def _users(namespace: str, claim: str, caches: Caches) -> list[Key]:
    pods = caches[PODS].by_index("claim", f"{namespace}/{claim}")
    return [Key("", name) for pod in pods for name in _node_index(pod)]


def _claim_changed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    claim = new or old
    return _users(*key_of(claim), caches) if claim is not None else ()


def _volume_changed(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    volume = new or old
    if volume is None or volume["spec"].get("csi") is None:
        return ()
    reference = volume["spec"].get("claimRef")
    return _users(reference["namespace"], reference["name"], caches) if reference else ()
