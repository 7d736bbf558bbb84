"""Job: pods that run until so many have succeeded. Source: apis/batch defaults and validation, the job strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.batch.jobspec import name_warnings, spec_warnings, validate_spec
from navarch.api.batch.jobstatus import validate_status_update
from navarch.api.features import without_group
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import AGE, NAME, SELECTOR, TEMPLATE_COLUMNS, selector_cell, template_cells
from navarch.machinery import names
from navarch.machinery.clock import parse_time
from navarch.machinery.errors import FieldErrors
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.tables import NONE, age_of, duration
from navarch.machinery.types import Obj

LABELS = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")
"""What every pod of a job carries: the prefixed labels, and those of old."""
MAX_LABEL = 63


def default_spec(spec: Obj) -> None:
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    if spec.get("parallelism") is None:
        spec["parallelism"] = 1
    if spec.get("backoffLimit") is None:
        spec["backoffLimit"] = 2**31 - 1 if spec.get("backoffLimitPerIndex") is not None else 6
    if not spec.get("completionMode"):
        spec["completionMode"] = "NonIndexed"
    if spec.get("suspend") is None:
        spec["suspend"] = False
    policy = spec.get("podFailurePolicy")
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"
    if not spec.get("podReplacementPolicy"):
        spec["podReplacementPolicy"] = "Failed" if policy is not None else "TerminatingOrFailed"
    if spec.get("manualSelector") is None:
        spec["manualSelector"] = False
    default_template(spec.setdefault("template", {}))


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    default_spec(spec)
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = labels


def prepare_create(obj: Obj) -> None:
    """The selector and the labels that make a job's pods its own, unless it says that it knows better. A job that took
    its labels from the template takes these as well."""
    spec, meta = obj["spec"], obj["metadata"]
    if spec.get("manualSelector"):
        return
    own = {label: meta["uid"] if "uid" in label else meta.get("name", "") for label in LABELS}
    template_meta: Obj = dict(spec["template"].get("metadata") or {})
    given = template_meta.get("labels") or {}
    template_meta["labels"] = {**own, **given}
    spec["template"]["metadata"] = template_meta
    selector = spec["selector"] = dict(spec.get("selector") or {})
    selector["matchLabels"] = {LABELS[0]: meta["uid"], **(selector.get("matchLabels") or {})}
    if meta.get("labels") is given or (not meta.get("labels") and len(own["job-name"]) <= MAX_LABEL):
        meta["labels"] = dict(template_meta["labels"])


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    validate_spec(spec, "spec", errs)
    selector: Obj | None = spec.get("selector")
    readable = True
    if selector is None:
        errs.required("spec.selector", "")
    else:
        before = len(errs.items)
        checks.label_selector(errs, "spec.selector", selector)
        readable = len(errs.items) == before
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if readable and (selector is None or not from_label_selector(selector).matches(labels)):
        errs.invalid("spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`")
    _pod_names(obj, errs)


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    _generated(obj, LABELS, errs)


def _generated(obj: Obj, own: Sequence[str], errs: FieldErrors) -> None:
    """The pods carry the labels that make them the job's own."""
    spec = obj["spec"]
    selector: Obj | None = spec.get("selector")
    if spec.get("manualSelector") or selector is None:
        return
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    expected: dict[str, str] = {}
    for label in own:
        wanted = expected[label] = obj["metadata"].get("uid" if "uid" in label else "name", "")
        at = f"spec.template.metadata.labels[{label}]"
        if label not in labels:
            errs.required(at, f"must be '{wanted}'")
        elif labels[label] != wanted:
            errs.invalid(at, labels, f"must be '{wanted}'")
    found = FieldErrors()
    checks.label_selector(found, "", selector)
    if not found and not from_label_selector(selector).matches(expected):
        errs.invalid("spec.selector", selector, "`selector` not auto-generated")


def _pod_names(obj: Obj, errs: FieldErrors) -> None:
    """An indexed job's pods are named by their index: the last one's name must do."""
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == "Indexed" and completions > 0:
        last = f"{name}-{completions - 1}"
        if names.dns1123_label(last):
            message = f"will not able to create pod with invalid DNS label: {last}"
            errs.invalid("metadata.name", name, message)


FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new["spec"], old["spec"]
    labels = (before["template"].get("metadata") or {}).get("labels") or {}
    _generated(new, LABELS if all(label in labels for label in LABELS[:2]) else LABELS[2:], errs)
    completions = spec.get("completions")
    if spec.get("completionMode") != "Indexed":
        checks.immutable(errs, "spec.completions", completions, before.get("completions"))
    elif completions not in (None, before.get("completions")) and completions != spec.get("parallelism"):
        errs.invalid("spec.completions", completions, "can only be modified in tandem with spec.parallelism")
    checks.immutable(errs, "spec.selector", spec.get("selector"), before.get("selector"))
    _template_update(spec["template"], old, errs)
    for field in FIXED:
        checks.immutable(errs, f"spec.{field}", spec.get(field), before.get(field))


def _template_update(template: Obj, old: Obj, errs: FieldErrors) -> None:
    """While a job is suspended and has no pods, where its pods may run and what they request may change."""
    before, status = old["spec"], old.get("status") or {}
    conditions = status.get("conditions") or ()
    halted = any(c.get("type") == "Suspended" and c.get("status") == "True" for c in conditions)
    idle = not status.get("active") and (not status.get("startTime") or halted)
    was: Obj = before["template"]
    if not before.get("suspend") or not idle:
        checks.immutable(errs, "spec.template", template, was)
        return
    pod: Obj = template.get("spec") or {}
    if _fixed(pod) != _fixed(was.get("spec") or {}):
        errs.invalid("spec.template.spec", pod, "field is immutable")


DIRECTIVES = ("nodeSelector", "tolerations", "schedulingGates")


def _fixed(pod: Obj) -> Obj:
    """A pod's spec without what a suspended job may change."""
    kept = {k: v for k, v in pod.items() if k not in DIRECTIVES}
    affinity = {k: v for k, v in (kept.pop("affinity", None) or {}).items() if k != "nodeAffinity"}
    if affinity:
        kept["affinity"] = affinity
    for field in ("containers", "initContainers"):
        if field in kept:
            kept[field] = [{k: v for k, v in c.items() if k != "resources"} for c in kept[field]]
    return kept


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    found = name_warnings(obj) if old is None else []
    if old is None or old["spec"] != obj["spec"]:
        found += spec_warnings(obj["spec"], None if old is None else old["spec"], "spec")
    return found


def state_of(obj: Obj) -> str:
    """STATUS, in a word."""
    conditions = {c["type"] for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    if "deletionTimestamp" in obj["metadata"] and not conditions & {"Complete", "Failed"}:
        return "Terminating"
    for name in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if name in conditions:
            return name
    return "Running"


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    succeeded, completions, parallelism = (
        status.get("succeeded", 0),
        spec.get("completions"),
        spec.get("parallelism") or 0,
    )
    if completions is not None:
        done = f"{succeeded}/{completions}"
    else:
        done = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    took = ""
    if start := status.get("startTime"):
        end = status.get("completionTime")
        took = duration((parse_time(end) if end else now) - parse_time(start))
    return [
        obj["metadata"]["name"],
        state_of(obj),
        done,
        took,
        age_of(obj, now),
        *template_cells(spec.get("template")),
        selector_cell(spec.get("selector")) or NONE,
    ]


KIND = Kind(
    kind="Job",
    plural="jobs",
    categories=("all",),
    versions=(
        Version(group="batch", version="v1", definition="io.k8s.api.batch.v1.Job", validate_create=validate_create),
    ),
    subresources=(status_of("Job"),),
    disable=without_group("spec", "template", "spec"),
    defaults=defaults,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    has_generation=True,
    default_propagation="orphan",
    columns=(
        NAME,
        Column(name="Status", description="How far the job has come."),
        Column(name="Completions", description="How many pods have succeeded, of how many."),
        Column(name="Duration", description="How long the job has run, or ran."),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    row=row,
    fields=lambda obj: {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))},
)
