"""Extended resources that are served by devices: the claim that stands for a pod's requests of them.

Source: plugins/dynamicresources (extendeddynamicresources.go); KEP-5004.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from navarch.api.podspec.resources import amount, is_sidecar
from navarch.machinery.types import Obj

ANNOTATION = "resource.kubernetes.io/extended-resource-claim"
UNMADE = "<extended-resources>"
"""The name of a claim that is not in the API yet."""


def claim_for(pod: Obj) -> Obj:
    """Without requests: what has to be served by devices depends on the node."""
    meta = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"], "controller": True}
    return {
        "metadata": {
            "name": UNMADE,
            "namespace": meta["namespace"],
            "uid": f"{UNMADE}/{meta['uid']}",
            "generateName": f"{meta['name']}-extended-resources-",
            "annotations": {ANNOTATION: "true"},
            "ownerReferences": [owner],
        },
        "spec": {"devices": {}},
        "status": {},
    }


def is_unmade(claim: Obj) -> bool:
    return claim["metadata"]["name"] == UNMADE


def is_for_extended(claim: Obj) -> bool:
    return (claim["metadata"].get("annotations") or {}).get(ANNOTATION) == "true"


def claim_of(pod: Obj, claims: Iterable[Obj]) -> Obj | None:
    """One that an earlier attempt made for the pod."""
    meta = pod["metadata"]
    for claim in claims:
        if not is_for_extended(claim):
            continue
        owners = claim["metadata"].get("ownerReferences") or ()
        if any(o.get("controller") and o["uid"] == meta["uid"] and o["name"] == meta["name"] for o in owners):
            return claim
    return None


class Asked(NamedTuple):
    requests: list[Obj]
    mappings: list[Obj]
    """{"containerName", "resourceName", "requestName"}"""


def requests_of(pod: Obj, classes: Mapping[str, str]) -> Asked:
    """The requests for a pod's containers: `classes` has the class of each resource that devices are to serve.

    Containers that run side by side have requests of their own. Those that only initialise use the devices of containers
    that start after them, and together one request for what is missing of the most that one of them wants."""
    found = Asked([], [])
    for resource in sorted(classes):
        _of_resource(pod, resource, classes[resource], found)
    found.requests.sort(key=lambda request: request["name"])
    return found


def _of_resource(pod: Obj, resource: str, device_class: str, found: Asked) -> None:
    spec = pod["spec"]
    first: Sequence[Obj] = spec.get("initContainers") or ()
    containers = [*first, *spec["containers"]]
    passing = [index for index, container in enumerate(first) if not is_sidecar(container)]
    lasting: dict[int, Obj] = {}
    for index in (i for i in range(len(containers)) if i not in passing):
        if wanted := _wanted(containers[index], resource):
            name = _name(index, containers[index], resource)
            lasting[index] = _request(name, device_class, wanted)
            found.mappings.append(_mapping(containers[index], resource, name))
    most: Obj | None = None
    late: list[Obj] = []
    """The mappings to what is missing, which get the name of the one request for it all."""
    for index in passing:
        left = _wanted(containers[index], resource)
        for request in (request for at, request in lasting.items() if at >= index):
            if left > 0:
                found.mappings.append(_mapping(containers[index], resource, request["name"]))
                left -= request["exactly"]["count"]
        if left > 0:
            request = _request(_name(index, containers[index], resource), device_class, left)
            if most is None or most["exactly"]["count"] < left:
                most = request
            late.append(_mapping(containers[index], resource, request["name"]))
            found.mappings.append(late[-1])
    for mapping in late:
        assert most is not None
        mapping["requestName"] = most["name"]
    found.requests.extend([*([most] if most else []), *lasting.values()])


def _wanted(container: Obj, resource: str) -> int:
    requests: Mapping[str, Any] = (container.get("resources") or {}).get("requests") or {}
    return amount(resource, str(requests[resource])) if resource in requests else 0


def _name(index: int, container: Obj, resource: str) -> str:
    return f"container-{index}-request-{sorted(container['resources']['requests']).index(resource)}"


def _request(name: str, device_class: str, count: int) -> Obj:
    return {
        "name": name,
        "exactly": {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": count},
    }


def _mapping(container: Obj, resource: str, request: str) -> Obj:
    return {"containerName": container["name"], "resourceName": resource, "requestName": request}
