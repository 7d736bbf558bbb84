"""A Job's pods: what can be read off them, and those that are made. Pure.

Source of the rules: upstream's indexed_job_utils.go, backoff_utils.go and job_controller.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from navarch.controllers import objects
from navarch.controllers.job.policies import judge
from navarch.controllers.replicaset import PHASE_ORDER, most_restarts, pod_from_template
from navarch.machinery.types import Obj

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES, IGNORED = "batch.kubernetes.io/job-index-failure-count", "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
GENERATED_MAX = 58
"""Of a generated name's prefix."""
_NUMBER = re.compile(r"\+?[0-9]{1,10}", re.ASCII).fullmatch


# -- what a job asks for


def is_indexed(job: Obj) -> bool:
    return job["spec"].get("completionMode") == "Indexed"


def per_index(job: Obj) -> int | None:
    """How many failures an index may have; None where they are counted together."""
    return job["spec"].get("backoffLimitPerIndex")


def replaces_failed_only(job: Obj) -> bool:
    """Whether a pod that is being deleted is replaced only when it has ended."""
    return job["spec"].get("podReplacementPolicy") == "Failed" or job["spec"].get("podFailurePolicy") is not None


def is_suspended(job: Obj) -> bool:
    return bool(job["spec"].get("suspend"))


def is_finished(job: Obj) -> bool:
    status = job.get("status") or {}
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in status.get("conditions") or ())


# -- what a pod shows


def is_tracked(pod: Obj) -> bool:
    """Not yet counted: it has the finalizer that says so."""
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def index_of(pod: Obj) -> int | None:
    text = objects.annotations_of(pod).get(INDEX, "")
    return int(text) if _NUMBER(text) else None


def valid_index(job: Obj, pod: Obj) -> int | None:
    index = index_of(pod)
    return index if index is not None and index < int(job["spec"].get("completions") or 0) else None


def has_failed(job: Obj, pod: Obj) -> bool:
    """Ended badly; or is being deleted, which may be all that will ever be heard of it."""
    if objects.phase_of(pod) == "Failed":
        return True
    return objects.is_deleting(pod) and objects.phase_of(pod) != "Succeeded" and not replaces_failed_only(job)


def is_terminating(pod: Obj) -> bool:
    return objects.is_deleting(pod) and not objects.is_terminal(pod)


def failures_of(pod: Obj) -> int:
    """How often the pod's index had failed before it."""
    return _count(pod, FAILURES)


def all_failures_of(pod: Obj) -> int:
    """Those among them that do not count, too."""
    return failures_of(pod) + _count(pod, IGNORED)


def _count(pod: Obj, annotation: str) -> int:
    text = objects.annotations_of(pod).get(annotation, "")
    count = int(text) if _NUMBER(text) else 0
    return count if count < 2**31 else 0


def finished_at(pod: Obj) -> float:
    """By its containers, its readiness, its deletion or its creation: the first that knows."""
    status = pod.get("status") or {}
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    ran = [*status.get("containerStatuses", ())]
    ran += [c for c in status.get("initContainerStatuses") or () if c["name"] in sidecars]
    ends = [((c.get("state") or {}).get("terminated") or {}).get("finishedAt") for c in ran]
    if ends and all(ends):
        return max(objects.time_of(end) for end in ends)
    ready = objects.ready_condition(pod)
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return objects.time_of(ready["lastTransitionTime"])
    if objects.is_deleting(pod):
        meta = pod["metadata"]
        return objects.time_of(meta["deletionTimestamp"]) - (meta.get("deletionGracePeriodSeconds") or 0)
    return objects.created_at(pod)


# -- which go first


def for_removal(job: Obj, active: Sequence[Obj], at_least: int) -> list[Obj]:
    """Pods whose index another has or nobody wants, and others up to the number: those that have done least."""
    removed: list[Obj] = []
    left = list(active)
    if is_indexed(job):
        by_index: dict[int, list[Obj]] = {}
        for pod in active:
            if (index := valid_index(job, pod)) is None:
                removed.append(pod)
            else:
                by_index.setdefault(index, []).append(pod)
        sorted_out = [sorted(pods, key=_worth) for pods in by_index.values()]
        removed += [pod for pods in sorted_out for pod in pods[:-1]]
        left = [pods[-1] for pods in sorted_out]
    return removed + sorted(left, key=_worth)[: max(at_least - len(removed), 0)]


def _worth(pod: Obj) -> tuple[object, ...]:
    """The least first (upstream's ActivePods)."""
    ready = objects.is_ready(pod)
    since = objects.ready_since(pod)
    return (
        bool(pod["spec"].get("nodeName")),
        PHASE_ORDER.get(objects.phase_of(pod), 0),
        ready,
        (bool(since), -since) if ready else (),
        -most_restarts(pod),
        -objects.created_at(pod),
        pod["metadata"]["name"],
    )


# -- new ones


def new_pod(job: Obj, index: int | None, replaced: Obj | None) -> Obj:
    """The next pod; of an index, where the job has any. `replaced` failed before it under that index."""
    pod = pod_from_template(job, job["spec"]["template"], "batch/v1", "Job")
    meta, spec = pod["metadata"], pod["spec"]
    meta["finalizers"] = [*(f for f in meta.get("finalizers") or () if f != FINALIZER), FINALIZER]
    if index is None:
        return pod
    name, number = job["metadata"]["name"], str(index)
    meta["generateName"] = f"{name[: GENERATED_MAX - len(number) - 2]}-{number}-"
    meta["annotations"] = {**(meta.get("annotations") or {}), INDEX: number}
    meta["labels"] = {**(meta.get("labels") or {}), INDEX: number}
    spec["hostname"] = f"{name}-{number}"
    _show_index([*(spec.get("initContainers") or ()), *(spec.get("containers") or ())])
    if per_index(job) is not None:
        meta["annotations"].update(_failures_before(job, replaced))
    return pod


def _show_index(containers: Iterable[Obj]) -> None:
    for container in containers:
        variables = container.get("env") or []
        if not any(variable["name"] == INDEX_VARIABLE for variable in variables):
            field = {"fieldPath": f"metadata.labels['{INDEX}']"}
            container["env"] = [*variables, {"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": field}}]


def _failures_before(job: Obj, replaced: Obj | None) -> dict[str, str]:
    if replaced is None:
        return {FAILURES: "0"}
    counts = judge(job["spec"].get("podFailurePolicy"), replaced).counts
    ignored = _count(replaced, IGNORED) + (not counts)
    made = {FAILURES: str(failures_of(replaced) + counts)}
    return {**made, IGNORED: str(ignored)} if ignored else made
