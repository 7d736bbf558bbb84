"""The checks of level restricted: hardening. Source: pod-security-admission policy/check_*.go."""

from __future__ import annotations

from collections.abc import Mapping

from navarch.api.podsecurity.baseline import proc_mount, seccomp
from navarch.api.podsecurity.reading import (
    Check,
    Finding,
    containers,
    in_user_namespace,
    is_windows,
    named,
    names_where,
    plural,
    quoted,
    security,
    setters,
)
from navarch.machinery.types import Obj

VOLUMES = frozenset(
    (
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
        "secret",
    )
)  # fmt: skip


def escalation(metadata: Obj, spec: Obj) -> Finding | None:
    bad = names_where(spec, lambda container: security(container).get("allowPrivilegeEscalation") is not False)
    detail = f"{named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Finding("allowPrivilegeEscalation != false", detail) if bad else None


def capabilities(metadata: Obj, spec: Obj) -> Finding | None:
    keeping: list[str] = []
    adding: list[str] = []
    forbidden: set[str] = set()
    for container in containers(spec):
        given = security(container).get("capabilities") or {}
        if "ALL" not in (given.get("drop") or ()):
            keeping.append(container.get("name", ""))
        if extra := {name for name in given.get("add") or () if name != "NET_BIND_SERVICE"}:
            adding.append(container.get("name", ""))
            forbidden |= extra
    details: list[str] = []
    if keeping:
        details.append(f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        shown = quoted(sorted(forbidden))
        details.append(f"{named(adding)} must not include {shown} in securityContext.capabilities.add")
    return Finding("unrestricted capabilities", "; ".join(details)) if details else None


def volumes(metadata: Obj, spec: Obj) -> Finding | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in spec.get("volumes") or ():
        sources = [field for field, value in volume.items() if field != "name" and value is not None]
        if not VOLUMES.intersection(sources):
            bad.append(volume.get("name", ""))
            types.add(sources[0] if sources else "unknown")
    if not bad:
        return None
    what = plural("restricted volume type", "restricted volume types", len(types))
    start = f"{plural('volume', 'volumes', len(bad))} {quoted(bad)} {plural('uses', 'use', len(bad))}"
    return Finding("restricted volume types", f"{start} {what} {quoted(sorted(types))}")


def run_as_non_root(metadata: Obj, spec: Obj) -> Finding | None:
    reason = "runAsNonRoot != true"
    pod = security(spec).get("runAsNonRoot")
    explicit = names_where(spec, lambda container: security(container).get("runAsNonRoot") is False)
    if found := setters(pod is False, explicit):
        return Finding(reason, f"{found} must not set securityContext.runAsNonRoot=false")
    if pod:
        return None
    implicit = names_where(spec, lambda container: security(container).get("runAsNonRoot") is None)
    detail = f"pod or {named(implicit)} must set securityContext.runAsNonRoot=true"
    return Finding(reason, detail) if implicit else None


def run_as_user(metadata: Obj, spec: Obj) -> Finding | None:
    def wrong(holder: Obj) -> bool:
        return security(holder).get("runAsUser") == 0

    found = setters(wrong(spec), names_where(spec, wrong))
    return Finding("runAsUser=0", f"{found} must not set runAsUser=0") if found else None


def seccomp_set(metadata: Obj, spec: Obj) -> Finding | None:
    if (wrong := seccomp(metadata, spec)) is not None:
        return wrong
    if security(spec).get("seccompProfile") is not None:
        return None
    implicit = names_where(spec, lambda container: security(container).get("seccompProfile") is None)
    detail = f'pod or {named(implicit)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Finding("seccompProfile", detail) if implicit else None


def not_windows(check: Check) -> Check:
    return lambda metadata, spec: None if is_windows(spec) else check(metadata, spec)


def not_in_user_namespace(check: Check) -> Check:
    return lambda metadata, spec: None if in_user_namespace(spec) else check(metadata, spec)


RESTRICTED: Mapping[str, tuple[tuple[int, Check], ...]] = {
    "allowPrivilegeEscalation": ((8, escalation), (25, not_windows(escalation))),
    "capabilities_restricted": ((22, capabilities), (25, not_windows(capabilities))),
    "procMount_restricted": ((35, proc_mount),),
    "restrictedVolumes": ((0, volumes),),
    "runAsNonRoot": ((0, run_as_non_root), (35, not_in_user_namespace(run_as_non_root))),
    "runAsUser": ((23, run_as_user), (35, not_in_user_namespace(run_as_user))),
    "seccompProfile_restricted": ((19, seccomp_set), (25, not_windows(seccomp_set))),
}
OVERRIDES: Mapping[str, str] = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
"""Checks that make a weaker one of level baseline needless."""
