"""Events as events.k8s.io has them (written by core's names) and the scheduler tells them: what is said again of the same object makes a series of the first.

Pure but for its memory of recent ones. Source of the rules: client-go's tools/events broadcaster. The first repetition turns
an Event into a series of two; further ones are only counted, and told every half an hour and when the series has been over for six minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from navarch.controlloop.correlator import Decision, Recent, Said
from navarch.machinery.clock import rfc3339_micro
from navarch.machinery.types import Obj

FINISH_SECONDS = 360.0
REFRESH_SECONDS = 1800.0


@dataclass(slots=True)
class _Told:
    event: Obj
    last: float
    written: float
    count: int = 1


class Series:
    def __init__(self, component: str, host: str = "") -> None:
        self._component = component
        self._instance = f"{component}-{host}"
        self._told: Recent[_Told] = Recent()

    def decide(self, said: Said) -> Decision | None:
        """None: only counted."""
        ref, related = said.regarding, said.related
        key = (tuple(ref.items()), tuple((related or {}).items()), said.kind, said.action, said.reason)
        known = self._told.get(key)
        if known is None or said.now - known.last > FINISH_SECONDS:
            event = self._event(said)
            self._told.put(key, _Told(event, said.now, said.now))
            return Decision(event["metadata"]["name"], event, None)
        known.count, known.last = known.count + 1, said.now
        return self._longer(known, said.now) if known.count == 2 else None

    def finish(self, now: float) -> list[Decision]:
        """What has to be told of series that are over, which are forgotten, and of those that have gone on for long."""
        over = [key for key, told in self._told.items() if now - told.last >= FINISH_SECONDS]
        found = [self._longer(told, now) for told in (self._told.pop(key) for key in over) if told.count > 1]
        long = [told for told in self._told.values() if told.count > 1 and now - told.written >= REFRESH_SECONDS]
        return found + [self._longer(told, now) for told in long]

    def is_open(self) -> bool:
        """Whether `finish` has to be asked again."""
        return any(told.count > 1 for told in self._told.values())

    def _longer(self, told: _Told, now: float) -> Decision:
        told.written = now
        patch: Obj = {"series": {"count": told.count, "lastObservedTime": rfc3339_micro(told.last)}}
        return Decision(told.event["metadata"]["name"], {**told.event, **patch}, patch)

    def _event(self, said: Said) -> Obj:
        ref = said.regarding
        event: Obj = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{ref['name']}.{int(said.now * 1e9):x}",
                "namespace": ref.get("namespace") or "default",
            },
            "eventTime": rfc3339_micro(said.now),
            "reportingComponent": self._component,
            "reportingInstance": self._instance,
            "action": said.action,
            "reason": said.reason,
            "involvedObject": ref,
            "message": said.message,
            "type": said.kind,
        }
        return event if said.related is None else {**event, "related": said.related}
