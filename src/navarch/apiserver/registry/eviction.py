"""POST pods/{name}/eviction: a delete that asks the pod's disruption budget first.

Source: registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from navarch.api.policy.disruption import SYNC_FAILED, allowed_condition, with_allowed
from navarch.apiserver.admission.interface import Body
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.delete import check_preconditions
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.pod import set_condition
from navarch.apiserver.registry.virtual import Virtual, success
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors, trees
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import FieldErrors, StatusError
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import GroupKind, GroupResource, Obj

ATTEMPTS = 20
"""Tries at a pod that others write meanwhile."""
MAX_DISRUPTED = 2000
RETRY_SECONDS = 10
VIOLATED = "Cannot evict pod as it would violate the pod's disruption budget."
IGNORE_ERRORS = "ignoreStoreReadErrorWithClusterBreakingPotential"
BUDGET = GroupResource("policy", "poddisruptionbudget")


class Eviction(Virtual):
    definition = "io.k8s.api.policy.v1.Eviction"

    def __init__(self, pods: Registry, budgets: Registry | None) -> None:
        self._pods = pods
        self._budgets = budgets

    async def create(self, call: Call, body: Obj) -> Obj:
        if (body.get("metadata") or {}).get("name", "") != call.name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        tree: Obj = body.get("deleteOptions") or {}
        if tree.get(IGNORE_ERRORS):
            errs = FieldErrors()
            errs.invalid(
                f"deleteOptions.{IGNORE_ERRORS}", True, "can not be set for pod eviction, try after removing the option"
            )
            raise errors.invalid(GroupKind("policy", "Eviction"), call.name, errs)
        dry_run = _dry_run(call, tree)
        await self._pods.review(call, "CREATE", body, Body("policy", "v1", "Eviction"))
        call = replace(call, dry_run=call.dry_run or dry_run)
        options = _delete_options(body.get("deleteOptions") or {})
        pod = await self._without_budget(call, options)
        if pod is not None:
            await self._with_budget(call, options, pod)
        return success()

    async def _without_budget(self, call: Call, options: DeleteOptions) -> Entry | None:
        """Deletes a pod whose end is no disruption. Returns the pod where it is one, to be asked for of its budget."""
        for attempt in range(1, ATTEMPTS + 1):
            pod = self._pods.get(call.namespace, call.name)
            if not _ignores_budgets(pod.obj):
                return pod
            exact = options.resource_version is None and not _is_over(pod.obj)
            try:
                await self._delete(call, _as_of(options, pod) if exact else options)
                return None
            except StatusError as error:
                if error.reason != "Conflict" or options.resource_version is not None or attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def _with_budget(self, call: Call, options: DeleteOptions, pod: Entry) -> None:
        budget = self._budget_of(pod.obj)
        free = budget is not None and _spares_unready(pod.obj, budget.obj)
        if budget is not None and not free:
            await self._spend(call, budget)
        exact = free and options.resource_version is None
        try:
            await self._delete(call, _as_of(options, pod) if free else options)
        except StatusError as error:
            if error.reason == "Conflict" and exact and budget is not None:
                raise _too_many(_in_process(budget.name), RETRY_SECONDS) from None
            raise

    async def _delete(self, call: Call, options: DeleteOptions) -> None:
        """Says in the pod's status why, and deletes it."""
        if not call.dry_run:

            def mark(pod: Obj) -> None:
                check_preconditions(self._pods, options, self._pods.get(call.namespace, call.name))
                condition = {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting",
                }
                set_condition(pod.setdefault("status", {}), condition, self._pods.env.world.now())

            marked = await self._pods.modify(call, mark)
            if options.resource_version is not None:
                options = _as_of(options, marked)
        await self._pods.delete(call, options)

    async def _spend(self, call: Call, budget: Entry) -> None:
        """Takes one disruption from a budget."""
        assert self._budgets is not None
        now = self._pods.env.world.now()

        def spend(found: Obj) -> None:
            check_budget(found)
            status: Obj = found.setdefault("status", {})
            status["disruptionsAllowed"] -= 1
            if not status["disruptionsAllowed"]:
                found["status"] = status = with_allowed(status, now)
            status["disruptedPods"] = {**(status.get("disruptedPods") or {}), call.name: rfc3339(now)}

        one = Call(user=call.user, version=self._budgets.kind.hub, dry_run=call.dry_run)
        one.namespace, one.name = call.namespace, budget.name
        await self._budgets.modify(one, spend)

    def _budget_of(self, pod: Obj) -> Entry | None:
        found = list(self._budgets_of(pod))
        if len(found) > 1:
            message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise StatusError(500, "", message)
        return found[0] if found else None

    def _budgets_of(self, pod: Obj) -> Iterator[Entry]:
        if self._budgets is None:
            return
        labels = pod["metadata"].get("labels") or {}
        for entry in self._budgets.cache.range(pod["metadata"]["namespace"]):
            selector = trees.get(entry.obj, "spec", "selector")
            if selector is not None and from_label_selector(selector).matches(labels):
                yield entry


