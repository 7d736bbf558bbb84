"""The plugins that complete a new pod or node: tolerations of dead nodes, priority, the taint of a node not yet ready."""

from __future__ import annotations

from navarch.apiserver.admission.chain import BasePlugin, creates_pod, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery.types import GroupResource, Obj

NODES = GroupResource("", "nodes")
PODS = GroupResource("", "pods")
POD_GROUPS = GroupResource("scheduling.k8s.io", "podgroups")
PRIORITY_CLASSES = GroupResource("scheduling.k8s.io", "priorityclasses")
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
TOLERATION_SECONDS = 300
SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


class TaintNodesByCondition(BasePlugin):
    """A new node is tainted as not ready until its conditions say otherwise."""

    name = "TaintNodesByCondition"

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == NODES and request.operation == "CREATE" and not request.subresource

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        taints: list[Obj] = spec.get("taints") or []
        if not any(t.get("key") == NOT_READY and t.get("effect") == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]


class DefaultTolerationSeconds(BasePlugin):
    """Pods stay five minutes on a node that is not ready or unreachable, unless they say otherwise."""

    name = "DefaultTolerationSeconds"

    def concerns(self, request: AdmissionRequest) -> bool:
        if request.resource != PODS or request.subresource:
            return False
        return request.operation == "CREATE" or request.operation == "UPDATE"

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object.setdefault("spec", {})
        tolerations: list[Obj] = spec.get("tolerations") or []
        added: list[Obj] = []
        for key in (NOT_READY, UNREACHABLE):
            if not any(_covers(t, key) for t in tolerations):
                toleration: Obj = {"key": key, "operator": "Exists", "effect": "NoExecute"}
                toleration["tolerationSeconds"] = TOLERATION_SECONDS
                added.append(toleration)
        if added:
            spec["tolerations"] = [*tolerations, *added]


def _covers(toleration: Obj, key: str) -> bool:
    return toleration.get("key", "") in (key, "") and toleration.get("effect", "") in ("NoExecute", "")


class Priority(BasePlugin):
    """Resolves a pod's priorityClassName to its priority; a class's rules are checked where it is written."""

    name = "Priority"

    def __init__(self, caches: CacheSet, groups: bool = False) -> None:
        self._classes = caches[PRIORITY_CLASSES]
        self._groups = groups

    def concerns(self, request: AdmissionRequest) -> bool:
        if request.subresource or request.operation not in ("CREATE", "UPDATE"):
            return False
        if self._groups and request.resource == POD_GROUPS:
            return request.operation == "CREATE"
        return request.resource in (PODS, PRIORITY_CLASSES)

    async def admit(self, request: AdmissionRequest) -> None:
        if request.resource == POD_GROUPS and request.object is not None:
            self._resolve_group(request, request.object.setdefault("spec", {}))
        if request.resource != PODS or request.object is None:
            return
        spec = request.object.setdefault("spec", {})
        if request.operation == "UPDATE":
            assert request.old is not None
            old = request.old.get("spec", {})
            for name in ("priority", "preemptionPolicy"):
                if name not in spec and name in old:
                    spec[name] = old[name]
            return
        if creates_pod(request):
            self._resolve(request, spec)

    def _resolve(self, request: AdmissionRequest, spec: Obj) -> None:
        name, priority, policy = self._established(request, spec.get("priorityClassName") or "")
        if name:
            spec["priorityClassName"] = name
        if (given := spec.get("priority")) is not None and given != priority:
            raise refuse(
                request,
                f"the integer value of priority ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {priority} from the given PriorityClass name",
            )
        spec["priority"] = priority
        if policy is None:
            return
        if (given := spec.get("preemptionPolicy")) is not None and given != policy:
            raise refuse(
                request,
                f"the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission "
                f"controller computed {policy} from the given PriorityClass name",
            )
        spec["preemptionPolicy"] = policy

    def _resolve_group(self, request: AdmissionRequest, spec: Obj) -> None:
        name, priority, _ = self._established(request, spec.get("priorityClassName") or "")
        if (given := spec.get("priority")) is not None and given != priority:
            raise refuse(
                request,
                f"priority set in the pod group ({given}) must match the priority computed ({priority}) based on the "
                "priority class set in the spec",
            )
        spec["priority"] = priority
        if name:
            spec["priorityClassName"] = name

    def _established(self, request: AdmissionRequest, name: str) -> tuple[str, int, str | None]:
        if name:
            entry = self._classes.get("", name)
            if entry is None:
                raise refuse(request, f"no PriorityClass with name {name} was found")
            return name, entry.obj.get("value", 0), entry.obj.get("preemptionPolicy")
        defaults = [e.obj for e in self._classes.range() if e.obj.get("globalDefault")]
        if not defaults:
            return "", 0, "PreemptLowerPriority"
        lowest = min(defaults, key=lambda c: c.get("value", 0))
        return lowest["metadata"]["name"], lowest.get("value", 0), lowest.get("preemptionPolicy")

    async def validate(self, request: AdmissionRequest) -> None:
        if request.resource != PRIORITY_CLASSES or request.object is None:
            return
        if not request.object.get("globalDefault"):
            return
        for entry in self._classes.range():
            if entry.obj.get("globalDefault") and entry.name != request.object["metadata"].get("name"):
                raise refuse(
                    request,
                    f"PriorityClass {entry.name} is already marked as default. Only one default can exist",
                )
