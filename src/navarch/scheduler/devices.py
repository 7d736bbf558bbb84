"""Which devices serve which claims on a node: pools of resource slices, requests with their selectors and constraints.

A search with backtracking, pure. Source: dynamic-resource-allocation/structured (allocator_stable.go, pools_stable.go);
KEP-4381 (structured parameters), KEP-4816 (prioritised alternatives), KEP-5055 (device taints). Devices that consume shared
counters, or are shared by several claims, are not given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from navarch.api.podspec.placement import term_matches, tolerates
from navarch.api.resource.selectors import compiled
from navarch.machinery.cel.values import CelError
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Key, Obj

MAX_RESULTS = 32
MAX_STEPS = 20_000
"""Of one search; upstream gives up after ten seconds."""


class DeviceId(NamedTuple):
    driver: str
    pool: str
    device: str


@dataclass(frozen=True, slots=True)
class Device:
    id: DeviceId
    device: Obj
    slice: Obj

    def attribute(self, name: str) -> Any:
        """By its qualified name; unqualified ones are the driver's own."""
        attributes = self.device.get("attributes") or {}
        domain, _, short = name.rpartition("/")
        found = attributes.get(name) or (attributes.get(short) if domain == self.id.driver else None)
        return next(iter(found.items())) if found else None


class Given(NamedTuple):
    claim: Obj
    allocation: Obj | None
    """None where the claim is allocated already."""


class Unallocatable(Exception):
    """Why claims cannot be served on any node."""


@dataclass(slots=True)
class Devices:
    claims: dict[Key, Obj] = field(default_factory=dict)
    classes: dict[str, Obj] = field(default_factory=dict)
    slices: dict[str, Obj] = field(default_factory=dict)
    pending: dict[str, Obj] = field(default_factory=dict)
    """uid of claims -> what was decided for them and is not known to the API yet."""

    def allocation_of(self, claim: Obj) -> Obj | None:
        return (claim.get("status") or {}).get("allocation") or self.pending.get(claim["metadata"]["uid"])

    def taken(self) -> set[DeviceId]:
        found: set[DeviceId] = set()
        for allocation in [*(self.allocation_of(c) for c in self.claims.values()), *self.pending.values()]:
            for result in ((allocation or {}).get("devices") or {}).get("results") or ():
                if not result.get("adminAccess"):
                    found.add(DeviceId(result["driver"], result["pool"], result["device"]))
        return found

    def pools(self, node: Obj) -> list[Device]:
        """The devices of complete pools that a node reaches, of the newest generation each."""
        newest: dict[tuple[str, str], list[Obj]] = {}
        for one in self.slices.values():
            spec = one["spec"]
            key = (spec["driver"], spec["pool"]["name"])
            known = newest.get(key)
            generation = spec["pool"].get("generation") or 0
            if not known or generation > (known[0]["spec"]["pool"].get("generation") or 0):
                newest[key] = [one]
            elif generation == (known[0]["spec"]["pool"].get("generation") or 0):
                known.append(one)
        found: list[Device] = []
        for (driver, pool), slices in sorted(newest.items()):
            if len(slices) != slices[0]["spec"]["pool"].get("resourceSliceCount"):
                continue
            for one in sorted(slices, key=lambda s: s["metadata"]["name"]):
                found += [Device(DeviceId(driver, pool, d["name"]), d, one) for d in _reached(one, node)]
        return found

    def allocate(self, claims: Sequence[Obj], node: Obj) -> list[Obj] | None:
        """An allocation for each claim, or None where the node cannot serve them all. Raises Unallocatable."""
        search = _Search(self.pools(node), self.taken(), [list(self._requests(claim)) for claim in claims], claims)
        if not search.run(0, 0):
            return None
        return [self._result(claim, search.chosen[index], node) for index, claim in enumerate(claims)]

    def _requests(self, claim: Obj) -> Iterator[_Wanted]:
        for request in claim["spec"]["devices"].get("requests") or ():
            if alternatives := request.get("firstAvailable"):
                names = [f"{request['name']}/{sub['name']}" for sub in alternatives]
                yield _Wanted([self._exactly(n, s) for n, s in zip(names, alternatives, strict=True)])
            else:
                yield _Wanted([self._exactly(request["name"], request["exactly"])])

    def _exactly(self, name: str, request: Obj) -> _Request:
        named = request["deviceClassName"]
        device_class = self.classes.get(named)
        if device_class is None:
            raise Unallocatable(f"request {name}: device class {named} does not exist")
        selectors = [*(device_class["spec"].get("selectors") or ()), *(request.get("selectors") or ())]
        expressions = tuple(selector["cel"]["expression"] for selector in selectors if selector.get("cel"))
        everything = request.get("allocationMode") == "All"
        count = None if everything else request.get("count") or 1
        return _Request(
            name, expressions, count, bool(request.get("adminAccess")), request.get("tolerations") or (), device_class
        )

    @staticmethod
    def _result(claim: Obj, chosen: Sequence[tuple[_Request, Sequence[Device]]], node: Obj) -> Obj:
        results: list[Obj] = []
        for request, devices in chosen:
            for device in devices:
                made: Obj = {"request": request.name, **device.id._asdict()}
                if request.admin:
                    made["adminAccess"] = True
                if request.tolerations:
                    made["tolerations"] = list(request.tolerations)
                results.append(made)
        allocation: Obj = {"devices": {"results": results}}
        if config := list(_configs(claim, [request for request, _ in chosen])):
            allocation["devices"]["config"] = config
        selector = _selector([device for _, devices in chosen for device in devices], node)
        if selector:
            allocation["nodeSelector"] = selector
        return allocation


