"""What a disruption budget's status says of evictions: shared by the controller that counts and the eviction that spends.

Source: component-helpers' apps/poddisruptionbudget.
"""

from __future__ import annotations

from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

ALLOWED = "DisruptionAllowed"
SUFFICIENT, INSUFFICIENT, SYNC_FAILED = "SufficientPods", "InsufficientPods", "SyncFailed"
DELETION_SECONDS = 120.0
"""From a pod's eviction until it is believed that it will not be deleted after all."""


def allowed_condition(status: Obj) -> Obj | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == ALLOWED:
            return condition
    return None


def with_allowed(status: Obj, now: float, failure: str = "") -> Obj:
    """The status with its condition as its counts ask for; `failure` is why there are none."""
    any_left = status.get("disruptionsAllowed", 0) > 0
    made: Obj = {
        "type": ALLOWED,
        "status": "True" if any_left else "False",
        "observedGeneration": status.get("observedGeneration", 0),
        "lastTransitionTime": rfc3339(now),
        "reason": SYNC_FAILED if failure else SUFFICIENT if any_left else INSUFFICIENT,
        "message": failure,
    }
    old = allowed_condition(status)
    if old is not None and old["status"] == made["status"]:
        made["lastTransitionTime"] = old["lastTransitionTime"]
    others = [condition for condition in status.get("conditions") or () if condition is not old]
    return {**status, "conditions": [*others, made]}
