"""Services: cluster addresses and node ports are taken with the write that wants them, and given back with the one
that does not. What is taken is known from the services at start; an address has an object of its own as well."""

from __future__ import annotations

import asyncio

from navarch.api.core.service_validation import validate_addresses
from navarch.api.kind import Kind
from navarch.apiserver.registry.addresses import ServiceRanges, canonical, parent
from navarch.apiserver.registry.allocators import PortAllocator, RangeFullError
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Environment, Finish, Registry
from navarch.apiserver.watchcache import Entry, ResourceCache
from navarch.machinery import errors
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj
from navarch.store.interface import ConflictError, Write

FAMILIES = ("IPv4", "IPv6")
HEADLESS, EXTERNAL = "None", "ExternalName"
PORTED = ("LoadBalancer", "NodePort")


class _Taken:
    """What one write has taken and would free, until it is known whether it happened."""

    def __init__(self, registry: ServiceRegistry) -> None:
        self._registry = registry
        self.addresses: list[str] = []
        self.ports: list[int] = []
        self.free_addresses: list[str] = []
        self.free_ports: list[int] = []

    def finish(self, done: bool) -> None:
        addresses = self.free_addresses if done else self.addresses
        ports = self.free_ports if done else self.ports
        for address in addresses:
            self._registry.addresses.release(address)
        for port in ports:
            self._registry.ports.release(port)


