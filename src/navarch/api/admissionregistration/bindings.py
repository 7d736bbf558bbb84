"""ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding: where a policy holds, and with which parameters.
Source: apis/admissionregistration defaults and validation.
"""

from __future__ import annotations

from typing import Any

from navarch.api.admissionregistration.rules import (
    CATEGORIES,
    default_match,
    validate_match,
    validate_mutated_operations,
    validate_param_ref,
    version,
    warnings,
)
from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Validate
from navarch.api.podspec import checks
from navarch.api.podspec.printing import selector_text
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

ACTIONS = ("Audit", "Deny", "Warn")


def defaults(obj: Obj) -> None:
    if (resources := obj.setdefault("spec", {}).get("matchResources")) is not None:
        default_match(resources)


def _validate(spec: Obj, errs: FieldErrors) -> None:
    if name := spec.get("policyName", ""):
        checks.named(errs, "spec.policyName", name, names.dns1123_subdomain)
    else:
        errs.required("spec.policyName")
    if (reference := spec.get("paramRef")) is not None:
        validate_param_ref(reference, "spec.paramRef", errs)
    if (resources := spec.get("matchResources")) is not None:
        validate_match(resources, "spec.matchResources", errs)


def validate_mutating(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    _validate(spec, errs)
    validate_mutated_operations(spec.get("matchResources") or {}, "spec.matchResources", errs)


def validate_validating(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    _validate(spec, errs)
    actions: list[str] = spec.get("validationActions") or []
    at = "spec.validationActions"
    for index, action in enumerate(actions):
        if action not in ACTIONS:
            errs.not_supported(f"{at}[{index}]", action, ACTIONS)
        if action in actions[:index]:
            errs.duplicate(f"{at}[{index}]", action)
    if "Deny" in actions and "Warn" in actions:
        message = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errs.invalid(at, actions, message)
    if not actions:
        errs.required(at, "at least one validation action is required")


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj["spec"]
    reference, shown = spec.get("paramRef"), "<unset>"
    if reference is not None:
        if name := reference.get("name"):
            shown = f"{reference.get('namespace') or '*'}/{name}"
        elif reference.get("selector") is not None:
            shown = selector_text(reference["selector"])
    return [obj["metadata"]["name"], spec.get("policyName", ""), shown, age_of(obj, now)]


def _kind(name: str, plural: str, validate: Validate, stored: str = "v1") -> Kind:
    return Kind(
        kind=name,
        plural=plural,
        qualified_finalizers=False,
        extra={"storage": f"admissionregistration.k8s.io/{stored}/{name}"},
        categories=CATEGORIES,
        namespaced=False,
        versions=(version(name),),
        defaults=defaults,
        validate=validate,
        warnings=warnings,
        has_generation=True,
        allow_unconditional_update=False,
        columns=(
            NAME,
            Column(name="PolicyName", description="The policy."),
            Column(name="ParamRef", description="Its parameters."),
            AGE,
        ),
        row=row,
    )


KINDS = (
    _kind("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", validate_mutating, stored="v1beta1"),
    _kind("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", validate_validating),
)
