"""When a Job ends: by failures, by its deadline, by its success policy, or complete. Pure.

Source of the rules: upstream's syncJob. The first that holds decides, in this order, and is written down as an interim condition
(FailureTarget, SuccessCriteriaMet) before anything else happens, so that the decision stands.
"""

from __future__ import annotations

from navarch.controllers import objects
from navarch.controllers.job import pods as pod_rules
from navarch.controllers.job.managing import Seen
from navarch.controllers.job.policies import judge, success
from navarch.controllers.job.status import condition, holds
from navarch.machinery.types import Obj


def before_managing(seen: Seen, now: float) -> Obj | None:
    """The condition that the job ends with, interim or final; None while it goes on."""
    status = seen.job.get("status") or {}
    if (met := holds(status, "SuccessCriteriaMet")) is not None:
        return met
    if (target := holds(status, "FailureTarget")) is not None:
        return condition("Failed", target["reason"], target["message"], now)
    if (failure := _failure(seen, now)) is not None:
        return condition("FailureTarget", *failure, now)
    spec = seen.job["spec"]
    if pod_rules.is_indexed(seen.job):
        why = success(spec.get("successPolicy"), int(spec.get("completions") or 0), seen.indexes)
        if why is not None:
            return condition("SuccessCriteriaMet", "SuccessPolicy", why, now)
    return None


def _failure(seen: Seen, now: float) -> tuple[str, str] | None:
    """(reason, message)"""
    job, spec = seen.job, seen.job["spec"]
    policy = spec.get("podFailurePolicy")
    for pod in seen.pods if policy is not None else ():
        if pod_rules.has_failed(job, pod) and (verdict := judge(policy, pod)).action == "FailJob":
            return "PodFailurePolicy", verdict.why
    limit = int(spec.get("backoffLimit", 6))
    if seen.failed > limit or _restarted_too_often(seen, limit):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    wait = deadline_in(job, now)
    if wait is not None and wait <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    if seen.failed_indexes is not None and (count := seen.failed_indexes.total()) > 0:
        most = spec.get("maxFailedIndexes")
        if most is not None and count > most:
            return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
        if count + seen.indexes.total() >= int(spec.get("completions") or 0):
            return "FailedIndexes", "Job has failed indexes"
    return None


def _restarted_too_often(seen: Seen, limit: int) -> bool:
    """Where containers are restarted in their pods, restarts are what is counted."""
    if (seen.job["spec"]["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        container.get("restartCount", 0)
        for pod in seen.pods
        if objects.phase_of(pod) in ("Running", "Pending")
        for field in ("initContainerStatuses", "containerStatuses")
        for container in (pod.get("status") or {}).get(field) or ()
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def deadline_in(job: Obj, now: float) -> float | None:
    """Seconds until the job has been active for too long; None where it may be for ever, or is not."""
    seconds, started = job["spec"].get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if seconds is None or pod_rules.is_suspended(job):
        return None
    return (objects.time_of(started) if started else now) + seconds - now


def is_complete(job: Obj, succeeded: int, active: int) -> bool:
    if active:
        return False
    completions = job["spec"].get("completions")
    return succeeded > 0 if completions is None else succeeded >= completions