class ServiceRegistry(Registry):
    returns_deleted = True

    def __init__(
        self,
        kind: Kind,
        cache: ResourceCache,
        env: Environment,
        ranges: ServiceRanges,
        addresses: ResourceCache,
        ports: tuple[int, int],
    ) -> None:
        super().__init__(kind, cache, env)
        self.addresses = ranges
        self.ports = PortAllocator(ports, env.world.random())
        self._repairs: set[asyncio.Task[None]] = set()
        addresses.on_change(self._address_changed)

    def start(self) -> None:
        for entry in self.cache.range():
            for address in _addresses(entry.obj):
                self.addresses.hold(address)
            for port in _node_ports(entry.obj):
                self.ports.take(port)

    async def begin_create(self, call: Call, obj: Obj) -> Finish:
        taken = _Taken(self)
        try:
            self._complete(obj, None, taken)
        except BaseException:
            taken.finish(False)
            raise
        return taken.finish

    async def begin_update(self, call: Call, obj: Obj, old: Obj) -> Finish:
        taken = _Taken(self)
        if call.subresource:
            return taken.finish
        try:
            self._complete(obj, old, taken)
        except BaseException:
            taken.finish(False)
            raise
        return taken.finish

    def after_delete(self, obj: Obj) -> None:
        for address in _addresses(obj):
            self.addresses.release(address)
        for port in _node_ports(obj):
            self.ports.release(port)

    def alongside(self, new: Obj | None, old: Obj | None) -> tuple[Write, ...]:
        has, had = (_addresses(obj) if obj is not None else [] for obj in (new, old))
        service = new if new is not None else old
        assert service is not None
        return self.addresses.writes([a for a in had if a not in has], has, service)

    async def _commit(self, key: str, obj: Obj, expect: int) -> Entry:
        try:
            return await super()._commit(key, obj, expect)
        except ConflictError as error:
            if error.key == key:
                raise
            raise errors.internal("failed to allocate a serviceIP: provided IP is already allocated") from None

    # -- what was not made here

    async def repair(self) -> None:
        """Makes the address objects that services lack, and deletes those of services that are gone."""
        held = {canonical(address): e.obj for e in self.cache.range() for address in _addresses(e.obj)}
        await asyncio.gather(*map(self._write, self.addresses.mending(held)))

    async def _write(self, write: Write) -> None:
        try:
            await self.env.store.commit((write,))
        except ConflictError:
            pass  # somebody else has mended it, or has the address: the service's next write tells

    def _address_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        """An address object that was deleted by hand is made again while its service has the address."""
        if entry is not None or previous is None:
            return
        reference, name = parent(previous.obj), previous.obj["metadata"]["name"]
        if reference.get("resource") != "services" or reference.get("group"):
            return
        service = self.cache.get(reference.get("namespace", ""), reference.get("name", ""))
        if service is None or name not in map(canonical, _addresses(service.obj)):
            return
        task = asyncio.get_running_loop().create_task(self._write(self.addresses.write(name, service.obj)))
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    # -- allocation

    def _complete(self, obj: Obj, old: Obj | None, taken: _Taken) -> None:
        spec = obj.setdefault("spec", {})
        if old is not None:
            _carry_allocated(spec, old.get("spec", {}))
        _one_address(spec, (old or {}).get("spec") or {})
        errs = FieldErrors()
        if spec.get("type") == "ExternalName":
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                if old is not None and old.get("spec", {}).get("type") != "ExternalName":
                    spec.pop(field, None)
        else:
            self._families(spec, errs)
            if not errs:
                had: Obj = (old or {}).get("spec") or {"type": EXTERNAL}
                self._address(spec, had.get("type") == EXTERNAL, taken, errs)
        kept = set(_node_ports(old)) if old else set[int]()
        if not errs and spec.get("type") in PORTED:
            self._node_ports(spec, kept, taken, errs)
        if not errs and _wants_health_check_port(spec):
            self._health_check_port(spec, kept, taken, errs)
        if errs:
            raise errors.invalid(self.kind.group_kind, obj["metadata"].get("name", ""), errs)
        if old is not None:
            taken.free_addresses = [a for a in _addresses(old) if a not in _addresses(obj)]
            taken.free_ports = [p for p in _node_ports(old) if p not in _node_ports(obj)]

    def _families(self, spec: Obj, errs: FieldErrors) -> None:
        family = f"IPv{self.addresses.network.version}"
        selectorless = _is_headless(spec) and not spec.get("selector")
        policy = spec.get("ipFamilyPolicy")
        if policy is None:
            policy = spec["ipFamilyPolicy"] = "RequireDualStack" if selectorless else "SingleStack"
        validate_addresses(spec, errs)
        if errs or not self._inferred(spec, family, errs):
            return
        wanted_families: list[str] = spec.get("ipFamilies") or []
        if selectorless:
            both = [family, *(other for other in FAMILIES if other != family)]
            more = [other for other in both if other not in wanted_families]
            spec["ipFamilies"] = [*wanted_families, *more] if policy != "SingleStack" else wanted_families or [family]
            return
        if policy == "RequireDualStack":
            errs.invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services")
        for index, wanted in enumerate(spec.get("ipFamilies") or ()):
            if wanted not in FAMILIES:
                errs.not_supported(f"spec.ipFamilies[{index}]", wanted, FAMILIES)
            elif wanted != family:
                errs.invalid(f"spec.ipFamilies[{index}]", wanted, "not configured on this cluster")
        spec["ipFamilies"] = spec.get("ipFamilies") or [family]

    def _inferred(self, spec: Obj, family: str, errs: FieldErrors) -> bool:
        """Families of the addresses that are asked for. Whether all went well."""
        addresses, families = spec.get("clusterIPs") or (), [*(spec.get("ipFamilies") or ())]
        if spec["ipFamilyPolicy"] == "SingleStack":
            for what, count in (("cluster IPs", len(addresses)), ("IP families", len(families))):
                if count == 2:
                    message = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                    errs.invalid("spec.ipFamilyPolicy", "SingleStack", message)
        for index, address in enumerate(addresses):
            if address == HEADLESS or index < len(families):
                continue
            found = "IPv6" if ":" in address else "IPv4"
            if found == family:
                spec["ipFamilies"] = families = [*families, found]
            else:
                errs.invalid(f"spec.clusterIPs[{index}]", addresses, f"{found} is not configured on this cluster")
        return not errs

    def _address(self, spec: Obj, new: bool, taken: _Taken, errs: FieldErrors) -> None:
        """`new`: the service had no address and has the one that it asks for taken; else what it asks for is judged later."""
        wanted = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        if wanted == HEADLESS:
            spec["clusterIP"], spec["clusterIPs"] = HEADLESS, [HEADLESS]
            return
        if wanted and new:
            if why := self.addresses.take(wanted):
                errs.invalid("spec.clusterIPs", [wanted], f"failed to allocate IP {wanted}: {why}")
                return
            taken.addresses.append(wanted)
        elif not wanted:
            try:
                wanted = self.addresses.take_any()
            except RangeFullError:
                raise errors.internal("failed to allocate a serviceIP: range is full") from None
            taken.addresses.append(wanted)
        spec["clusterIP"] = wanted
        spec["clusterIPs"] = spec.get("clusterIPs") or [wanted]

    def _node_ports(self, spec: Obj, kept: set[int], taken: _Taken, errs: FieldErrors) -> None:
        ports: list[Obj] = spec.get("ports") or []
        by_port: dict[int, dict[str, int]] = {}
        for index, port in enumerate(ports):
            number, protocol = port.get("nodePort") or 0, port.get("protocol", "TCP")
            if not number:
                continue
            mine = number in kept or any(number in others.values() for others in by_port.values())
            if not mine:
                if why := self.ports.take(number):
                    errs.invalid(f"spec.ports[{index}].nodePort", number, why)
                    continue
                taken.ports.append(number)
            by_port.setdefault(port["port"], {})[protocol] = number
        for port in ports:
            if port.get("nodePort") or errs or not _wants_node_ports(spec):
                continue
            protocol = port.get("protocol", "TCP")
            siblings = by_port.setdefault(port["port"], {})
            number = next((n for p, n in siblings.items() if p != protocol), 0)
            if not number or protocol in siblings:
                number = self._any_port(taken)
            siblings[protocol] = port["nodePort"] = number

    def _health_check_port(self, spec: Obj, kept: set[int], taken: _Taken, errs: FieldErrors) -> None:
        number = spec.get("healthCheckNodePort") or 0
        if number and number not in kept:
            if why := self.ports.take(number):
                errs.invalid("spec.healthCheckNodePort", number, why)
                return
            taken.ports.append(number)
        spec["healthCheckNodePort"] = number or self._any_port(taken)

    def _any_port(self, taken: _Taken) -> int:
        try:
            number = self.ports.take_any()
        except RangeFullError:
            raise errors.internal("failed to allocate a nodePort: range is full") from None
        taken.ports.append(number)
        return number


