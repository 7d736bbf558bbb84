"""autoscaling/v1 Scale: the replicas of a workload, read and written through its `scale` subresource."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from navarch.api.apiextensions.custom import at_path
from navarch.api.kind import Kind
from navarch.api.schemas import schema
from navarch.apiserver.admission.interface import Body
from navarch.apiserver.registry.call import Call, Face
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.virtual import Change, Virtual
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors, trees
from navarch.machinery.errors import FieldErrors
from navarch.machinery.normalise import normalise
from navarch.machinery.types import GroupKind, Obj


class ScaleOwnership(Protocol):
    """Keeps the workload's managedFields when its Scale is written."""

    def update_scale(self, kind: Kind, call: Call, entries: list[Obj], old: Obj, new: Obj) -> list[Obj]: ...

    def apply_scale(
        self, kind: Kind, call: Call, entries: list[Obj], old: Obj, applied: Obj, force: bool
    ) -> tuple[Obj, list[Obj]]: ...


class Scale(Virtual):
    """The Scale of every object of one registry."""

    definition = "io.k8s.api.autoscaling.v1.Scale"

    def __init__(self, registry: Registry, ownership: ScaleOwnership) -> None:
        self._registry = registry
        self._ownership = ownership
        self._paths: Obj | None = registry.kind.extra.get("scale") if registry.kind.typed_items else None
        """Where a custom resource has its replicas and its selector."""

    async def get(self, call: Call) -> Obj:
        obj = self._registry.get(call.namespace, call.name).obj
        if self._paths is not None and at_path(obj, self._paths["spec"]) is None:
            raise errors.internal(f'the spec replicas field "{self._paths["spec"]}" does not exist')
        return self._scale_of(obj)

    def _scale_of(self, obj: Obj) -> Obj:
        if self._paths is None:
            return scale_of(obj)
        paths = self._paths
        selector = at_path(obj, paths["selector"]) if paths["selector"] else ""
        return _shown(obj, at_path(obj, paths["spec"]) or 0, at_path(obj, paths["status"]) or 0, selector or "")

    def _set(self, obj: Obj, replicas: int) -> None:
        if self._paths is None:
            obj["spec"]["replicas"] = replicas
            return
        *steps, last = self._paths["spec"].removeprefix(".").split(".")
        for step in steps:
            obj = obj.setdefault(step, {})
        obj[last] = replicas

    async def update(self, call: Call, change: Change) -> Obj:
        def make(call: Call, entries: list[Obj], old: Obj) -> tuple[Obj, list[Obj]]:
            wanted: Obj = normalise(schema(self.definition), change(trees.copy(old)))
            wanted |= {"kind": old["kind"], "apiVersion": old["apiVersion"]}
            metadata = wanted.setdefault("metadata", {})
            metadata.setdefault("namespace", call.namespace)
            if not metadata.get("uid") and "uid" in old["metadata"]:
                metadata["uid"] = old["metadata"]["uid"]
            return wanted, self._ownership.update_scale(self._registry.kind, call, entries, old, wanted)

        return await self._write(call, make)

    async def apply(self, call: Call, applied: Obj, force: bool) -> Obj:
        def make(call: Call, entries: list[Obj], old: Obj) -> tuple[Obj, list[Obj]]:
            return self._ownership.apply_scale(self._registry.kind, call, entries, old, applied, force)

        return await self._write(call, make)

    async def _write(self, call: Call, change: Callable[[Call, list[Obj], Obj], tuple[Obj, list[Obj]]]) -> Obj:
        """`change` makes, of the workload's managers and its Scale, the Scale that is wanted and the managers then."""
        registry, seen = self._registry, 0

        async def make(existing: Entry | None) -> Obj:
            if existing is None:
                raise errors.not_found(registry.resource, call.name)
            nonlocal seen
            seen = existing.revision
            entries: list[Obj] = existing.obj["metadata"].get("managedFields") or []
            wanted, entries = change(call, entries, self._scale_of(existing.obj))
            request = registry.admission_request(
                replace(plain, face=None), "UPDATE", wanted, self._scale_of(existing.obj)
            )
            request.subresource, request.body = FACE.subresource, FACE.body
            await registry.env.admission.admit(request)
            _check(registry, call, existing, wanted, self._paths is not None)
            obj = existing.private()
            self._set(obj, trees.get(wanted, "spec", "replicas", default=0))
            obj["metadata"].pop("managedFields", None)
            if entries:
                obj["metadata"]["managedFields"] = entries
            version = trees.get(wanted, "metadata", "resourceVersion", default="")
            if version and version != str(existing.revision):
                raise errors.conflict(registry.resource, call.name)
            return obj

        plain = Call(
            user=call.user,
            version=registry.kind.hub,
            namespace=call.namespace,
            name=call.name,
            manager=call.manager,
            dry_run=call.dry_run,
            options=call.options,
            warnings=call.warnings,
            note=call.note,
            face=FACE,
        )
        entry, _ = await registry.update(plain, make)
        scale = self._scale_of(entry.obj)
        if call.dry_run:
            scale["metadata"]["resourceVersion"] = str(seen)
        return scale


def _check(registry: Registry, call: Call, existing: Entry, wanted: Obj, custom: bool) -> None:
    """`custom`: the object's own validation looks at the replicas."""
    name = trees.get(wanted, "metadata", "name", default="")
    if name and name != call.name:
        raise errors.bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.name})")
    replicas: int = trees.get(wanted, "spec", "replicas", default=0)
    if replicas < 0 and not custom:
        errs = FieldErrors()
        errs.invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise errors.invalid(GroupKind("autoscaling", "Scale"), call.name, errs)
    uid = trees.get(wanted, "metadata", "uid", default="")
    if uid and uid != existing.obj["metadata"]["uid"]:
        raise errors.conflict(registry.resource, call.name, f"Precondition failed: UID in precondition: {uid}")


def scale_of(obj: Obj) -> Obj:
    """The Scale that shows a workload."""
    replicas = trees.get(obj, "spec", "replicas", default=0)
    running = trees.get(obj, "status", "replicas", default=0)
    return _shown(obj, replicas, running, selector_text(trees.get(obj, "spec", "selector")))


def _shown(obj: Obj, replicas: int, running: int, selector: str) -> Obj:
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec: Obj = {"replicas": replicas} if replicas else {}
    status: Obj = {"replicas": running}
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": spec,
        "status": status,
    }


def selector_text(selector: Obj | None) -> str:
    """A LabelSelector (or a plain map of labels) as the text of a list's labelSelector."""
    if not selector:
        return ""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ",".join(f"{k}={v}" for k, v in sorted(selector.items()))
    parts = [(k, f"{k}={v}") for k, v in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or ():
        key, values = term["key"], ",".join(sorted(term.get("values") or ()))
        parts.append((key, _TERMS[term["operator"]].format(key=key, values=values)))
    return ",".join(text for _, text in sorted(parts))


FACE = Face("scale", Body("autoscaling", "v1", "Scale"), scale_of)
_TERMS = {
    "In": "{key} in ({values})",
    "NotIn": "{key} notin ({values})",
    "Exists": "{key}",
    "DoesNotExist": "!{key}",
}
