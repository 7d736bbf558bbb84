"""Which pods stand behind a Service, and where they listen. Source: upstream's k8s.io/endpointslice."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from navarch.client.resources import PODS, SERVICES
from navarch.controllers import objects
from navarch.controlloop.plan import Caches
from navarch.machinery.types import Key, Obj, key_of

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
HEADLESS = "service.kubernetes.io/headless"
ZONE = "topology.kubernetes.io/zone"
RESERVED = {SERVICE_NAME, MANAGED_BY, HEADLESS}
POD_NODE = "node"


def pod_node(pod: Obj) -> Iterable[str]:
    node = pod["spec"].get("nodeName")
    return (node,) if node else ()


def has_pods(service: Obj) -> bool:
    """Whether its endpoints come from pods: it has a selector and is no alias."""
    spec = service["spec"]
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Obj) -> bool:
    return service["spec"].get("clusterIP", "") in ("", "None")


def pods_of(service: Obj, pods: Iterable[Obj]) -> list[Obj]:
    selector = service["spec"]["selector"]
    return [pod for pod in pods if objects.matches_labels(selector, objects.labels_of(pod))]


def has_address(pod: Obj, include_terminating: bool) -> bool:
    """Whether the pod belongs into endpoints at all, ready or not."""
    if objects.is_terminal(pod) or not addresses_of(pod):
        return False
    return include_terminating or not objects.is_deleting(pod)


def addresses_of(pod: Obj) -> list[str]:
    status = pod.get("status") or {}
    listed = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    return listed or ([status["podIP"]] if status.get("podIP") else [])


def address_in(pod: Obj, family: str) -> str | None:
    """The pod's address of a family, `IPv4` or `IPv6`."""
    return next((ip for ip in addresses_of(pod) if family_of(ip) == family), None)


def family_of(ip: str) -> str:
    return "IPv6" if ":" in ip else "IPv4"


def families_of(service: Obj) -> list[str]:
    spec = service["spec"]
    if spec.get("ipFamilies"):
        return list(spec["ipFamilies"])
    cluster_ip = spec.get("clusterIP", "")
    return [family_of(cluster_ip)] if cluster_ip not in ("", "None") else ["IPv4"]


def hostname_of(pod: Obj, service: Obj) -> str:
    """The pod's own DNS name under a headless service that is its subdomain."""
    spec = pod["spec"]
    return spec.get("hostname", "") if spec.get("subdomain") == service["metadata"]["name"] else ""


def target_port(pod: Obj, port: Mapping[str, Any]) -> int | None:
    """The number that a Service's port means on this pod; None where a named port is not there."""
    target = port.get("targetPort")
    if target in (None, 0, ""):
        return port["port"]
    if isinstance(target, int):
        return target
    protocol = port.get("protocol", "TCP")
    sidecars = (c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always")
    for container in [*(pod["spec"].get("containers") or ()), *sidecars]:
        for listed in container.get("ports") or ():
            if listed.get("name") == target and listed.get("protocol", "TCP") == protocol:
                return listed["containerPort"]
    return None


def slice_ports(service: Obj, pod: Obj) -> list[Obj]:
    """The EndpointPorts of the Service on this pod. `name` is always there, as upstream writes it."""
    ports: list[Obj] = []
    for port in service["spec"].get("ports") or ():
        number = target_port(pod, port)
        if number is None:
            continue
        made = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
        if port.get("appProtocol"):
            made["appProtocol"] = port["appProtocol"]
        ports.append(made)
    return ports


def pod_reference(pod: Obj) -> Obj:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta.get("uid", "")}


# -- which keys a change wakes


def service_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(obj) for obj in (new or old,) if obj is not None]


def pod_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Services that select the pod before or after, where the change can matter to endpoints."""
    if old is not None and new is not None and _facts(old) == _facts(new):
        return ()
    namespace = key_of(new or old or {}).namespace
    labels = [objects.labels_of(pod) for pod in (old, new) if pod is not None]
    keys: set[Key] = set()
    for service in caches[SERVICES].list(namespace):
        if has_pods(service) and any(objects.matches_labels(service["spec"]["selector"], have) for have in labels):
            keys.add(key_of(service))
    return keys


def _facts(pod: Obj) -> tuple[Any, ...]:
    spec = pod["spec"]
    return (
        objects.labels_of(pod),
        addresses_of(pod),
        objects.is_ready(pod),
        objects.is_terminal(pod),
        objects.is_deleting(pod),
        spec.get("nodeName"),
        spec.get("hostname"),
        spec.get("subdomain"),
    )


def node_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """A node's zone is written into the endpoints on it."""
    zones = [objects.labels_of(node).get(ZONE, "") for node in (old, new) if node is not None]
    node = new or old
    if node is None or (len(zones) == 2 and zones[0] == zones[1]) or not any(zones):
        return ()
    keys: set[Key] = set()
    for pod in caches[PODS].by_index(POD_NODE, node["metadata"]["name"]):
        keys.update(pod_keys(None, pod, caches))
    return keys


def sorted_by_address(entries: Iterable[Obj], address: str = "ip") -> list[Obj]:
    return sorted(entries, key=lambda entry: _numeric(entry[address]))


def _numeric(ip: str) -> tuple[int, int, str]:
    try:
        parsed = ipaddress.ip_address(ip)
    except ValueError:
        return 9, 0, ip
    return parsed.version, int(parsed), ip


def slice_labels(service: Obj, manager: str) -> dict[str, str]:
    labels = {k: v for k, v in objects.labels_of(service).items() if k not in RESERVED}
    if is_headless(service):
        labels[HEADLESS] = ""
    return {**labels, SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: manager}


def service_index(endpoint_slice: Obj) -> Iterable[str]:
    """namespace/service of a slice."""
    name = objects.labels_of(endpoint_slice).get(SERVICE_NAME)
    return (f"{endpoint_slice['metadata']['namespace']}/{name}",) if name else ()


def slices_of(key: Key, caches_of_slices: Sequence[Obj], manager: str) -> list[Obj]:
    return [
        s for s in caches_of_slices if objects.labels_of(s).get(MANAGED_BY) == manager and not objects.is_deleting(s)
    ]
