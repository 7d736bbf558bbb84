"""What policy rules, role references and subjects must be. Source: apis/rbac validation."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.kind import Version
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

GROUP = "rbac.authorization.k8s.io"


def versions(kind: str) -> tuple[Version, ...]:
    """The current version of a kind, and the retired one."""
    return (
        Version(group=GROUP, version="v1", definition=f"io.k8s.api.rbac.v1.{kind}"),
        retired(GROUP, "v1beta1", kind, "1.17", "1.22", f"{GROUP}/v1"),
    )


def validate_rules(rules: Sequence[Obj], namespaced: bool, errs: FieldErrors) -> None:
    for index, rule in enumerate(rules):
        at = f"rules[{index}]"
        if not rule.get("verbs"):
            errs.required(f"{at}.verbs", "verbs must contain at least one value")
        if urls := rule.get("nonResourceURLs"):
            if namespaced:
                errs.invalid(f"{at}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs")
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                message = "rules cannot apply to both regular resources and non-resource URLs"
                errs.invalid(f"{at}.nonResourceURLs", urls, message)
            continue
        if not rule.get("apiGroups"):
            errs.required(f"{at}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            errs.required(f"{at}.resources", "resource rules must supply at least one resource")


def default_binding(obj: Obj) -> None:
    reference = obj.setdefault("roleRef", {})
    if not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in obj.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = GROUP


def validate_binding(obj: Obj, namespaced: bool, errs: FieldErrors) -> None:
    reference = obj.get("roleRef") or {}
    if (group := reference.get("apiGroup", "")) != GROUP:
        errs.not_supported("roleRef.apiGroup", group, (GROUP,))
    kinds = ("ClusterRole", "Role") if namespaced else ("ClusterRole",)
    if (kind := reference.get("kind", "")) not in kinds:
        errs.not_supported("roleRef.kind", kind, kinds)
    if name := reference.get("name"):
        checks.named(errs, "roleRef.name", name, names.path_segment)
    else:
        errs.required("roleRef.name")
    for index, subject in enumerate(obj.get("subjects") or ()):
        _subject(subject, namespaced, f"subjects[{index}]", errs)


def _subject(subject: Obj, namespaced: bool, at: str, errs: FieldErrors) -> None:
    name, kind, group = subject.get("name", ""), subject.get("kind", ""), subject.get("apiGroup", "")
    if not name:
        errs.required(f"{at}.name")
    if kind == "ServiceAccount":
        if name:
            checks.named(errs, f"{at}.name", name, names.dns1123_subdomain)
        if group:
            errs.not_supported(f"{at}.apiGroup", group, ("",))
        if not namespaced and not subject.get("namespace"):
            errs.required(f"{at}.namespace")
    elif kind in ("User", "Group"):
        if group != GROUP:
            errs.not_supported(f"{at}.apiGroup", group, (GROUP,))
    else:
        errs.not_supported(f"{at}.kind", kind, ("Group", "ServiceAccount", "User"))


def validate_binding_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    if new.get("roleRef") != old.get("roleRef"):
        reference = new.get("roleRef") or {}
        shown = {word[0].upper() + word[1:]: reference.get(word, "") for word in ("aPIGroup", "kind", "name")}
        shown["APIGroup"] = reference.get("apiGroup", "")
        errs.invalid("roleRef", shown, "cannot change roleRef")