def _is_headless(spec: Obj) -> bool:
    return HEADLESS in (spec.get("clusterIP"), *(spec.get("clusterIPs") or ()))


def _one_address(spec: Obj, old: Obj) -> None:
    """`clusterIP` and the first of `clusterIPs` are the same: a client that changes the first alone means both."""
    first, had = spec.get("clusterIP", ""), old.get("clusterIP", "")
    if first == had or (spec.get("clusterIPs") or []) != (old.get("clusterIPs") or []):
        return
    if first:
        spec["clusterIPs"] = [first]
    else:
        spec.pop("clusterIPs", None)


def _wants_node_ports(spec: Obj) -> bool:
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def _wants_health_check_port(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _addresses(service: Obj) -> list[str]:
    """What a service holds of the address range."""
    spec = service.get("spec", {})
    if spec.get("type") == "ExternalName":
        return []
    found = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return [a for a in found if a and a != HEADLESS]


def _node_ports(service: Obj) -> list[int]:
    """What a service holds of the node port range."""
    spec = service.get("spec", {})
    found = {p["nodePort"] for p in spec.get("ports") or () if p.get("nodePort")}
    if number := spec.get("healthCheckNodePort"):
        found.add(number)
    return sorted(found)


def _carry_allocated(spec: Obj, old: Obj) -> None:
    """What an update does not mention stays allocated to it (patchAllocatedValues)."""
    both = spec.get("type") != "ExternalName" and old.get("type") != "ExternalName"
    if both:
        for field in ("clusterIP", "clusterIPs"):
            if not spec.get(field) and old.get(field):
                spec[field] = old[field]
        if not spec.get("ipFamilies") and old.get("ipFamilies"):
            spec["ipFamilies"] = old["ipFamilies"]
        if spec.get("ipFamilyPolicy") is None and old.get("ipFamilyPolicy"):
            spec["ipFamilyPolicy"] = old["ipFamilyPolicy"]
    if _wants_node_ports(spec) and _wants_node_ports(old):
        numbers = {p.get("name", ""): p["nodePort"] for p in old.get("ports") or () if p.get("nodePort")}
        used = {p.get("nodePort") for p in spec.get("ports") or ()}
        for port in spec.get("ports") or ():
            number = numbers.get(port.get("name", ""))
            if number and not port.get("nodePort") and number not in used:
                port["nodePort"] = number
    if _wants_health_check_port(spec) and _wants_health_check_port(old):
        spec.setdefault("healthCheckNodePort", old.get("healthCheckNodePort", 0))
    elif _wants_health_check_port(old) and spec.get("healthCheckNodePort") == old.get("healthCheckNodePort"):
        spec.pop("healthCheckNodePort", None)
