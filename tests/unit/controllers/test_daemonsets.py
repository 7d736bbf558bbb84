"""DaemonSets on hollow nodes, every part with its own rights: placement, updates and rollbacks, failures, adoption."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from tests.support.hollow import cluster, until

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import DAEMON_SETS, EVENTS, NODES, PODS
from navarch.controllers.daemonset.backoff import Failures
from navarch.controllers.daemonset.placement import fit_of, new_pod, target_node, tolerations_of
from navarch.controllers.history import REVISIONS
from navarch.machinery.types import GroupResource, Obj

NS = "default"
LABELS = {"app": "agent"}
NODE_NAMES = {"hollow-0", "hollow-1", "hollow-2"}


def daemon_set(pod: Obj | None = None, annotations: dict[str, str] | None = None, **spec: Any) -> Obj:
    containers = [{"name": "c", "image": "a"}]
    template = {"metadata": {"labels": LABELS, "annotations": annotations or {}}, "spec": {"containers": containers}}
    template["spec"].update(pod or {})
    return {"metadata": {"name": "agent"}, "spec": {"selector": {"matchLabels": LABELS}, "template": template, **spec}}


def stored(server: ApiServer, resource: Resource, namespace: str = NS) -> dict[str, Obj]:
    registry = server.registries[GroupResource(resource.group, resource.plural)]
    return {entry.name: entry.obj for entry in registry.cache.range(namespace)}


def on_nodes(server: ApiServer) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in stored(server, PODS).values())


def status(server: ApiServer) -> Obj:
    return stored(server, DAEMON_SETS)["agent"].get("status") or {}


def settled(server: ApiServer, count: int) -> Callable[[], bool]:
    def holds() -> bool:
        found = stored(server, DAEMON_SETS)["agent"]
        seen, generation = found.get("status") or {}, found["metadata"]["generation"]
        names = ("desiredNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
        counts = {seen.get(name, 0) for name in names}
        return seen.get("observedGeneration") == generation and counts == {count} and len(on_nodes(server)) == count

    return holds


def image(server: ApiServer) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in stored(server, PODS).values()}


def new_image(name: str) -> Obj:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": name}]}}}}


def events(server: ApiServer) -> set[str]:
    return {event["reason"] for event in stored(server, EVENTS).values()}


async def test_every_node_has_one_pod_and_a_new_node_gets_one() -> None:
    async with cluster(3) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(), NS)
        await until("all run", settled(server, 3))
        assert set(on_nodes(server)) == NODE_NAMES
        assert "SuccessfulCreate" in events(server)
        pod = next(iter(stored(server, PODS).values()))
        labels = pod["metadata"]["labels"]
        (revision,) = stored(server, REVISIONS).values()
        assert labels["controller-revision-hash"] == revision["metadata"]["labels"]["controller-revision-hash"]
        assert labels["pod-template-generation"] == "1"
        assert pod["metadata"]["generateName"] == "agent-"
        # kubectl and others compare it byte by byte with what Go writes.
        answer = await client.raw(
            "GET", f"/apis/apps/v1/namespaces/{NS}/controllerrevisions/{revision['metadata']['name']}"
        )
        assert orjson.dumps(answer["data"]) == orjson.dumps(answer["data"], option=orjson.OPT_SORT_KEYS)
        template = answer["data"]["spec"]["template"]
        assert template["$patch"] == "replace"
        assert template["spec"]["containers"][0]["resources"] == {}
        await client.patch(NODES, "hollow-1", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})
        await until("the tainted node is left", settled(server, 2))
        assert set(on_nodes(server)) == {"hollow-0", "hollow-2"}
        await client.patch(NODES, "hollow-1", {"spec": {"taints": None}})
        await until("and comes back", settled(server, 3))


async def test_labels_of_nodes_decide_and_may_change() -> None:
    async with cluster(3) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set({"nodeSelector": {"color": "blue"}}), NS)
        await until("seen", lambda: status(server).get("observedGeneration") == 1)
        assert on_nodes(server) == []
        await client.patch(NODES, "hollow-2", {"metadata": {"labels": {"color": "blue"}}})
        await until("one node fits", settled(server, 1))
        await client.patch(NODES, "hollow-2", {"metadata": {"labels": {"color": "green"}}})
        await until("none fits", settled(server, 0))


async def test_a_tainted_node_keeps_what_runs_and_counts_it_as_misscheduled() -> None:
    async with cluster(2) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(), NS)
        await until("all run", settled(server, 2))
        await client.patch(NODES, "hollow-0", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
        await until("it is counted", lambda: status(server).get("numberMisscheduled") == 1)
        assert len(on_nodes(server)) == 2
        assert status(server)["desiredNumberScheduled"] == 1


@pytest.mark.parametrize("rolling", [{"maxUnavailable": 1}, {"maxUnavailable": 0, "maxSurge": "50%"}])
async def test_an_update_rolls_and_a_rollback_gets_the_newest_number(rolling: Obj) -> None:
    async with cluster(3) as (server, _):
        client = server.system
        strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
        await client.create(DAEMON_SETS, daemon_set(updateStrategy=strategy), NS)
        await until("all run", settled(server, 3))
        await client.patch(DAEMON_SETS, "agent", new_image("b"), NS, type="strategic")
        await until("all are new", lambda: image(server) == {"b"} and settled(server, 3)())
        assert sorted(r["revision"] for r in stored(server, REVISIONS).values()) == [1, 2]
        await client.patch(DAEMON_SETS, "agent", new_image("a"), NS, type="strategic")
        await until("all are as they were", lambda: image(server) == {"a"} and settled(server, 3)())
        assert sorted(r["revision"] for r in stored(server, REVISIONS).values()) == [2, 3]


async def test_on_delete_waits_for_the_user() -> None:
    async with cluster(2) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(updateStrategy={"type": "OnDelete"}), NS)
        await until("all run", settled(server, 2))
        await client.patch(DAEMON_SETS, "agent", new_image("b"), NS, type="strategic")
        await until("seen", lambda: status(server).get("observedGeneration") == 2)
        assert image(server) == {"a"}
        assert status(server).get("updatedNumberScheduled", 0) == 0
        name = next(iter(stored(server, PODS)))
        await client.delete(PODS, name, NS)
        await until("one is new", lambda: status(server).get("updatedNumberScheduled") == 1)
        assert image(server) == {"a", "b"}


async def test_the_history_is_as_long_as_asked_for() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(revisionHistoryLimit=1), NS)
        await until("it runs", settled(server, 1))
        for name in "bcd":
            await client.patch(DAEMON_SETS, "agent", new_image(name), NS, type="strategic")
            await until("it is new", lambda name=name: image(server) == {name} and settled(server, 1)())
        await until("two are kept", lambda: len(stored(server, REVISIONS)) == 2)
        assert sorted(r["revision"] for r in stored(server, REVISIONS).values()) == [3, 4]


async def test_a_failed_pod_is_made_anew() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(), NS)
        await until("it runs", settled(server, 1))
        (name,) = stored(server, PODS)
        await client.patch(PODS, name, {"status": {"phase": "Failed"}}, NS, subresource="status")
        await until("another runs", lambda: name not in stored(server, PODS) and settled(server, 1)())
        await until("it was told", lambda: "FailedDaemonPod" in events(server))


async def test_orphans_are_adopted_with_their_revision() -> None:
    async with cluster(2) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(), NS)
        await until("all run", settled(server, 2))
        before = set(stored(server, PODS))
        await client.delete(DAEMON_SETS, "agent", NS, propagation="Orphan")
        await until("it is gone", lambda: "agent" not in stored(server, DAEMON_SETS))
        assert not any(pod["metadata"].get("ownerReferences") for pod in stored(server, PODS).values())
        await client.create(DAEMON_SETS, daemon_set(), NS)
        await until("all are its own", settled(server, 2))
        assert set(stored(server, PODS)) == before
        assert len(stored(server, REVISIONS)) == 1


async def test_a_pod_that_is_no_longer_selected_is_released_and_replaced() -> None:
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(), NS)
        await until("it runs", settled(server, 1))
        (name,) = stored(server, PODS)
        await client.patch(PODS, name, {"metadata": {"labels": {"app": "other"}}}, NS)
        await until("another is there", lambda: len(stored(server, PODS)) == 2)
        await until("released", lambda: not stored(server, PODS)[name]["metadata"].get("ownerReferences"))


async def test_a_revision_that_somebody_makes_stays_until_there_is_something_to_do() -> None:
    """So do those of upstream's conformance test. The newest of two with one content stays then."""
    async with cluster(1) as (server, _):
        client = server.system
        await client.create(DAEMON_SETS, daemon_set(), NS)
        await until("it runs", settled(server, 1))
        (own,) = stored(server, REVISIONS).values()
        meta = {key: own["metadata"][key] for key in ("labels", "ownerReferences")}
        labels = {**meta["labels"], "controller-revision-hash": "mine"}
        double = {"metadata": {**meta, "name": "agent-mine", "labels": labels}, "data": own["data"], "revision": 2}
        await client.create(REVISIONS, double, NS)
        await client.delete(REVISIONS, own["metadata"]["name"], NS)
        await until("it is the only one", lambda: set(stored(server, REVISIONS)) == {"agent-mine"})
        await client.create(
            REVISIONS, {**double, "metadata": {**double["metadata"], "name": "agent-more"}, "revision": 3}, NS
        )
        await client.patch(DAEMON_SETS, "agent", {"spec": {"minReadySeconds": 1}}, NS)
        await until("the newer stays", lambda: set(stored(server, REVISIONS)) == {"agent-more"})


