"""LimitRanger: what containers name of their resources where they name none, and bounds of what they may name.

Source: plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterator

from navarch.api.podspec.resources import Amounts, aggregate, amounts
from navarch.apiserver.admission.chain import PODS, BasePlugin, aggregated, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import GroupResource, Obj

CLAIMS = GroupResource("", "persistentvolumeclaims")
ANNOTATION = "kubernetes.io/limit-ranger"
WORDS = {"containers": "container", "initContainers": "init container"}


class LimitRanger(BasePlugin):
    name = "LimitRanger"

    def __init__(self, caches: CacheSet) -> None:
        self._ranges = caches[GroupResource("", "limitranges")]

    def concerns(self, request: AdmissionRequest) -> bool:
        if request.resource == PODS:
            if request.subresource == "resize":
                return request.operation == "UPDATE"
            return request.operation == "CREATE" and not request.subresource
        return request.resource == CLAIMS and not request.subresource and request.operation in ("CREATE", "UPDATE")

    def handles(self, request: AdmissionRequest) -> bool:
        return len(self._ranges) > 0

    def _limits(self, request: AdmissionRequest) -> list[list[Obj]]:
        """The limits of each range of the namespace; none for what is going anyway."""
        if request.old is not None and "deletionTimestamp" in request.old["metadata"]:
            return []
        return [entry.obj["spec"].get("limits") or [] for entry in self._ranges.range(request.namespace)]

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource != PODS or request.object is None:
            return
        for limits in self._limits(request):
            complete(request.object, limits)

    async def validate(self, request: AdmissionRequest) -> None:
        obj = request.object
        assert obj is not None
        problems = pod_problems if request.resource == PODS else claim_problems
        for limits in self._limits(request):
            if found := list(problems(obj, limits)):
                raise refuse(request, aggregated(found))


def complete(pod: Obj, limits: list[Obj]) -> None:
    """Gives containers what they do not name, and says so in an annotation."""
    requests: Obj = {}
    maxima: Obj = {}
    for limit in limits:
        if limit.get("type") == "Container":
            requests |= limit.get("defaultRequest") or {}
            maxima |= limit.get("default") or {}
    notes: list[str] = []
    for field in ("containers", "initContainers"):
        for container in pod["spec"].get(field) or ():
            for side, defaults, word in (("requests", requests, "request"), ("limits", maxima, "limit")):
                if added := _fill(container, side, defaults):
                    notes.append(f"{', '.join(added)} {word} for {WORDS[field]} {container.get('name', '')}")
    if notes:
        annotations = pod["metadata"].get("annotations") or {}
        pod["metadata"]["annotations"] = {**annotations, ANNOTATION: f"LimitRanger plugin set: {'; '.join(notes)}"}


def _fill(container: Obj, side: str, defaults: Obj) -> list[str]:
    """The names of what was added."""
    resources: Obj = container.get("resources") or {}
    present: Obj = resources.get(side) or {}
    added = sorted(name for name in defaults if name not in present)
    if added:
        container["resources"] = {**resources, side: {**present, **{name: defaults[name] for name in added}}}
    return added


# -- bounds


def claim_problems(claim: Obj, limits: list[Obj]) -> Iterator[str]:
    requests = amounts((claim["spec"].get("resources") or {}).get("requests"))
    for limit in limits:
        if limit.get("type") == "PersistentVolumeClaim":
            for name, bound in _bounds(limit, "min"):
                yield from _minimum("PersistentVolumeClaim", name, bound, requests, {})
            for name, bound in _bounds(limit, "max"):
                yield from _largest_request("PersistentVolumeClaim", name, bound, requests)


def pod_problems(pod: Obj, limits: list[Obj]) -> Iterator[str]:
    spec = pod["spec"]
    for limit in limits:
        kind = limit.get("type", "")
        if kind == "Container":
            for field in ("containers", "initContainers"):
                for container in spec.get(field) or ():
                    resources = container.get("resources") or {}
                    sides = amounts(resources.get("requests")), amounts(resources.get("limits"))
                    yield from _problems(kind, limit, *sides)
        elif kind == "Pod":
            yield from _problems(kind, limit, _of_pod(spec, "requests"), _of_pod(spec, "limits"))


def _of_pod(spec: Obj, side: str) -> Amounts:
    return aggregate(spec, side) | amounts((spec.get("resources") or {}).get(side))


def _bounds(limit: Obj, field: str) -> list[tuple[str, Quantity]]:
    return sorted(amounts(limit.get(field)).items())


def _problems(kind: str, limit: Obj, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, bound in _bounds(limit, "min"):
        yield from _minimum(kind, name, bound, requests, limits)
    for name, bound in _bounds(limit, "max"):
        yield from _maximum(kind, name, bound, requests, limits)
    for name, bound in _bounds(limit, "maxLimitRequestRatio"):
        yield from _ratio(kind, name, bound, requests, limits)


def _minimum(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start = f"minimum {name} usage per {kind} is {bound}"
    request, limit = requests.get(name), limits.get(name)
    if request is None:
        yield f"{start}.  No request is specified"
    elif request.milli() < bound.milli():
        yield f"{start}, but request is {request}"
    elif limit is not None and limit.milli() < bound.milli():
        yield f"{start}, but limit is {limit}"


def _largest_request(kind: str, name: str, bound: Quantity, requests: Amounts) -> Iterator[str]:
    start = f"maximum {name} usage per {kind} is {bound}"
    request = requests.get(name)
    if request is None:
        yield f"{start}.  No request is specified"
    elif request.milli() > bound.milli():
        yield f"{start}, but request is {request}"


def _maximum(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start = f"maximum {name} usage per {kind} is {bound}"
    request, limit = requests.get(name), limits.get(name)
    if limit is None:
        yield f"{start}.  No limit is specified"
    elif limit.milli() > bound.milli():
        yield f"{start}, but limit is {limit}"
    elif request is not None and request.milli() > bound.milli():
        yield f"{start}, but request is {request}"


def _ratio(kind: str, name: str, bound: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    start = f"{name} max limit to request ratio per {kind} is {bound}, but"
    request, limit = requests.get(name), limits.get(name)
    if request is None or not request.nano:
        yield f"{start} no request is specified or request is 0"
    elif limit is None or not limit.nano:
        yield f"{start} no limit is specified or limit is 0"
    elif limit.milli() * 1000 > bound.milli() * request.milli():
        yield f"{start} provided ratio is {limit.milli() / request.milli():f}"
