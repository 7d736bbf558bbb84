"""Job: pods that run until so many have succeeded. Source: apis/batch defaults and validation, the job strategy."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import AGE, NAME, SELECTOR, TEMPLATE_COLUMNS, selector_cell, template_cells
from navarch.api.podspec.validation import validate_template
from navarch.api.podspec.warnings import workload_warnings
from navarch.machinery import names
from navarch.machinery.clock import parse_time
from navarch.machinery.errors import FieldErrors
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.tables import NONE, age_of, duration
from navarch.machinery.types import Obj

MAX_LABEL = 63
LABELS = ("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name")
"""What every pod of a job carries: the prefixed labels, and those of old."""
MAX_INDEXED_PARALLELISM, MAX_INDEXED_COMPLETIONS = 100_000, 10**9
MAX_RULES, MAX_CODES, MAX_PATTERNS = 20, 255, 20
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")


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
        obj["metadata"]["labels"] = dict(labels)


def prepare_create(obj: Obj) -> None:
    """The selector and the labels that make a job's pods its own, unless it says that it knows better."""
    spec, meta = obj["spec"], obj["metadata"]
    if spec.get("manualSelector"):
        return
    own = {
        LABELS[0]: meta["uid"],
        LABELS[1]: meta.get("name", ""),
        LABELS[2]: meta["uid"],
        LABELS[3]: meta.get("name", ""),
    }
    template_meta = spec["template"]["metadata"] = dict(spec["template"].get("metadata") or {})
    template_meta["labels"] = {**(template_meta.get("labels") or {}), **own}
    selector = spec["selector"] = dict(spec.get("selector") or {})
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), LABELS[0]: meta["uid"]}
    if not meta.get("labels") and len(own[LABELS[1]]) <= MAX_LABEL:
        meta["labels"] = dict(template_meta["labels"])


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    validate_spec(spec, "spec", errs)
    selector = spec.get("selector")
    if selector is None:
        errs.required("spec.selector", "")
    else:
        checks.label_selector(errs, "spec.selector", selector)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    if selector is None or (not errs and not from_label_selector(selector).matches(labels)):
        errs.invalid("spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`")


def validate_generated(obj: Obj, errs: FieldErrors) -> None:
    """Of a new job: its pods carry the labels that make them its own."""
    spec = obj["spec"]
    if spec.get("manualSelector"):
        return
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    own = {"matchLabels": {LABELS[0]: obj["metadata"]["uid"]}}
    if spec.get("selector") != own:
        errs.invalid("spec.selector", spec.get("selector"), "`selector` not auto-generated")
    for label in LABELS[:2]:
        wanted = obj["metadata"].get("uid" if "uid" in label else "name", "")
        if label not in labels:
            errs.required(f"spec.template.metadata.labels[{label}]", f"must be '{wanted}'")
        elif labels[label] != wanted:
            errs.invalid(f"spec.template.metadata.labels[{label}]", labels, f"must be '{wanted}'")


