"""Hints in endpoint slices: traffic that is to stay near, and zones that share endpoints by their CPUs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from navarch.controllers.endpoints import hints, slices
from navarch.controllers.endpoints.slices import EndpointSliceController
from navarch.controlloop.plan import Create, Emit, Plan

NODES = {"n1": "a", "n2": "b", "n3": "c"}


def service(distribution: str = "", **annotations: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in annotations.items()}
    meta = {f"service.kubernetes.io/{name}": value for name, value in named.items()}
    spec: dict[str, Any] = {"selector": {"app": "web"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80}]}
    if distribution:
        spec["trafficDistribution"] = distribution
    return {"metadata": {"name": "web", "namespace": "default", "uid": "s", "annotations": meta}, "spec": spec}


def pods(*nodes: str, ready: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, node in enumerate(nodes):
        ip = f"10.244.0.{number + 1}"
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
        meta = {"name": f"p{number}", "namespace": "default", "uid": f"u{number}", "labels": {"app": "web"}}
        found.append({"metadata": meta, "spec": {"nodeName": node, "containers": []}, "status": status})
    return found


def decide(svc: Any, found: list[Any], cpu: Any = None, existing: Any = ()) -> Plan:
    return EndpointSliceController().reconcile(slices.Observed(svc, existing, found, NODES, cpu), 0.0)


def given(plan: Plan) -> list[Any]:
    (made,) = [action.object for action in plan.actions if isinstance(action, Create)]
    return [endpoint.get("hints") for endpoint in made["endpoints"]]


def zone(name: str) -> dict[str, Any]:
    return {"forZones": [{"name": name}]}


def test_traffic_that_is_to_stay_near_is_hinted() -> None:
    found = pods("n1", "n2", "elsewhere")
    assert given(decide(service("PreferSameZone"), found)) == [zone("a"), zone("b"), None]
    assert given(decide(service("PreferClose"), found[:1])) == [zone("a")]
    node = {"forZones": [{"name": "a"}], "forNodes": [{"name": "n1"}]}
    only = {"forNodes": [{"name": "elsewhere"}]}
    assert given(decide(service("PreferSameNode"), [found[0], found[2]])) == [node, only]
    assert given(decide(service(), found[:2])) == [None, None]
    assert given(decide(service("PreferSameZone"), pods("n1", ready=False))) == [None]


HALVES, UNEQUAL = {"a": 0.5, "b": 0.5}, {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("cpu", "nodes", "zones"),
    [
        (HALVES, ["n1", "n2"], {"a": 1, "b": 1}),
        (HALVES, ["n1"] * 6 + ["n2"] * 2, {"a": 4, "b": 4}),
        (HALVES, ["n1"] * 5 + ["n2"] * 4, {"a": 5, "b": 4}),  # half an endpoint too many is near enough
        (UNEQUAL, ["n1"] * 4 + ["n2"] * 4, {"a": 6, "b": 2}),
        ({"a": 0.4, "b": 0.3, "c": 0.3}, ["n1"] * 10, {"a": 4, "b": 3, "c": 3}),
    ],
)
def test_zones_share_endpoints_by_their_cpus(cpu: dict[str, float], nodes: list[str], zones: dict[str, int]) -> None:
    plan = decide(service(topology_mode="Auto"), pods(*nodes), cpu)
    found = given(plan)
    assert Counter(hint["forZones"][0]["name"] for hint in found) == zones
    assert [e.reason for e in plan.actions if isinstance(e, Emit)] == ["TopologyAwareHintsEnabled"]
    made = next(action.object for action in plan.actions if isinstance(action, Create))
    stored = {**made, "metadata": {**made["metadata"], "name": "web-1", "uid": "e"}}
    assert decide(service(topology_mode="Auto"), pods(*nodes), cpu, [stored]).actions == []


@pytest.mark.parametrize(
    ("cpu", "nodes", "message"),
    [
        (None, ["n1", "n2"], hints.NO_NODE_INFO),
        (HALVES, ["n1"], f"{hints.TOO_FEW} (1 endpoints, 2 zones)"),
        ({"a": 0.9, "b": 0.1}, ["n1", "n2"], f"{hints.OVERLOADED} (2 endpoints, 2 zones)"),
        (HALVES, ["n1", "n2", "n1", "elsewhere"], hints.NO_ZONE),
    ],
)
def test_why_zones_do_not_share(cpu: Any, nodes: list[str], message: str) -> None:
    plan = decide(service("PreferSameZone", topology_mode="auto"), pods(*nodes), cpu)
    assert given(plan) == [None] * len(nodes)
    (told,) = [action for action in plan.actions if isinstance(action, Emit)]
    assert (told.type, told.message) == ("Warning", f"{message}, addressType: IPv4")


def test_the_deprecated_annotation_wins() -> None:
    assert not hints.shares_zones(service(topology_aware_hints="Disabled", topology_mode="Auto"))
    assert hints.shares_zones(service(topology_aware_hints="auto"))


def node(zone: str, cpu: str = "4", ready: str = "True", **labels: str) -> dict[str, Any]:
    found = {"topology.kubernetes.io/zone": zone} if zone else {}
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": "n", "labels": {**found, **labels}}, "status": status}


def test_the_cpus_of_zones() -> None:
    assert hints.cpu_of_zones([node("a"), node("a", "2"), node("b", "2")]) == {"a": 0.75, "b": 0.25}
    control = node("", **{"node-role.kubernetes.io/control-plane": ""})
    assert hints.cpu_of_zones([node("a"), node("b"), control, node("", ready="False")]) == {"a": 0.5, "b": 0.5}
    assert hints.cpu_of_zones([node("a"), node("b"), node("")]) is None
    assert hints.cpu_of_zones([node("a"), node("a")]) is None
