"""What the workload kinds share: selector and template together, strategies' numbers, retired versions."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Version
from navarch.api.podspec import checks
from navarch.api.podspec.validation import validate_template
from navarch.machinery.errors import FieldErrors
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import Obj

SCALE_PATHS = {"spec": "spec.replicas", "status": "status.replicas", "selector": "spec.selector"}


def selected_template(spec: Obj, subject: str, errs: FieldErrors) -> None:
    """A required selector, and a template that it selects and whose pods run for ever."""
    selector: Obj | None = spec.get("selector")
    if selector is None:
        if subject != "daemonset":
            errs.required("spec.selector")
    else:
        before = len(errs.items)
        checks.label_selector(errs, "spec.selector", selector)
        if len(errs.items) > before:
            errs.invalid("spec.selector", selector, "invalid label selector")
            return
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            errs.invalid("spec.selector", selector, f"empty selector is invalid for {subject}")
    template: Obj = spec.get("template") or {}
    labels: Obj = (template.get("metadata") or {}).get("labels") or {}
    if selector is None or not from_label_selector(selector).matches(labels):
        errs.invalid("spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`")
    validate_template(template, "spec.template", errs)
    pod = template.get("spec") or {}
    if (policy := pod.get("restartPolicy", "")) != "Always":
        errs.not_supported("spec.template.spec.restartPolicy", policy, ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        message = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errs.forbidden("spec.template.spec.activeDeadlineSeconds", message)


def percent(value: Any) -> int | None:
    """The number of a text like `25%`; None for anything else."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isascii() and value[:-1].isdigit():
        return int(value[:-1])
    return None


def int_or_percent(errs: FieldErrors, path: str, value: Any) -> None:
    if isinstance(value, str):
        if percent(value) is None:
            message = "a valid percent string must be a numeric string followed by an ending '%'"
            errs.invalid(path, value, f"{message} (e.g. '1%', or '93%', regex used for validation is '[0-9]+%')")
    elif value is not None and value < 0:
        errs.invalid(path, value, checks.NOT_NEGATIVE)


def at_most_all(errs: FieldErrors, path: str, value: Any) -> None:
    if (percent(value) or 0) > 100:
        errs.invalid(path, value, "must not be greater than 100%")


def is_zero(value: Any) -> bool:
    return (percent(value) if isinstance(value, str) else value or 0) == 0


def replica_counts(status: Obj, errs: FieldErrors, *bounded: str) -> None:
    """No count is negative, and those `bounded` are at most `replicas`."""
    checks.non_negative(errs, "status", status, "observedGeneration", "replicas", *bounded, "terminatingReplicas")
    for field in bounded:
        if status.get(field, 0) > status.get("replicas", 0):
            errs.invalid(f"status.{field}", status[field], "cannot be greater than status.replicas")
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        errs.invalid("status.availableReplicas", status["availableReplicas"], "cannot be greater than readyReplicas")


def immutable_selector(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.immutable(errs, "spec.selector", new["spec"].get("selector"), old["spec"].get("selector"))


def selector_from_template(spec: Obj) -> None:
    """The retired versions' default: a selector of the template's labels."""
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if spec.get("selector") is None and labels:
        spec["selector"] = {"matchLabels": dict(labels)}


def retired(group: str, version: str, kind: str, since: str, **hooks: Any) -> Version:
    """A version of apps kinds that upstream stopped serving in 1.16."""
    gv = f"{group}/{version}"
    return Version(
        group=group,
        version=version,
        definition=f"io.k8s.api.{group}.{version}.{kind}",
        deprecation=f"{gv} {kind} is deprecated in {since}+, unavailable in v1.16+; use apps/v1 {kind}",
        **hooks,
    )
