"""The search: devices for every request of several claims, one after the other, with the first that works kept.

Every level of it tries one thing after the other, and takes back what it tried when it is resumed; so depth costs no
stack. Source: structured's allocator_incubating.go (allocateOne, allocateDevice).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj
from navarch.scheduler.devices.capacity import ZERO, Amounts, consumed, is_enough
from navarch.scheduler.devices.pools import Counter, Device, DeviceId, Pool, PoolId
from navarch.scheduler.devices.selecting import attribute, is_tolerated
from navarch.scheduler.devices.state import Unallocatable, Usage

MAX_RESULTS = 32
"""Of one claim."""
MAX_STEPS = 20_000
"""Of one search; upstream gives up after ten seconds."""


class OutOfSteps(Exception):
    """The search was given up."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    name: str
    """With the alternative's, where it is one: `gpu/small`."""
    spec: Obj
    device_class: Obj
    everything: Sequence[Device] | None = None
    """Where all devices are wanted: those."""

    @property
    def only_looks(self) -> bool:
        return bool(self.spec.get("adminAccess"))

    @property
    def count(self) -> int:
        return len(self.everything) if self.everything is not None else self.spec.get("count") or 1

    @property
    def amounts(self) -> Mapping[str, str]:
        return (self.spec.get("capacity") or {}).get("requests") or {}

    def is_among(self, names: Iterable[str]) -> bool:
        """Whether it, or the request that it is an alternative of, is named."""
        return self.name in names or self.name.partition("/")[0] in names


