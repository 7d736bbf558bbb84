"""CronJob: jobs by the clock. Source: apis/batch defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.batch.jobspec import name_warnings, spec_warnings, validate_spec
from navarch.api.features import without_group
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import AGE, NAME, SELECTOR, TEMPLATE_COLUMNS, template_cells
from navarch.api.schedules import ScheduleError, parse_schedule, parse_zone
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age, age_of
from navarch.machinery.types import Obj

POLICIES = ("Allow", "Forbid", "Replace")
ZONED = "TZ"
"""What a schedule contains that names a time zone."""
MAX_NAME = 52
"""Eleven characters are left for what a job's name adds."""


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    for field, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
        if spec.get(field) is None:
            spec[field] = value
    template = spec.setdefault("jobTemplate", {}).setdefault("spec", {})
    default_template(template.setdefault("template", {}))
    for rule in (template.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    if not (schedule := spec.get("schedule", "")):
        errs.required("spec.schedule", "")
    else:
        try:
            parse_schedule(schedule)
        except ScheduleError as error:
            errs.invalid("spec.schedule", schedule, str(error))
    checks.non_negative(
        errs, "spec", spec, "startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"
    )
    checks.one_of(errs, "spec.concurrencyPolicy", spec.get("concurrencyPolicy"), POLICIES)
    template: Obj = (spec.get("jobTemplate") or {}).get("spec") or {}
    validate_spec(template, "spec.jobTemplate.spec", errs)
    if (selector := template.get("selector")) is not None:
        errs.invalid("spec.jobTemplate.spec.selector", selector, "`selector` will be auto-generated")
    if template.get("manualSelector"):
        errs.not_supported("spec.jobTemplate.spec.manualSelector", True, ("nil", "false"))


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    """What objects of old may have otherwise."""
    spec, name = obj["spec"], obj["metadata"].get("name", "")
    if len(name) > MAX_NAME:
        errs.invalid("metadata.name", name, f"must be no more than {MAX_NAME} characters")
    _no_zone(spec.get("schedule", ""), errs)
    _zone(spec.get("timeZone"), errs)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new["spec"], old["spec"]
    schedule, zone = spec.get("schedule", ""), spec.get("timeZone")
    if ZONED not in before.get("schedule", ""):
        _no_zone(schedule, errs)
    elif ZONED in schedule and zone is not None:
        message = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errs.invalid("spec.schedule", schedule, message)
    if zone != before.get("timeZone"):
        _zone(zone, errs)


def _no_zone(schedule: str, errs: FieldErrors) -> None:
    if ZONED in schedule:
        message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errs.invalid("spec.schedule", schedule, message)


def _zone(name: str | None, errs: FieldErrors) -> None:
    if name is None:
        return
    try:
        parse_zone(name)
    except ScheduleError as error:
        errs.invalid("spec.timeZone", name, str(error))
        if name.lower() == "local" and name != "Local":
            errs.invalid("spec.timeZone", name, f"unknown time zone {name}")


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    spec = obj["spec"]
    found = name_warnings(obj) if old is None else []
    was: Obj | None = None if old is None else (old["spec"].get("jobTemplate") or {}).get("spec") or {}
    if old is None or old["spec"] != spec:
        template: Obj = (spec.get("jobTemplate") or {}).get("spec") or {}
        found += spec_warnings(template, was, "spec.jobTemplate.spec")
    if old is not None and ZONED in spec.get("schedule", ""):
        found.append(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    return found


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    last = status.get("lastScheduleTime")
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
    return [
        obj["metadata"]["name"],
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(bool(spec.get("suspend"))),
        len(status.get("active") or ()),
        age(last, now) if last else NONE,
        age_of(obj, now),
        *template_cells(template),
        NONE,
    ]


KIND = Kind(
    kind="CronJob",
    plural="cronjobs",
    short_names=("cj",),
    categories=("all",),
    versions=(
        Version(group="batch", version="v1", definition="io.k8s.api.batch.v1.CronJob", validate_create=validate_create),
        Version(
            group="batch",
            version="v1beta1",
            definition="io.k8s.api.batch.v1beta1.CronJob",
            validate_create=validate_create,
            deprecation="batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob",
        ),
    ),
    subresources=(status_of("CronJob"),),
    disable=without_group("spec", "jobTemplate", "spec", "template", "spec"),
    defaults=defaults,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    has_generation=True,
    default_propagation="background",
    columns=(
        NAME,
        Column(name="Schedule", description="When jobs are made."),
        Column(name="Timezone", description="The time zone the schedule is read in."),
        Column(name="Suspend", type="boolean", description="Whether no jobs are made for now."),
        Column(name="Active", type="integer", description="How many jobs run."),
        Column(name="Last Schedule", description="When a job was last made."),
        AGE,
        *TEMPLATE_COLUMNS,
        SELECTOR,
    ),
    row=row,
)
