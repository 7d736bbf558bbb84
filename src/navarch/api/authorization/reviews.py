"""The questions whether somebody may do something. Source: apis/authorization and its validation."""

from __future__ import annotations

from navarch.api.kind import Kind, Version
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

GROUP = "authorization.k8s.io"
AT = "spec.resourceAttributes"


def validate_access_review(obj: Obj, errs: FieldErrors) -> None:
    _spec(obj, errs)
    _empty_metadata(obj, errs, "must be empty")


def validate_self_review(obj: Obj, errs: FieldErrors) -> None:
    _attributes(obj.get("spec") or {}, errs)
    _selectors(obj, errs)
    _empty_metadata(obj, errs, "must be empty")


def validate_local_review(obj: Obj, errs: FieldErrors) -> None:
    _spec(obj, errs)
    _empty_metadata(obj, errs, "must be empty except for namespace", "namespace")
    spec = obj.get("spec") or {}
    if (resource := spec.get("resourceAttributes")) is not None:
        found = resource.get("namespace", "")
        if found != obj["metadata"].get("namespace", ""):
            errs.invalid(f"{AT}.namespace", found, "must match metadata.namespace")
    if (path := spec.get("nonResourceAttributes")) is not None:
        errs.invalid("spec.nonResourceAttributes", _shown(path), "disallowed on this kind of request")


def _spec(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    _attributes(spec, errs)
    if not spec.get("user") and not spec.get("groups"):
        errs.invalid("spec.user", "", "at least one of user or group must be specified")
    _selectors(obj, errs)


def _attributes(spec: Obj, errs: FieldErrors) -> None:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and path is not None:
        errs.invalid(
            "spec.nonResourceAttributes", _shown(path), "cannot be specified in combination with resourceAttributes"
        )
    if resource is None and path is None:
        message = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errs.invalid("spec.resourceAttributes", None, message)


def _shown(path: Obj) -> Obj:
    return {"Path": path.get("path", ""), "Verb": path.get("verb", "")}


def _selectors(obj: Obj, errs: FieldErrors) -> None:
    resource = (obj.get("spec") or {}).get("resourceAttributes") or {}
    for word in ("fieldSelector", "labelSelector"):
        selector = resource.get(word)
        if selector is None:
            continue
        at = f"{AT}.{word}"
        raw, requirements = selector.get("rawSelector", ""), selector.get("requirements") or ()
        if raw and requirements:
            errs.invalid(f"{at}.rawSelector", raw, "may not specified at the same time as requirements")
        if not raw and not requirements:
            errs.required(f"{at}.requirements", f"when {at} is specified, requirements or rawSelector is required")
        for index, term in enumerate(requirements):
            _requirement(f"{at}.requirements[{index}]", term, word == "labelSelector", errs)


def _requirement(at: str, term: Obj, label: bool, errs: FieldErrors) -> None:
    """Unknown operators pass: newer clients may know more."""
    key, values = term.get("key", ""), term.get("values") or ()
    if not label and not key:
        errs.required(f"{at}.key", "must be specified")
    match term.get("operator", ""):
        case "In" | "NotIn" if not values:
            errs.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist" if values:
            errs.forbidden(f"{at}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
        case _:
            pass
    if label:
        checks.named(errs, f"{at}.key", key, names.qualified_name)
        for position, value in enumerate(values):
            checks.each(errs, f"{at}.values[{position}]", value, names.label_value(value))


def _empty_metadata(obj: Obj, errs: FieldErrors, message: str, *but: str) -> None:
    metadata = {k: v for k, v in obj["metadata"].items() if v and k != "managedFields" and k not in but}
    if metadata:
        errs.invalid("metadata", obj["metadata"], message)


def _review(kind: str, **more: bool) -> Kind:
    return Kind(
        kind=kind,
        plural=kind.lower() + "s",
        namespaced=more.get("namespaced", False),
        versions=(Version(group=GROUP, version="v1", definition=f"io.k8s.api.authorization.v1.{kind}"),),
        verbs=("create",),
        ephemeral=True,
    )


KINDS = (
    _review("LocalSubjectAccessReview", namespaced=True),
    _review("SelfSubjectAccessReview"),
    _review("SelfSubjectRulesReview"),
    _review("SubjectAccessReview"),
)
