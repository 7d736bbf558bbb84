"""Pods: binding to a node, and eviction with respect for disruption budgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from navarch.api.kind import Prepare, ValidateUpdate
from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.virtual import Virtual, success
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors, trees
from navarch.machinery.clock import parse_time, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import GroupResource, Obj

BINDING = GroupResource("", "pods/binding")
MAX_DISRUPTED = 2000
DISRUPTED_SECONDS = 120.0


class PodRegistry(Registry):
    returns_deleted = True

    def rules(self, subresource: str) -> tuple[Prepare, ValidateUpdate]:
        found = self.kind.extra.get("subresources", {}).get(subresource)
        return found if found is not None else super().rules(subresource)


class Binding(Virtual):
    """POST pods/{name}/binding: the scheduler's verdict."""

    definition = "io.k8s.api.core.v1.Binding"

    def __init__(self, pods: Registry) -> None:
        self._pods = pods

    async def create(self, call: Call, body: Obj) -> Obj:
        metadata = body.get("metadata") or {}
        if metadata.get("name", "") != call.name:
            raise errors.bad_request("name in URL does not match name in Binding object")
        _check_target(body.get("target") or {})
        await self._pods.env.admission.validate(self._pods.admission_request(call, "CREATE", body, None))

        def assign(pod: Obj) -> None:
            _check_preconditions(call.name, pod, metadata)
            self._check_assignable(pod)
            self._assign(pod, body["target"]["name"], metadata)

        await self._pods.modify(call, assign)
        return success()

    def _check_assignable(self, pod: Obj) -> None:
        name, spec = pod["metadata"]["name"], pod["spec"]
        if "deletionTimestamp" in pod["metadata"]:
            raise errors.conflict(BINDING, name, f"pod {name} is being deleted, cannot be assigned to a host")
        if node := spec.get("nodeName"):
            raise errors.conflict(BINDING, name, f'pod {name} is already assigned to node "{node}"')
        if spec.get("schedulingGates"):
            raise errors.conflict(BINDING, name, f"pod {name} has non-empty .spec.schedulingGates")

    def _assign(self, pod: Obj, node: str, metadata: Obj) -> None:
        pod["spec"]["nodeName"] = node
        for field in ("annotations", "labels"):
            if extra := metadata.get(field):
                pod["metadata"][field] = {**(pod["metadata"].get(field) or {}), **extra}
        status = pod.setdefault("status", {})
        status.pop("nominatedNodeName", None)
        set_condition(status, {"type": "PodScheduled", "status": "True"}, self._pods.env.world.now())


def _check_target(target: Obj) -> None:
    errs = errors.FieldErrors()
    if target.get("kind", "") not in ("", "Node"):
        errs.not_supported("target.kind", target["kind"], ["Node", "<empty>"])
    if not target.get("name"):
        errs.required("target.name")
    if errs:
        raise errors.internal(str(errs.items[0]))


def _check_preconditions(name: str, pod: Obj, metadata: Obj) -> None:
    found = pod["metadata"]
    for field, title in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted = metadata.get(field, "")
        if wanted and wanted != found.get(field):
            raise errors.conflict(
                GroupResource("", "pods"),
                name,
                f"Precondition failed: {title} in precondition: {wanted}, {title} in object meta: {found.get(field)}",
            )


def set_condition(status: Obj, condition: Obj, now: float) -> None:
    """Adds or replaces a condition by its type; its transition time changes only with its status."""
    conditions: list[Obj] = status.get("conditions") or []
    stamp = rfc3339(now)
    made = {"lastProbeTime": None, "lastTransitionTime": stamp, **condition}
    for index, present in enumerate(conditions):
        if present.get("type") == condition["type"]:
            if present.get("status") == condition["status"]:
                made["lastTransitionTime"] = present.get("lastTransitionTime", stamp)
            status["conditions"] = [*conditions[:index], made, *conditions[index + 1 :]]
            return
    status["conditions"] = [*conditions, made]


