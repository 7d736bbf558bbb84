"""What keeps ServiceCIDRs, VolumeAttributesClasses, claims and volumes from going."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until

from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from navarch.controllers import attributesclasses, protection, servicecidrs
from navarch.controllers.attributesclasses import AttributesClassProtectionController, classes_of
from navarch.controllers.protection import ClaimProtectionController
from navarch.controllers.servicecidrs import GRACE_SECONDS, ServiceCidrController
from navarch.controlloop.plan import Patch, Plan, Update
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import GroupResource

NOW = 1_800_000_000.0
READY = {"type": "Ready", "status": "True"}


def cidr(*cidrs: str, name: str = "c", deleted: float | None = None, **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": "u", "resourceVersion": "1", "finalizers": []}
    if deleted is not None:
        metadata |= {"deletionTimestamp": rfc3339(deleted), "finalizers": [servicecidrs.FINALIZER]}
    return {"metadata": {**metadata, **more}, "spec": {"cidrs": list(cidrs)}, "status": {"conditions": [READY]}}


def decide(range_: dict[str, Any], others: list[Any] | None = None, addresses: tuple[str, ...] = ()) -> Plan:
    return ServiceCidrController().reconcile(servicecidrs.Observed(range_, others or [], addresses), NOW)


def finalizers(plan: Plan) -> list[str]:
    (action,) = plan.actions
    if isinstance(action, Patch):
        return action.patch["metadata"]["finalizers"]
    assert isinstance(action, Update)
    return action.object["metadata"]["finalizers"]


def test_a_new_range_is_guarded_and_then_ready() -> None:
    assert finalizers(decide(cidr("10.0.0.0/24"))) == [servicecidrs.FINALIZER]
    guarded = {**cidr("10.0.0.0/24", finalizers=[servicecidrs.FINALIZER]), "status": {}}
    (action,) = decide(guarded).actions
    assert isinstance(action, Update) and action.subresource == "status"
    assert action.object["status"]["conditions"][0]["status"] == "True"
    assert not decide(cidr("10.0.0.0/24", finalizers=[servicecidrs.FINALIZER])).actions


@pytest.mark.parametrize(
    ("others", "addresses", "goes"),
    [
        ([], (), True),
        ([], ("10.0.1.1",), True),
        ([], ("10.0.0.7",), False),
        (["10.0.0.0/16"], ("10.0.0.7",), True),
        (["10.0.0.0/25"], ("10.0.0.7", "10.0.0.200"), False),
        (["fd00::/112"], ("10.0.0.7",), False),
    ],
)
def test_a_range_goes_once_no_address_needs_it(others: list[str], addresses: tuple[str, ...], goes: bool) -> None:
    going = cidr("10.0.0.0/24", deleted=NOW - GRACE_SECONDS - 1)
    plan = decide(going, [cidr(o, name="o") for o in others], addresses)
    if goes:
        assert finalizers(plan) == []
    else:
        (action,) = plan.actions
        assert isinstance(action, Update)
        assert action.object["status"]["conditions"][0]["reason"] == "Terminating"


def test_a_range_waits_before_it_goes() -> None:
    plan = decide(cidr("10.0.0.0/24", deleted=NOW - 4))
    assert (plan.actions, plan.requeue_after) == ([], GRACE_SECONDS - 4)


def protect(obj: dict[str, Any], used: bool) -> Plan:
    return AttributesClassProtectionController().reconcile(attributesclasses.Observed(obj, used), NOW)


def test_a_class_goes_once_nobody_uses_it() -> None:
    new = {"metadata": {"name": "v", "resourceVersion": "1"}}
    assert finalizers(protect(new, False)) == [attributesclasses.FINALIZER]
    going = {
        "metadata": {**new["metadata"], "deletionTimestamp": "x", "finalizers": [attributesclasses.FINALIZER, "a"]}
    }
    assert finalizers(protect(going, False)) == ["a"]
    assert not protect(going, True).actions


def test_users_are_those_who_want_have_or_change_to_it() -> None:
    claim = {
        "spec": {"volumeAttributesClassName": "a"},
        "status": {
            "currentVolumeAttributesClassName": "b",
            "modifyVolumeStatus": {"targetVolumeAttributesClassName": "c"},
        },
    }
    assert classes_of(claim) == {"a", "b", "c"}
    assert classes_of({"spec": {}}) == set()


def mounting(**fields: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "default", "uid": "pod", **fields.pop("metadata", {})}
    volumes = fields.pop("volumes", [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
    return {"metadata": meta, "spec": {"nodeName": "n", "volumes": volumes, **fields}}


EPHEMERAL = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}]
OWNER = {"ownerReferences": [{"kind": "Pod", "name": "p", "uid": "pod", "controller": True}]}
SHUT_DOWN = {"deletionTimestamp": "x", "deletionGracePeriodSeconds": 0}


@pytest.mark.parametrize(
    ("pod", "claim", "used"),
    [
        (mounting(), "data", True),
        (mounting(), "other", False),
        (mounting(nodeName=""), "data", False),
        (mounting(metadata=SHUT_DOWN), "data", True),
        (mounting(volumes=EPHEMERAL), "p-v", True),
        (mounting(volumes=EPHEMERAL, metadata=SHUT_DOWN), "p-v", False),
        (mounting(volumes=EPHEMERAL, metadata={"uid": "another"}), "p-v", False),
    ],
)
def test_a_claim_stays_while_a_pod_on_a_node_has_it(pod: dict[str, Any], claim: str, used: bool) -> None:
    going = {"name": claim, "namespace": "default", "uid": "c", "deletionTimestamp": "x", **OWNER}
    going["finalizers"] = [ClaimProtectionController.finalizer]
    plan = ClaimProtectionController().reconcile(protection.Observed({"metadata": going}, [pod]), NOW)
    assert (not plan.actions) if used else finalizers(plan) == []


async def test_claims_and_volumes_go_when_nothing_uses_them() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": {"name": "data"}, "spec": spec}, "default")
        body = mounting(containers=[{"name": "c", "image": "a"}], nodeName="hollow-0")
        await client.create(PODS, {"metadata": {"name": "p"}, "spec": body["spec"]}, "default")
        claims = server.registries[GroupResource("", "persistentvolumeclaims")].cache
        await client.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await client.patch(PODS, "p", {"metadata": {"labels": {"still": "there"}}}, "default")
        kept = await client.get(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        assert kept["metadata"]["deletionTimestamp"]
        await client.delete(PODS, "p", "default")
        await until("the claim is gone", lambda: claims.get("default", "data") is None)
        volume = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/tmp/v"}}
        await client.create(PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": volume})
        await client.delete(PERSISTENT_VOLUMES, "v")
        volumes = server.registries[GroupResource("", "persistentvolumes")].cache
        await until("the volume is gone", lambda: volumes.get("", "v") is None)
