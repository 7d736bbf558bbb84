"""What becomes of a claim: which volume it gets, or what it waits for. Pure.

Source: pkg/controller/volume/persistentvolume/pv_controller.go (syncUnboundClaim, syncBoundClaim, provisionClaim).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from navarch.api.core.persistentvolumeclaim import class_of
from navarch.api.storage import matching
from navarch.api.storage.matching import BETA_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, annotated
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS
from navarch.controllers import objects
from navarch.controllers.volumes import binding
from navarch.controlloop.plan import Action, Emit, Plan, Update
from navarch.machinery.types import Obj

IN_TREE = "kubernetes.io/"
MIGRATED = {
    "kubernetes.io/aws-ebs": "ebs.csi.aws.com",
    "kubernetes.io/azure-disk": "disk.csi.azure.com",
    "kubernetes.io/azure-file": "file.csi.azure.com",
    "kubernetes.io/cinder": "cinder.csi.openstack.org",
    "kubernetes.io/gce-pd": "pd.csi.storage.gke.io",
    "kubernetes.io/portworx-volume": "pxd.portworx.com",
    "kubernetes.io/vsphere-volume": "csi.vsphere.vmware.com",
}
"""Provisioners of old, and the CSI drivers that have taken their place."""


@dataclass(frozen=True, slots=True)
class ObservedClaim:
    claim: Obj
    volume: Obj | None
    """The one that it names."""
    candidates: Sequence[Obj]
    """Volumes of its class, and those reserved for it."""
    storage_class: Obj | None
    default_class: Obj | None
    waiting_pods: Sequence[str]
    """Names of pods that use it and have no node."""


def reconcile(observed: ObservedClaim) -> Plan:
    if annotated(observed.claim, BIND_COMPLETED):
        return _bound(observed.claim, observed.volume)
    if observed.claim["spec"].get("volumeName"):
        return _named(observed.claim, observed.volume)
    return _unbound(observed)


def _pending(claim: Obj, reason: str, *events: Emit) -> Plan:
    actions: list[Action] = [*events, *binding.claim_status(claim, "Pending")]
    return Plan(actions, reasons=[reason])


def _unbound(observed: ObservedClaim) -> Plan:
    """A claim that takes whatever serves it."""
    claim = observed.claim
    waits = matching.waits_for_consumer(observed.storage_class)
    volume = matching.find(claim, observed.candidates, waits=waits)
    if volume is not None:
        return Plan(binding.bind(volume, claim), reasons=[f"volume {volume['metadata']['name']} serves it"])
    if not matching.has_class(claim) and observed.default_class is not None:
        name = observed.default_class["metadata"]["name"]
        made = {**claim, "spec": {**claim["spec"], "storageClassName": name}}
        return Plan([Update(PERSISTENT_VOLUME_CLAIMS, made)], reasons=[f"{name} has become the default class"])
    if waits and not annotated(claim, matching.SELECTED_NODE):
        return _wait(claim, observed.waiting_pods)
    if class_of(claim):
        return _provision(claim, observed.storage_class)
    message = "no persistent volumes available for this claim and no storage class is set"
    return _pending(claim, message, Emit(claim, "Normal", "FailedBinding", message))


def _wait(claim: Obj, pods: Sequence[str]) -> Plan:
    reason, message = "WaitForFirstConsumer", "waiting for first consumer to be created before binding"
    if pods:
        reason, many = "WaitForPodScheduled", "s" if len(pods) > 1 else ""
        message = f"waiting for pod{many} {','.join(pods)} to be scheduled"
    return _pending(claim, message, Emit(claim, "Normal", reason, message))


def _provision(claim: Obj, storage_class: Obj | None) -> Plan:
    """Asks the class's provisioner for a volume: it watches for claims that name it."""
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        return Plan([Emit(claim, "Warning", "ProvisioningFailed", message)], reasons=[message])
    provisioner: str = storage_class["provisioner"]
    if provisioner.startswith(IN_TREE) and provisioner not in MIGRATED:
        message = f"no volume plugin matched name: {provisioner}"
        return Plan([Emit(claim, "Warning", "ProvisioningFailed", message)], reasons=[message])
    name = MIGRATED.get(provisioner, provisioner)
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{name}' or manually by the system "
        "administrator. If volume creation is delayed, please verify that the provisioner is running and correctly "
        "registered."
    )
    actions: list[Action] = [Emit(claim, "Normal", "ExternalProvisioning", message)]
    if objects.annotations_of(claim).get(PROVISIONER) != name:
        made = binding.with_annotations(claim, add={PROVISIONER: name, BETA_PROVISIONER: name})
        actions.insert(0, Update(PERSISTENT_VOLUME_CLAIMS, made))
    return Plan(actions, reasons=[f"it waits for provisioner {name}"])


def _named(claim: Obj, volume: Obj | None) -> Plan:
    """A claim that asks for one volume by name."""
    name = claim["spec"]["volumeName"]
    if volume is None:
        return _pending(claim, f"volume {name} is not there")
    if volume["spec"].get("claimRef") is None:
        if why := matching.mismatch(volume, claim):
            message = f'Cannot bind to requested volume "{name}": {why}'
            return _pending(claim, why, Emit(claim, "Warning", "VolumeMismatch", message))
        return Plan(binding.bind(volume, claim), reasons=[f"it asks for volume {name}"])
    if matching.bound_to(volume, claim):
        return Plan(binding.bind(volume, claim), reasons=[f"volume {name} is for it"])
    message = f'volume "{name}" already bound to a different claim.'
    event = Emit(claim, "Warning", "FailedBinding", message)
    if annotated(claim, BOUND_BY_CONTROLLER):
        return Plan([event], reasons=[message])
    return _pending(claim, message, event)


def _bound(claim: Obj, volume: Obj | None) -> Plan:
    """A claim that has been bound: its link is kept whole, or it is lost."""
    name = claim["spec"].get("volumeName")
    if not name:
        message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        return _lost(claim, "ClaimLost", message)
    if volume is None:
        message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        return _lost(claim, "ClaimLost", message)
    reference = volume["spec"].get("claimRef")
    if reference is None or reference.get("uid") == claim["metadata"]["uid"]:
        return Plan(binding.bind(volume, claim), reasons=[f"it is bound to {name}"])
    message = "Two claims are bound to the same volume, this one is bound incorrectly"
    return _lost(claim, "ClaimMisbound", message)


def _lost(claim: Obj, reason: str, message: str) -> Plan:
    if (claim.get("status") or {}).get("phase") == "Lost":
        return Plan(reasons=[message])
    actions: list[Action] = [*binding.claim_status(claim, "Lost"), Emit(claim, "Warning", reason, message)]
    return Plan(actions, reasons=[message])
