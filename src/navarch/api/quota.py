"""What objects take of a ResourceQuota: shared by the admission that charges and the controller that counts anew. All pure.

Source of the rules: upstream's pkg/quota/v1, and apiserver's pkg/quota/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from navarch.api.podspec.resources import Amounts, aggregate, amounts, qos_class
from navarch.api.resourcenames import is_extended, is_hugepages, is_native
from navarch.machinery import trees
from navarch.machinery.clock import parse_time
from navarch.machinery.memo import Memo
from navarch.machinery.quantity import NANO, Quantity
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import GroupResource, Obj

ONE, ZERO = Quantity(NANO), Quantity(0)
PODS, SERVICES = GroupResource("", "pods"), GroupResource("", "services")
CLAIMS = GroupResource("", "persistentvolumeclaims")
DEVICE_CLAIMS = GroupResource("resource.k8s.io", "resourceclaims")
ALIASED = frozenset(("configmaps", "replicationcontrollers", "resourcequotas", "secrets"))
"""Core resources that a quota may also count by their plain name."""
IGNORED = frozenset(
    {
        *(GroupResource("", name) for name in ("bindings", "componentstatuses", "events")),
        GroupResource("events.k8s.io", "events"),
        *(GroupResource("authentication.k8s.io", name) for name in ("tokenreviews", "selfsubjectreviews")),
        *(
            GroupResource("authorization.k8s.io", name)
            for name in (
                "subjectaccessreviews",
                "selfsubjectaccessreviews",
                "localsubjectaccessreviews",
                "selfsubjectrulesreviews",
            )
        ),
    }
)
"""Resources that no quota counts."""
COMPUTE = ("cpu", "memory", "ephemeral-storage")
POD_NAMES = frozenset(
    (
        "count/pods",
        "pods",
        *COMPUTE,
        *(f"requests.{name}" for name in COMPUTE),
        *(f"limits.{name}" for name in COMPUTE),
    )
)
SERVICE_NAMES = frozenset(("count/services", "services", "services.nodeports", "services.loadbalancers"))
STORAGE_CLASS = ".storageclass.storage.k8s.io/"
CLAIM_NAMES = ("persistentvolumeclaims", "requests.storage")
DEVICE_CLASS_PREFIX = "deviceclass.resource.kubernetes.io/"
DEVICE_CLASS = ".deviceclass.resource.k8s.io/devices"
EXTENDED_CLAIM = "resource.kubernetes.io/extended-resource-claim"
"""On claims that the scheduler makes for pods' extended resources."""
MAX_DEVICES = 32
"""What a request for all devices of a class is taken for: the most that one claim can hold."""
REQUIRED = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
"""What every container of a pod must name where a quota bounds it."""


def count_name(resource: GroupResource) -> str:
    """`count/deployments.apps`."""
    return f"count/{resource}"


# -- evaluators: what one resource's objects take


@dataclass(frozen=True, slots=True)
class Evaluator:
    resource: GroupResource
    bounds: Callable[[str], bool]
    """Whether the resource's objects take of a quota's entry of this name."""
    usage: Callable[[Obj, float], Amounts]
    """What one object takes, at a time."""
    in_scope: Callable[[Obj, Obj], bool] = lambda requirement, obj: False
    """Whether a ScopedResourceSelectorRequirement is met by an object."""

    def names(self, hard: Iterable[str]) -> list[str]:
        return [name for name in hard if self.bounds(name)]


class Surroundings(Protocol):
    """What else there is where devices are counted: claims take of extended resources that classes stand for."""

    def classes(self) -> Iterable[Obj]:
        """All DeviceClasses."""
        ...

    def pod(self, namespace: str, name: str) -> Obj | None: ...

    def claims(self, namespace: str) -> Iterable[Obj]:
        """The ResourceClaims of a namespace."""
        ...


def evaluator_of(resource: GroupResource, around: Surroundings | None = None) -> Evaluator | None:
    """None for what no quota counts. Without surroundings claims for devices are counted by class only."""
    if resource == DEVICE_CLAIMS and around is not None:
        return replace(SPECIAL[DEVICE_CLAIMS], usage=lambda claim, now: _with_extended(claim, around, now))
    if (special := SPECIAL.get(resource)) is not None:
        return special
    if resource in IGNORED:
        return None
    names = {count_name(resource)}
    if not resource.group and resource.resource in ALIASED:
        names.add(resource.resource)
    counted = dict.fromkeys(sorted(names), ONE)
    return Evaluator(resource, names.__contains__, lambda obj, now: counted)


