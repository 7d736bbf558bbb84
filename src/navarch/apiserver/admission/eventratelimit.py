"""EventRateLimit (off unless enabled): how many events are taken, by server, namespace, user, or source and object.

Source: plugin/pkg/admission/eventratelimit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from navarch.apiserver.admission.chain import BasePlugin, aggregated
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.machinery import errors
from navarch.machinery.clock import World
from navarch.machinery.types import GroupResource, Obj

EVENTS = GroupResource("", "events")
REMEMBERED = 4096
OBJECT = ("kind", "namespace", "name", "uid", "apiVersion")


def _source_and_object(request: AdmissionRequest) -> str:
    event = request.object or {}
    source, regarding = event.get("source") or {}, event.get("involvedObject") or {}
    parts = [source.get("component", ""), source.get("host", ""), *(regarding.get(field, "") for field in OBJECT)]
    return "".join(parts)


KEYS: dict[str, Callable[[AdmissionRequest], str]] = {
    "Server": lambda request: "",
    "Namespace": lambda request: request.namespace,
    "User": lambda request: request.user.name,
    "SourceAndObject": _source_and_object,
}


@dataclass(frozen=True, slots=True)
class Limit:
    kind: str
    per_second: float
    burst: float
    remembered: int = REMEMBERED


def limits_of(configuration: Obj) -> list[Limit]:
    """The limits of an EventRateLimit configuration. Raises ValueError."""
    found: list[Limit] = []
    for tree in configuration.get("limits") or ():
        kind, qps, burst = tree.get("type"), tree.get("qps"), tree.get("burst")
        if kind not in KEYS:
            raise ValueError(f"EventRateLimit: unsupported limit type {kind!r}")
        if not isinstance(qps, int) or not isinstance(burst, int) or qps <= 0 or burst <= 0:
            raise ValueError("EventRateLimit: qps and burst must be positive")
        found.append(Limit(kind, float(qps), float(burst), tree.get("cacheSize") or REMEMBERED))
    if not found:
        raise ValueError("EventRateLimit: limits: Required value")
    return found


class _Buckets:
    """Token buckets by key; those unused for longest are forgotten."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float) -> bool:
        limit = self.limit
        tokens, at = self._known.pop(key, (limit.burst, now))
        tokens = min(limit.burst, tokens + max(now - at, 0.0) * limit.per_second)
        allowed = tokens >= 1
        self._known[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._known) > limit.remembered:
            self._known.popitem(last=False)
        return allowed


class EventRateLimit(BasePlugin):
    name = "EventRateLimit"

    def __init__(self, world: World, limits: Sequence[Limit]) -> None:
        self._world = world
        self._buckets = [_Buckets(limit) for limit in limits]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == EVENTS and request.operation in ("CREATE", "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        if request.dry_run:
            return
        now = self._world.now()
        reached: list[str] = []
        for buckets in self._buckets:
            key = KEYS[buckets.limit.kind](request)
            if not buckets.take(key, now):
                reached.append(f"limit reached on type {buckets.limit.kind} for key {key}")
        if reached:
            raise errors.too_many_requests(aggregated(reached))
