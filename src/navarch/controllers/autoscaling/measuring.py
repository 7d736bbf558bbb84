"""What autoscalers measure, asked of the metrics APIs: metrics.k8s.io, custom.metrics.k8s.io, external.metrics.k8s.io.

Source: podautoscaler/metrics. Every failure is a `CannotTell`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from navarch.api.autoscaling.rules import SOURCES
from navarch.client.interface import Client
from navarch.controllers import objects
from navarch.controllers.autoscaling.calculator import MAX_INT64, CannotTell, PodValue
from navarch.controllers.discovery import resource_of
from navarch.machinery import selectors
from navarch.machinery.errors import StatusError
from navarch.machinery.quantity import Quantity
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import Obj

RESOURCE, CUSTOM, EXTERNAL = "metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"
CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
DEFAULT_WINDOW = 60.0
Measured = Mapping[str, PodValue] | int
"""Of each pod, or altogether."""
_DURATION = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


async def measure(client: Client, spec: Obj, namespace: str, selector: str) -> Measured | CannotTell:
    """The values of one of an autoscaler's metrics; `selector` is that of its pods."""
    kind = spec.get("type", "")
    source: Obj = spec.get(SOURCES.get(kind, "")) or {}
    metric: Obj = source.get("metric") or {}
    try:
        match kind:
            case "Resource" | "ContainerResource":
                return await _of_resource(client, source["name"], source.get("container", ""), namespace, selector)
            case "Pods":
                return await _of_pods(client, metric, namespace, selector)
            case "Object":
                return await _of_object(client, metric, source["describedObject"], namespace)
            case "External":
                return await _external(client, metric, namespace)
            case _:
                raise CannotTell(f'unknown metric source type "{kind}"')
    except CannotTell as why:
        return why


async def _get(client: Client, path: str, query: Mapping[str, str], api: str) -> Any:
    try:
        return await client.raw("GET", path, {name: value for name, value in query.items() if value})
    except StatusError as error:
        raise CannotTell(f"unable to fetch metrics from {api} metrics API: {error.message}") from None


def _items(listed: Obj, api: str) -> Sequence[Obj]:
    items: Sequence[Obj] = listed.get("items") or ()
    if not items:
        raise CannotTell(f"no metrics returned from {api} metrics API")
    return items


async def _of_resource(client: Client, name: str, container: str, namespace: str, selector: str) -> Measured:
    path = f"/apis/{RESOURCE}/v1beta1/namespaces/{namespace}/pods"
    try:
        items = _items(await _get(client, path, {"labelSelector": selector}, "resource"), "resource")
    except CannotTell as why:
        raise CannotTell(f"unable to get metrics for resource {name}: {why}") from None
    found: dict[str, PodValue] = {}
    for item in items:
        value = of_containers(item.get("containers") or (), name, container)
        if value is not None:
            at, window = objects.time_of(item.get("timestamp")), seconds_of(item.get("window", ""))
            found[item["metadata"]["name"]] = PodValue(value, at, window)
    return found


def of_containers(containers: Sequence[Obj], resource: str, container: str) -> int | None:
    """What a pod's containers use together, or one of them; None where one does not say."""
    wanted = [one for one in containers if container in ("", one["name"])]
    total = 0
    for one in wanted:
        if (amount := (one.get("usage") or {}).get(resource)) is None:
            return None
        total += Quantity.of(amount).milli()
    return total if wanted else None


def seconds_of(text: str) -> float:
    """Of Go's text of a duration."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


# -- custom metrics


async def _custom_root(client: Client) -> str:
    """The version to ask, as the group prefers."""
    try:
        group = await client.raw("GET", f"/apis/{CUSTOM}")
    except StatusError:
        why = f"no custom metrics API ({CUSTOM}) registered"
        raise CannotTell(f"unable to fetch metrics from custom metrics API: {why}") from None
    served = [version["version"] for version in group.get("versions") or ()]
    preferred = (group.get("preferredVersion") or {}).get("version", "")
    for version in (preferred, *CUSTOM_VERSIONS):
        if version in served and version in CUSTOM_VERSIONS:
            return f"/apis/{CUSTOM}/{version}"
    raise CannotTell("unable to fetch metrics from custom metrics API: no known available metric versions found")


async def _of_pods(client: Client, metric: Obj, namespace: str, selector: str) -> Measured:
    name = metric["name"]
    query = {"labelSelector": selector, "metricLabelSelector": selector_text(metric.get("selector"))}
    try:
        root = await _custom_root(client)
        items = _items(await _get(client, f"{root}/namespaces/{namespace}/pods/*/{name}", query, "custom"), "custom")
    except CannotTell as why:
        raise CannotTell(f"unable to get metric {name}: {why}") from None
    return {
        item["describedObject"]["name"]: PodValue(
            Quantity.of(item["value"]).milli(),
            objects.time_of(item.get("timestamp")),
            float(item.get("windowSeconds") or item.get("window") or DEFAULT_WINDOW),
        )
        for item in items
    }


async def _of_object(client: Client, metric: Obj, described: Obj, namespace: str) -> Measured:
    name, kind = metric["name"], described.get("kind", "")
    try:
        root = await _custom_root(client)
        if kind == "Namespace" and "/" not in described.get("apiVersion", "v1"):
            path = f"{root}/namespaces/{namespace}/metrics/{name}"
        else:
            try:
                resource = (await resource_of(client, described.get("apiVersion") or "v1", kind)).resource
            except StatusError as error:
                raise CannotTell(f"unable to fetch metrics from custom metrics API: {error.message}") from None
            plural = f"{resource.plural}.{resource.group}".rstrip(".")
            path = f"{root}/namespaces/{namespace}/{plural}/{described['name']}/{name}"
        query = {"metricLabelSelector": selector_text(metric.get("selector"))}
        items = _items(await _get(client, path, query, "custom"), "custom")
    except CannotTell as why:
        where = f"{kind} {namespace}/{described.get('name', '')}"
        raise CannotTell(f"unable to get metric {name}: {why} on {where}") from None
    return Quantity.of(items[0]["value"]).milli()


async def _external(client: Client, metric: Obj, namespace: str) -> Measured:
    name, selector = metric["name"], metric.get("selector")
    path = f"/apis/{EXTERNAL}/v1beta1/namespaces/{namespace}/{name}"
    try:
        items = _items(await _get(client, path, {"labelSelector": selector_text(selector)}, "external"), "external")
    except CannotTell as why:
        shown = selectors.shown(selector) if selector else "<nil>"
        raise CannotTell(f"unable to get external metric {namespace}/{name}/{shown}: {why}") from None
    return min(sum(Quantity.of(item["value"]).milli() for item in items), MAX_INT64)


def selector_text(selector: Obj | None) -> str:
    """As a query has it; everything where there is none."""
    return "" if selector is None else str(from_label_selector(selector))