def _dry_run(call: Call, tree: Obj) -> bool:
    """Whether the body asks for a dry run. Raises where it and the request ask for different things."""
    wanted: list[str] = tree.get("dryRun") or []
    asked: Any = call.options.get("dryRun") or (["All"] if call.dry_run else [])
    if wanted and asked and wanted != asked:
        shown = [f"[{' '.join(values)}]" for values in (asked, wanted)]
        message = f"Non-matching dry-run options in request and content: {shown[0]} and {shown[1]}"
        raise StatusError(500, "", message)
    return bool(wanted)


def _delete_options(tree: Obj) -> DeleteOptions:
    preconditions = tree.get("preconditions") or {}
    return DeleteOptions(
        grace_period_seconds=tree.get("gracePeriodSeconds"),
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        propagation=tree.get("propagationPolicy") or "",
        orphan_dependents=tree.get("orphanDependents"),
    )


def _as_of(options: DeleteOptions, pod: Entry) -> DeleteOptions:
    """Holds for the pod at this revision only: it may have become healthy since it was judged."""
    return replace(options, resource_version=str(pod.revision))


def _is_over(pod: Obj) -> bool:
    phase = trees.get(pod, "status", "phase", default="")
    return phase in ("Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]


def _ignores_budgets(pod: Obj) -> bool:
    """A pod that is over, has not begun or is going anyway is no disruption."""
    return _is_over(pod) or trees.get(pod, "status", "phase", default="") == "Pending"


def _is_ready(pod: Obj) -> bool:
    conditions = trees.get(pod, "status", "conditions", default=())
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _spares_unready(pod: Obj, budget: Obj) -> bool:
    """Whether an unready pod may go though the budget has nothing left."""
    if _is_ready(pod):
        return False
    if trees.get(budget, "spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = budget.get("status") or {}
    return status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0


def check_budget(budget: Obj) -> None:
    """Raises unless the budget has a disruption left."""
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(_in_process(name), RETRY_SECONDS)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise errors.forbidden(BUDGET, name, "pdb disruptions allowed is negative")
    if len(status.get("disruptedPods") or {}) > MAX_DISRUPTED:
        raise errors.forbidden(
            BUDGET, name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        )
    if allowed == 0:
        raise _too_many(f"The disruption budget {name} {_why_none(status)}", 0)


def _why_none(status: Obj) -> str:
    condition = allowed_condition(status) or {}
    refused = "does not allow evicting pods currently"
    said = condition.get("message", "") if condition.get("status") == "False" else ""
    if said and condition.get("reason") == SYNC_FAILED:
        return f"{refused} because it failed sync: {said}"
    needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
    if has <= needs:
        return f"needs {needs} healthy pods and has {has} currently"
    return f"{refused} ({condition.get('reason', '')}): {said}" if said else refused


def _in_process(name: str) -> str:
    return f"The disruption budget {name} is still being processed by the server."


def _too_many(why: str, retry_seconds: int) -> StatusError:
    details: Obj = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry_seconds:
        details["retryAfterSeconds"] = retry_seconds
    headers = [("Retry-After", str(retry_seconds))] if retry_seconds else ()
    return StatusError(429, "TooManyRequests", VIOLATED, details, headers)
