"""pods/resize: the cpu and memory of a pod's containers change while they run. Source: core validation, ValidatePodResize;
registry/core/pod, podResizeStrategy (KEP-1287, KEP-5419)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from navarch.api.podspec.resources import is_sidecar, qos_class
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

MIRROR = "kubernetes.io/config.mirror"
RESIZABLE = ("cpu", "memory")
FIELDS = ("containers", "initContainers")
KEPT_METADATA = ("labels", "annotations", "finalizers", "ownerReferences")
ONLY = "only cpu and memory resources are mutable"


def prepare(new: Obj, old: Obj) -> None:
    """Of the update only resources and resize policies count, unless containers come, go or change places."""
    for field in KEPT_METADATA:
        new["metadata"].pop(field, None)
        if field in old["metadata"]:
            new["metadata"][field] = old["metadata"][field]
    new["status"] = old.get("status") or {}
    spec, before = new.get("spec") or {}, old["spec"]
    if any(len(spec.get(field) or ()) != len(before.get(field) or ()) for field in FIELDS):
        return
    made = dict(before)
    for field in FIELDS:
        if spec.get(field):
            made[field] = _merged(spec[field], before[field])
    _put(made, "resources", spec.get("resources"))
    new["spec"] = made


def _merged(new: list[Obj], old: list[Obj]) -> list[Obj]:
    if any(a.get("name") != b.get("name") for a, b in zip(new, old, strict=True)):
        return new
    made: list[Obj] = []
    for container, was in zip(new, old, strict=True):
        kept = dict(was)
        for field in ("resources", "resizePolicy"):
            _put(kept, field, container.get(field))
        made.append(kept)
    return made


def _put(tree: Obj, field: str, value: Any) -> None:
    tree.pop(field, None)
    if value is not None:
        tree[field] = value


def validator(validate: Callable[[Obj, FieldErrors], None]) -> Callable[[Obj, Obj, FieldErrors], None]:
    """The rules of a resize; `validate` are those of any pod."""

    def check(new: Obj, old: Obj, errs: FieldErrors) -> None:
        validate(new, errs)
        if MIRROR in (old["metadata"].get("annotations") or {}):
            errs.items.clear()
            errs.forbidden("", "static pods cannot be resized")
            return
        if (old["spec"].get("os") or {}).get("name") == "windows":
            errs.items.clear()
            errs.forbidden("", "windows pods cannot be resized")
            return
        if _qos_of(old) != qos_class(new["spec"]):
            shown = (new.get("status") or {}).get("qosClass", "")
            errs.invalid("spec", shown, "Pod QOS Class may not change as a result of resizing")
        if not _supported(old):
            errs.forbidden("spec", "Pod running on node without support for resize")
        _pod_level(new["spec"], old["spec"], errs)
        if not _same_containers(new["spec"], old["spec"], errs):
            return
        for field in ("initContainers", "containers"):
            for index, was in enumerate(old["spec"].get(field) or ()):
                _container(field, index, new["spec"][field][index], was, errs)
        if not errs and _masked(new["spec"], old["spec"]) != old["spec"]:
            errs.forbidden("spec", ONLY)

    return check


def _qos_of(pod: Obj) -> str:
    return (pod.get("status") or {}).get("qosClass") or qos_class(pod["spec"])


def _supported(pod: Obj) -> bool:
    """A node that can resize says what its running containers have."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        if (status.get("state") or {}).get("running") is not None:
            return status.get("resources") is not None
    return True


def _removed(new: Obj, old: Obj, side: str) -> bool:
    return bool((old.get(side) or {}).keys() - (new.get(side) or {}).keys())


def _pod_level(spec: Obj, before: Obj, errs: FieldErrors) -> None:
    new, old = spec.get("resources"), before.get("resources")
    if old is None or not any(old.get(side) for side in ("requests", "limits")):
        return
    if new is None:
        errs.forbidden("spec.resources", "pod-level resources cannot be removed")
        return
    for side in ("requests", "limits"):
        if _removed(new, old, side):
            errs.forbidden(f"spec.resources.{side}", f"pod-level resource {side} cannot be removed")
    if _without_resizable(new) != _without_resizable(old):
        errs.forbidden("spec", f"{ONLY} at pod-level")


def _same_containers(spec: Obj, before: Obj, errs: FieldErrors) -> bool:
    found = len(errs.items)
    for field in FIELDS:
        new, old = spec.get(field) or [], before.get(field) or []
        if len(new) != len(old):
            errs.forbidden(f"spec.{field}", f"{field} may not be added or removed on resize")
            continue
        for index, was in enumerate(old):
            if new[index].get("name") != was.get("name"):
                at = f"spec.{field}[{index}].name"
                errs.forbidden(at, f"{field} may not be renamed or reordered on resize")
    return len(errs.items) == found


def _container(field: str, index: int, new: Obj, old: Obj, errs: FieldErrors) -> None:
    at = f"spec.{field}[{index}]"
    now, was = new.get("resources") or {}, old.get("resources") or {}
    for side, word in (("requests", "resource requests"), ("limits", "resource limits")):
        if _removed(now, was, side):
            errs.forbidden(f"{at}.resources.{side}", f"{word} cannot be removed")
    masked = {**_without(new, "resources"), "resources": _without_resizable(now)}
    if masked != {**_without(old, "resources"), "resources": _without_resizable(was)}:
        if field == "containers":
            errs.forbidden("spec", ONLY)
        else:
            errs.forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable")
    restarts = any(policy.get("restartPolicy") == "RestartContainer" for policy in new.get("resizePolicy") or ())
    if field == "initContainers" and not is_sidecar(old) and now != was and restarts:
        message = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"
        errs.forbidden(at, message)


def _without(tree: Obj, field: str) -> Obj:
    return {name: value for name, value in tree.items() if name != field}


def _without_resizable(resources: Obj | None) -> Obj:
    """What must stay: everything but cpu and memory; lists that hold nothing else are as good as absent."""
    made: Obj = {}
    for name, value in (resources or {}).items():
        kept = {k: v for k, v in value.items() if k not in RESIZABLE} if isinstance(value, dict) else value
        if kept:
            made[name] = kept
    return made


def _masked(spec: Obj, before: Obj) -> Obj:
    """The new spec with the old containers and pod-level resources, which were judged by themselves."""
    made = dict(spec)
    for field in (*FIELDS, "resources"):
        _put(made, field, before.get(field))
    return made