def validate_spec(spec: Obj, path: str, errs: FieldErrors) -> None:
    """A job's spec, but for its selector (a CronJob's template has none yet)."""
    numbers = (
        "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
        "backoffLimitPerIndex", "maxFailedIndexes",
    )  # fmt: skip
    checks.non_negative(errs, path, spec, *numbers)
    mode = spec.get("completionMode", "NonIndexed")
    if mode not in ("Indexed", "NonIndexed"):
        errs.not_supported(f"{path}.completionMode", mode, ("Indexed", "NonIndexed"))
    indexed = mode == "Indexed"
    if indexed:
        _indexed(spec, path, errs)
    for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if spec.get(field) is not None and not indexed:
            errs.invalid(f"{path}.{field}", spec[field], "when indexed completion mode is not used")
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errs.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    policy = spec.get("podFailurePolicy")
    restart = ((spec.get("template") or {}).get("spec") or {}).get("restartPolicy", "")
    if policy is not None:
        if restart != "Never":
            errs.invalid(
                f"{path}.template.spec.restartPolicy",
                restart,
                'only "Never" is supported when podFailurePolicy is specified',
            )
        _failure_policy(spec, policy, f"{path}.podFailurePolicy", errs)
    if spec.get("successPolicy") is not None:
        _success_policy(spec, f"{path}.successPolicy", indexed, errs)
    replacement = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if policy is not None else ("Failed", "TerminatingOrFailed")
    if replacement is not None and replacement not in allowed:
        errs.not_supported(f"{path}.podReplacementPolicy", replacement, allowed)
    if (manager := spec.get("managedBy")) is not None:
        if "/" not in manager:
            errs.invalid(f"{path}.managedBy", manager, 'must be a domain-prefixed path (such as "acme.io/foo")')
        checks.named(errs, f"{path}.managedBy", manager, names.qualified_name)
        if len(manager) > 63:
            errs.too_long(f"{path}.managedBy", 63)
    validate_template(spec.get("template") or {}, f"{path}.template", errs)
    if restart == "Always":
        errs.required(f"{path}.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')
    elif restart not in ("Never", "OnFailure"):
        errs.not_supported(f"{path}.template.spec.restartPolicy", restart, ("OnFailure", "Never"))


def _indexed(spec: Obj, path: str, errs: FieldErrors) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    if completions is None:
        errs.required(f"{path}.completions", "when completion mode is Indexed")
    most = spec.get("maxFailedIndexes")
    if most is not None and completions is not None and most > completions:
        errs.invalid(f"{path}.maxFailedIndexes", most, "must be less than or equal to completions")
    if parallelism is not None and parallelism > MAX_INDEXED_PARALLELISM:
        message = f"must be less than or equal to {MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
        errs.invalid(f"{path}.parallelism", parallelism, message)


def _failure_policy(spec: Obj, policy: Obj, path: str, errs: FieldErrors) -> None:
    rules = policy.get("rules") or []
    if len(rules) > MAX_RULES:
        errs.too_many(f"{path}.rules", len(rules), MAX_RULES)
    containers = {
        container["name"]
        for field in ("containers", "initContainers")
        for container in ((spec.get("template") or {}).get("spec") or {}).get(field) or ()
    }
    for index, rule in enumerate(rules):
        _failure_rule(spec, rule, containers, f"{path}.rules[{index}]", errs)


def _failure_rule(spec: Obj, rule: Obj, containers: set[str], at: str, errs: FieldErrors) -> None:
    action = rule.get("action", "")
    if not action:
        errs.required(f"{at}.action", f"valid values: {', '.join(chr(34) + a + chr(34) for a in ACTIONS)}")
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        errs.invalid(f"{at}.action", action, "requires the backoffLimitPerIndex to be set")
    elif action not in ACTIONS:
        errs.not_supported(f"{at}.action", action, ACTIONS)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        _exit_codes(codes, containers, f"{at}.onExitCodes", errs)
    if len(conditions) > MAX_PATTERNS:
        errs.too_many(f"{at}.onPodConditions", len(conditions), MAX_PATTERNS)
    for index, pattern in enumerate(conditions):
        checks.named(errs, f"{at}.onPodConditions[{index}].type", pattern.get("type", ""), names.qualified_name)
        if pattern.get("status") not in ("False", "True", "Unknown"):
            errs.not_supported(
                f"{at}.onPodConditions[{index}].status", pattern.get("status", ""), ("False", "True", "Unknown")
            )
    if codes is not None and conditions:
        errs.invalid(at, rule, "specifying both OnExitCodes and OnPodConditions is not supported")
    if codes is None and not conditions:
        errs.invalid(at, rule, "specifying one of OnExitCodes and OnPodConditions is required")


def _exit_codes(codes: Obj, containers: set[str], at: str, errs: FieldErrors) -> None:
    operator, values = codes.get("operator", ""), codes.get("values") or []
    checks.one_of(errs, f"{at}.operator", operator, ("In", "NotIn"))
    name = codes.get("containerName")
    if name is not None and name not in containers:
        message = "must be one of the container or initContainer names in the pod template"
        errs.invalid(f"{at}.containerName", name, message)
    if not values:
        errs.invalid(f"{at}.values", values, "at least one value is required")
    elif len(values) > MAX_CODES:
        errs.too_many(f"{at}.values", len(values), MAX_CODES)
    for index, value in enumerate(values):
        if value in values[:index]:
            errs.duplicate(f"{at}.values[{index}]", value)
        elif operator == "In" and value == 0:
            errs.invalid(f"{at}.values[{index}]", value, "must not be 0 for the In operator")
    if values != sorted(values):
        errs.invalid(f"{at}.values", values, "must be ordered")


def _success_policy(spec: Obj, path: str, indexed: bool, errs: FieldErrors) -> None:
    policy = spec["successPolicy"]
    if not indexed:
        errs.invalid(path, policy, "requires indexed completion mode")
        return
    rules = policy.get("rules") or []
    if not rules:
        errs.required(f"{path}.rules", "at least one rules must be specified when the successPolicy is specified")
    if len(rules) > MAX_RULES:
        errs.too_many(f"{path}.rules", len(rules), MAX_RULES)
    for index, rule in enumerate(rules):
        at = f"{path}.rules[{index}]"
        if rule.get("succeededCount") is None and rule.get("succeededIndexes") is None:
            errs.required(at, "at least one of succeededCount or succeededIndexes must be specified")
        count, completions = rule.get("succeededCount"), spec.get("completions") or 0
        if count is not None:
            if count < 0:
                errs.invalid(f"{at}.succeededCount", count, checks.NOT_NEGATIVE)
            elif count > completions:
                errs.invalid(
                    f"{at}.succeededCount",
                    count,
                    f"must be less than or equal to {completions} (the number of specified completions)",
                )


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new["spec"], old["spec"]
    status = old.get("status") or {}
    mutable_template = bool(before.get("suspend")) and not status.get("startTime")
    if spec.get("completionMode") == "Indexed" and before.get("completionMode") == "Indexed":
        if spec.get("completions") != before.get("completions") and spec.get("completions") != spec.get("parallelism"):
            errs.invalid(
                "spec.completions", spec.get("completions"), "can only be modified in tandem with spec.parallelism"
            )
    else:
        checks.immutable(errs, "spec.completions", spec.get("completions"), before.get("completions"))
    for field in (
        "selector",
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ):
        checks.immutable(errs, f"spec.{field}", spec.get(field), before.get(field))
    if _fixed_template(spec["template"], mutable_template) != _fixed_template(before["template"], mutable_template):
        errs.invalid("spec.template", spec["template"], "field is immutable")


SCHEDULING = ("nodeSelector", "tolerations", "schedulingGates", "affinity")


def _fixed_template(template: Obj, mutable: bool) -> Obj:
    """What may not change: all, but for scheduling directives and requests while the job is suspended and has not run."""
    if not mutable:
        return template
    meta = {k: v for k, v in (template.get("metadata") or {}).items() if k not in ("labels", "annotations")}
    spec = {k: v for k, v in (template.get("spec") or {}).items() if k not in SCHEDULING}
    for field in ("containers", "initContainers"):
        if field in spec:
            spec[field] = [{k: v for k, v in c.items() if k != "resources"} for c in spec[field]]
    return {**template, "metadata": meta, "spec": spec}


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    checks.non_negative(
        errs, "status", new.get("status") or {}, "active", "succeeded", "failed", "terminating", "ready"
    )


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
        Version(
            group="batch",
            version="v1",
            definition="io.k8s.api.batch.v1.Job",
            validate_create=validate_generated,
        ),
    ),
    subresources=(status_of("Job"),),
    defaults=defaults,
    prepare_create=prepare_create,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=workload_warnings,
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