class NamedBinding(Virtual):
    """POST bindings: the pod is the one that the binding is named for."""

    definition = Binding.definition

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    async def create(self, call: Call, body: Obj) -> Obj:
        name = body["metadata"].get("name", "")
        return await self._binding.create(replace(call, name=name, subresource="binding"), body)


class Eviction(Virtual):
    """POST pods/{name}/eviction: a delete that asks the pod's disruption budget first."""

    definition = "io.k8s.api.policy.v1.Eviction"

    def __init__(self, pods: Registry, budgets: Registry | None) -> None:
        self._pods = pods
        self._budgets = budgets

    async def create(self, call: Call, body: Obj) -> Obj:
        if (body.get("metadata") or {}).get("name", "") != call.name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        pod = self._pods.get(call.namespace, call.name).obj
        options = _delete_options(body.get("deleteOptions") or {})
        if not _ignores_budgets(pod):
            await self._spend(call, pod)
        try:
            if not call.dry_run:
                await self._pods.modify(call, self._mark)
            await self._pods.delete(call, options)
        except StatusError as err:
            if err.reason != "NotFound":
                raise
        return success()

    def _mark(self, pod: Obj) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
        set_condition(pod.setdefault("status", {}), condition, self._pods.env.world.now())

    async def _spend(self, call: Call, pod: Obj) -> None:
        """Takes one disruption from the pod's budget, if it has one."""
        budgets = list(self._budgets_of(pod))
        if not budgets or self._budgets is None:
            return
        if len(budgets) > 1:
            raise errors.StatusError(
                500,
                "InternalError",
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            )
        now, name = self._pods.env.world.now(), call.name

        def spend(budget: Obj) -> None:
            if not _spares_unready(pod, budget):
                _check_budget(budget)
                status = budget.setdefault("status", {})
                status["disruptionsAllowed"] -= 1
                recent = {
                    k: v
                    for k, v in (status.get("disruptedPods") or {}).items()
                    if parse_time(v) + DISRUPTED_SECONDS > now
                }
                status["disruptedPods"] = {**recent, name: rfc3339(now)}

        one = Call(user=call.user, version=self._budgets.kind.hub, dry_run=call.dry_run)
        one.namespace, one.name = call.namespace, budgets[0].name
        await self._budgets.modify(one, spend)

    def _budgets_of(self, pod: Obj) -> Iterator[Entry]:
        if self._budgets is None:
            return
        labels = pod["metadata"].get("labels") or {}
        for entry in self._budgets.cache.range(pod["metadata"]["namespace"]):
            selector = trees.get(entry.obj, "spec", "selector")
            if selector is not None and from_label_selector(selector).matches(labels):
                yield entry


def _delete_options(tree: Obj) -> DeleteOptions:
    preconditions = tree.get("preconditions") or {}
    return DeleteOptions(
        grace_period_seconds=tree.get("gracePeriodSeconds"),
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        propagation=tree.get("propagationPolicy") or "",
    )


def _ignores_budgets(pod: Obj) -> bool:
    """A pod that is over, has not begun or is going anyway is no disruption."""
    phase = trees.get(pod, "status", "phase", default="")
    return phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]


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


def _check_budget(budget: Obj) -> None:
    name, status = budget["metadata"]["name"], budget.get("status") or {}
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", 10)
    allowed = status.get("disruptionsAllowed", 0)
    if allowed < 0:
        raise errors.forbidden(
            GroupResource("policy", "poddisruptionbudget"), name, "pdb disruptions allowed is negative"
        )
    if len(status.get("disruptedPods") or {}) > MAX_DISRUPTED:
        raise errors.forbidden(
            GroupResource("policy", "poddisruptionbudget"),
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        )
    if allowed == 0:
        needs, has = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        raise _too_many(f"The disruption budget {name} needs {needs} healthy pods and has {has} currently", 0)


def _too_many(why: str, retry_seconds: int) -> StatusError:
    details: Obj = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry_seconds:
        details["retryAfterSeconds"] = retry_seconds
    return StatusError(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        details,
        [("Retry-After", str(retry_seconds))] if retry_seconds else (),
    )