def _reached(one: Obj, node: Obj) -> Iterable[Obj]:
    """The devices of a slice that a node may use."""
    spec = one["spec"]
    devices = [d for d in spec.get("devices") or () if not d.get("consumesCounters")]
    if spec.get("perDeviceNodeSelection"):
        return [device for device in devices if _matches(device, node)]
    return devices if _matches(spec, node) else ()


def _matches(holder: Obj, node: Obj) -> bool:
    if holder.get("nodeName"):
        return holder["nodeName"] == node["metadata"]["name"]
    if holder.get("allNodes"):
        return True
    selector = holder.get("nodeSelector")
    return selector is not None and any(term_matches(term, node) for term in selector.get("nodeSelectorTerms") or ())


def _selector(devices: Sequence[Device], node: Obj) -> Obj | None:
    """Where an allocation may be used: None means everywhere."""
    expressions: list[Obj] = []
    for device in devices:
        holder = device.device if device.slice["spec"].get("perDeviceNodeSelection") else device.slice["spec"]
        if holder.get("nodeName"):
            here = {"key": "metadata.name", "operator": "In", "values": [node["metadata"]["name"]]}
            return {"nodeSelectorTerms": [{"matchFields": [here]}]}
        for term in ((holder.get("nodeSelector") or {}).get("nodeSelectorTerms") or ())[:1]:
            expressions += [e for e in term.get("matchExpressions") or () if e not in expressions]
    return {"nodeSelectorTerms": [{"matchExpressions": expressions}]} if expressions else None


def _configs(claim: Obj, requests: Sequence[_Request]) -> Iterator[Obj]:
    """The classes' configuration, then the claim's own, each with the requests that it is for."""
    by_class: dict[str, list[_Request]] = {}
    for request in requests:
        by_class.setdefault(request.device_class["metadata"]["name"], []).append(request)
    for found in by_class.values():
        for config in found[0].device_class["spec"].get("config") or ():
            yield {"source": "FromClass", "requests": [request.name for request in found], **config}
    names = {request.name for request in requests} | {request.name.partition("/")[0] for request in requests}
    for config in claim["spec"]["devices"].get("config") or ():
        if not config.get("requests") or names & set(config["requests"]):
            yield {"source": "FromClaim", **config}


# -- searching


@dataclass(frozen=True, slots=True)
class _Request:
    name: str
    """With the alternative's, where it is one: `gpu/small`."""
    expressions: tuple[str, ...]
    count: int | None
    """None: all that match."""
    admin: bool
    """Devices are looked at, not taken."""
    tolerations: Sequence[Obj]
    device_class: Obj


@dataclass(frozen=True, slots=True)
class _Wanted:
    alternatives: Sequence[_Request]
    """In order of preference."""


