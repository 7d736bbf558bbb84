"""What autoscalers ask metrics adapters, and what they read in the answers: paths and fields as those of the metrics APIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from navarch.controllers.autoscaling.calculator import CannotTell, PodValue
from navarch.controllers.autoscaling.measuring import measure
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

STAMP, AT = "2026-09-21T13:46:40Z", 1_789_998_400.0
CUSTOM = "/apis/custom.metrics.k8s.io"


class Adapter:
    """Whatever serves metrics in a cluster: answers by path; other paths are not there."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def raw(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        self.asked.append((path, dict(query or {})))
        if path not in self._answers:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        return self._answers[path]


async def ask(spec: Obj, answers: Mapping[str, Any]) -> tuple[Any, tuple[str, dict[str, str]]]:
    adapter = Adapter(answers)
    client: Any = adapter
    found = await measure(client, spec, "ns", "app=web")
    return found, adapter.asked[-1]


def custom(*versions: str) -> Obj:
    served = [{"groupVersion": f"custom.metrics.k8s.io/{v}", "version": v} for v in versions]
    return {"versions": served, "preferredVersion": served[0]}


def item(name: str, value: str, **more: Any) -> Obj:
    return {"describedObject": {"name": name}, "timestamp": STAMP, "value": value, **more}


POD = {
    "metadata": {"name": "p"},
    "timestamp": STAMP,
    "window": "15.5s",
    "containers": [{"name": "a", "usage": {"cpu": "250m"}}, {"name": "b", "usage": {"cpu": "1500u"}}],
}
PODS = "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods"


async def test_resources_are_summed_over_the_containers_of_a_pod_or_taken_of_one() -> None:
    answers = {PODS: {"items": [POD, {**POD, "metadata": {"name": "q"}, "containers": [{"name": "a", "usage": {}}]}]}}
    found, asked = await ask({"type": "Resource", "resource": {"name": "cpu"}}, answers)
    assert found == {"p": PodValue(252, AT, 15.5)}
    assert asked == (PODS, {"labelSelector": "app=web"})
    one = {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "a"}}
    assert (await ask(one, answers))[0] == {"p": PodValue(250, AT, 15.5)}


@pytest.mark.parametrize(
    ("versions", "asked", "window"),
    [
        (("v1beta2", "v1beta1"), "v1beta2", {"windowSeconds": 30}),
        (("v1beta1",), "v1beta1", {"window": 30}),
        (("v1", "v1beta1"), "v1beta1", {"windowSeconds": 30}),
    ],
)
async def test_metrics_of_pods_in_the_version_that_is_preferred(
    versions: tuple[str, ...], asked: str, window: Obj
) -> None:
    path = f"{CUSTOM}/{asked}/namespaces/ns/pods/*/requests"
    answers = {CUSTOM: custom(*versions), path: {"items": [item("p", "500m", **window), item("q", "2")]}}
    metric = {"name": "requests", "selector": {"matchLabels": {"verb": "GET"}}}
    found, last = await ask({"type": "Pods", "pods": {"metric": metric}}, answers)
    assert found == {"p": PodValue(500, AT, 30), "q": PodValue(2000, AT, 60)}
    assert last == (path, {"labelSelector": "app=web", "metricLabelSelector": "verb=GET"})


@pytest.mark.parametrize(
    ("described", "path"),
    [
        ({"kind": "Service", "name": "s", "apiVersion": "v1"}, "namespaces/ns/services/s/hits"),
        (
            {"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"},
            "namespaces/ns/ingresses.networking.k8s.io/i/hits",
        ),
        ({"kind": "Namespace", "name": "other", "apiVersion": "v1"}, "namespaces/ns/metrics/hits"),
    ],
)
async def test_metrics_of_objects(described: Obj, path: str) -> None:
    answers = {
        CUSTOM: custom("v1beta2"),
        "/api/v1": {"resources": [{"name": "services", "kind": "Service", "namespaced": True}]},
        "/apis/networking.k8s.io/v1": {"resources": [{"name": "ingresses", "kind": "Ingress", "namespaced": True}]},
        f"{CUSTOM}/v1beta2/{path}": {"items": [item("x", "12")]},
    }
    spec = {"type": "Object", "object": {"describedObject": described, "metric": {"name": "hits"}}}
    found, last = await ask(spec, answers)
    assert (found, last) == (12000, (f"{CUSTOM}/v1beta2/{path}", {}))


async def test_external_metrics_are_added_up() -> None:
    path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/ns/queue"
    answers = {path: {"items": [item("", "1500m"), item("", "2")]}}
    metric = {"name": "queue", "selector": {"matchExpressions": [{"key": "q", "operator": "In", "values": ["a", "b"]}]}}
    found, last = await ask({"type": "External", "external": {"metric": metric}}, answers)
    assert (found, last) == (3500, (path, {"labelSelector": "q in (a,b)"}))


@pytest.mark.parametrize(
    ("spec", "answers", "message"),
    [
        (
            {"type": "Resource", "resource": {"name": "cpu"}},
            {PODS: {"items": []}},
            "unable to get metrics for resource cpu: no metrics returned from resource metrics API",
        ),
        (
            {"type": "Pods", "pods": {"metric": {"name": "m"}}},
            {},
            "unable to get metric m: unable to fetch metrics from custom metrics API: no custom metrics API "
            "(custom.metrics.k8s.io) registered",
        ),
        (
            {"type": "External", "external": {"metric": {"name": "m"}}},
            {},
            "unable to get external metric ns/m/<nil>: unable to fetch metrics from external metrics API: the server "
            "could not find the requested resource",
        ),
        (
            {"type": "Object", "object": {"metric": {"name": "m"}, "describedObject": {"kind": "Nope", "name": "n"}}},
            {CUSTOM: custom("v1beta2"), "/api/v1": {"resources": []}},
            'unable to get metric m: unable to fetch metrics from custom metrics API: no matches for kind "Nope" in '
            'version "v1" on Nope ns/n',
        ),
        ({"type": "Odd"}, {}, 'unknown metric source type "Odd"'),
    ],
)
async def test_why_there_is_nothing_to_measure(spec: Obj, answers: Mapping[str, Any], message: str) -> None:
    adapter: Any = Adapter(answers)
    found = await measure(adapter, spec, "ns", "app=web")
    assert isinstance(found, CannotTell) and str(found) == message
