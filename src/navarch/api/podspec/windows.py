"""Validation of what is Windows' own in a pod, and of what may not be set for the system that a pod names."""

from __future__ import annotations

import re
from collections.abc import Iterator

from navarch.api.podspec import checks
from navarch.api.podspec.defaults import CONTAINER_LISTS
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

MAX_GMSA_SPEC = 64 * 1024
MAX_DOMAIN, MAX_USER = 256, 104
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DOTS = re.compile(r"[. ]+")
_NOT_IN_USERS = re.compile(r'["/\\:;|=,+*?<>@\[\]]')
NOT_WINDOWS = "cannot be set for a windows pod"
NOT_LINUX = "windows options cannot be set for a linux pod"
POD_FIELDS = ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
POD_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls", "runAsUser",
    "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy",
)  # fmt: skip
CONTAINER_CONTEXT = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip


def validate_windows_options(options: Obj, path: str, errs: FieldErrors) -> None:
    if (name := options.get("gmsaCredentialSpecName")) is not None:
        checks.named(errs, f"{path}.gmsaCredentialSpecName", name, names.dns1123_subdomain)
    if (text := options.get("gmsaCredentialSpec")) is not None:
        if not text:
            errs.invalid(f"{path}.gmsaCredentialSpec", text, "gmsaCredentialSpec cannot be an empty string")
        elif len(text.encode()) > MAX_GMSA_SPEC:
            errs.invalid(f"{path}.gmsaCredentialSpec", text, "gmsaCredentialSpec size must be under 64 KiB")
    if (user := options.get("runAsUserName")) is not None:
        checks.each(errs, f"{path}.runAsUserName", user, _user_name(user))


def _user_name(text: str) -> list[str]:
    if not text:
        return ["runAsUserName cannot be an empty string"]
    if _CONTROL.search(text):
        return ["runAsUserName cannot contain control characters"]
    if text.count("\\") > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, slash, user = text.rpartition("\\")
    found: list[str] = []
    if len(domain) >= MAX_DOMAIN:
        found.append(f"runAsUserName's Domain length must be under {MAX_DOMAIN} characters")
    if slash and not _NETBIOS.fullmatch(domain) and names.dns1123_subdomain(domain):
        found.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        found.append("runAsUserName's User cannot be empty")
    elif len(user) > MAX_USER:
        found.append(f"runAsUserName's User length must not be longer than {MAX_USER} characters")
    if _DOTS.fullmatch(user):
        found.append("runAsUserName's User cannot contain only periods or spaces")
    if _NOT_IN_USERS.search(user):
        found.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return found


def _contexts(spec: Obj, path: str) -> Iterator[tuple[str, Obj]]:
    for field in CONTAINER_LISTS:
        for index, container in enumerate(spec.get(field) or ()):
            yield f"{path}.{field}[{index}].securityContext", container.get("securityContext") or {}


def validate_host_process(spec: Obj, path: str, errs: FieldErrors) -> None:
    """Containers that are processes of their node: all of a pod's or none, and on the node's network."""
    pod: bool | None = ((spec.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    contexts = list(_contexts(spec, path))
    if pod is None and not any("windowsOptions" in context for _, context in contexts):
        return
    count = 0
    for at, context in contexts:
        own: bool | None = (context.get("windowsOptions") or {}).get("hostProcess")
        if pod is not None and own is not None and pod != own:
            message = f"pod hostProcess value must be identical if both are specified, was {str(pod).lower()}"
            errs.invalid(f"{at}.windowsOptions.hostProcess", own, message)
        count += bool(pod if own is None else own)
    if count and count != len(contexts):
        message = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        errs.invalid(path, "", message)
    if count and not spec.get("hostNetwork"):
        message = "hostNetwork must be true if pod contains any hostProcess containers"
        errs.invalid(f"{path}.hostNetwork", False, message)


def validate_os(spec: Obj, system: str, path: str, errs: FieldErrors) -> None:
    """`system` is linux or windows."""
    pod: Obj = spec.get("securityContext") or {}
    if system == "linux":
        for at, context in ((f"{path}.securityContext", pod), *_contexts(spec, path)):
            if context.get("windowsOptions") is not None:
                errs.forbidden(f"{at}.windowsOptions", NOT_LINUX)
        return
    for field in POD_FIELDS:
        if spec.get(field) is not None and (spec[field] or field in ("hostUsers", "shareProcessNamespace")):
            errs.forbidden(f"{path}.{field}", NOT_WINDOWS)
    for field in POD_CONTEXT:
        if pod.get(field) is not None and (pod[field] != [] or field != "sysctls"):
            errs.forbidden(f"{path}.securityContext.{field}", NOT_WINDOWS)
    for at, context in _contexts(spec, path):
        for field in CONTAINER_CONTEXT:
            if context.get(field) is not None:
                errs.forbidden(f"{at}.{field}", NOT_WINDOWS)
