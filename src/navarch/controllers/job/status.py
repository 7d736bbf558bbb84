"""A Job's status: conditions and counts in the form that the API shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.controllers import objects
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

LEFT_OUT_WHEN_ZERO = ("active", "succeeded", "failed", "completedIndexes")


def condition(kind: str, reason: str, message: str, now: float, value: str = "True") -> Obj:
    stamp = rfc3339(now)
    made = {"type": kind, "status": value, "lastProbeTime": stamp, "lastTransitionTime": stamp}
    return {**made, "reason": reason, "message": message}


def holds(status: Obj, kind: str) -> Obj | None:
    """The condition of that type, where it is true."""
    found = objects.condition_of(status, kind)
    return found if found is not None and found["status"] == "True" else None


def with_condition(conditions: Sequence[Obj], wanted: Obj) -> list[Obj]:
    """What is not there and is not true does not become a condition; what is there already keeps its times."""
    for index, old in enumerate(conditions):
        if old["type"] == wanted["type"]:
            same = all(old.get(field) == wanted[field] for field in ("status", "reason", "message"))
            return [*conditions[:index], old if same else wanted, *conditions[index + 1 :]]
    return [*conditions, wanted] if wanted["status"] == "True" else list(conditions)


def shown(status: Obj) -> Obj:
    """As the API shows it: no empty lists, no zeros but those of `ready` and `terminating`."""
    made = {field: value for field, value in status.items() if value or field not in LEFT_OUT_WHEN_ZERO}
    uncounted = made.get("uncountedTerminatedPods") or {}
    made["uncountedTerminatedPods"] = {field: uids for field, uids in uncounted.items() if uids}
    if not made.get("conditions"):
        made.pop("conditions", None)
    return {field: value for field, value in made.items() if value is not None}
