"""Allocations of claims on a node: what requests mean, the search for devices, and what is written of what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from navarch.machinery.types import Obj
from navarch.scheduler.devices.capacity import is_enough
from navarch.scheduler.devices.pools import Device, Pool, is_reached
from navarch.scheduler.devices.search import MAX_RESULTS, Choice, OutOfSteps, Request, Search, Wanted
from navarch.scheduler.devices.selecting import SelectorError, selects
from navarch.scheduler.devices.state import Devices, NotHere, Unallocatable


class Allocator:
    def __init__(self, devices: Devices, share: Callable[[], str] = lambda: "") -> None:
        """`share` names the parts of devices that several claims have: ids, new each time."""
        self._devices, self._share = devices, share

    def allocate(self, claims: Sequence[Obj], node: Obj) -> list[Obj] | None:
        """An allocation for each claim, or None where the node cannot serve them all. Raises Unallocatable and NotHere."""
        pools = self._devices.slices.pools(node)
        wanted = [self._wanted(claim, pools, node) for claim in claims]
        owners = {id(request): each.claim for each in wanted for options in each.requests for request in options}

        def selects_here(request: Request, device: Device) -> bool:
            return self._selects(owners[id(request)], request, device, node)

        try:
            found = Search(pools, self._devices.usage, wanted, selects_here).run()
        except OutOfSteps:
            name = node["metadata"]["name"]
            raise Unallocatable(f"node {name}: timed out trying to allocate devices") from None
        if found is not None:
            return [self._result(claim, chosen, node) for claim, chosen in zip(claims, found, strict=True)]
        if any(pool.flaw == "invalid" for pool in pools):
            raise NotHere("invalid resource pools were encountered")
        return None

    # -- what is wanted

    def _wanted(self, claim: Obj, pools: Sequence[Pool], node: Obj) -> Wanted:
        requests = [
            [self._whole(claim, request, pools, node) for request in self._options(claim, one)]
            for one in claim["spec"]["devices"].get("requests") or ()
        ]
        least = sum(min(request.count for request in options) for options in requests)
        if least > MAX_RESULTS:
            raise Unallocatable(
                f"claim {_key(claim)}: number of requested devices {least} exceeds the claim limit of {MAX_RESULTS}"
            )
        return Wanted(claim, requests)

    def _options(self, claim: Obj, request: Obj) -> Iterator[Request]:
        if alternatives := request.get("firstAvailable"):
            named = [(f"{request['name']}/{one['name']}", one) for one in alternatives]
        else:
            named = [(request["name"], request["exactly"])]
        for name, spec in named:
            device_class = self._devices.classes.get(spec["deviceClassName"])
            if device_class is None:
                text = f"could not retrieve device class {spec['deviceClassName']}"
                raise Unallocatable(f"claim {_key(claim)}, request {name}: {text}")
            yield Request(name, spec, device_class)

    def _whole(self, claim: Obj, request: Request, pools: Sequence[Pool], node: Obj) -> Request:
        """With all devices that it selects, where it wants them all."""
        if request.spec.get("allocationMode") != "All":
            return request
        found: list[Device] = []
        for pool in pools:
            if pool.flaw:
                text = f"asks for all devices, but resource pool {pool.id} is currently {pool.flaw}"
                raise Unallocatable(f"claim {_key(claim)}, request {request.name.rpartition('/')[2]}: {text}")
            for device in pool.devices:
                used = self._devices.usage.capacity_of(device.id)
                if self._selects(claim, request, device, node) and is_enough(
                    request.amounts, device.spec.get("capacity") or {}, used
                ):
                    found.append(device)
        return replace(request, everything=found)

    def _selects(self, claim: Obj, request: Request, device: Device, node: Obj) -> bool:
        return self._matches(claim, request, device) and (
            device.holder is not device.spec or is_reached(device.spec, node)
        )

    def _matches(self, claim: Obj, request: Request, device: Device) -> bool:
        of_class = request.device_class
        sides = (
            (f"class {of_class['metadata']['name']}", of_class["spec"].get("selectors")),
            (f"claim {_key(claim)}", request.spec.get("selectors")),
        )
        for whose, selectors in sides:
            for index, selector in enumerate(selectors or ()):
                try:
                    if not selects(selector["cel"]["expression"], device):
                        return False
                except SelectorError as error:
                    raise Unallocatable(f"{whose}: selector #{index}: {error}") from None
        return True

    # -- what is written

    def _result(self, claim: Obj, chosen: Sequence[Choice], node: Obj) -> Obj:
        allocation: Obj = {"devices": {"results": [self._device(choice) for choice in chosen]}}
        if config := list(_configs(claim, list({id(c.request): c.request for c in chosen}.values()))):
            allocation["devices"]["config"] = config
        if selector := _selector([choice.device for choice in chosen], node):
            allocation["nodeSelector"] = selector
        return allocation

    def _device(self, choice: Choice) -> Obj:
        request, device = choice.request, choice.device
        made: Obj = {"request": request.name, **device.id._asdict()}
        if request.only_looks:
            made["adminAccess"] = True
        if tolerations := request.spec.get("tolerations"):
            made["tolerations"] = list(tolerations)
        for field in ("bindingConditions", "bindingFailureConditions"):
            if conditions := device.spec.get(field):
                made[field] = list(conditions)
        if choice.amounts is not None:
            made["shareID"] = self._share()
            if choice.amounts:
                made["consumedCapacity"] = {name: str(amount) for name, amount in choice.amounts.items()}
        return made


def _key(claim: Obj) -> str:
    return f"{claim['metadata']['namespace']}/{claim['metadata']['name']}"


def _configs(claim: Obj, requests: Sequence[Request]) -> Iterator[Obj]:
    """The classes' configuration, then the claim's own, each with the requests that it is for."""
    by_class: dict[str, list[Request]] = {}
    for request in requests:
        by_class.setdefault(request.device_class["metadata"]["name"], []).append(request)
    for found in by_class.values():
        for config in found[0].device_class["spec"].get("config") or ():
            yield {"source": "FromClass", "requests": [request.name for request in found], **config}
    for config in claim["spec"]["devices"].get("config") or ():
        if not config.get("requests") or any(request.is_among(config["requests"]) for request in requests):
            yield {"source": "FromClaim", **config}


def _selector(devices: Sequence[Device], node: Obj) -> Obj | None:
    """Where an allocation may be used: None means everywhere."""
    term: Obj = {}
    for device in devices:
        if device.holder.get("nodeName") or device.spec.get("bindsToNode"):
            here = {"key": "metadata.name", "operator": "In", "values": [node["metadata"]["name"]]}
            return {"nodeSelectorTerms": [{"matchFields": [here]}]}
        for one in ((device.holder.get("nodeSelector") or {}).get("nodeSelectorTerms") or ())[:1]:
            for field in ("matchFields", "matchExpressions"):
                for requirement in one.get(field) or ():
                    known = term.setdefault(field, [])
                    if all(_asks(requirement) != _asks(other) for other in known):
                        known.append(requirement)
    return {"nodeSelectorTerms": [term]} if term else None


def _asks(requirement: Obj) -> tuple[str, str, frozenset[str]]:
    return requirement["key"], requirement["operator"], frozenset(requirement.get("values") or ())
