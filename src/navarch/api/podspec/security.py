"""Validation of security contexts, of pods and of containers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from navarch.api.podspec import checks
from navarch.api.podspec.windows import validate_windows_options
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?", re.ASCII)
SYSCTL_PATTERN = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_ID_FIELDS = ("runAsUser", "runAsGroup", "fsGroup")


def _ids(context: Obj, path: str, errs: FieldErrors) -> None:
    for field in _ID_FIELDS:
        checks.in_range(errs, f"{path}.{field}", context.get(field), 0, checks.MAX_INT32)


def _profiles(context: Obj, path: str, errs: FieldErrors) -> None:
    if (seccomp := context.get("seccompProfile")) is not None:
        _seccomp(seccomp, f"{path}.seccompProfile", errs)
    if (armor := context.get("appArmorProfile")) is not None:
        _app_armor(armor, f"{path}.appArmorProfile", errs)


def validate_container_security(context: Obj, path: str, host_users: bool, errs: FieldErrors) -> None:
    _ids(context, path, errs)
    if (mount := context.get("procMount")) is not None:
        if mount not in ("Default", "Unmasked"):
            errs.not_supported(f"{path}.procMount", mount, ("Default", "Unmasked"))
        if host_users and mount == "Unmasked":
            errs.invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
    if context.get("allowPrivilegeEscalation") is False:
        begin = "cannot set `allowPrivilegeEscalation` to false and "
        if context.get("privileged"):
            errs.invalid(path, context, begin + "`privileged` to true")
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            errs.invalid(path, context, begin + "`capabilities.Add` CAP_SYS_ADMIN")
    if (options := context.get("windowsOptions")) is not None:
        validate_windows_options(options, f"{path}.windowsOptions", errs)
    _profiles(context, path, errs)


def validate_pod_security(context: Obj, spec: Obj, path: str, errs: FieldErrors) -> None:
    _ids(context, path, errs)
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        checks.in_range(errs, f"{path}.supplementalGroups[{index}]", group, 0, checks.MAX_INT32)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        message = "ShareProcessNamespace and HostPID cannot both be enabled"
        errs.invalid(f"{path}.shareProcessNamespace", True, message)
    if sysctls := context.get("sysctls"):
        _sysctls(sysctls, spec, f"{path}.sysctls", errs)
    for field, allowed in (
        ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
        ("supplementalGroupsPolicy", ("Merge", "Strict")),
        ("seLinuxChangePolicy", ("MountOption", "Recursive")),
    ):
        if (value := context.get(field)) is not None and value not in allowed:
            errs.not_supported(f"{path}.{field}", value, allowed)
    if (options := context.get("windowsOptions")) is not None:
        validate_windows_options(options, f"{path}.windowsOptions", errs)
    _profiles(context, path, errs)


def _sysctls(sysctls: Sequence[Obj], spec: Obj, path: str, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, sysctl in enumerate(sysctls):
        at, name = f"{path}[{index}].name", sysctl.get("name", "")
        if not name:
            errs.required(at)
        elif len(name) > 253 or not _SYSCTL.fullmatch(name):
            errs.invalid(at, name, f"must have at most 253 characters and match regex {SYSCTL_PATTERN}")
        elif name in seen:
            errs.duplicate(at, name)
        seen.add(name)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            errs.invalid(at, name, "may not be specified when 'hostNetwork' is true")
        ipc = dotted.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.")) or dotted == "kernel.sem"
        if spec.get("hostIPC") and ipc:
            errs.invalid(at, name, "may not be specified when 'hostIPC' is true")


def _seccomp(profile: Obj, path: str, errs: FieldErrors) -> None:
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if not kind:
        errs.required(f"{path}.type", "type is required when seccompProfile is set")
    elif kind not in PROFILES:
        errs.not_supported(f"{path}.type", kind, PROFILES)
    if kind == "Localhost":
        if local is None:
            errs.required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            checks.descending_path(errs, f"{path}.localhostProfile", local)
    elif local is not None:
        errs.invalid(f"{path}.localhostProfile", profile, "can only be set when seccomp type is Localhost")


def _app_armor(profile: Obj, path: str, errs: FieldErrors) -> None:
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    at = f"{path}.localhostProfile"
    if kind == "Localhost":
        if not (local or "").strip():
            errs.required(at, "must be set when AppArmor type is Localhost")
        elif local and local != local.strip():
            errs.invalid(at, local, "must not be padded with whitespace")
        if len(local or "") > 4095:
            errs.too_long(at, 4095)
    elif not kind:
        errs.required(f"{path}.type", "type is required when appArmorProfile is set")
    elif kind not in PROFILES:
        errs.not_supported(f"{path}.type", kind, PROFILES)
    elif local is not None:
        errs.invalid(at, local, "can only be set when AppArmor type is Localhost")