class Choice(NamedTuple):
    request: Request
    device: Device
    amounts: Amounts | None
    """What it takes of a device that others may have too."""


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A claim: for each of its requests, the alternatives in order of preference."""

    claim: Obj
    requests: Sequence[Sequence[Request]]

    @property
    def constraints(self) -> Sequence[Obj]:
        return self.claim["spec"]["devices"].get("constraints") or ()


class _At(NamedTuple):
    """The next device of a request; those before `start` are not tried, for their order makes no difference."""

    claim: int = 0
    request: int = 0
    option: int = -1
    number: int = 0
    start: int = 0


@dataclass(slots=True)
class Search:
    pools: Sequence[Pool]
    usage: Usage
    wanted: Sequence[Wanted]
    selects: Callable[[Request, Device], bool]
    chosen: list[list[Choice]] = field(default_factory=list)
    _devices: list[Device] = field(default_factory=list)
    _by: dict[DeviceId, list[int]] = field(default_factory=dict)
    """Which claims of these are about to have a device, those that only look among them."""
    _amounts: dict[DeviceId, list[Amounts]] = field(default_factory=dict)
    _left: dict[PoolId, dict[Counter, Quantity]] = field(default_factory=dict)
    """What is left of counters beside what is in use and chosen."""

    def run(self) -> list[list[Choice]] | None:
        """The devices of each claim, or None. Raises Unallocatable and OutOfSteps."""
        self._devices = [device for pool in self.pools if not pool.flaw for device in pool.devices]
        self.chosen = [[] for _ in self.wanted]
        if not self.wanted:
            return []
        levels = [self._level(_At())]
        try:
            for _ in range(MAX_STEPS):
                if not levels:
                    return None
                there = next(levels[-1], None)
                if there is None:
                    levels.pop()
                elif there.claim == len(self.wanted):
                    return [list(choices) for choices in self.chosen]
                else:
                    levels.append(self._level(there))
            raise OutOfSteps
        finally:
            for level in reversed(levels):
                level.close()

    def _level(self, at: _At) -> Generator[_At]:
        """What may come next, each tried until it is asked for another."""
        if at.request == len(self.wanted[at.claim].requests):
            yield _At(at.claim + 1)
            return
        options = self.wanted[at.claim].requests[at.request]
        if at.option < 0:
            for option in range(len(options)):
                yield at._replace(option=option)
            return
        request = options[at.option]
        if at.number == request.count:
            if request.count:
                yield _At(at.claim, at.request + 1)
            return
        if len(self.chosen[at.claim]) + request.count - at.number > MAX_RESULTS:
            return
        yield from self._tries(at, request)

    def _tries(self, at: _At, request: Request) -> Generator[_At]:
        """One device after the other; where all are wanted, only the one whose turn it is."""
        everything = request.everything
        first = at.number if everything is not None else at.start
        devices = self._devices if everything is None else everything[: at.number + 1]
        for index in range(first, len(devices)):
            choice = self._choice(at.claim, request, devices[index])
            if choice is None:
                continue
            self._take(at.claim, choice)
            try:
                if self._is_allowed(at.claim):
                    yield at._replace(number=at.number + 1, start=index + 1)
                elif everything is not None:
                    meta = self.wanted[at.claim].claim["metadata"]
                    raise Unallocatable(
                        f"claim {meta['namespace']}/{meta['name']}, request {request.name}: cannot add device "
                        f"{choice.device.id} because a claim constraint would not be satisfied"
                    )
            finally:
                self._give_back(at.claim, choice)

    # -- one device

    def _choice(self, claim: int, request: Request, device: Device) -> Choice | None:
        """A device for a request, where it can be had."""
        if request.only_looks:
            if not device.is_shared and claim in self._by.get(device.id, ()):
                return None
        elif device.id in self.usage.whole or self._by.get(device.id):
            return None
        if not self.selects(request, device):
            return None
        capacity = device.spec.get("capacity") or {}
        if not is_enough(request.amounts, capacity, self._used(device.id)):
            return None
        if not self._counters_last(device) or not is_tolerated(device, request.spec.get("tolerations") or ()):
            return None
        return Choice(request, device, consumed(request.amounts, capacity) if device.is_shared else None)

    def _used(self, device: DeviceId) -> Amounts:
        chosen = self._amounts.get(device)
        if not chosen:
            return self.usage.capacity_of(device)
        total = dict(self.usage.capacity_of(device))
        for amounts in chosen:
            for name, amount in amounts.items():
                total[name] = total.get(name, ZERO) + amount
        return total

    def _take(self, claim: int, choice: Choice) -> None:
        device = choice.device
        self._count(device, -1)
        if choice.amounts is None:
            self._by.setdefault(device.id, []).append(claim)
        else:
            self._amounts.setdefault(device.id, []).append(choice.amounts)
        self.chosen[claim].append(choice)

    def _give_back(self, claim: int, choice: Choice) -> None:
        device = choice.device
        self.chosen[claim].pop()
        (self._by if choice.amounts is None else self._amounts)[device.id].pop()
        self._count(device, 1)

    # -- counters

    def _counters_last(self, device: Device) -> bool:
        if not device.spec.get("consumesCounters") or self._is_counted(device):
            return True
        left = self._left_of(device)
        wanted = dict(device.consumes())
        return all(amount - wanted.get(counter, ZERO) >= ZERO for counter, amount in left.items())

    def _is_counted(self, device: Device) -> bool:
        """A share of a device that is in use takes no more of the counters."""
        return device.is_shared and (device.id in self.usage.shares or bool(self._amounts.get(device.id)))

    def _count(self, device: Device, sign: int) -> None:
        if not device.spec.get("consumesCounters") or self._is_counted(device):
            return
        left = self._left_of(device)
        for counter, amount in device.consumes():
            left[counter] = left[counter] + (amount if sign > 0 else -amount)

    def _left_of(self, device: Device) -> dict[Counter, Quantity]:
        key = PoolId(device.id.driver, device.id.pool)
        found = self._left.get(key)
        if found is None:
            pool = next(pool for pool in self.pools if pool.id == key)
            found = self._left[key] = dict(pool.counters)
            for other in (*pool.devices, *pool.elsewhere):
                if self.usage.is_used(other.id):
                    for counter, amount in other.consumes():
                        found[counter] = found[counter] - amount
        return found

    # -- constraints

    def _is_allowed(self, claim: int) -> bool:
        return all(_holds(constraint, self.chosen[claim]) for constraint in self.wanted[claim].constraints)


def _holds(constraint: Obj, chosen: Sequence[Choice]) -> bool:
    names = constraint.get("requests") or ()
    devices = [choice.device for choice in chosen if not names or choice.request.is_among(names)]
    alike, apart = constraint.get("matchAttribute"), constraint.get("distinctAttribute")
    values = [attribute(device, alike or apart or "") for device in devices]
    if any(value is None for value in values):
        return False
    return len(set(values)) <= 1 if alike else len(set(values)) == len(values)
