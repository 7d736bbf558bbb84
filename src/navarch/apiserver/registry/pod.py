"""Pods, and their binding to a node."""

from __future__ import annotations

from dataclasses import replace

from navarch.api.kind import Prepare, ValidateUpdate
from navarch.apiserver.admission.interface import Body
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.virtual import Virtual, success
from navarch.machinery import errors
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import GroupKind, GroupResource, Obj

BINDING = GroupResource("", "pods/binding")


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
        _check_target(call.name, body.get("target") or {})
        await self._pods.review(call, "CREATE", body, Body("", "v1", "Binding"))

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


def _check_target(name: str, target: Obj) -> None:
    """Raises 422 (upstream fails with 500)."""
    errs = errors.FieldErrors()
    if target.get("kind", "") not in ("", "Node"):
        errs.not_supported("target.kind", target["kind"], ["Node", "<empty>"])
    if not target.get("name"):
        errs.required("target.name")
    if errs:
        raise errors.invalid(GroupKind("", "Binding"), name, errs)


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
