"""Event: what happened to an object. One stored kind, served as core v1 and as events.k8s.io v1, whose fields have
other names and whose rules are stricter. Source: core validation's events.go and apis/events/v1 conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import UNKNOWN, age
from navarch.machinery.types import Obj

RENAMED = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
"""events.k8s.io's name of a field -> core's."""
CORE_NAMES = {core: new for new, core in RENAMED.items()}
ALWAYS: Mapping[str, Any] = {
    "involvedObject": {},
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
}
"""What an encoded core event always has."""
REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
FIELDS = tuple((f"involvedObject.{name}", name) for name in REFERENCE)
REGARDING = tuple((f"regarding.{name}", name) for name in REFERENCE)
TEXT_BYTES, NOTE_BYTES = 128, 1024


def decode(obj: Obj) -> Obj:
    hub = {RENAMED.get(key, key): value for key, value in obj.items()}
    for key, value in ALWAYS.items():
        if key not in hub:
            hub[key] = dict(value) if isinstance(value, dict) else value
    return hub


def encode(obj: Obj) -> Obj:
    shown = {CORE_NAMES.get(key, key): value for key, value in obj.items()}
    for field in ("reportingController", "reportingInstance"):
        if not shown.get(field):
            shown.pop(field, None)
    return shown


def validate(obj: Obj, errs: FieldErrors, controller: str = "reportingComponent") -> None:
    """`controller`: what the version calls who reports."""
    namespace = obj["metadata"].get("namespace", "")
    about = (obj.get("involvedObject") or {}).get("namespace", "")
    mismatch = "does not match event.namespace"
    if obj.get("eventTime") is None:
        allowed = (about,) if about else ("", "default")
        if namespace not in allowed:
            errs.invalid("involvedObject.namespace", about, mismatch)
    else:
        if not about and namespace not in ("default", "kube-system"):
            errs.invalid("involvedObject.namespace", about, mismatch)
        _reported(obj, controller, errs)
    checks.named(errs, "namespace", namespace, names.dns1123_subdomain)


def _reported(obj: Obj, field: str, errs: FieldErrors) -> None:
    """What events with an eventTime must say."""
    controller = obj.get("reportingComponent", "")
    if not controller:
        errs.required(field)
    checks.named(errs, field, controller, names.qualified_name)
    for field in ("reportingInstance", "action", "reason"):
        text = obj.get(field, "")
        if not text:
            errs.required(field)
        elif names.longer_than(text, TEXT_BYTES):
            errs.invalid(field, "", f"can have at most {TEXT_BYTES} characters")
    if names.longer_than(obj.get("message", ""), NOTE_BYTES):
        errs.invalid("message", "", f"can have at most {NOTE_BYTES} characters")


def _series(obj: Obj, errs: FieldErrors) -> None:
    series = obj.get("series")
    if series is None:
        return
    if series.get("count", 0) < 2:
        errs.invalid("series.count", "", "should be at least 2")
    if not series.get("lastObservedTime"):
        errs.required("series.lastObservedTime")


def validate_create_new(obj: Obj, errs: FieldErrors) -> None:
    """A new event of events.k8s.io leaves the fields of old unset."""
    validate(obj, errs, "reportingController")
    if not any(error.field == "metadata.name" for error in errs.items):
        checks.named(errs, "metadata.name", obj["metadata"]["name"], names.dns1123_subdomain)
    _series(obj, errs)
    if obj.get("eventTime") is None:
        errs.required("eventTime")
    if obj.get("type") not in ("Normal", "Warning"):
        errs.invalid("type", "", f"has invalid value: {obj.get('type', '')}")
    for field in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if obj.get(field):
            errs.invalid(field, "", "needs to be unset")


def validate_update_new(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """Of events.k8s.io's events only the series changes."""
    validate(new, errs, "reportingController")
    if new.get("series") != old.get("series"):
        _series(new, errs)
    for field in (
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ):
        name = "reportingController" if field == "reportingComponent" else field
        checks.immutable(errs, name, new.get(field) or None, old.get(field) or None)


def fields(obj: Obj) -> Mapping[str, str]:
    about = obj.get("involvedObject") or {}
    component = obj.get("reportingComponent", "")
    found = {label: about.get(name, "") for label, name in FIELDS}
    found.update((label, about.get(name, "")) for label, name in REGARDING)
    found["reason"] = obj.get("reason", "")
    found["reportingComponent"] = found["reportingController"] = component
    found["source"] = (obj.get("source") or {}).get("component") or component
    found["type"] = obj.get("type", "")
    return found


def _source(obj: Obj) -> str:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent", "")
    instance = source.get("host") or obj.get("reportingInstance", "")
    return f"{component}, {instance}" if instance else component


def row(obj: Obj, now: float) -> list[Any]:
    first = age(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = age(obj.get("lastTimestamp"), now)
    count, series = obj.get("count") or 1, obj.get("series")
    if series is not None:
        last, count = age(series.get("lastObservedTime"), now), series.get("count", 0)
    elif last == UNKNOWN:
        last = first
    about = obj.get("involvedObject") or {}
    target = about.get("kind", "").lower()
    if name := about.get("name"):
        target += f"/{name}"
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        target,
        about.get("fieldPath", ""),
        _source(obj),
        obj.get("message", "").strip(),
        first,
        count,
        obj["metadata"]["name"],
    ]


KIND = Kind(
    kind="Event",
    plural="events",
    qualified_finalizers=False,
    short_names=("ev",),
    versions=(
        Version(
            group="",
            version="v1",
            definition="io.k8s.api.core.v1.Event",
            validate_create=validate,
            validate_update=lambda new, old, errs: validate(new, errs),
        ),
        Version(
            group="events.k8s.io",
            version="v1",
            definition="io.k8s.api.events.v1.Event",
            decode=decode,
            encode=encode,
            validate_create=validate_create_new,
            validate_update=validate_update_new,
        ),
        retired(
            "events.k8s.io",
            "v1beta1",
            "Event",
            "1.22",
            "1.25",
            "events.k8s.io/v1",
            decode=decode,
            encode=encode,
            validate_create=lambda obj, errs: validate(obj, errs, "reportingController"),
            validate_update=lambda new, old, errs: validate(new, errs, "reportingController"),
        ),
    ),
    name_is_valid=names.path_segment,
    allow_create_on_update=True,
    columns=(
        Column(name="Last Seen", description="How long ago it last happened."),
        Column(name="Type", description="Normal or Warning."),
        Column(name="Reason", description="What happened, in one word."),
        Column(name="Object", description="The object it happened to."),
        Column(name="Subobject", description="The part of the object.", priority=1),
        Column(name="Source", description="Who tells of it, and where.", priority=1),
        Column(name="Message", description="What happened, in a sentence."),
        Column(name="First Seen", description="How long ago it first happened.", priority=1),
        Column(name="Count", description="How often it happened.", priority=1),
        Column(name="Name", format="name", priority=1),
    ),
    row=row,
    fields=fields,
)
