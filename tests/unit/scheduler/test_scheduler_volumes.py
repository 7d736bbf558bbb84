"""Where pods with claims go: nodes that their volumes reach, or where volumes can be had."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until
from tests.unit.scheduler.test_scheduler_cycle import cycle, node, pod
from tests.unit.scheduler.test_scheduler_lives import is_running, manifest, seen

from navarch.client.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from navarch.machinery.types import GroupResource, Key, Obj
from navarch.scheduler.cycle import Cycle
from navarch.scheduler.podinfo import PodInfo

HOST = "kubernetes.io/hostname"


def at(*nodes: str) -> Obj:
    here = {"key": HOST, "operator": "In", "values": list(nodes)}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}


def volume(name: str, size: str = "1Gi", **spec: Any) -> Obj:
    made = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "late", **spec}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {}},
        "spec": made,
        "status": {"phase": "Available"},
    }


def claim(
    name: str, size: str = "1Gi", bound: str = "", modes: tuple[str, ...] = ("ReadWriteOnce",), **meta: Any
) -> Obj:
    spec: Obj = {"accessModes": list(modes), "storageClassName": "late", "resources": {"requests": {"storage": size}}}
    annotations = {}
    if bound:
        spec["volumeName"] = bound
        annotations["pv.kubernetes.io/bind-completed"] = "yes"
    meta = {"name": name, "namespace": "default", "uid": name, "annotations": annotations, **meta}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec, "status": {}}


def late(provisioner: str = "kubernetes.io/no-provisioner", **more: Any) -> Obj:
    meta = {"name": "late"}
    mode = {"volumeBindingMode": "WaitForFirstConsumer"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": meta,
        "provisioner": provisioner,
        **mode,
        **more,
    }


def using(*claims: str, name: str = "p") -> PodInfo:
    return pod(name, volumes=[{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims])


def stored(on: Cycle, *objects: Obj) -> Cycle:
    storage = on.around.storage
    for obj in objects:
        name = obj["metadata"]["name"]
        if obj["kind"] == "PersistentVolume":
            storage.volumes[name] = obj
        elif obj["kind"] == "StorageClass":
            storage.classes[name] = obj
        else:
            storage.claims[Key("default", name)] = obj
    return on


def test_a_pod_waits_for_claims_that_are_not_there_or_not_bound() -> None:
    on = cycle(node("a"))
    assert on.decide(using("data")).message == '0/1 nodes are available: persistentvolumeclaim "data" not found.'
    stored(on, claim("data"))
    found = on.decide(using("data"))
    assert found.message == "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    assert found.plugins == {"VolumeBinding"}


def test_a_bound_volume_draws_its_pod_to_its_node() -> None:
    on = stored(cycle(node("a"), node("b")), claim("data", bound="v"), volume("v", nodeAffinity=at("b")))
    assert on.decide(using("data")).node == "b"
    on.nodes.remove_node("b")
    assert on.decide(using("data")).message == (
        "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."
    )


def test_claims_that_wait_get_volumes_where_all_can_be_served() -> None:
    on = stored(
        cycle(node("a"), node("b")),
        late(),
        *(claim("one"), claim("two", size="5Gi")),
        *(volume("a1", nodeAffinity=at("a")), volume("b1", nodeAffinity=at("b"))),
        volume("b2", size="8Gi", nodeAffinity=at("b")),
    )
    assert on.decide(using("one", "two")).node == "b"
    choice = on.around.storage.choose([claim("one"), claim("two", size="5Gi")], node("b"))
    assert not isinstance(choice, str)
    assert [(v["metadata"]["name"], c["metadata"]["name"]) for v, c in choice.bindings] == [
        ("b1", "one"),
        ("b2", "two"),
    ]
    on.around.storage.promise(choice, "b")
    stored(on, claim("three"))
    assert on.decide(using("three", name="q")).node == "a"


def test_nothing_to_bind_and_nobody_to_provision() -> None:
    on = stored(cycle(node("a")), late(), claim("data"))
    assert "1 node(s) didn't find available persistent volumes to bind" in on.decide(using("data")).message


def test_volumes_are_provisioned_where_the_class_allows_it() -> None:
    zone = {"matchLabelExpressions": [{"key": "zone", "values": ["east"]}]}
    on = stored(
        cycle(node("a", labels={"zone": "west"}), node("b", labels={"zone": "east"})),
        late("example.com/disk", allowedTopologies=[zone]),
        claim("data"),
    )
    assert on.decide(using("data")).node == "b"
    chosen = {"volume.kubernetes.io/selected-node": "a"}
    stored(on, claim("data", annotations=chosen))
    assert not on.decide(using("data")).node


def test_drivers_that_tell_how_much_room_there_is_are_believed() -> None:
    on = stored(cycle(node("a"), node("b")), late("csi.example.com"), claim("data", size="10Gi"))
    on.around.storage.drivers["csi.example.com"] = {"spec": {"storageCapacity": True}}
    assert "2 node(s) did not have enough free storage" in on.decide(using("data")).message
    room = {"storageClassName": "late", "capacity": "20Gi", "nodeTopology": {"matchLabels": {HOST: "b"}}}
    on.around.storage.capacities[Key("x", "c")] = room
    assert on.decide(using("data")).node == "b"


def test_zones_of_volumes_are_respected() -> None:
    zone = "topology.kubernetes.io/zone"
    there = volume("v")
    there["metadata"]["labels"] = {zone: "east__west"}
    on = stored(
        cycle(node("a", labels={zone: "north"}), node("b", labels={zone: "west"})), claim("data", bound="v"), there
    )
    assert on.decide(using("data")).node == "b"
    on.nodes.remove_node("b")
    assert "1 node(s) had no available volume zone" in on.decide(using("data")).message


def test_a_claim_for_one_pod_only_is_used_by_one_pod_only() -> None:
    on = stored(cycle(node("a"), node("b")), claim("data", bound="v", modes=("ReadWriteOncePod",)), volume("v"))
    first = using("data")
    on.nodes.set_pod(first, "a")
    assert (
        "2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod"
        in on.decide(using("data", name="q")).message
    )
    on.nodes.remove_pod(first.key)
    assert on.decide(using("data", name="q")).node


@pytest.mark.parametrize(
    ("mine", "theirs", "fits"),
    [
        ({"gcePersistentDisk": {"pdName": "d"}}, {"gcePersistentDisk": {"pdName": "d", "readOnly": True}}, False),
        (
            {"gcePersistentDisk": {"pdName": "d", "readOnly": True}},
            {"gcePersistentDisk": {"pdName": "d", "readOnly": True}},
            True,
        ),
        ({"awsElasticBlockStore": {"volumeID": "d"}}, {"awsElasticBlockStore": {"volumeID": "d"}}, False),
        ({"iscsi": {"iqn": "d"}}, {"iscsi": {"iqn": "e"}}, True),
        (
            {"rbd": {"monitors": ["m"], "pool": "p", "image": "i"}},
            {"rbd": {"monitors": ["m", "n"], "pool": "p", "image": "i"}},
            False,
        ),
    ],
)
def test_disks_that_cannot_be_shared(mine: Obj, theirs: Obj, fits: bool) -> None:
    on = cycle(node("a"))
    on.nodes.set_pod(pod("other", volumes=[{"name": "v", **theirs}]), "a")
    found = on.decide(pod("new", volumes=[{"name": "v", **mine}]))
    assert bool(found.node) == fits
    assert fits or "1 node(s) had no available disk" in found.message


def test_nodes_attach_so_many_volumes_and_no_more() -> None:
    on = cycle(node("a"), node("b"))
    for name in ("one", "two"):
        csi = {"csi": {"driver": "csi.example.com", "volumeHandle": name}}
        stored(on, claim(name, bound=f"v-{name}"), volume(f"v-{name}", **csi))
    driver = {"name": "csi.example.com", "allocatable": {"count": 1}}
    on.around.storage.csi_nodes.update({name: {"spec": {"drivers": [driver]}} for name in ("a", "b")})
    on.nodes.set_pod(using("one", name="first"), "a")
    assert on.decide(using("two", name="second")).node == "b"
    on.nodes.remove_node("b")
    assert "1 node(s) exceed max volume count" in on.decide(using("two", name="second")).message
    assert on.decide(using("one", name="third")).node == "a"  # the same volume is attached once


async def test_claims_that_wait_are_bound_to_volumes_of_the_chosen_node() -> None:
    async with cluster(2) as (server, _):
        made = late()
        await server.system.create(STORAGE_CLASSES, made)
        await server.system.create(PERSISTENT_VOLUME_CLAIMS, _created(claim("data")), "default")
        nodes = (await server.system.list(NODES)).items
        name = nodes[1]["metadata"]["name"]
        local = {"local": {"path": "/mnt"}, "nodeAffinity": at(name)}
        await server.system.create(PERSISTENT_VOLUMES, _created(volume("v", **local)))
        web = manifest("web", "1", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])
        await server.system.create(PODS, web, "default")
        await until("running", lambda: is_running(server, "web"))
        assert seen(server, "web")["spec"]["nodeName"] == name
        found = server.lookup(GroupResource("", "persistentvolumeclaims"), "default", "data")
        assert found and found["status"]["phase"] == "Bound" and found["spec"]["volumeName"] == "v"


def _created(obj: Obj) -> Obj:
    meta = {k: v for k, v in obj["metadata"].items() if k != "uid"}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": meta}


def test_a_volume_that_is_reserved_for_a_claim_keeps_it_to_its_nodes() -> None:
    reserved = volume("mine", nodeAffinity=at("b"), claimRef={"namespace": "default", "name": "data"})
    free = volume("free", nodeAffinity=at("a"))
    on = stored(cycle(node("a"), node("b"), node("c")), late(), reserved, free, claim("data"))
    assert on.decide(using("data")).node == "b"


def test_nodes_that_come_and_change_are_judged_anew() -> None:
    local = volume("v", nodeAffinity=at("a"))
    on = stored(cycle(node("b")), late(), local, claim("data", bound="v"))
    message = on.decide(using("data")).message
    assert message == "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."
    on.nodes.set_node(node("a"))
    assert on.decide(using("data")).node == "a"
    on.nodes.remove_node("a")
    assert not on.decide(using("data")).node
