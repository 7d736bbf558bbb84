"""An Ingress that names no class gets the default one. Source: plugin/pkg/admission/network/defaultingressclass."""

from __future__ import annotations

from navarch.api.networking.ingress import CLASS
from navarch.api.networking.ingressclass import IS_DEFAULT
from navarch.apiserver.admission.chain import BasePlugin
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery.types import GroupResource

INGRESSES = GroupResource("networking.k8s.io", "ingresses")
CLASSES = GroupResource("networking.k8s.io", "ingressclasses")


class DefaultIngressClass(BasePlugin):
    """The newest of the default classes, where there are several; by name where they are of one age."""

    name = "DefaultIngressClass"

    def __init__(self, caches: CacheSet) -> None:
        self._classes = caches[CLASSES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == INGRESSES and request.operation == "CREATE" and not request.subresource

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        ingress = request.object
        spec = ingress.setdefault("spec", {})
        if spec.get("ingressClassName") is not None or CLASS in (ingress["metadata"].get("annotations") or {}):
            return
        found = [entry.obj["metadata"] for entry in self._classes.range()]
        defaults = [meta for meta in found if (meta.get("annotations") or {}).get(IS_DEFAULT) == "true"]
        if defaults:
            newest = max(meta["creationTimestamp"] for meta in defaults)
            spec["ingressClassName"] = min(m["name"] for m in defaults if m["creationTimestamp"] == newest)
