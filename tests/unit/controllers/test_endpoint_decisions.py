"""Endpoint slices and Endpoints: who is in them, in which state, and how few writes a change costs."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.client.resources import ENDPOINT_SLICES
from navarch.controllers.endpoints import legacy, mirroring, slices
from navarch.controllers.endpoints.legacy import EndpointsController
from navarch.controllers.endpoints.mirroring import EndpointSliceMirroringController
from navarch.controllers.endpoints.slices import EndpointSliceController
from navarch.controlloop.plan import Create, Delete, Emit, Plan, Update


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "x"}},
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.96.0.9",
            "ipFamilies": ["IPv4"],
            "ports": ports,
            **spec,
        },
    }


def pod(number: int, ready: bool = True, deleting: bool = False, **spec: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "name": f"p{number:03}",
        "namespace": "default",
        "uid": f"u{number}",
        "labels": {"app": "web"},
    }
    if deleting:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ip = f"10.244.{number // 250}.{number % 250 + 1}"
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": meta,
        "spec": {"nodeName": "n1", "containers": [], **spec},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions},
    }


def decide(svc: Any, pods: list[Any], existing: list[Any] = (), zones: Any = None) -> Plan:  # type: ignore[assignment]
    return EndpointSliceController().reconcile(slices.Observed(svc, existing, pods, zones or {}), 0.0)


def stored(plan: Plan) -> list[dict[str, Any]]:
    """The slices that a plan's creations leave behind."""
    made = [a.object for a in plan.actions if isinstance(a, Create)]
    return [{**s, "metadata": {**s["metadata"], "name": f"web-{i}", "uid": f"e{i}"}} for i, s in enumerate(made)]


def test_a_ready_pod_is_an_endpoint() -> None:
    made = stored(decide(service(), [pod(1)], zones={"n1": "z1"}))[0]
    assert made["metadata"]["generateName"] == "web-"
    assert made["metadata"]["labels"] == {
        "team": "x",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Service"
    assert made["addressType"] == "IPv4"
    assert made["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]
    assert made["endpoints"] == [
        {
            "addresses": ["10.244.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": "p001", "uid": "u1"},
            "nodeName": "n1",
            "zone": "z1",
        }
    ]


@pytest.mark.parametrize(
    ("ready", "deleting", "publish", "expected"),
    [
        (True, False, False, (True, True, False)),
        (False, False, False, (False, False, False)),
        (True, True, False, (False, True, True)),
        (False, False, True, (True, False, False)),
        (True, True, True, (True, True, True)),
    ],
)
def test_conditions(ready: bool, deleting: bool, publish: bool, expected: tuple[bool, bool, bool]) -> None:
    made = stored(decide(service(publishNotReadyAddresses=publish), [pod(1, ready, deleting)]))[0]
    conditions = made["endpoints"][0]["conditions"]
    assert (conditions["ready"], conditions["serving"], conditions["terminating"]) == expected


def test_250_endpoints_make_three_slices_and_one_change_writes_one() -> None:
    pods = [pod(i) for i in range(250)]
    existing = stored(decide(service(), pods))
    assert sorted(len(s["endpoints"]) for s in existing) == [50, 100, 100]
    assert decide(service(), pods, existing).actions == []
    pods[7] = pod(7, ready=False)
    changed = decide(service(), pods, existing).actions
    assert len(changed) == 1 and isinstance(changed[0], Update)
    pods[7] = pod(7)
    pods.append(pod(250))
    assert len(decide(service(), pods, existing).actions) == 1


def test_without_pods_one_empty_slice_stands() -> None:
    existing = stored(decide(service(), []))
    assert [s["endpoints"] for s in existing] == [[]]
    assert decide(service(), [], existing).actions == []


def test_named_ports_may_differ_between_pods() -> None:
    svc = service(ports=[{"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"}])

    def listening(number: int, port: int) -> Any:
        return pod(number, containers=[{"ports": [{"name": "web", "containerPort": port, "protocol": "TCP"}]}])

    made = stored(decide(svc, [listening(1, 80), listening(2, 8080), listening(3, 80), pod(4)]))
    assert sorted((s["ports"][0]["port"], len(s["endpoints"])) for s in made) == [(80, 2), (8080, 1)]


def test_a_headless_service_is_labelled_and_names_hosts() -> None:
    made = stored(decide(service(clusterIP="None"), [pod(1, hostname="db-0", subdomain="web")]))[0]
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert made["endpoints"][0]["hostname"] == "db-0"


def test_a_service_that_is_gone_takes_its_slices_along() -> None:
    existing = stored(decide(service(), [pod(1)]))
    plan = EndpointSliceController().reconcile(slices.Observed(None, existing), 0.0)
    assert [(type(a), a.resource) for a in plan.actions] == [(Delete, ENDPOINT_SLICES)]


def test_endpoints_split_ready_from_not_ready() -> None:
    observed = legacy.Observed(service(), None, [pod(2), pod(1), pod(3, ready=False)])
    made = EndpointsController().reconcile(observed, 0.0).actions[0].object
    (subset,) = made["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.244.0.2", "10.244.0.3"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.244.0.4"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    again = EndpointsController().reconcile(legacy.Observed(service(), made, observed.pods), 0.0)
    assert again.actions == []


def test_endpoints_are_truncated_with_a_note() -> None:
    observed = legacy.Observed(service(), None, [pod(i) for i in range(1100)])
    made = EndpointsController().reconcile(observed, 0.0).actions[0].object
    assert len(made["subsets"][0]["addresses"]) == 1000
    assert made["metadata"]["annotations"] == {"endpoints.kubernetes.io/over-capacity": "truncated"}


def test_hand_made_endpoints_are_mirrored() -> None:
    endpoints = {
        "metadata": {"name": "ext", "namespace": "default", "uid": "e", "labels": {"a": "b"}},
        "subsets": [
            {"addresses": [{"ip": "192.0.2.1"}], "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 5432}]}
        ],
    }
    plan = EndpointSliceMirroringController().reconcile(mirroring.Observed(endpoints, []), 0.0)
    made = stored(plan)[0]
    assert [e["conditions"]["ready"] for e in made["endpoints"]] == [True, False]
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == "ext"
    assert not mirroring.is_mirrored(endpoints, service())


def test_each_subset_is_mirrored_into_one_slice_of_at_most_a_thousand() -> None:
    addresses = [{"ip": f"10.1.{number // 250}.{number % 250 + 1}"} for number in range(1100)]
    endpoints = {
        "metadata": {"name": "ext", "namespace": "default", "uid": "e"},
        "subsets": [{"addresses": addresses, "ports": [{"port": 5432}]}],
    }
    plan = EndpointSliceMirroringController().reconcile(mirroring.Observed(endpoints, []), 0.0)
    assert [len(made["endpoints"]) for made in stored(plan)] == [1000]
    (told,) = [action for action in plan.actions if isinstance(action, Emit)]
    assert told.reason == "TooManyAddressesToMirror" and told.message.endswith("100 addresses were skipped")
