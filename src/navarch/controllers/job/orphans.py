"""Takes the tracking finalizer off pods that no Job will ever count: without a controller, or with one that is gone or has
ended. Source of the rules: upstream's syncOrphanPod."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from navarch.client.resources import JOBS, PODS
from navarch.controllers import objects
from navarch.controllers.job import pods as pod_rules
from navarch.controllers.job.tracking import without_finalizer
from navarch.controllers.replicaset import OWNER, owner_index
from navarch.controlloop.plan import Caches, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of


@dataclass(frozen=True, slots=True)
class Observed:
    pod: Obj
    why: str


class JobOrphanController:
    name = "job-orphan-controller"

    def __init__(self) -> None:
        self.watches = (
            Watch(PODS, self._pod_keys, {OWNER: owner_index}),
            Watch(JOBS, self._job_keys),
        )

    def _pod_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        return [key_of(new)] if new is not None and reason(new, caches) else ()

    def _job_keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        job = new or old
        if job is None or (new is not None and not pod_rules.is_finished(new)):
            return ()
        return [key_of(pod) for pod in caches[PODS].by_index(OWNER, objects.uid_of(job)) if pod_rules.is_tracked(pod)]

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        pod = caches[PODS].get(key.namespace, key.name)
        why = reason(pod, caches) if pod is not None else ""
        return Observed(pod, why) if pod is not None and why else None

    def reconcile(self, observed: Observed, now: float) -> Plan:
        return Plan([without_finalizer(observed.pod)], reasons=[observed.why])


def reason(pod: Obj, caches: Caches) -> str:
    """Why nobody will count the pod; "" where somebody may."""
    if not pod_rules.is_tracked(pod):
        return ""
    owner = objects.controller_of(pod)
    if owner is None:
        return "no job has it"
    if owner["kind"] != "Job" or owner["apiVersion"] != "batch/v1":
        return ""
    job = caches[JOBS].get(pod["metadata"]["namespace"], owner["name"])
    if job is None or objects.uid_of(job) != owner["uid"]:
        return "its job is gone"
    if job["spec"].get("managedBy") not in (None, "kubernetes.io/job-controller"):
        return ""
    return "its job has ended" if pod_rules.is_finished(job) else ""