def resources_of(name: str) -> list[GroupResource]:
    """The resources that an entry of a quota may count. Whether they are served is another matter."""
    found = [resource for resource, evaluator in SPECIAL.items() if evaluator.bounds(name)]
    if found:
        return found
    if name.startswith("count/"):
        plural, _, group = name.removeprefix("count/").partition(".")
        return [GroupResource(group, plural)]
    return [GroupResource("", name)] if name in ALIASED else []


# -- quotas


def requirements_of(quota: Obj) -> list[Obj]:
    """What an object must meet for a quota to be for it."""
    spec = quota.get("spec") or {}
    plain = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    return [*plain, *((spec.get("scopeSelector") or {}).get("matchExpressions") or ())]


def covers(quota: Obj, evaluator: Evaluator, obj: Obj) -> bool:
    """Whether an object is in all scopes of a quota."""
    return all(evaluator.in_scope(requirement, obj) for requirement in requirements_of(quota))


def add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def counted(
    quota: Obj,
    hard: Iterable[str],
    objects: Callable[[GroupResource], Sequence[Obj] | None],
    now: float,
    around: Surroundings | None = None,
) -> Amounts:
    """What a quota's namespace uses of each of the names in `hard` that can be counted. `objects` are those of the
    namespace; None: the resource is not served."""
    names, used = list(hard), Amounts()
    resources = dict.fromkeys(resource for name in names for resource in resources_of(name))
    for resource in resources:
        evaluator, found = evaluator_of(resource, around), objects(resource)
        if evaluator is None or found is None:
            continue
        total: Amounts = dict.fromkeys(evaluator.names(names), ZERO)
        for obj in found:
            if covers(quota, evaluator, obj):
                for name, value in evaluator.usage(obj, now).items():
                    if name in total:
                        total[name] += value
        add(used, total)
    return used


# -- pods


def _bounds_pods(name: str) -> bool:
    return name in POD_NAMES or is_hugepages(name.removeprefix("requests.")) or _is_extended_request(name)


def _is_extended_request(name: str) -> bool:
    """`requests.example.com/gpu`."""
    if not name.startswith("requests."):
        return False
    return not is_native(name) or name.startswith(f"requests.{DEVICE_CLASS_PREFIX}")


def is_charged(pod: Obj, now: float) -> bool:
    """Whether a pod takes more than its place in storage: not once it is over, or ought to be."""
    if trees.get(pod, "status", "phase") in ("Failed", "Succeeded"):
        return False
    meta = pod["metadata"]
    deleted, grace = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    return not deleted or grace is None or now <= parse_time(deleted) + grace


def pod_usage(pod: Obj, now: float) -> Amounts:
    """Nobody may change what it returns: pods of one template share it."""
    if not is_charged(pod, now):
        return {"count/pods": ONE}
    key = _computed.key(_resources_of(pod))
    used = _computed.get(key)
    if used is None:
        computed = compute_usage(pod_amounts(pod, "requests"), pod_amounts(pod, "limits"))
        _computed.put(key, used := {"count/pods": ONE, **computed})
    return used


_computed: Memo[Amounts] = Memo(4096)


def _resources_of(pod: Obj) -> list[object]:
    """All of a pod that its amounts depend on."""
    spec, status = pod["spec"], pod.get("status") or {}
    found: list[object] = [spec.get("resources"), spec.get("overhead")]
    found += [container.get("resources") for container in spec.get("containers") or ()]
    for container in spec.get("initContainers") or ():
        found += (container.get("restartPolicy"), container.get("resources"))
    for field in ("containerStatuses", "initContainerStatuses"):
        for one in status.get(field) or ():
            if one.get("resources") or one.get("allocatedResources"):
                found += (one["name"], one.get("resources"), one.get("allocatedResources"))
    if len(found) > 2 + len(spec.get("containers") or ()):
        found.append([container["name"] for f in ("containers", "initContainers") for container in spec.get(f) or ()])
    return found


