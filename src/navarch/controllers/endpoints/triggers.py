"""When that came about which a round of a service answers to: the annotation that network programming latency is measured
from. Source: upstream's endpointslice/util/trigger_time_tracker.go."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.machinery.types import Key, Obj

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class Triggers:
    """Remembers, per service, the times that its last round knew. Times are RFC 3339 texts of whole seconds; "" is none."""

    def __init__(self) -> None:
        self._known: dict[Key, dict[str, str]] = {}

    def since_last_round(self, key: Key, service: Obj, pods: Sequence[Obj]) -> str:
        """The earliest change of a pod's readiness that is new; of a service that is new, its creation."""
        times = {pod["metadata"]["name"]: since for pod in pods if (since := _ready_since(pod))}
        known, self._known[key] = self._known.get(key), times
        if known is None:
            return service["metadata"].get("creationTimestamp", "")
        return min((since for name, since in times.items() if since > known.get(name, "")), default="")

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)


def annotated(annotations: dict[str, str], trigger: str) -> dict[str, str]:
    """For an object that is written in a round with this trigger."""
    rest = {name: value for name, value in annotations.items() if name != ANNOTATION}
    return {**rest, ANNOTATION: trigger} if trigger else rest


def _ready_since(pod: Obj) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return next((c.get("lastTransitionTime") or "" for c in conditions if c["type"] == "Ready"), "")
