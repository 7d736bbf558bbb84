"""What the workload kinds share: selector and template together, strategies' numbers, retired versions."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Column, Version
from navarch.api.podspec import checks
from navarch.api.podspec.validation import validate_template
from navarch.api.retired import retired as retired_version
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import Obj

SCALE_PATHS = {"spec": "spec.replicas", "status": "status.replicas", "selector": "spec.selector"}
PODS_COLUMNS = (
    Column(name="Desired", type="integer", description="How many pods there should be."),
    Column(name="Current", type="integer", description="How many pods there are."),
    Column(name="Ready", type="integer", description="How many of them are ready."),
)
TITLES = {"statefulset": "StatefulSet", "daemonset": "DaemonSet"}
"""How messages call them; all others are called ReplicaSet."""


def selected_template(spec: Obj, subject: str, errs: FieldErrors, template: Obj | None = None) -> None:
    """A required selector, and a template that it selects and whose pods run for ever. `template` is judged instead of
    the spec's own."""
    judged: Obj = template or spec.get("template") or {}
    if _selector(spec.get("selector"), subject, errs):
        _labels_selected(spec.get("selector"), judged, errs)
    elif subject != "daemonset":
        if subject == "statefulset":
            _lasting(judged, subject, errs)
        return
    validate_template(judged, "spec.template", errs)
    _lasting(judged, subject, errs)


def _selector(selector: Obj | None, subject: str, errs: FieldErrors) -> bool:
    """Whether it can be used to look at labels."""
    if selector is None:
        if subject != "daemonset":
            errs.required("spec.selector")
        return True
    before = len(errs.items)
    checks.label_selector(errs, "spec.selector", selector)
    readable = len(errs.items) == before
    if not readable and subject != "daemonset":
        errs.invalid("spec.selector", selector, "" if subject == "statefulset" else "invalid label selector")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errs.invalid("spec.selector", selector, f"empty selector is invalid for {subject}")
    return readable


def _labels_selected(selector: Obj | None, template: Obj, errs: FieldErrors) -> None:
    labels: Obj = (template.get("metadata") or {}).get("labels") or {}
    if selector is None or not from_label_selector(selector).matches(labels):
        errs.invalid("spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`")


def _lasting(template: Obj, subject: str, errs: FieldErrors) -> None:
    pod = template.get("spec") or {}
    if (policy := pod.get("restartPolicy", "")) != "Always":
        errs.not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        message = f"activeDeadlineSeconds in {TITLES.get(subject, 'ReplicaSet')} is not Supported"
        errs.forbidden("spec.template.spec.activeDeadlineSeconds", message)


def percent(value: Any) -> int | None:
    """The number of a text like `25%`; None for anything else."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isascii() and value[:-1].isdigit():
        return int(value[:-1])
    return None


def int_or_percent(errs: FieldErrors, path: str, value: Any) -> None:
    if isinstance(value, str):
        checks.named(errs, path, value, names.percent)
    elif value is not None and value < 0:
        errs.invalid(path, value, checks.NOT_NEGATIVE)


def at_most_all(errs: FieldErrors, path: str, value: Any) -> None:
    if (percent(value) or 0) > 100:
        errs.invalid(path, value, "must not be greater than 100%")


def is_zero(value: Any) -> bool:
    return ((percent(value) if isinstance(value, str) else value) or 0) == 0


def replica_counts(status: Obj, errs: FieldErrors, *bounded: str, ready: str = "readyReplicas") -> None:
    """No count is negative, and those `bounded` are at most `replicas`. `ready` is how messages call the ready ones."""
    checks.non_negative(errs, "status", status, "observedGeneration", "replicas", *bounded, "terminatingReplicas")
    count = status.get("replicas") or 0
    for field in bounded:
        if (value := status.get(field) or 0) > count:
            errs.invalid(f"status.{field}", value, "cannot be greater than status.replicas")
    if (available := status.get("availableReplicas") or 0) > (status.get("readyReplicas") or 0):
        errs.invalid("status.availableReplicas", available, f"cannot be greater than {ready}")


def pods_status(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """The status of what keeps so many pods of one template: ReplicaSets and ReplicationControllers."""
    replica_counts(new.get("status") or {}, errs, "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def pods_cells(obj: Obj) -> list[int]:
    """The cells of PODS_COLUMNS."""
    spec, status = obj["spec"], obj.get("status") or {}
    return [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]


def pods_fields(obj: Obj) -> dict[str, str]:
    """What field selectors may name."""
    return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}


def collisions(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """Of statuses: the number of collisions never falls."""
    status, before = new.get("status") or {}, old.get("status") or {}
    checks.non_negative(errs, "status", status, "collisionCount")
    had, count = before.get("collisionCount"), status.get("collisionCount")
    if had is not None and (count is None or count < had):
        errs.invalid("status.collisionCount", count or 0, "cannot be decremented")


def immutable_selector(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "spec.selector", new["spec"].get("selector"), old["spec"].get("selector"))


def selector_from_template(spec: Obj) -> None:
    """The retired versions' default: a selector of the template's labels."""
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if spec.get("selector") is None and labels:
        spec["selector"] = {"matchLabels": dict(labels)}


def retired(group: str, version: str, kind: str, since: str, **hooks: Any) -> Version:
    """A version of apps kinds that upstream stopped serving in 1.16."""
    return retired_version(group, version, kind, since, "1.16", "apps/v1", **hooks)
