"""FlowSchema: which requests belong to which priority level. Source: apis/flowcontrol defaults and validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.flowcontrol.bootstrap import EXEMPT, MANDATORY_SCHEMAS
from navarch.api.flowcontrol.rules import validate_conditions, validate_status_update, versions
from navarch.api.kind import Column, Kind, status_of
from navarch.api.meta import keep_metadata
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj

DEFAULT_PRECEDENCE, MAX_PRECEDENCE = 1000, 10000
METHODS = ("ByNamespace", "ByUser")
VERBS = ("get", "list", "create", "update", "delete", "deletecollection", "patch", "watch", "proxy")
SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
"""A subject's kind -> the field that describes it."""


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = DEFAULT_PRECEDENCE


def validate(obj: Obj, errs: FieldErrors) -> None:
    name, spec = obj["metadata"].get("name", ""), obj["spec"]
    _precedence(name, spec.get("matchingPrecedence", 0), errs)
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in METHODS:
        errs.not_supported("spec.distinguisherMethod.type", method, METHODS)
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    if level:
        checks.named(errs, "spec.priorityLevelConfiguration.name", level, names.dns1123_subdomain)
    else:
        errs.required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for index, rule in enumerate(spec.get("rules") or ()):
        _rule(rule, f"spec.rules[{index}]", errs)
    fixed = MANDATORY_SCHEMAS.get(name)
    if fixed is not None and spec != fixed:
        errs.invalid("spec", spec, f"spec of '{name}' must equal the fixed value")
    validate_conditions(obj, errs)


def _precedence(name: str, precedence: int, errs: FieldErrors) -> None:
    at = "spec.matchingPrecedence"
    if precedence <= 0:
        errs.invalid(at, precedence, "must be a positive value")
    if precedence > MAX_PRECEDENCE:
        errs.invalid(at, precedence, f"must not be greater than {MAX_PRECEDENCE}")
    if precedence == 1 and name != EXEMPT:
        errs.invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")


def _rule(rule: Obj, at: str, errs: FieldErrors) -> None:
    if not rule.get("subjects"):
        errs.required(f"{at}.subjects", "subjects must contain at least one value")
    for index, subject in enumerate(rule.get("subjects") or ()):
        _subject(subject, f"{at}.subjects[{index}]", errs)
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        errs.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for index, part in enumerate(rule.get("resourceRules") or ()):
        _resource_rule(part, f"{at}.resourceRules[{index}]", errs)
    for index, part in enumerate(rule.get("nonResourceRules") or ()):
        _path_rule(part, f"{at}.nonResourceRules[{index}]", errs)


def _subject(subject: Obj, at: str, errs: FieldErrors) -> None:
    kind = subject.get("kind", "")
    if kind not in SUBJECTS:
        errs.not_supported(f"{at}.kind", kind, SUBJECTS)
        return
    field = SUBJECTS[kind]
    who = subject.get(field)
    if who is None:
        errs.required(f"{at}.{field}", f"{field} is required when subject kind is '{kind}'")
    else:
        _who(who, kind, f"{at}.{field}", errs)
    for other, taken in SUBJECTS.items():
        if other != kind and subject.get(taken) is not None:
            errs.forbidden(f"{at}.{taken}", f"{taken} is forbidden when subject kind is not '{other}'")


def _who(who: Obj, kind: str, at: str, errs: FieldErrors) -> None:
    name = who.get("name", "")
    if not name:
        errs.required(f"{at}.name")
    elif kind == "ServiceAccount" and name != "*":
        checks.named(errs, f"{at}.name", name, names.dns1123_subdomain)
    if kind != "ServiceAccount":
        return
    if namespace := who.get("namespace", ""):
        checks.named(errs, f"{at}.namespace", namespace, names.dns1123_label)
    else:
        errs.required(f"{at}.namespace", "must specify namespace for service account")


def _alone(values: Sequence[str], at: str, what: str, errs: FieldErrors) -> bool:
    """Whether `*` is among the values; it must be the only one then."""
    if "*" not in values:
        return False
    if len(values) > 1:
        errs.invalid(at, values, f"if '*' is present, must not specify other {what}")
    return True


def _verbs(rule: Obj, at: str, errs: FieldErrors) -> None:
    verbs: list[str] = rule.get("verbs") or []
    if not verbs:
        errs.required(f"{at}.verbs", "verbs must contain at least one value")
    elif not _alone(verbs, f"{at}.verbs", "verbs", errs) and not set(verbs) <= set(VERBS):
        errs.not_supported(f"{at}.verbs", verbs, VERBS)


def _path_rule(rule: Obj, at: str, errs: FieldErrors) -> None:
    _verbs(rule, at, errs)
    urls: list[str] = rule.get("nonResourceURLs") or []
    if not urls:
        errs.required(f"{at}.nonResourceURLs", "nonResourceURLs must contain at least one value")
    elif not _alone(urls, f"{at}.nonResourceURLs", "non-resource URLs", errs):
        for index, url in enumerate(urls):
            if wrong := _path_problem(url):
                errs.invalid(f"{at}.nonResourceURLs[{index}]", url, wrong)


def _path_problem(path: str) -> str:
    if not path:
        return "must not be empty"
    if path == "/":
        return ""
    if not path.startswith("/"):
        return "must start with slash"
    if " " in path:
        return "must not contain white-space"
    if "//" in path:
        return "must not contain double slash"
    stars = path.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not path.endswith("/*")) else ""


def _resource_rule(rule: Obj, at: str, errs: FieldErrors) -> None:
    _verbs(rule, at, errs)
    for field, one, many in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values: list[str] = rule.get(field) or []
        if not values:
            errs.required(f"{at}.{field}", f"resource rules must supply at least one {one}")
        else:
            _alone(values, f"{at}.{field}", many, errs)
    namespaces: list[str] = rule.get("namespaces") or []
    if not namespaces and not rule.get("clusterScope"):
        message = "resource rules that are not cluster scoped must supply at least one namespace"
        errs.required(f"{at}.namespaces", message)
    elif not _alone(namespaces, f"{at}.namespaces", "namespaces", errs):
        for index, namespace in enumerate(namespaces):
            for message in names.dns1123_label(namespace):
                text = f"each member of this list must be '*' or a DNS-1123 label; {message}"
                errs.invalid(f"{at}.namespaces[{index}]", namespace, text)


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj["spec"]
    method = spec.get("distinguisherMethod")
    conditions = (obj.get("status") or {}).get("conditions") or ()
    dangling = next((c.get("status", "") for c in conditions if c.get("type") == "Dangling"), "?")
    return [
        obj["metadata"]["name"],
        (spec.get("priorityLevelConfiguration") or {}).get("name", ""),
        spec.get("matchingPrecedence", 0),
        method.get("type", "") if method is not None else NONE,
        age_of(obj, now),
        dangling,
    ]


KIND = Kind(
    kind="FlowSchema",
    plural="flowschemas",
    namespaced=False,
    versions=versions("FlowSchema"),
    subresources=(status_of("FlowSchema"),),
    defaults=defaults,
    prepare_status_update=keep_metadata,
    validate=validate,
    validate_status_update=validate_status_update,
    has_generation=True,
    columns=(
        NAME,
        Column(name="PriorityLevel", description="The priority level of the requests."),
        Column(name="MatchingPrecedence", description="Which schema comes first: the lowest."),
        Column(name="DistinguisherMethod", description="What tells the flows apart."),
        AGE,
        Column(name="MissingPL", description="Whether the priority level is missing."),
    ),
    row=row,
)
