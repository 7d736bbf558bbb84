"""Removes Jobs some time after they have ended, where they ask for it. Source: upstream's pkg/controller/ttlafterfinished."""

from __future__ import annotations

from collections.abc import Iterable

from navarch.client.resources import JOBS
from navarch.controllers import objects
from navarch.controllers.job.pods import is_finished
from navarch.controllers.job.status import holds
from navarch.controlloop.plan import Caches, Delete, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of


class JobExpiryController:
    name = "ttl-after-finished-controller"

    def __init__(self) -> None:
        self.watches = (Watch(JOBS, _keys),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        job = caches[JOBS].get(key.namespace, key.name)
        return job if job is not None and _expires(job) else None

    def reconcile(self, observed: Obj, now: float) -> Plan:
        status = observed["status"]
        ended = holds(status, "Complete") or holds(status, "Failed")
        since = objects.time_of((ended or {}).get("lastTransitionTime"))
        wait = since + observed["spec"]["ttlSecondsAfterFinished"] - now
        if wait > 0:
            return Plan(requeue_after=wait, reasons=[f"has ended, and stays for {wait:.0f} s more"])
        # By its very revision: it may have been granted more time meanwhile.
        meta = observed["metadata"]
        gone = Delete(JOBS, key_of(observed), meta["uid"], meta["resourceVersion"], propagation="Foreground")
        return Plan([gone], reasons=["has ended long enough ago"])


def _keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(new)] if new is not None and _expires(new) else ()


def _expires(job: Obj) -> bool:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    return ttl is not None and not objects.is_deleting(job) and is_finished(job)
