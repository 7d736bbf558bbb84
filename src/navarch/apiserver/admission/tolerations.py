"""PodTolerationRestriction: pods get their namespace's tolerations, and have none but those that it allows. Sources:
plugin/pkg/admission/podtolerationrestriction, pkg/util/tolerations."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from navarch.api.podspec.resources import qos_class
from navarch.apiserver.admission.chain import PODS, BasePlugin
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource, Obj

NAMESPACES = GroupResource("", "namespaces")
DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
MEMORY_PRESSURE: Obj = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}


class PodTolerationRestriction(BasePlugin):
    """`defaults` and `allowed` are for namespaces that say nothing of their own."""

    name = "PodTolerationRestriction"

    def __init__(self, caches: CacheSet, defaults: Sequence[Obj], allowed: Sequence[Obj]) -> None:
        self._namespaces = caches[NAMESPACES]
        self._defaults, self._allowed = defaults, allowed

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == PODS and not request.subresource and request.operation in ("CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object["spec"]
        added: list[Obj] = []
        if request.operation == "CREATE":
            own = self._said(request, DEFAULTS)
            added += self._defaults if own is None else own
        if qos_class(spec) != "BestEffort":
            added.append(MEMORY_PRESSURE)
        if added:
            spec["tolerations"] = merged([*(spec.get("tolerations") or ()), *added])
        await self.validate(request)

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        tolerations: list[Obj] = request.object["spec"].get("tolerations") or []
        if not tolerations:
            return
        own = self._said(request, ALLOWED)
        allowed, whose = (self._allowed, "cluster") if own is None else (own, "namespace")
        if allowed and not all(any(_covers(one, toleration) for one in allowed) for toleration in tolerations):
            why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its"
            raise StatusError(500, "", f"{why} {whose} whitelist")

    def _said(self, request: AdmissionRequest, key: str) -> list[Obj] | None:
        """The tolerations of the namespace's annotation; None: it has none. Raises StatusError 500."""
        entry = self._namespaces.get("", request.namespace)
        text = ((entry.obj["metadata"].get("annotations") or {}) if entry is not None else {}).get(key)
        if not text:
            return None if text is None else []
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise StatusError(500, "", str(error)) from None
        if found is not None and not (isinstance(found, list) and all(isinstance(item, dict) for item in found)):
            raise StatusError(500, "", f"the annotation {key} is no list of tolerations")
        return found or []


def merged(tolerations: Sequence[Obj]) -> list[Obj]:
    """Without those that another one covers; of equal ones the first stays."""
    kept: list[Obj] = []
    for index, toleration in enumerate(tolerations):
        later = (other for other in tolerations[index + 1 :] if other != toleration)
        if not any(_covers(other, toleration) for other in (*kept, *later)):
            kept.append(toleration)
    return kept


def _covers(wide: Obj, narrow: Obj) -> bool:
    """Whether one tolerates all that the other does."""
    if wide == narrow:
        return True
    key, operator, effect = (wide.get(field) or "" for field in ("key", "operator", "effect"))
    if key != (narrow.get("key") or "") and (key or operator != "Exists"):
        return False
    if effect and effect != (narrow.get("effect") or ""):
        return False
    if effect == "NoExecute" and (seconds := wide.get("tolerationSeconds")) is not None:
        less = narrow.get("tolerationSeconds")
        if less is None or less > seconds:
            return False
    if operator in ("Equal", ""):
        return narrow.get("operator") == "Equal" and (narrow.get("value") or "") == (wide.get("value") or "")
    return operator == "Exists"