# -- tables


def node(name: str = "n", labels: dict[str, str] | None = None, *taints: str) -> Obj:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": [{"key": t.split(":")[0], "effect": t.split(":")[1]} for t in taints]},
    }


def by_field(name: str) -> Obj:
    field = {"key": "metadata.name", "operator": "In", "values": [name]}
    terms = [{"matchFields": [field]}]
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


@pytest.mark.parametrize(
    ("pod", "where", "fits"),
    [
        ({}, node(), (True, True)),
        ({"nodeName": "n"}, node(), (True, True)),
        ({"nodeName": "m"}, node(), (False, False)),
        ({"nodeSelector": {"a": "b"}}, node("n", {"a": "b"}), (True, True)),
        ({"nodeSelector": {"a": "b"}}, node(), (False, False)),
        (by_field("n"), node(), (True, True)),
        (by_field("m"), node(), (False, False)),
        ({}, node("n", {}, "k:NoSchedule"), (False, True)),
        ({}, node("n", {}, "k:NoExecute"), (False, False)),
        ({}, node("n", {}, "k:PreferNoSchedule"), (True, True)),
        ({"tolerations": [{"operator": "Exists"}]}, node("n", {}, "k:NoExecute"), (True, True)),
        ({}, node("n", {}, "node.kubernetes.io/unschedulable:NoSchedule"), (True, True)),
        ({}, node("n", {}, "node.kubernetes.io/not-ready:NoExecute"), (True, True)),
        ({}, node("n", {}, "node.kubernetes.io/not-ready:NoSchedule"), (False, True)),
        ({}, node("n", {}, "node.kubernetes.io/network-unavailable:NoSchedule"), (False, True)),
        ({"hostNetwork": True}, node("n", {}, "node.kubernetes.io/network-unavailable:NoSchedule"), (True, True)),
    ],
)
def test_which_nodes_are_the_sets(pod: Obj, where: Obj, fits: tuple[bool, bool]) -> None:
    assert fit_of(daemon_set(pod)).on(where) == fits


