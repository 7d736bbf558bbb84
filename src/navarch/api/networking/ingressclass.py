"""IngressClass: which controller serves an Ingress. Source: apis/networking validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj

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
        checks.named(errs, "spec.controller", domain, names.dns1123_subdomain)
    if (parameters := spec.get("parameters")) is not None:
        _parameters(parameters, errs)


def _parameters(parameters: Obj, errs: FieldErrors) -> None:
    at = "spec.parameters"
    if group := parameters.get("apiGroup"):
        checks.named(errs, f"{at}.apiGroup", group, names.dns1123_subdomain)
    for field in ("kind", "name"):
        if not parameters.get(field):
            errs.required(f"{at}.{field}", f"{field} is required")
        else:
            checks.named(errs, f"{at}.{field}", parameters[field], names.path_segment)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope == "Namespace":
        if not namespace:
            errs.required(f"{at}.namespace", "`parameters.scope` is set to 'Namespace'")
    elif scope == "Cluster":
        if namespace is not None:
            errs.forbidden(f"{at}.namespace", "`parameters.scope` is set to 'Cluster'")
    else:
        errs.not_supported(f"{at}.scope", scope or "", ("Cluster", "Namespace"))


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    before, after = (old.get("spec") or {}).get("controller"), (new.get("spec") or {}).get("controller")
    checks.immutable(errs, "spec.controller", after, before)


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    parameters = spec.get("parameters")
    shown = NONE
    if parameters:
        group = parameters.get("apiGroup") or ""
        shown = f"{parameters.get('kind', '')}{'.' + group if group else ''}/{parameters.get('name', '')}"
    return [obj["metadata"]["name"], spec.get("controller", ""), shown, age_of(obj, now)]


KIND = Kind(
    kind="IngressClass",
    plural="ingressclasses",
    namespaced=False,
    versions=(
        Version(group="networking.k8s.io", version="v1", definition="io.k8s.api.networking.v1.IngressClass"),
        Version(
            group="networking.k8s.io",
            version="v1beta1",
            definition="io.k8s.api.networking.v1beta1.IngressClass",
            deprecation="networking.k8s.io/v1beta1 IngressClass is deprecated in v1.19+, unavailable in v1.22+; "
            "use networking.k8s.io/v1 IngressClass",
        ),
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
