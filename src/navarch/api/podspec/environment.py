"""Validation of environment variables, and of references to fields and resources (the downward API)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.quantity import canonical
from navarch.machinery.types import Obj

ENV_FIELDS = frozenset(
    (
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    )
)
VOLUME_FIELDS = frozenset(
    ("metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid")
)
KNOWN_FIELDS = ENV_FIELDS | VOLUME_FIELDS | {"spec.host", "spec.restartPolicy", "spec.schedulerName", "status.phase"}
RESOURCES = frozenset(
    f"{side}.{name}" for side in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
)
HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
BYTE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SUBSCRIPT = re.compile(r"(metadata\.(?:annotations|labels)|[^\[\]]+)\['(.*)'\]", re.ASCII)
_ENV_NAME = re.compile(r"[ -<>-~]+", re.ASCII)
ENV_NAME_MESSAGE = (
    "a valid environment variable name must consist only of printable ASCII characters other than '=' "
    "(e.g. 'my.env-name', regex used for validation is '^[ -<>-~]+$')"
)
SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
NO_SOURCE = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
TWO_SOURCES = "may not have more than one field specified at a time"


def relaxed_env_name(name: str) -> list[str]:
    return [] if _ENV_NAME.fullmatch(name) else [ENV_NAME_MESSAGE]


def validate_env(variables: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    for index, variable in enumerate(variables):
        name = variable.get("name")
        if not name:
            errs.required(f"{path}[{index}].name")
        elif not _ENV_NAME.fullmatch(name):
            errs.invalid(f"{path}[{index}].name", name, ENV_NAME_MESSAGE)
        if (source := variable.get("valueFrom")) is not None:
            _value_from(source, bool(variable.get("value")), f"{path}[{index}].valueFrom", errs)


def _value_from(source: Obj, has_value: bool, path: str, errs: FieldErrors) -> None:
    if (ref := source.get("fieldRef")) is not None:
        field_ref(ref, ENV_FIELDS, f"{path}.fieldRef", errs)
    if (ref := source.get("resourceFieldRef")) is not None:
        resource_field_ref(ref, f"{path}.resourceFieldRef", False, errs)
    for field in ("configMapKeyRef", "secretKeyRef"):
        if (ref := source.get(field)) is not None:
            _key_ref(ref, f"{path}.{field}", errs)
    if (ref := source.get("fileKeyRef")) is not None:
        _file_key_ref(ref, f"{path}.fileKeyRef", errs)
    count = sum(source.get(field) is not None for field in SOURCES)
    if count == 0:
        errs.invalid(path, "", NO_SOURCE)
    elif has_value:
        errs.invalid(path, "", "may not be specified when `value` is not empty")
    elif count > 1:
        errs.invalid(path, "", TWO_SOURCES)


def _key_ref(ref: Obj, path: str, errs: FieldErrors) -> None:
    name = ref.get("name", "")
    checks.named(errs, f"{path}.name", name, names.dns1123_subdomain)
    if not (key := ref.get("key")):
        errs.required(f"{path}.key")
    else:
        checks.named(errs, f"{path}.key", key, names.config_map_key)


def _file_key_ref(ref: Obj, path: str, errs: FieldErrors) -> None:
    if key := ref.get("key"):
        checks.named(errs, f"{path}.key", key, relaxed_env_name)
    else:
        errs.required(f"{path}.key")
    if volume := ref.get("volumeName"):
        checks.named(errs, f"{path}.volumeName", volume, names.dns1123_label)
    else:
        errs.required(f"{path}.volumeName")
    if where := ref.get("path"):
        checks.no_backsteps(errs, f"{path}.path", where)
    else:
        errs.required(f"{path}.path")


def validate_file_volumes(env: Sequence[Obj], sources: Mapping[str, Obj], path: str, errs: FieldErrors) -> None:
    """Files that variables are read from are in emptyDirs of the pod; `sources` has all its volumes by name."""
    for index, variable in enumerate(env):
        if (ref := (variable.get("valueFrom") or {}).get("fileKeyRef")) is None:
            continue
        at, name = f"{path}[{index}].valueFrom.fileKeyRef.volumeName", ref.get("volumeName", "")
        if name not in sources:
            errs.not_found(at, name)
        elif sources[name].get("emptyDir") is None:
            errs.invalid(at, name, "referenced volume must be of type emptyDir")


def validate_env_from(sources: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    for index, source in enumerate(sources):
        at = f"{path}[{index}]"
        if prefix := source.get("prefix"):
            checks.named(errs, f"{at}.prefix", prefix, relaxed_env_name)
        chosen = [field for field in ("configMapRef", "secretRef") if source.get(field) is not None]
        for field in chosen:
            if name := source[field].get("name"):
                checks.named(errs, f"{at}.{field}.name", name, names.dns1123_subdomain)
            else:
                errs.required(f"{at}.{field}.name")
        if not chosen:
            errs.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(chosen) > 1:
            errs.invalid(path, "", TWO_SOURCES)


def field_ref(ref: Obj, allowed: Collection[str], path: str, errs: FieldErrors) -> None:
    """An ObjectFieldSelector: one of `allowed`, or a label or annotation by its key."""
    version, field = ref.get("apiVersion"), ref.get("fieldPath")
    if not version:
        errs.required(f"{path}.apiVersion")
        return
    if not field:
        errs.required(f"{path}.fieldPath")
        return
    if version != "v1":
        message = f"error converting fieldPath: unsupported pod version: {version}"
        errs.invalid(f"{path}.fieldPath", field, message)
        return
    if subscripted := _SUBSCRIPT.fullmatch(field):
        owner, key = subscripted.groups()
        if owner == "metadata.annotations":
            checks.named(errs, path, key.lower(), names.qualified_name)
        elif owner == "metadata.labels":
            checks.named(errs, path, key, names.qualified_name)
        else:
            message = f"error converting fieldPath: field label does not support subscript: {field}"
            errs.invalid(f"{path}.fieldPath", field, message)
    elif field not in KNOWN_FIELDS:
        message = f"error converting fieldPath: field label not supported: {field}"
        errs.invalid(f"{path}.fieldPath", field, message)
    elif field not in allowed:
        errs.not_supported(f"{path}.fieldPath", field, allowed)


def resource_field_ref(ref: Obj, path: str, volume: bool, errs: FieldErrors) -> None:
    """A ResourceFieldSelector; in a volume it must name its container."""
    resource = ref.get("resource", "")
    if volume and not ref.get("containerName"):
        errs.required(f"{path}.containerName")
    elif not resource:
        errs.required(f"{path}.resource")
    elif resource not in RESOURCES and not resource.startswith(HUGE_PAGES):
        errs.not_supported(f"{path}.resource", resource, RESOURCES)
    divisor = canonical(ref.get("divisor") or "0")
    if divisor == "0":
        return
    listed = ", ".join(BYTE_DIVISORS)
    for suffix, allowed, words in (
        (".cpu", ("1m", "1"), "1m and 1 are supported with the cpu"),
        (".memory", BYTE_DIVISORS, f"{listed} are supported with the memory"),
        (".ephemeral-storage", BYTE_DIVISORS, f"{listed} are supported with the local ephemeral storage"),
    ):
        if resource.endswith(suffix) and divisor not in allowed:
            errs.invalid(f"{path}.divisor", resource, f"only divisor's values {words} resource")
    if resource.startswith(HUGE_PAGES) and divisor not in BYTE_DIVISORS:
        errs.invalid(
            f"{path}.divisor", resource, f"only divisor's values {listed} are supported with the hugepages resource"
        )