def compute_usage(requests: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> Amounts:
    """Under the names that quotas have for them."""
    used: Amounts = {"pods": ONE}
    for name, value in requests.items():
        if name in COMPUTE or is_hugepages(name):
            used[name] = used[f"requests.{name}"] = value
        elif is_extended(name) or name.startswith(DEVICE_CLASS_PREFIX):
            used[f"requests.{name}"] = value
    used |= {f"limits.{name}": limits[name] for name in COMPUTE if name in limits}
    return used


def pod_amounts(pod: Obj, side: str) -> Amounts:
    """What a pod takes, with what its containers have already been given; `side` is `requests` or `limits`."""
    spec = pod["spec"]
    total = aggregate(_as_given(pod), side)
    total |= amounts((spec.get("resources") or {}).get(side))
    for name, value in amounts(spec.get("overhead")).items():
        if side == "requests" or name in total:
            total[name] = total[name] + value if name in total else value
    return total


def _as_given(pod: Obj) -> Obj:
    """The spec, with containers at what they have where that is more (they are being resized)."""
    status, spec = pod.get("status") or {}, pod["spec"]
    fields = {"containers": "containerStatuses", "initContainers": "initContainerStatuses"}
    changed: Obj = {}
    for field, reported in fields.items():
        given = {s["name"]: s for s in status.get(reported) or () if s.get("resources") or s.get("allocatedResources")}
        if given and spec.get(field):
            changed[field] = [_larger(container, given.get(container["name"])) for container in spec[field]]
    return {**spec, **changed} if changed else spec


def _larger(container: Obj, status: Obj | None) -> Obj:
    if status is None:
        return container
    resources: Obj = dict(container.get("resources") or {})
    actual = status.get("resources") or {}
    for side in ("requests", "limits"):
        found = amounts(resources.get(side))
        given = [amounts(actual.get(side))]
        if side == "requests":
            given.append(amounts(status.get("allocatedResources")))
        for more in given:
            found |= {name: value for name, value in more.items() if name in found and value > found[name]}
        if found:
            resources[side] = {name: str(value) for name, value in found.items()}
    return {**container, "resources": resources}


def missing(pod: Obj, hard: Iterable[str]) -> str:
    """What containers must name and do not, for a quota with these entries; empty where nothing is missing."""
    spec = pod["spec"]
    if any((spec.get("resources") or {}).get(side) for side in ("requests", "limits")):
        return ""
    required = REQUIRED.intersection(hard)
    lacking: dict[str, set[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        named = compute_usage(amounts(resources.get("requests")), amounts(resources.get("limits")))
        for name in required - named.keys():
            lacking.setdefault(name, set()).add(container["name"])
    if not lacking:
        return ""
    return "must specify " + "; ".join(f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking))


def is_terminating(pod: Obj) -> bool:
    """Whether it ends by itself: the scope's sense of the word."""
    return pod["spec"].get("activeDeadlineSeconds") is not None


def _pod_in_scope(requirement: Obj, pod: Obj) -> bool:
    match requirement["scopeName"]:
        case "Terminating":
            return is_terminating(pod)
        case "NotTerminating":
            return not is_terminating(pod)
        case "BestEffort":
            return qos_class(pod["spec"]) == "BestEffort"
        case "NotBestEffort":
            return qos_class(pod["spec"]) != "BestEffort"
        case "PriorityClass":
            return _meets(requirement, [pod["spec"].get("priorityClassName", "")])
        case "CrossNamespacePodAffinity":
            return _looks_elsewhere(pod["spec"].get("affinity") or {})
        case _:
            return False


def _looks_elsewhere(affinity: Obj) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        found = affinity.get(kind) or {}
        terms = list(found.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        preferred = found.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        terms += [weighted.get("podAffinityTerm") or {} for weighted in preferred]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False


def _meets(requirement: Obj, names: Iterable[str]) -> bool:
    """Whether any of the names (none: "") meets a requirement that is like that of a label selector."""
    scope = requirement["scopeName"]
    expression = {"key": scope, "operator": requirement["operator"], "values": requirement.get("values") or []}
    selector = from_label_selector({"matchExpressions": [expression]})
    found = [name for name in names if name]
    return any(selector.matches({scope: name}) for name in found) if found else selector.matches({})


# -- services and claims


def service_usage(service: Obj, now: float) -> Amounts:
    spec = service.get("spec") or {}
    kind, ports = spec.get("type", ""), spec.get("ports") or ()
    node_ports = 0
    if kind in ("NodePort", "LoadBalancer"):
        chosen = kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False
        node_ports = sum(bool(port.get("nodePort")) for port in ports) if chosen else len(ports)
    return {
        "count/services": ONE,
        "services": ONE,
        "services.nodeports": Quantity(node_ports * NANO),
        "services.loadbalancers": ONE if kind == "LoadBalancer" else ZERO,
    }


def _bounds_claims(name: str) -> bool:
    suffixes = tuple(STORAGE_CLASS + counted for counted in CLAIM_NAMES)
    return name == "count/persistentvolumeclaims" or name in CLAIM_NAMES or name.endswith(suffixes)


def claim_usage(claim: Obj, now: float) -> Amounts:
    spec, meta = claim.get("spec") or {}, claim["metadata"]
    used: Amounts = {"persistentvolumeclaims": ONE, "count/persistentvolumeclaims": ONE}
    storage_class = (meta.get("annotations") or {}).get("volume.beta.kubernetes.io/storage-class")
    storage_class = storage_class or spec.get("storageClassName") or ""
    asked = trees.get(spec, "resources", "requests", "storage")
    if asked is not None:
        size = Quantity.of(asked)
        given = trees.get(claim, "status", "allocatedResources", "storage")
        size = max(size, Quantity.of(given)) if given is not None else size
        used["requests.storage"] = Quantity(size.value() * NANO, size.format)
    if storage_class:
        used |= {f"{storage_class}{STORAGE_CLASS}{name}": used[name] for name in CLAIM_NAMES if name in used}
    return used


def _claim_in_scope(requirement: Obj, claim: Obj) -> bool:
    if requirement["scopeName"] != "VolumeAttributesClass":
        return False
    status = claim.get("status") or {}
    names = [
        (claim.get("spec") or {}).get("volumeAttributesClassName") or "",
        status.get("currentVolumeAttributesClassName") or "",
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName") or "",
    ]
    return _meets(requirement, names)


def _bounds_devices(name: str) -> bool:
    return name == count_name(DEVICE_CLAIMS) or name.endswith(DEVICE_CLASS) or _is_extended_request(name)


def device_usage(claim: Obj, now: float) -> Amounts:
    used: Amounts = {count_name(DEVICE_CLAIMS): ONE}
    for request in trees.get(claim, "spec", "devices", "requests", default=()):
        alternatives = request.get("firstAvailable") or [request.get("exactly") or {}]
        worst: Amounts = {}
        for one in alternatives:
            if name := one.get("deviceClassName"):
                mode = one.get("allocationMode")
                devices = one.get("count", 1) if mode == "ExactCount" else MAX_DEVICES if mode == "All" else 0
                worst[name] = max(worst.get(name, ZERO), Quantity(devices * NANO))
        add(used, {name + DEVICE_CLASS: value for name, value in worst.items()})
    return used


def _with_extended(claim: Obj, around: Surroundings, now: float) -> Amounts:
    """The devices count as extended resources too, but for those that a pod has been charged for."""
    used = device_usage(claim, now)
    classes = {name.removesuffix(DEVICE_CLASS): value for name, value in used.items() if name.endswith(DEVICE_CLASS)}
    named = {one["metadata"]["name"]: one["spec"].get("extendedResourceName") for one in around.classes()}
    served: Amounts | None = None
    for name, value in classes.items():
        if not (resource := named.get(name)):
            continue
        served = _charged_to_pod(claim, around, now) if served is None else served
        for entry in (f"requests.{DEVICE_CLASS_PREFIX}{name}", f"requests.{resource}"):
            if (rest := value - served.get(entry, ZERO)) > ZERO:
                used[entry] = rest
    return used


def _charged_to_pod(claim: Obj, around: Surroundings, now: float) -> Amounts:
    """What the pod takes whose extended resources the claim was made for. A pod that does not say which claim that is is
    taken to mean the first."""
    meta = claim["metadata"]
    owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
    if (meta.get("annotations") or {}).get(EXTENDED_CLAIM) != "true" or owner is None:
        return {}
    if (owner.get("apiVersion"), owner.get("kind")) != ("v1", "Pod"):
        return {}
    pod = around.pod(meta.get("namespace", ""), owner["name"])
    if pod is None or pod["metadata"]["uid"] != owner["uid"]:
        return {}
    told = trees.get(pod, "status", "extendedResourceClaimStatus", "resourceClaimName", default="")
    if told:
        return pod_usage(pod, now) if told == meta.get("name") else {}
    mine = (meta.get("creationTimestamp") or "", meta.get("name") or "")
    for other in around.claims(meta.get("namespace", "")):
        theirs = other["metadata"]
        owned = any(o.get("controller") and o["uid"] == owner["uid"] for o in theirs.get("ownerReferences") or ())
        extended = (theirs.get("annotations") or {}).get(EXTENDED_CLAIM) == "true"
        if owned and extended and (theirs.get("creationTimestamp") or "", theirs["name"]) < mine:
            return {}
    return pod_usage(pod, now)


SPECIAL: Mapping[GroupResource, Evaluator] = {
    PODS: Evaluator(PODS, _bounds_pods, pod_usage, _pod_in_scope),
    SERVICES: Evaluator(SERVICES, SERVICE_NAMES.__contains__, service_usage),
    CLAIMS: Evaluator(CLAIMS, _bounds_claims, claim_usage, _claim_in_scope),
    DEVICE_CLAIMS: Evaluator(DEVICE_CLAIMS, _bounds_devices, device_usage),
}
