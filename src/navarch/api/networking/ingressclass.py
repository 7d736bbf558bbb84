"""IngressClass: which controller serves an Ingress. Source: apis/networking validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.networking.ingress import typed_reference
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj

IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
MAX_CONTROLLER = 250


def defaults(obj: Obj) -> None:
    parameters = (obj.get("spec") or {}).get("parameters")
    if parameters is not None and parameters.get("scope") is None:
        parameters["scope"] = "Cluster"


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    controller = spec.get("controller", "")
    if len(controller) > MAX_CONTROLLER:
        errs.too_long("spec.controller", MAX_CONTROLLER)
    domain, slash, path = controller.partition("/")
    if not controller:
        errs.required("spec.controller", "")
    elif not slash or not path:
        errs.invalid("spec.controller", controller, 'must be a domain-prefixed path (such as "acme.io/foo")')
    else:
        checks.each(errs, "spec.controller", domain, names.dns1123_subdomain(domain))
        checks.named(errs, "spec.controller", path, names.http_path)
    if (parameters := spec.get("parameters")) is not None:
        _parameters(parameters, errs)


def _parameters(parameters: Obj, errs: FieldErrors) -> None:
    at = "spec.parameters"
    typed_reference(parameters, at, errs)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        errs.required(f"{at}.scope")
    elif scope == "Namespace":
        if namespace is None:
            errs.required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            checks.named(errs, f"{at}.namespace", namespace, names.dns1123_label)
    elif scope == "Cluster":
        if namespace is not None:
            errs.forbidden(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")
    else:
        errs.not_supported(f"{at}.scope", scope, ("Cluster", "Namespace"))


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    before, after = (old.get("spec") or {}).get("controller"), (new.get("spec") or {}).get("controller")
    checks.immutable(errs, "spec.controller", after, before)


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = parameters.get("apiGroup")
        suffix = f".{group}" if group is not None else ""
        shown = f"{parameters.get('kind', '')}{suffix}/{parameters.get('name', '')}"
    default = (obj["metadata"].get("annotations") or {}).get(IS_DEFAULT) == "true"
    name = obj["metadata"]["name"] + (" (default)" if default else "")
    return [name, spec.get("controller", ""), shown, age_of(obj, now)]


KIND = Kind(
    kind="IngressClass",
    plural="ingressclasses",
    namespaced=False,
    versions=(
        Version(group="networking.k8s.io", version="v1", definition="io.k8s.api.networking.v1.IngressClass"),
        retired("networking.k8s.io", "v1beta1", "IngressClass", "1.19", "1.22", "networking.k8s.io/v1"),
    ),
    defaults=defaults,
    validate=validate,
    validate_update=validate_update,
    has_generation=True,
    columns=(
        NAME,
        Column(name="Controller", description="Who serves the class."),
        Column(name="Parameters", description="What the controller is told besides."),
        AGE,
    ),
    row=row,
)