def test_a_toleration_for_a_while_becomes_one_for_ever() -> None:
    given = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    made = tolerations_of({"tolerations": [{**given, "tolerationSeconds": 300}, {"key": "mine"}]})
    assert made[:2] == [given, {"key": "mine"}]
    assert len(made) == 7


def test_a_pod_is_tied_to_its_node_whatever_else_its_template_asks_for() -> None:
    made = {"metadata": {"name": "agent", "namespace": NS, "uid": "u"}, "spec": daemon_set(by_field("other"))["spec"]}
    pod = new_pod(made, "mine", "h")
    assert target_node(pod) == "mine"
    assert target_node({"spec": {"nodeName": "x"}}) == "x"
    assert target_node({"spec": {}}) == ""


def test_failures_on_a_node_back_off_and_are_forgotten() -> None:
    failures, now, delays = Failures(), 1000.0, list[float]()
    for _ in range(12):
        failures.note(("a",), now)
        delays.append(failures.get(("a",)).wait(now))  # type: ignore[union-attr]
        now += delays[-1]
    assert delays[:4] == [1, 2, 4, 8]
    assert delays[-2:] == [900, 900]
    failures.note(("a",), now + 2000)
    assert failures.get(("a",)).wait(now + 2000) == 1  # type: ignore[union-attr]
