"""A Deployment's status and conditions. Source: upstream's deployment/progress.go and sync.go."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.controllers import objects
from navarch.controllers.deployment import numbers
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"
CREATED, FOUND, UPDATED = "NewReplicaSetCreated", "FoundNewReplicaSet", "ReplicaSetUpdated"
AVAILABLE, TIMED_OUT, CREATE_ERROR = "NewReplicaSetAvailable", "ProgressDeadlineExceeded", "ReplicaSetCreateError"


def deadline_of(deployment: Obj) -> int | None:
    """progressDeadlineSeconds; None where there is none (or the value that stands for none)."""
    seconds = deployment["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == numbers.MAX_INT32 else int(seconds)


def condition(kind: str, status: str, reason: str, message: str, now: float) -> Obj:
    stamp = rfc3339(now)
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": stamp,
        "reason": reason,
        "message": message,
    }


def with_condition(conditions: Sequence[Obj], new: Obj) -> list[Obj]:
    """Sets a condition: unchanged where status and reason are alike; the transition time kept where status is."""
    current = objects.condition_of({"conditions": conditions}, new["type"])
    if current is not None and current["status"] == new["status"]:
        if current.get("reason") == new["reason"]:
            return list(conditions)
        new = {**new, "lastTransitionTime": current.get("lastTransitionTime", new["lastTransitionTime"])}
    return [*objects.without_condition(conditions, new["type"]), new]


def paused_conditions(deployment: Obj, conditions: Sequence[Obj], now: float) -> list[Obj]:
    """Pausing stops the progress clock, resuming starts it anew."""
    current = objects.condition_of({"conditions": conditions}, "Progressing")
    reason = current.get("reason") if current else None
    if deadline_of(deployment) is None or reason == TIMED_OUT:
        return list(conditions)
    paused = bool(deployment["spec"].get("paused"))
    if paused and reason != PAUSED:
        new = condition("Progressing", "Unknown", PAUSED, "Deployment is paused", now)
    elif not paused and reason == PAUSED:
        new = condition("Progressing", "Unknown", RESUMED, "Deployment is resumed", now)
    else:
        return list(conditions)
    return with_condition(conditions, new)


def counts(deployment: Obj, sets: Sequence[Obj], new: Obj | None, conditions: Sequence[Obj], now: float) -> Obj:
    """The status but for progress: counts, and the condition Available."""
    available = numbers.total_of(sets, "availableReplicas")
    amounts = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": numbers.total_of(sets, "replicas"),
        "updatedReplicas": numbers.count_of(new, "replicas") if new else 0,
        "readyReplicas": numbers.total_of(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(0, numbers.total(sets) - available),
    }
    status: Obj = {name: amount for name, amount in amounts.items() if amount}
    terminating = _terminating(sets)
    if terminating is not None:
        status["terminatingReplicas"] = terminating
    collisions = (deployment.get("status") or {}).get("collisionCount")
    if collisions is not None:
        status["collisionCount"] = collisions
    if available >= numbers.replicas_of(deployment) - numbers.max_unavailable(deployment):
        message = "Deployment has minimum availability."
        minimum = condition("Available", "True", "MinimumReplicasAvailable", message, now)
    else:
        message = "Deployment does not have minimum availability."
        minimum = condition("Available", "False", "MinimumReplicasUnavailable", message, now)
    status["conditions"] = with_condition(conditions, minimum)
    return status


def _terminating(sets: Sequence[Obj]) -> int | None:
    amount = 0
    for replica_set in sets:
        status = replica_set.get("status") or {}
        terminating = status.get("terminatingReplicas")
        if terminating is not None:
            amount += terminating
        elif status.get("observedGeneration"):
            return None
    return amount


def is_complete(deployment: Obj, status: Obj) -> bool:
    wanted = numbers.replicas_of(deployment)
    return all(
        status.get(name, 0) == wanted for name in ("updatedReplicas", "replicas", "availableReplicas")
    ) and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)


def has_progressed(deployment: Obj, status: Obj) -> bool:
    was = deployment.get("status") or {}

    def grown(name: str) -> bool:
        return status.get(name, 0) > was.get(name, 0)

    def old(of: Obj) -> int:
        return of.get("replicas", 0) - of.get("updatedReplicas", 0)

    return grown("updatedReplicas") or old(status) < old(was) or grown("readyReplicas") or grown("availableReplicas")


def has_timed_out(deployment: Obj, conditions: Sequence[Obj], now: float) -> bool:
    deadline = deadline_of(deployment)
    current = objects.condition_of({"conditions": conditions}, "Progressing")
    if deadline is None or current is None or current.get("reason") == AVAILABLE:
        return False
    return current.get("reason") == TIMED_OUT or objects.time_of(current.get("lastUpdateTime")) + deadline < now


def rollout(deployment: Obj, sets: Sequence[Obj], new: Obj | None, conditions: Sequence[Obj], now: float) -> Obj:
    """The whole status during a rollout: counts, progress, and the failures of the sets."""
    status = counts(deployment, sets, new, conditions, now)
    made = status["conditions"]
    if deadline_of(deployment) is None:
        made = objects.without_condition(made, "Progressing")
    else:
        made = _progress(deployment, status, new, made, now)
    failure = _failure(sets, new)
    made = objects.without_condition(made, "ReplicaFailure") if failure is None else with_condition(made, failure)
    status["conditions"] = made
    return status


def _progress(deployment: Obj, status: Obj, new: Obj | None, conditions: list[Obj], now: float) -> list[Obj]:
    current = objects.condition_of({"conditions": conditions}, "Progressing")
    if (
        status.get("replicas", 0) == status.get("updatedReplicas", 0)
        and current is not None
        and current.get("reason") == AVAILABLE
    ):
        return conditions
    subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{deployment["metadata"]["name"]}"'
    if is_complete(deployment, status):
        done = condition("Progressing", "True", AVAILABLE, f"{subject} has successfully progressed.", now)
        return with_condition(conditions, done)
    if has_progressed(deployment, status):
        moving = condition("Progressing", "True", UPDATED, f"{subject} is progressing.", now)
        if current is not None and current["status"] == "True":
            moving["lastTransitionTime"] = current.get("lastTransitionTime", moving["lastTransitionTime"])
        return [*objects.without_condition(conditions, "Progressing"), moving]
    if has_timed_out(deployment, conditions, now):
        late = condition("Progressing", "False", TIMED_OUT, f"{subject} has timed out progressing.", now)
        return with_condition(conditions, late)
    return conditions


def _failure(sets: Sequence[Obj], new: Obj | None) -> Obj | None:
    """The ReplicaFailure of the new set, else of any."""
    for replica_set in ([new] if new else []) + list(sets):
        failure = objects.condition_of(replica_set.get("status") or {}, "ReplicaFailure")
        if failure is not None:
            return {**failure, "lastUpdateTime": failure.get("lastTransitionTime")}
    return None


def progress_check(deployment: Obj, status: Obj, now: float) -> float | None:
    """Seconds until the deadline is to be looked at; None where no rollout is under way."""
    deadline = deadline_of(deployment)
    current = objects.condition_of(status, "Progressing")
    if deadline is None or current is None or is_complete(deployment, status):
        return None
    if current.get("reason") in (TIMED_OUT, PAUSED):
        return None
    left = objects.time_of(current.get("lastUpdateTime")) + deadline - now
    return max(left, 0.0) + 1.0
