"""Sums of a pod's resources: what it takes of a node, pod-level defaults, the QoS class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from navarch.machinery.memo import Memo
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

Amounts = dict[str, Quantity]


def amounts(tree: Obj | None) -> Amounts:
    """A resource list with its quantities read."""
    return {name: Quantity.parse(str(value)) for name, value in (tree or {}).items()}


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def _raise(total: Amounts, other: Amounts) -> None:
    for name, value in other.items():
        if name not in total or total[name] < value:
            total[name] = value


def is_sidecar(container: Obj) -> bool:
    """Whether an init container keeps running (restartPolicy Always)."""
    return container.get("restartPolicy") == "Always"


def aggregate(spec: Obj, side: str) -> Amounts:
    """What a pod's containers take together; `side` is `requests` or `limits`.

    The sum over containers and sidecars, or the largest step of initialisation where that is more.
    """
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, amounts((container.get("resources") or {}).get(side)))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        step = amounts((container.get("resources") or {}).get(side))
        if is_sidecar(container):
            _add(total, step)
            _add(sidecars, step)
            step = dict(sidecars)
        else:
            _add(step, sidecars)
        _raise(peak, step)
    _raise(total, peak)
    return total


def amount(name: str, value: str | int | float | Quantity) -> int:
    """A quantity in the scheduler's units: milli for cpu, whole units (rounded up) for the rest."""
    quantity = value if isinstance(value, Quantity) else Quantity.of(value)
    return quantity.milli() if name == "cpu" else quantity.value()


def requests_of(spec: Obj) -> dict[str, int]:
    """What a pod takes of its node, in the scheduler's units: what the pod itself requests (KEP-2837), or what its
    containers do, and the overhead."""
    total = aggregate(spec, "requests")
    total |= amounts((spec.get("resources") or {}).get("requests"))
    _add(total, amounts(spec.get("overhead")))
    return {name: amount(name, value) for name, value in total.items()}


def counted(pod: Obj) -> Obj:
    """A pod's spec with what each container (and the pod) is counted with while it is being resized: the most of what it is to
    request, what it has, and what it was allocated; without the first where a resize is infeasible. The spec itself where
    they agree. Source: component-helpers resource/helpers.go determineEffectiveRequests."""
    spec, status = pod["spec"], pod.get("status") or {}
    changed: Obj = {}
    for field, reported in (("containers", "containerStatuses"), ("initContainers", "initContainerStatuses")):
        told = {one["name"]: one for one in status.get(reported) or () if one.get("resources") is not None}
        if not told:
            continue
        holders: list[Obj] = spec.get(field) or []
        made = [_counted(one, told[one["name"]], status) if _resizes(field, one, told) else one for one in holders]
        if any(new is not old for new, old in zip(made, holders, strict=True)):
            changed[field] = made
    if status.get("resources") is not None and (spec.get("resources") or {}).get("requests"):
        made_for_pod = _counted(spec, status, status)
        if made_for_pod is not spec:
            changed["resources"] = made_for_pod["resources"]
    return {**spec, **changed} if changed else spec


def _resizes(field: str, container: Obj, told: Mapping[str, Obj]) -> bool:
    return container["name"] in told and (field == "containers" or is_sidecar(container))


def _counted(holder: Obj, told: Obj, status: Obj) -> Obj:
    wanted: Obj = (holder.get("resources") or {}).get("requests") or {}
    actual: Obj = told["resources"].get("requests") or {}
    allocated: Obj = told.get("allocatedResources") or {}
    if wanted == actual and (not allocated or allocated == actual):
        return holder
    most: Obj = {}
    for side in (actual, allocated) if _is_infeasible(status) else (wanted, actual, allocated):
        for name, value in side.items():
            if name not in most or Quantity.of(most[name]) < Quantity.of(value):
                most[name] = value
    return {**holder, "resources": {**(holder.get("resources") or {}), "requests": most}}


def _is_infeasible(status: Obj) -> bool:
    pending = next((c for c in status.get("conditions") or () if c["type"] == "PodResizePending"), None)
    return pending is not None and pending.get("reason") == "Infeasible"


def _is_pod_level(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def default_pod_level(spec: Obj) -> None:
    """Fills `spec.resources` from the containers, and its requests from its limits (KEP-2837)."""
    resources: Obj = spec["resources"]
    limits: Obj = dict(resources.get("limits") or {})
    requests: Obj = dict(resources.get("requests") or {})
    if not limits and not requests:
        return
    for name, value in aggregate(spec, "limits").items():
        if name.startswith("hugepages-") and name not in requests and name not in limits:
            limits[name] = str(value)
    if limits:
        resources["limits"] = limits
        for name, value in aggregate(spec, "requests").items():
            if name in ("cpu", "memory") and name not in requests:
                requests[name] = str(value)
        for name, value in limits.items():
            if _is_pod_level(name):
                requests.setdefault(name, value)
    if requests:
        resources["requests"] = requests


def _compute(tree: Obj | None) -> Iterator[tuple[str, Quantity]]:
    for name in ("cpu", "memory"):
        if tree and (text := tree.get(name)) is not None and (value := Quantity.parse(str(text))) > ZERO:
            yield name, value


ZERO = Quantity.parse("0")


_qos: Memo[str] = Memo(256)


def qos_class(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, by the cpu and memory that the pod or its containers name."""
    if spec.get("resources") is not None:
        holders = [spec["resources"]]
    else:
        holders = [c.get("resources") or {} for f in ("containers", "initContainers") for c in spec.get(f) or ()]
    key = Memo.key(holders)
    found = _qos.get(key)
    if found is None:
        found = _qos_of(holders)
        _qos.put(key, found)
    return found


def _qos_of(holders: Sequence[Obj]) -> str:
    requests: Amounts = {}
    limits: Amounts = {}
    guaranteed = True
    for holder in holders:
        if not holder:
            guaranteed = False
            continue
        _add(requests, dict(_compute(holder.get("requests"))))
        own = dict(_compute(holder.get("limits")))
        _add(limits, own)
        guaranteed = guaranteed and len(own) == 2
    if not requests and not limits:
        return "BestEffort"
    if guaranteed and requests == limits:
        return "Guaranteed"
    return "Burstable"
