"""Claims and volumes find each other; what is released is kept, emptied or deleted. On a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Client
from navarch.client.resources import (
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STATEFUL_SETS,
    STORAGE_CLASSES,
)
from navarch.cluster.storage import STANDARD
from navarch.machinery.types import GroupResource, Obj

CLAIMS, VOLUMES = GroupResource("", "persistentvolumeclaims"), GroupResource("", "persistentvolumes")
MISSING = {"storageClassName": ""}


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with cluster(1) as (server, _):
        yield server


def volume(name: str, size: str = "1Gi", **spec: Any) -> Obj:
    source = {"hostPath": {"path": f"/data/{name}"}}
    made = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], **source, **spec}
    return {"metadata": {"name": name, "labels": {"disk": name}}, "spec": made}


def claim(name: str = "c", size: str = "1Gi", **spec: Any) -> Obj:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name}, "spec": wanted}


def pod(name: str, claim_name: str = "", **more: Any) -> Obj:
    source: Obj = {"persistentVolumeClaim": {"claimName": claim_name}} if claim_name else {}
    spec = {"containers": [{"name": "c", "image": "a"}], "volumes": [{"name": "v", **source, **more}]}
    return {"metadata": {"name": name}, "spec": spec}


def got(server: ApiServer, kind: GroupResource, name: str) -> Obj | None:
    entry = server.registries[kind].cache.get("default" if kind == CLAIMS else "", name)
    return None if entry is None else entry.obj


async def phase(server: ApiServer, kind: GroupResource, name: str, wanted: str) -> Obj:
    def reached() -> Obj | None:
        found = got(server, kind, name)
        return found if found and found["status"].get("phase") == wanted else None

    return await until(f"{name} is {wanted}", reached)


async def told(client: Client, about: str, reason: str) -> str:
    """The message of an event."""
    for _ in range(100):
        for event in (await client.list(EVENTS, "")).items:
            if event["involvedObject"]["name"] == about and event["reason"] == reason:
                return event["message"]

        await asyncio.sleep(0.02)
    raise AssertionError(f"no event {reason} about {about}")


async def test_the_smallest_volume_that_fits_is_bound(server: ApiServer) -> None:
    client = server.system
    made = {"large": volume("large", "5Gi"), "small": volume("small", "1Gi"), "fits": volume("fits", "2Gi")}
    made["wide"] = volume("wide", "2Gi", accessModes=["ReadWriteOnce", "ReadOnlyMany"])
    for each in made.values():
        await client.create(PERSISTENT_VOLUMES, each)
    for name in made:
        await phase(server, VOLUMES, name, "Available")
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim(size="1500Mi", **MISSING), "default")
    bound = await phase(server, CLAIMS, "c", "Bound")
    assert bound["spec"]["volumeName"] == "fits"
    assert bound["status"]["capacity"] == {"storage": "2Gi"} and bound["status"]["accessModes"] == ["ReadWriteOnce"]
    annotations = {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
    assert bound["metadata"]["annotations"] == annotations
    held = await phase(server, VOLUMES, "fits", "Bound")
    assert held["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
    assert held["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}


async def test_selectors_modes_classes_and_reservations_are_heeded(server: ApiServer) -> None:
    client = server.system
    for each in (
        volume("block", volumeMode="Block"),
        volume("red", storageClassName="red"),
        volume("many", accessModes=["ReadWriteMany"]),
        volume("plain"),
        volume("plain2"),
        volume("kept", "9Gi", claimRef={"namespace": "default", "name": "reserved"}),
    ):
        await client.create(PERSISTENT_VOLUMES, each)
        await phase(server, VOLUMES, each["metadata"]["name"], "Available")
    wanted = {
        "a": ("block", claim("a", volumeMode="Block", **MISSING)),
        "b": ("red", claim("b", storageClassName="red")),
        "d": ("many", claim("d", accessModes=["ReadWriteMany"], **MISSING)),
        "e": ("plain2", claim("e", selector={"matchLabels": {"disk": "plain2"}}, **MISSING)),
        "reserved": ("kept", claim("reserved", **MISSING)),
        "named": ("plain", claim("named", volumeName="plain", **MISSING)),
    }
    for _, each in wanted.values():
        await client.create(PERSISTENT_VOLUME_CLAIMS, each, "default")
    for name, (expected, _) in wanted.items():
        assert (await phase(server, CLAIMS, name, "Bound"))["spec"]["volumeName"] == expected
    assert "annotations" not in (await phase(server, VOLUMES, "kept", "Bound"))["metadata"]


async def test_a_claim_nobody_can_serve_says_why(server: ApiServer) -> None:
    client = server.system
    await client.create(PERSISTENT_VOLUMES, volume("small"))
    await phase(server, VOLUMES, "small", "Available")
    external = {"metadata": {"name": "ext"}, "provisioner": "example.com/nas"}
    none = {"metadata": {"name": "none"}, "provisioner": "kubernetes.io/no-provisioner"}
    wait = {"metadata": {"name": "wait"}, "provisioner": "example.com/nas", "volumeBindingMode": "WaitForFirstConsumer"}
    for each in (external, none, wait):
        await client.create(STORAGE_CLASSES, each)
    for each in (
        claim("big", "2Gi", **MISSING),
        claim("named", "2Gi", volumeName="small", **MISSING),
        claim("ext", storageClassName="ext"),
        claim("none", storageClassName="none"),
        claim("wait", storageClassName="wait"),
        claim("lost", storageClassName="nowhere"),
    ):
        await client.create(PERSISTENT_VOLUME_CLAIMS, each, "default")
    message = "no persistent volumes available for this claim and no storage class is set"
    assert await told(client, "big", "FailedBinding") == message
    assert (
        await told(client, "named", "VolumeMismatch")
        == 'Cannot bind to requested volume "small": requested PV is too small'
    )
    assert "external provisioner 'example.com/nas'" in await told(client, "ext", "ExternalProvisioning")
    annotations = (got(server, CLAIMS, "ext") or {})["metadata"]["annotations"]
    assert annotations["volume.kubernetes.io/storage-provisioner"] == "example.com/nas"
    assert "no volume plugin matched" in await told(client, "none", "ProvisioningFailed")
    assert await told(client, "lost", "ProvisioningFailed") == 'storageclass.storage.k8s.io "nowhere" not found'
    waiting = "waiting for first consumer to be created before binding"
    assert await told(client, "wait", "WaitForFirstConsumer") == waiting
    unplaced = pod("p", "wait")
    unplaced["spec"]["schedulerName"] = "nobody"
    await client.create(PODS, unplaced, "default")
    assert await told(client, "wait", "WaitForPodScheduled") == "waiting for pod p to be scheduled"


async def test_a_class_that_becomes_the_default_is_given_to_waiting_claims(server: ApiServer) -> None:
    client = server.system
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("early"), "default")
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("without", **MISSING), "default")
    await told(client, "early", "FailedBinding")
    await client.create(STORAGE_CLASSES, STANDARD)
    await until("the class is assigned", lambda: (got(server, CLAIMS, "early") or {})["spec"].get("storageClassName"))
    assert (got(server, CLAIMS, "without") or {})["spec"]["storageClassName"] == ""


async def test_a_retained_volume_is_released_and_can_be_had_again(server: ApiServer) -> None:
    client = server.system
    await client.create(PERSISTENT_VOLUMES, volume("v"))
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim(**MISSING), "default")
    await phase(server, CLAIMS, "c", "Bound")
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    await phase(server, VOLUMES, "v", "Released")
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("next", **MISSING), "default")
    await told(client, "next", "FailedBinding")
    await client.patch(PERSISTENT_VOLUMES, "v", {"spec": {"claimRef": None}})
    assert (await phase(server, CLAIMS, "next", "Bound"))["spec"]["volumeName"] == "v"


async def test_a_claim_whose_volume_goes_is_lost(server: ApiServer) -> None:
    client = server.system
    await client.create(PERSISTENT_VOLUMES, volume("v"))
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim(**MISSING), "default")
    await phase(server, CLAIMS, "c", "Bound")
    await client.delete(PERSISTENT_VOLUMES, "v")
    await client.patch(PERSISTENT_VOLUMES, "v", {"metadata": {"finalizers": None}})
    lost = await phase(server, CLAIMS, "c", "Lost")
    assert "capacity" not in lost["status"]
    assert (
        await told(client, "c", "ClaimLost") == "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    )


async def test_only_temporary_folders_of_people_are_deleted(server: ApiServer, tmp_path: Any) -> None:
    client, folder = server.system, tmp_path / "data"
    folder.mkdir()
    assert str(folder).startswith("/tmp/")
    (folder / "file").write_text("x")
    policy = {"persistentVolumeReclaimPolicy": "Delete"}
    await client.create(PERSISTENT_VOLUMES, volume("tmp", hostPath={"path": str(folder)}, **policy))
    await client.create(PERSISTENT_VOLUMES, volume("home", hostPath={"path": "/data/home"}, **policy))
    for name in ("tmp", "home"):
        await client.create(PERSISTENT_VOLUME_CLAIMS, claim(name, volumeName=name, **MISSING), "default")
        await phase(server, CLAIMS, name, "Bound")
        await client.delete(PERSISTENT_VOLUME_CLAIMS, name, "default")
    failed = await phase(server, VOLUMES, "home", "Failed")
    why = "host_path deleter only supports /tmp/.+ but received provided /data/home"
    assert failed["status"]["message"] == why and await told(client, "home", "VolumeFailedDelete") == why
    await until("the volume is deleted", lambda: got(server, VOLUMES, "tmp") is None)
    assert not folder.exists()


async def test_a_recycled_volume_is_emptied_by_a_pod_and_free_again(server: ApiServer) -> None:
    client = server.system
    await client.create(PERSISTENT_VOLUMES, volume("v", persistentVolumeReclaimPolicy="Recycle"))
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim(**MISSING), "default")
    await phase(server, CLAIMS, "c", "Bound")
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    await told(client, "v", "RecyclerPod")
    recycler = await client.get(PODS, "recycler-for-v", "default")
    assert recycler["spec"]["volumes"][0]["hostPath"]["path"] == "/data/v"
    done = {"status": {"phase": "Succeeded"}}
    await client.patch(PODS, "recycler-for-v", done, "default", subresource="status")
    free = await phase(server, VOLUMES, "v", "Available")
    assert "claimRef" not in free["spec"] and await told(client, "v", "VolumeRecycled") == "Volume recycled"


async def test_a_volume_is_made_on_the_chosen_node_grows_and_goes(server: ApiServer) -> None:
    client = server.system
    await client.create(STORAGE_CLASSES, STANDARD)
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim(), "default")
    chosen = {"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "hollow-0"}}}
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "c", chosen, "default")
    bound = await phase(server, CLAIMS, "c", "Bound")
    name = f"pvc-{bound['metadata']['uid']}"
    made = await phase(server, VOLUMES, name, "Bound")
    (term,) = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["hollow-0"] and made["spec"]["storageClassName"] == "standard"
    grown = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
    await client.patch(PERSISTENT_VOLUME_CLAIMS, "c", grown, "default")
    capacity = {"storage": "3Gi"}
    await until("it has grown", lambda: (got(server, CLAIMS, "c") or {})["status"]["capacity"] == capacity)
    assert (got(server, VOLUMES, name) or {})["spec"]["capacity"] == capacity
    await client.delete(PERSISTENT_VOLUME_CLAIMS, "c", "default")
    await until("the volume goes with its claim", lambda: got(server, VOLUMES, name) is None)


async def test_a_claim_of_a_pod_is_made_with_it_and_goes_with_it(server: ApiServer) -> None:
    client = server.system
    await client.create(PERSISTENT_VOLUMES, volume("v"))
    template = {"metadata": {"labels": {"a": "b"}}, "spec": claim(**MISSING)["spec"]}
    await client.create(PODS, pod("p", ephemeral={"volumeClaimTemplate": template}), "default")
    bound = await phase(server, CLAIMS, "p-v", "Bound")
    (owner,) = bound["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Pod", "p", True)
    assert bound["metadata"]["labels"] == {"a": "b"}
    await client.delete(PODS, "p", "default")
    await until("the claim goes with its pod", lambda: got(server, CLAIMS, "p-v") is None)
    await phase(server, VOLUMES, "v", "Released")


async def test_a_claim_of_that_name_that_is_not_the_pods_is_reported(server: ApiServer) -> None:
    client = server.system
    await client.create(PERSISTENT_VOLUME_CLAIMS, claim("p-v", **MISSING), "default")
    template = {"spec": claim(**MISSING)["spec"]}
    await client.create(PODS, pod("p", ephemeral={"volumeClaimTemplate": template}), "default")
    message = await told(client, "p", "FailedBinding")
    assert message == "ephemeral volume v: PVC default/p-v was not created for pod default/p (pod is not owner)"


async def test_a_stateful_set_runs_with_volumes_of_the_default_class(server: ApiServer) -> None:
    """Nothing is set up but the class that a cluster has from the start: claims, scheduler, provisioner and binder meet."""
    client = server.system
    await client.create(STORAGE_CLASSES, STANDARD)
    labels = {"app": "db"}
    container = {"name": "c", "image": "a", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": labels}, "template": template}
    spec["volumeClaimTemplates"] = [claim("data")]
    await client.create(STATEFUL_SETS, {"metadata": {"name": "db"}, "spec": spec}, "default")
    for name in ("data-db-0", "data-db-1"):
        bound = await phase(server, CLAIMS, name, "Bound")
        assert bound["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == "hollow-0"
    sets = server.registries[GroupResource("apps", "statefulsets")].cache
    await until("both run", lambda: sets.get("default", "db").obj["status"].get("readyReplicas") == 2)
