"""Questions that every controller asks of objects. All pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from navarch.client.interface import Resource
from navarch.controlloop.plan import Patch, Update
from navarch.machinery.clock import parse_time, rfc3339
from navarch.machinery.types import Key, Obj, key_of

# -- metadata


def uid_of(obj: Obj) -> str:
    return obj["metadata"].get("uid", "")


def labels_of(obj: Obj) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Obj) -> Mapping[str, str]:
    return obj["metadata"].get("annotations") or {}


def is_deleting(obj: Obj) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def created_at(obj: Obj) -> float:
    """Seconds since the epoch; 0 where the object has no creationTimestamp."""
    return time_of(obj["metadata"].get("creationTimestamp"))


def time_of(text: str | None) -> float:
    return parse_time(text) if text else 0.0


# -- owners


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference of the managing controller."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return reference
    return None


def controller_uid(obj: Obj) -> str:
    reference = controller_of(obj)
    return reference["uid"] if reference else ""


def controller_reference(owner: Obj, api_version: str, kind: str) -> Obj:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": owner["metadata"]["name"],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def adopt(resource: Resource, obj: Obj, owner: Obj, api_version: str, kind: str, finalizer: str = "") -> Patch:
    """`finalizer` is added to the object as well."""
    meta: Obj = {"ownerReferences": [controller_reference(owner, api_version, kind)], "uid": uid_of(obj)}
    if finalizer:
        meta["finalizers"] = [finalizer]
    return Patch(resource, key_of(obj), {"metadata": meta}, "strategic")


def release(resource: Resource, obj: Obj, owner: Obj, finalizer: str = "") -> Patch:
    """`finalizer` is taken off the object as well."""
    meta: Obj = {"ownerReferences": [{"$patch": "delete", "uid": uid_of(owner)}], "uid": uid_of(obj)}
    if finalizer:
        meta["$deleteFromPrimitiveList/finalizers"] = [finalizer]
    return Patch(resource, key_of(obj), {"metadata": meta}, "strategic")


# -- selectors


def matches_labels(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """A map selector (a Service's). An empty one matches all: ask before."""
    return all(labels.get(key) == value for key, value in wanted.items())


def selects(selector: Obj | None, labels: Mapping[str, str]) -> bool:
    """A metav1.LabelSelector; null matches nothing, an empty one everything."""
    if selector is None:
        return False
    if not matches_labels(selector.get("matchLabels") or {}, labels):
        return False
    return all(_meets(requirement, labels) for requirement in selector.get("matchExpressions") or ())


def _meets(requirement: Obj, labels: Mapping[str, str]) -> bool:
    key, values = requirement["key"], requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return False


# -- conditions


def condition_of(status: Obj, kind: str) -> Obj | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == kind:
            return condition
    return None


def without_condition(conditions: Iterable[Obj], kind: str) -> list[Obj]:
    return [condition for condition in conditions if condition["type"] != kind]


def with_condition(conditions: Iterable[Obj], made: Obj, now: float) -> list[Obj]:
    """The conditions with one put in the place of its type, or added. Its transition time changes with its status."""
    kept = list(conditions)
    made = {**made, "lastTransitionTime": rfc3339(now)}
    for index, present in enumerate(kept):
        if present["type"] == made["type"]:
            if present["status"] == made["status"]:
                made["lastTransitionTime"] = present.get("lastTransitionTime", made["lastTransitionTime"])
            kept[index] = made
            return kept
    return [*kept, made]


# -- pods

TERMINAL = ("Succeeded", "Failed")


def generation_of(obj: Obj) -> int:
    """Which version of the spec is meant: what a condition's observedGeneration says."""
    return obj["metadata"].get("generation", 0)


def phase_of(pod: Obj) -> str:
    return pod.get("status", {}).get("phase", "")


def is_terminal(pod: Obj) -> bool:
    return phase_of(pod) in TERMINAL


def is_active(pod: Obj) -> bool:
    """Runs, or ought to: not terminal and not being deleted."""
    return not is_terminal(pod) and not is_deleting(pod)


def ready_condition(pod: Obj) -> Obj | None:
    return condition_of(pod.get("status", {}), "Ready")


def is_ready(pod: Obj) -> bool:
    condition = ready_condition(pod)
    return condition is not None and condition["status"] == "True"


def ready_since(pod: Obj) -> float:
    """When it became ready; 0 where it is not, or nobody knows."""
    condition = ready_condition(pod)
    if condition is None or condition["status"] != "True":
        return 0.0
    return time_of(condition.get("lastTransitionTime"))


def available_in(pod: Obj, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod counts as available (0: it does now); None while it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = ready_since(pod)
    return max(0.0, since + min_ready_seconds - now) if since else None


def gathering(pods: int) -> float:
    """For how long a controller lets the events of so many pods come together, in seconds: 0 for few, 1 for thousands."""
    return 0.0 if pods < 100 else min(pods * 2e-4, 1.0)


# -- writing


def merge_diff(old: Obj, new: Obj) -> Obj:
    """The merge patch that makes `old` into `new`."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        was = old.get(key)
        if was == value and key in old:
            continue
        patch[key] = merge_diff(was, value) if isinstance(value, dict) and isinstance(was, dict) else value
    return patch


def status_update(resource: Resource, obj: Obj, status: Obj) -> Update | None:
    """Writes the status of the object as it was read; None where it is so already."""
    if (obj.get("status") or {}) == status:
        return None
    return Update(resource, {**obj, "status": status}, "status")


def exact(obj: Obj, change: Obj) -> Obj:
    """A merge patch that holds only for the object as it was read: another revision is a conflict."""
    meta = obj["metadata"]
    guard = {"uid": uid_of(obj), "resourceVersion": meta.get("resourceVersion", "")}
    return {**change, "metadata": {**change.get("metadata", {}), **guard}}


def owner_keys(old: Obj | None, new: Obj | None, kind: str) -> set[Key]:
    """The keys of the controllers of that kind, before and after a change."""
    keys: set[Key] = set()
    for obj in (old, new):
        reference = controller_of(obj) if obj is not None else None
        if obj is not None and reference is not None and reference["kind"] == kind:
            keys.add(Key(obj["metadata"].get("namespace", ""), reference["name"]))
    return keys
