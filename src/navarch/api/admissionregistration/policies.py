"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: rules for requests, as expressions. Source:
apis/admissionregistration defaults and validation.

Whoever makes one must be allowed to read its parameters: apiserver/registry/policies.py.
"""

from __future__ import annotations

from typing import Any

from navarch.api.admissionregistration.expressions import (
    ANYTHING,
    APPLIED,
    CONDITION,
    PATCH_TYPES,
    PATCHES,
    TEXT,
    TEXT_OR_NULL,
    Scope,
)
from navarch.api.admissionregistration.rules import (
    CATEGORIES,
    FAILURE_POLICIES,
    REINVOCATIONS,
    default,
    default_match,
    is_identifier,
    validate_match,
    validate_match_conditions,
    validate_mutated_operations,
    validate_param_kind,
    version,
    warnings,
)
from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
MAX_ANNOTATIONS, MAX_ANNOTATION_EXPRESSION = 20, 5 * 1024


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    default(spec, failurePolicy="Fail")
    if (constraints := spec.get("matchConstraints")) is not None:
        default_match(constraints)


def _start(spec: Obj, errs: FieldErrors) -> Scope:
    """What both kinds of policy have; answers what their further expressions may name."""
    checks.choice(errs, "spec.failurePolicy", spec.get("failurePolicy"), FAILURE_POLICIES)
    params = spec.get("paramKind") is not None
    if params:
        validate_param_kind(spec["paramKind"], "spec.paramKind", errs)
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errs.required("spec.matchConstraints")
    else:
        validate_match(constraints, "spec.matchConstraints", errs)
        if not constraints.get("resourceRules"):
            errs.required("spec.matchConstraints.resourceRules")
    return Scope(params=params, composed=bool(spec.get("variables")))


def _variables(spec: Obj, scope: Scope, errs: FieldErrors) -> None:
    for index, variable in enumerate(spec.get("variables") or ()):
        at, name, text = f"spec.variables[{index}]", variable.get("name", ""), variable.get("expression", "")
        if not name.strip():
            errs.required(f"{at}.name", "name is not specified")
        elif not is_identifier(name):
            errs.invalid(f"{at}.name", name, "must be a valid CEL identifier")
        if not text.strip():
            errs.required(f"{at}.expression", "expression is not specified")
            continue
        program = scope.check(text, ANYTHING, f"{at}.expression", errs)
        if program is not None:
            scope.variables[name] = program.type


# -- validating


def validate_validating(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    scope = _start(spec, errs)
    params = spec.get("paramKind") is not None
    validate_match_conditions(spec.get("matchConditions") or [], "spec.matchConditions", params, errs)
    _variables(spec, scope, errs)
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        message = "validations or auditAnnotations must contain at least one item"
        errs.required("spec.validations", message)
        errs.required("spec.auditAnnotations", message)
    for index, validation in enumerate(validations):
        _validation(validation, f"spec.validations[{index}]", scope, errs)
    if len(annotations) > MAX_ANNOTATIONS:
        errs.invalid(
            "spec.auditAnnotations", annotations, f"must not have more than {MAX_ANNOTATIONS} auditAnnotations"
        )
    seen: set[str] = set()
    for index, annotation in enumerate(annotations):
        at, key = f"spec.auditAnnotations[{index}]", annotation.get("key", "")
        _annotation(annotation, obj["metadata"].get("name", ""), at, scope, errs)
        if key in seen:
            errs.duplicate(f"{at}.key", key)
        seen.add(key)


def _validation(validation: Obj, at: str, scope: Scope, errs: FieldErrors) -> None:
    text, message = validation.get("expression", ""), validation.get("message", "")
    said = validation.get("messageExpression", "")
    if text.strip():
        scope.check(text, CONDITION, f"{at}.expression", errs)
    else:
        errs.required(f"{at}.expression", "expression is not specified")
    if said.strip():
        scope.check(said, TEXT, f"{at}.messageExpression", errs, authorizer=False)
    elif said:
        errs.invalid(f"{at}.messageExpression", said, "must be non-empty if specified")
    if message and not message.strip():
        errs.invalid(f"{at}.message", message, "must be non-empty if specified")
    elif any(end in message.strip() for end in "\n\r"):
        errs.invalid(f"{at}.message", message, "must not contain line breaks")
    reason = validation.get("reason")
    if reason is not None and reason not in REASONS:
        errs.not_supported(f"{at}.reason", reason, REASONS)


def _annotation(annotation: Obj, name: str, at: str, scope: Scope, errs: FieldErrors) -> None:
    key, given = annotation.get("key", ""), annotation.get("valueExpression", "")
    if name:
        checks.named(errs, f"{at}.key", f"{name}/{key}", names.qualified_name)
    else:
        errs.invalid(f"{at}.key", key, "requires metadata.name be non-empty")
    text = given.strip()
    if not text:
        errs.required(f"{at}.valueExpression", "valueExpression is not specified")
    elif names.longer_than(text, MAX_ANNOTATION_EXPRESSION):
        errs.required(f"{at}.valueExpression", f"must not exceed {MAX_ANNOTATION_EXPRESSION} bytes in length")
    else:
        scope.check(text, TEXT_OR_NULL, f"{at}.valueExpression", errs, shown=given)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    status = new.get("status") or {}
    for index, warning in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        at = f"status.typeChecking.expressionWarnings[{index}]"
        checks.required(errs, at, warning, "warning")
        if not warning.get("fieldRef", "").strip():
            errs.required(f"{at}.fieldRef")


# -- mutating


def validate_mutating(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    scope = _start(spec, errs)
    params = spec.get("paramKind") is not None
    validate_mutated_operations(spec.get("matchConstraints") or {}, "spec.matchConstraints", errs)
    validate_match_conditions(spec.get("matchConditions") or [], "spec.matchConditions", params, errs)
    _variables(spec, scope, errs)
    mutations = spec.get("mutations") or []
    if not mutations:
        errs.required("spec.mutations", "mutations must contain at least one item")
    for index, mutation in enumerate(mutations):
        _mutation(mutation, f"spec.mutations[{index}]", scope, errs)
    checks.one_of(errs, "spec.reinvocationPolicy", spec.get("reinvocationPolicy"), REINVOCATIONS)


MUTATIONS = {"ApplyConfiguration": ("applyConfiguration", (APPLIED,)), "JSONPatch": ("jsonPatch", (PATCHES,))}
"""patchType -> the field that has the expression, and what that gives."""


def _mutation(mutation: Obj, at: str, scope: Scope, errs: FieldErrors) -> None:
    kind = mutation.get("patchType", "")
    checks.one_of(errs, f"{at}.patchType", kind, MUTATIONS)
    if kind not in MUTATIONS:
        return
    field, wanted = MUTATIONS[kind]
    change = mutation.get(field)
    if change is None:
        errs.required(f"{at}.{field}", f"must be specified when patchType is {kind}")
    elif text := change.get("expression", "").strip():
        scope.check(text, wanted, f"{at}.{field}.expression", errs, structs=PATCH_TYPES)
    else:
        errs.required(f"{at}.{field}.expression")
    for other, _ in MUTATIONS.values():
        if other != field and mutation.get(other) is not None:
            errs.invalid(f"{at}.{other}", f"{{{other}}}", f"must not be specified when patchType is {kind}")


# -- printing


def _row(obj: Obj, now: float, field: str) -> list[Any]:
    spec = obj["spec"]
    kind = spec.get("paramKind")
    shown = f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind is not None else "<unset>"
    return [obj["metadata"]["name"], len(spec.get(field) or ()), shown, age_of(obj, now)]


def validating_row(obj: Obj, now: float) -> list[Any]:
    return _row(obj, now, "validations")


def mutating_row(obj: Obj, now: float) -> list[Any]:
    return _row(obj, now, "mutations")


PARAM_KIND = Column(name="ParamKind", description="The kind of its parameters.")
KINDS = (
    Kind(
        kind="MutatingAdmissionPolicy",
        plural="mutatingadmissionpolicies",
        qualified_finalizers=False,
        extra={"storage": "admissionregistration.k8s.io/v1beta1/MutatingAdmissionPolicy"},
        categories=CATEGORIES,
        namespaced=False,
        versions=(version("MutatingAdmissionPolicy"),),
        defaults=defaults,
        validate=validate_mutating,
        warnings=warnings,
        has_generation=True,
        allow_unconditional_update=False,
        columns=(
            NAME,
            Column(name="Mutations", type="integer", description="How many changes it makes."),
            PARAM_KIND,
            AGE,
        ),
        row=mutating_row,
    ),
    Kind(
        kind="ValidatingAdmissionPolicy",
        plural="validatingadmissionpolicies",
        qualified_finalizers=False,
        categories=CATEGORIES,
        namespaced=False,
        versions=(version("ValidatingAdmissionPolicy"),),
        subresources=(status_of("ValidatingAdmissionPolicy"),),
        defaults=defaults,
        prepare_status_update=keep_metadata,
        validate=validate_validating,
        validate_status_update=validate_status_update,
        warnings=warnings,
        has_generation=True,
        allow_unconditional_update=False,
        columns=(
            NAME,
            Column(name="Validations", type="integer", description="How many rules it has."),
            PARAM_KIND,
            AGE,
        ),
        row=validating_row,
    ),
)
