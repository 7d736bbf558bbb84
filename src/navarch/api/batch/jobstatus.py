"""What a Job's status may become. Source: apis/batch validation and the job strategy's options.

A rule is looked at only where what it speaks of has changed, so that old wrongs do not stand in the way of other changes.
"""

from __future__ import annotations

from navarch.api.batch import indexes
from navarch.api.podspec import checks
from navarch.machinery.clock import parse_time
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
TERMINAL = ("Failed", "Complete", "FailureTarget")


class _Seen:
    """A job's status with its conditions at hand."""

    def __init__(self, obj: Obj) -> None:
        self.status: Obj = obj.get("status") or {}
        conditions = self.status.get("conditions") or ()
        self.true = {c.get("type") for c in conditions if c.get("status") == "True"}
        self.false = {c.get("type") for c in conditions if c.get("status") == "False"}
        self.complete, self.failed = "Complete" in self.true, "Failed" in self.true
        self.target, self.met = "FailureTarget" in self.true, "SuccessCriteriaMet" in self.true
        self.finished = self.complete or self.failed
        uncounted: Obj = self.status.get("uncountedTerminatedPods") or {}
        self.uncounted: list[str] = [*(uncounted.get("failed") or ()), *(uncounted.get("succeeded") or ())]

    def get(self, field: str) -> int:
        return self.status.get(field) or 0


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    now, before = _Seen(new), _Seen(old)
    checks.non_negative(errs, "status", now.status, *COUNTS)
    _uncounted(now.status, errs)
    _conditions(new["spec"], now, before, errs)
    _times(now, before, errs)
    _finished(new["spec"], now, before, errs)
    _indexes(new["spec"], now, before, errs)
    if (now.get("ready") != before.get("ready") or now.get("active") != before.get("active")) and (
        now.get("ready") > now.get("active")
    ):
        errs.invalid("status.ready", now.get("ready"), "cannot set more ready pods than active")
    _lasting(new["spec"], now, before, errs)


def _uncounted(status: Obj, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for index, uid in enumerate((status.get("uncountedTerminatedPods") or {}).get(field) or ()):
            at = f"status.uncountedTerminatedPods.{field}[{index}]"
            if not uid:
                errs.invalid(at, uid, "must not be empty")
            elif uid in seen:
                errs.duplicate(at, uid)
            seen.add(uid)


def _conditions(spec: Obj, now: _Seen, before: _Seen, errs: FieldErrors) -> None:
    at, completed = "status.conditions", now.complete != before.complete
    if (completed or now.failed != before.failed) and now.complete and now.failed:
        errs.unfit(at, "cannot set Complete=True and Failed=true conditions")
    if (completed or now.target != before.target) and now.complete and now.target:
        errs.unfit(at, "cannot set Complete=True and FailureTarget=true conditions")
    changed = now.status.get("failedIndexes") != before.status.get("failedIndexes")
    if (now.failed != before.failed or changed) and now.failed and not now.target:
        errs.unfit(at, "cannot set Failed=True condition without the FailureTarget=true condition")
    if (completed or now.met != before.met) and now.complete and not now.met:
        errs.unfit(at, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if now.met and now.failed:
        errs.unfit(at, "cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if now.met and now.target:
        errs.unfit(at, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if spec.get("successPolicy") is not None and now.complete and not now.met:
        errs.unfit(at, "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")


def _times(now: _Seen, before: _Seen, errs: FieldErrors) -> None:
    at = "status.completionTime"
    start, end = now.status.get("startTime"), now.status.get("completionTime")
    had = before.status.get("completionTime")
    if now.complete != before.complete or end != had:
        if end and not now.complete:
            errs.invalid(at, end, "cannot set completionTime when there is no Complete=True condition")
        if now.complete and not end:
            errs.required(at, "completionTime is required for Complete jobs")
    changed = end != had or start != before.status.get("startTime")
    if changed and start and end and parse_time(end) < parse_time(start):
        errs.invalid(at, end, "must be equal to or after `startTime`")
    if end and had and end != had:
        errs.invalid(at, end, "field is immutable")


def _finished(spec: Obj, now: _Seen, before: _Seen, errs: FieldErrors) -> None:
    if not now.finished:
        return
    just = not before.finished
    if (just or now.get("active") != before.get("active")) and now.get("active") > 0:
        errs.invalid("status.active", now.get("active"), "active>0 is invalid for finished job")
    start = now.status.get("startTime")
    skipped = bool(spec.get("suspend")) and spec.get("completions") == 0
    if (just or start != before.status.get("startTime")) and not skipped and not start:
        errs.required("status.startTime", "startTime is required for finished job")
    if (just or now.uncounted != before.uncounted) and now.uncounted:
        uncounted = now.status["uncountedTerminatedPods"]
        shown = {field: uncounted.get(field.lower()) for field in ("Succeeded", "Failed")}
        errs.invalid("status.uncountedTerminatedPods", shown, "must be empty for finished job")
    if (just or now.get("terminating") != before.get("terminating")) and now.get("terminating") > 0:
        errs.invalid("status.terminating", now.get("terminating"), "terminating>0 is invalid for finished job")


def _indexes(spec: Obj, now: _Seen, before: _Seen, errs: FieldErrors) -> None:
    completed: str = now.status.get("completedIndexes") or ""
    failed: str | None = now.status.get("failedIndexes")
    new_completed = completed != (before.status.get("completedIndexes") or "")
    new_failed = failed != before.status.get("failedIndexes")
    count: int | None = spec.get("completions")
    per_index = spec.get("backoffLimitPerIndex") is not None
    if new_completed and count is not None:
        _readable("completedIndexes", completed, count, errs)
    if new_failed and count is not None and per_index and failed is not None:
        _readable("failedIndexes", failed, count, errs)
    if new_completed and completed and spec.get("completionMode") != "Indexed":
        message = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errs.invalid("status.completedIndexes", completed, message)
    if new_failed and failed is not None and not per_index:
        message = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errs.invalid("status.failedIndexes", failed, message)
    shared = None
    if (new_failed or new_completed) and count is not None and failed is not None:
        shared = indexes.overlap(completed, failed, count)
    if shared is not None:
        message = f"failedIndexes and completedIndexes overlap at index: {shared}"
        errs.invalid("status.failedIndexes", failed, message)


def _readable(field: str, text: str, completions: int, errs: FieldErrors) -> None:
    try:
        indexes.total(text, completions)
    except ValueError as wrong:
        errs.invalid(f"status.{field}", text, f"error parsing {field}: {wrong}")


def _lasting(spec: Obj, now: _Seen, before: _Seen, errs: FieldErrors) -> None:
    """What is never taken back."""
    at = "status.conditions"
    for kind in TERMINAL:
        if kind in before.true and kind not in now.true:
            errs.unfit(at, f"cannot disable the terminal {kind}=True condition")
    if now.get("failed") < before.get("failed"):
        errs.invalid("status.failed", now.get("failed"), "cannot decrease the failed counter")
    scalable = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if now.get("succeeded") < before.get("succeeded") and not scalable:
        errs.invalid("status.succeeded", now.get("succeeded"), "cannot decrease the succeeded counter")
    start, had = now.status.get("startTime"), before.status.get("startTime")
    resuming = "Suspended" in before.true and "Suspended" in now.false
    if had and start != had and not spec.get("suspend") and not resuming:
        errs.invalid("status.startTime", start, "field is immutable for unsuspended job once set")
    if before.met and not now.met:
        errs.unfit(at, "cannot disable the SuccessCriteriaMet=True condition")
    if before.complete and not before.met and now.met:
        errs.unfit(at, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
