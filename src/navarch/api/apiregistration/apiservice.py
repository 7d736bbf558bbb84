"""APIService: who serves a version of a group, this server or a service. Source: kube-aggregator's validation and
registry/apiservice.

That what this server serves itself is available is set by apiserver/registry/apiservices.py.
"""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

GROUP = "apiregistration.k8s.io"
DEFINITIONS = "io.k8s.kube-aggregator.pkg.apis.apiregistration"
STATUSES = ("False", "True", "Unknown")
MAX_GROUP_PRIORITY, MAX_VERSION_PRIORITY = 20000, 1000


def defaults(obj: Obj) -> None:
    service = (obj.get("spec") or {}).get("service")
    if service is not None and service.get("port") is None:
        service["port"] = 443


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    group, version = spec.get("group", ""), spec.get("version", "")
    wanted = f"{version}.{group}"
    for field in ("generateName", "name"):
        text = obj["metadata"].get(field, "")
        if text and text != wanted and not names.path_segment(text):
            errs.invalid(f"metadata.{field}", text, f'must be `spec.version+"."+spec.group`: "{wanted}"')
    if not group and version != "v1":
        errs.required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    if group:
        checks.named(errs, "spec.group", group, names.dns1123_subdomain)
    checks.named(errs, "spec.version", version, names.dns1035_label)
    if not 0 < (priority := spec.get("groupPriorityMinimum") or 0) <= MAX_GROUP_PRIORITY:
        errs.invalid("spec.groupPriorityMinimum", priority, "must be positive and less than 20000")
    if not 0 < (priority := spec.get("versionPriority") or 0) <= MAX_VERSION_PRIORITY:
        errs.invalid("spec.versionPriority", priority, "must be positive and less than 1000")
    _service(spec, errs)


def _service(spec: Obj, errs: FieldErrors) -> None:
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), bool(spec.get("insecureSkipTLSVerify"))
    if service is None:
        if bundle:
            size = len(bundle) * 3 // 4 - bundle.count("=")
            errs.invalid("spec.caBundle", f"{size} bytes", "local APIServices may not have a caBundle")
        if insecure:
            message = "local APIServices may not have insecureSkipTLSVerify"
            errs.invalid("spec.insecureSkipTLSVerify", insecure, message)
        return
    checks.required(errs, "spec.service", service, "namespace", "name")
    if wrong := names.port_num(port := service.get("port") or 0):
        errs.invalid("spec.service.port", port, "port is not valid: " + ", ".join(wrong))
    if insecure and bundle:
        errs.invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present")


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    for index, condition in enumerate((new.get("status") or {}).get("conditions") or ()):
        if (status := condition.get("status", "")) not in STATUSES:
            errs.not_supported(f"status.conditions[{index}].status", status, STATUSES)


def row(obj: Obj, now: float) -> list[Any]:
    service = (obj.get("spec") or {}).get("service")
    conditions = (obj.get("status") or {}).get("conditions") or ()
    found = next((c for c in conditions if c.get("type") == "Available"), None)
    available = "Unknown"
    if found is not None:
        available, reason = found.get("status", ""), found.get("reason", "")
        if reason and available != "True":
            available = f"{available} ({reason})"
    return [
        obj["metadata"]["name"],
        f"{service.get('namespace', '')}/{service.get('name', '')}" if service is not None else "Local",
        available,
        age_of(obj, now),
    ]


KIND = Kind(
    kind="APIService",
    plural="apiservices",
    qualified_finalizers=False,
    categories=("api-extensions",),
    namespaced=False,
    versions=(
        Version(group=GROUP, version="v1", definition=f"{DEFINITIONS}.v1.APIService"),
        Version(
            group=GROUP,
            version="v1beta1",
            definition=f"{DEFINITIONS}.v1beta1.APIService",
            deprecation=f"{GROUP}/v1beta1 APIService is deprecated in v1.19+, unavailable in v1.22+; use {GROUP}/v1 "
            "APIService",
        ),
    ),
    subresources=(status_of("APIService"),),
    defaults=defaults,
    prepare_status_update=keep_metadata,
    validate=validate,
    validate_status_update=validate_status_update,
    name_is_valid=names.path_segment,
    allow_unconditional_update=False,
    columns=(
        NAME,
        Column(name="Service", description="The service that serves it; Local: this server does."),
        Column(name="Available", description="Whether it is available."),
        AGE,
    ),
    row=row,
)
