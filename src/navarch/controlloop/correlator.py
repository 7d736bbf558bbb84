"""Which Events are written, counted or dropped. Pure but for its memory of recent ones.

Source of the rules: client-go's EventCorrelator. Per source and object 25 events may burst, then one in 300 s; more
than 10 messages alike in all but their text within 600 s become one "(combined from similar events)"; equal events
are counted on the one already written.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

MEMORY = 4096
SPAM_BURST = 25
SPAM_REFILL = 1 / 300
SIMILAR_MAX = 10
SIMILAR_INTERVAL = 600.0
COMBINED = "(combined from similar events): "

V = TypeVar("V")


class Recent(OrderedDict[Any, V], Generic[V]):
    """A mapping that forgets what was set longest ago."""

    def put(self, key: Any, value: V) -> None:
        self[key] = value
        self.move_to_end(key)
        while len(self) > MEMORY:
            self.popitem(last=False)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


@dataclass(slots=True)
class _Similar:
    at: float
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Written:
    name: str
    count: int
    first: str


class Said(NamedTuple):
    """Something to tell. `regarding` and `related` are ObjectReferences; `action` is told by Events of events.k8s.io."""

    regarding: Obj
    kind: str
    reason: str
    message: str
    now: float
    action: str = ""
    related: Obj | None = None


class Decision(NamedTuple):
    """What to write: a new Event, or (where `patch` is set) a change to the one named `name`."""

    name: str
    event: Obj
    patch: Obj | None


def reference(obj: Obj) -> Obj:
    """The ObjectReference an Event regards; a `fieldPath` beside the metadata names a part of the object."""
    meta = obj["metadata"]
    fields = {
        "kind": obj.get("kind", ""),
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta.get("uid", ""),
        "apiVersion": obj.get("apiVersion", ""),
        "resourceVersion": meta.get("resourceVersion", ""),
        "fieldPath": obj.get("fieldPath", ""),
    }
    return {k: v for k, v in fields.items() if v}


class Correlator:
    def __init__(self, component: str, host: str = "") -> None:
        self._component = component
        self._host = host
        self._buckets: Recent[_Bucket] = Recent()
        self._similar: Recent[_Similar] = Recent()
        self._written: Recent[_Written] = Recent()

    def decide(self, said: Said) -> Decision | None:
        """None: one too many about this object."""
        ref, kind, reason, message, now, *_ = said
        who = (ref.get("kind"), ref.get("namespace"), ref["name"], ref.get("uid"), ref.get("apiVersion"))
        if not self._allowed(who, now):
            return None
        message, key = self._combine((*who, ref.get("fieldPath"), kind, reason), message, now)
        stamp = rfc3339(now)
        known = self._written.get(key)
        if known is None:
            written = _Written(f"{ref['name']}.{int(now * 1e9):x}", 1, stamp)
            self._written.put(key, written)
            return Decision(written.name, self._event(written, ref, kind, reason, message, stamp), None)
        known.count += 1
        self._written.put(key, known)
        patch = {"count": known.count, "lastTimestamp": stamp, "message": message}
        return Decision(known.name, self._event(known, ref, kind, reason, message, stamp), patch)

    def _allowed(self, who: Any, now: float) -> bool:
        bucket = self._buckets.get(who) or _Bucket(SPAM_BURST, now)
        bucket.tokens = min(SPAM_BURST, bucket.tokens + (now - bucket.at) * SPAM_REFILL)
        bucket.at = now
        self._buckets.put(who, bucket)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _combine(self, group: Any, message: str, now: float) -> tuple[str, Any]:
        similar = self._similar.get(group)
        if similar is None or now - similar.at > SIMILAR_INTERVAL:
            similar = _Similar(now)
        similar.at = now
        if len(similar.messages) < SIMILAR_MAX:
            similar.messages.add(message)
            self._similar.put(group, similar)
            if len(similar.messages) < SIMILAR_MAX:
                return message, (*group, message)
        self._similar.put(group, similar)
        return COMBINED + message, group

    def _event(self, written: _Written, ref: Obj, kind: str, reason: str, message: str, stamp: str) -> Obj:
        source = {"component": self._component}
        if self._host:
            source["host"] = self._host
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": written.name, "namespace": ref.get("namespace") or "default"},
            "involvedObject": ref,
            "reason": reason,
            "message": message,
            "source": source,
            "firstTimestamp": written.first,
            "lastTimestamp": stamp,
            "count": written.count,
            "type": kind,
            "reportingComponent": "" if message.startswith(COMBINED) else self._component,
            "reportingInstance": self._host,
        }
