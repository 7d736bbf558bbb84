"""RuntimeClass: a pod's class must exist, and brings its overhead and where it can run. Source: plugin RuntimeClass."""

from __future__ import annotations

from navarch.apiserver.admission.chain import BasePlugin
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import errors
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import GroupResource, Obj

PODS = GroupResource("", "pods")
CLASSES = GroupResource("node.k8s.io", "runtimeclasses")


class RuntimeClass(BasePlugin):
    name = "RuntimeClass"

    def __init__(self, caches: CacheSet) -> None:
        self._classes = caches[CLASSES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.operation == "CREATE" and not request.subresource and request.resource == PODS

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object["spec"]
        if found := self._class_of(request, spec):
            overhead = (found.get("overhead") or {}).get("podFixed")
            if overhead and not spec.get("overhead"):
                spec["overhead"] = dict(overhead)
            _schedule(request, spec, found.get("scheduling") or {})

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object["spec"]
        found = self._class_of(request, spec)
        fixed = ((found or {}).get("overhead") or {}).get("podFixed")
        given = spec.get("overhead")
        if not fixed and given is not None:
            raise _rejected(request, "Pod Overhead set without corresponding RuntimeClass defined Overhead")
        if fixed and _amounts(fixed) != _amounts(given or {}):
            raise _rejected(request, "Pod's Overhead doesn't match RuntimeClass's defined Overhead")

    def _class_of(self, request: AdmissionRequest, spec: Obj) -> Obj | None:
        """Raises 403 for a class that is not there."""
        if not (name := spec.get("runtimeClassName")):
            return None
        entry = self._classes.get("", name)
        if entry is None:
            raise _rejected(request, f'RuntimeClass "{name}" not found')
        return entry.obj


def _amounts(overhead: Obj) -> dict[str, int]:
    return {name: Quantity.of(text).nano for name, text in overhead.items()}


def _schedule(request: AdmissionRequest, spec: Obj, scheduling: Obj) -> None:
    """The class's node selector and tolerations join the pod's."""
    wanted: Obj = scheduling.get("nodeSelector") or {}
    own: Obj = spec.get("nodeSelector") or {}
    for key, value in wanted.items():
        if own.get(key, value) != value:
            raise _rejected(request, f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                            f"pod.spec.nodeSelector[{key}] = {own[key]}")  # fmt: skip
    if wanted:
        spec["nodeSelector"] = {**own, **wanted}
    tolerations: list[Obj] = spec.get("tolerations") or []
    if added := [t for t in scheduling.get("tolerations") or () if t not in tolerations]:
        spec["tolerations"] = [*tolerations, *added]


def _rejected(request: AdmissionRequest, why: str) -> errors.StatusError:
    return errors.forbidden(request.resource, request.name, f"pod rejected: {why}")