@dataclass(slots=True)
class _Search:
    devices: Sequence[Device]
    taken: set[DeviceId]
    wanted: Sequence[Sequence[_Wanted]]
    claims: Sequence[Obj]
    chosen: list[list[tuple[_Request, Sequence[Device]]]] = field(default_factory=list)
    """Per claim, the devices of each request so far."""
    _steps: int = 0
    _matching: dict[tuple[tuple[str, ...], DeviceId], bool] = field(default_factory=dict)

    def run(self, claim: int, request: int) -> bool:
        """Serves everything from this request on; False (with nothing changed) where that cannot be."""
        if claim == len(self.wanted):
            return True
        if request == 0 and len(self.chosen) <= claim:
            self.chosen.append([])
        if request == len(self.wanted[claim]):
            return self.run(claim + 1, 0)
        for alternative in self.wanted[claim][request].alternatives:
            for devices in self._choices(alternative):
                self._steps += 1
                if self._steps > MAX_STEPS:
                    return False
                self.chosen[claim].append((alternative, devices))
                added = set() if alternative.admin else {device.id for device in devices}
                self.taken |= added
                if self._allowed(claim) and self.run(claim, request + 1):
                    return True
                self.taken -= added
                self.chosen[claim].pop()
        return False

    def _choices(self, request: _Request) -> Iterator[Sequence[Device]]:
        usable = [device for device in self.devices if self._usable(request, device)]
        if request.count is None:
            free = request.admin or not any(device.id in self.taken for device in usable)
            if usable and free and len(usable) <= MAX_RESULTS:
                yield usable
            return
        free_ones = [device for device in usable if request.admin or device.id not in self.taken]
        yield from self._combinations(free_ones, request.count)

    def _combinations(self, devices: Sequence[Device], count: int) -> Iterator[Sequence[Device]]:
        if count == 0:
            yield ()
            return
        for index in range(len(devices) - count + 1):
            for rest in self._combinations(devices[index + 1 :], count - 1):
                yield (devices[index], *rest)

    def _usable(self, request: _Request, device: Device) -> bool:
        for taint in device.device.get("taints") or ():
            if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(
                tolerates(toleration, taint) for toleration in request.tolerations
            ):
                return False
        key = (request.expressions, device.id)
        found = self._matching.get(key)
        if found is None:
            found = self._matching[key] = all(selects(text, device) for text in request.expressions)
        return found

    def _allowed(self, claim: int) -> bool:
        """Whether the claim's constraints hold for what has been chosen so far."""
        constraints = self.claims[claim]["spec"]["devices"].get("constraints") or ()
        return all(_holds(constraint, self.chosen[claim]) for constraint in constraints)


def _holds(constraint: Obj, chosen: Sequence[tuple[_Request, Sequence[Device]]]) -> bool:
    names = set(constraint.get("requests") or ())
    devices = [
        device
        for request, found in chosen
        if not names or names & {request.name, request.name.partition("/")[0]}
        for device in found
    ]
    attribute = constraint.get("matchAttribute") or constraint.get("distinctAttribute")
    if not attribute:
        return False
    values = [device.attribute(attribute) for device in devices]
    if any(value is None for value in values):
        return False
    return len(set(values)) <= 1 if constraint.get("matchAttribute") else len(set(values)) == len(values)


class _ByDomain(dict[str, Any]):
    """A domain that a device says nothing of is empty, not missing."""

    def __missing__(self, key: str) -> Mapping[str, Any]:
        return {}

    def __contains__(self, key: object) -> bool:
        return True


def selects(expression: str, device: Device) -> bool:
    """Whether a CEL selector chooses a device. Raises Unallocatable where it cannot be evaluated."""
    from navarch.machinery.cel.library.kubernetes import QuantityValue  # lazily: no start needs it

    attributes: dict[str, dict[str, Any]] = {}
    capacity: dict[str, dict[str, Any]] = {}
    for name, value in (device.device.get("attributes") or {}).items():
        _put(attributes, device.id.driver, name, _value(value))
    for name, value in (device.device.get("capacity") or {}).items():
        _put(capacity, device.id.driver, name, QuantityValue(Quantity.of(value["value"])))
    bound = {
        "driver": device.id.driver,
        "attributes": _ByDomain(attributes),
        "capacity": _ByDomain(capacity),
        "allowMultipleAllocations": bool(device.device.get("allowMultipleAllocations")),
    }
    try:
        return compiled(expression).run({"device": bound}) is True
    except (CelError, ValueError) as error:
        raise Unallocatable(f"CEL runtime error on device {device.id.device}: {error}") from None


def _put(target: dict[str, dict[str, Any]], driver: str, name: str, value: Any) -> None:
    domain, slash, short = name.rpartition("/")
    target.setdefault(domain if slash else driver, {})[short] = value


def _value(attribute: Obj) -> Any:
    from navarch.machinery.cel.library.kubernetes import semver

    kind, value = next(iter(attribute.items()))
    return semver(value) if kind == "version" else value
