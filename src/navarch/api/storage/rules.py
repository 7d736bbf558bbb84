"""What the kinds of storage share. Source: apis/storage validation."""

from __future__ import annotations

from navarch.api.kind import Version
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

GROUP = "storage.k8s.io"
MAX_DRIVER = 63
MAX_PARAMETERS, MAX_PARAMETERS_BYTES = 512, 256 * 1024


def version(kind: str) -> Version:
    return Version(group=GROUP, version="v1", definition=f"io.k8s.api.storage.v1.{kind}")


def beta(kind: str, since: str, until: str) -> Version:
    return retired(GROUP, "v1beta1", kind, since, until, f"{GROUP}/v1")


def driver_name(errs: FieldErrors, path: str, name: str) -> None:
    if not name:
        errs.required(path)
    if names.longer_than(name, MAX_DRIVER):
        errs.too_long(path, MAX_DRIVER)
    if name:
        checks.each(errs, path, name, names.dns1123_subdomain(name.lower()))


def validate_provisioner(name: str, path: str, errs: FieldErrors) -> None:
    if name:
        checks.named(errs, path, name.lower(), names.qualified_name)
    else:
        errs.required(path)


def validate_parameters(obj: Obj, errs: FieldErrors) -> None:
    parameters: dict[str, str] = obj.get("parameters") or {}
    if len(parameters) > MAX_PARAMETERS:
        errs.too_long("parameters", MAX_PARAMETERS)
        return
    if "" in parameters:
        errs.invalid("parameters", "", "field can not be empty.")
    if sum(len(k.encode()) + len(v.encode()) for k, v in parameters.items()) > MAX_PARAMETERS_BYTES:
        errs.too_long("parameters", MAX_PARAMETERS_BYTES)
