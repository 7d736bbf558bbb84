"""What webhooks and policies share: which requests they are about. Source: apis/admissionregistration validation."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from navarch.api.admissionregistration.expressions import CONDITION, Scope
from navarch.api.kind import Version
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

GROUP = "admissionregistration.k8s.io"
CATEGORIES = ("api-extensions",)
FAILURE_POLICIES, MATCH_POLICIES = ("Fail", "Ignore"), ("Equivalent", "Exact")
REINVOCATIONS = ("IfNeeded", "Never")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
STATIC_SUFFIX = ".static.k8s.io"
MAX_CONDITIONS = 64
_identifier = re.compile("[_a-zA-Z][_a-zA-Z0-9]*", re.ASCII).fullmatch
RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
        "let", "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip


def version(kind: str) -> Version:
    return Version(group=GROUP, version="v1", definition=f"io.k8s.api.admissionregistration.v1.{kind}")


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    if not obj["metadata"].get("name", "").endswith(STATIC_SUFFIX):
        return []
    return [
        f'metadata.name: names ending with "{STATIC_SUFFIX}" are reserved for static manifest-based configurations '
        "and cannot be managed via the API"
    ]


def default(tree: Obj, **values: object) -> None:
    for field, value in values.items():
        if tree.get(field) is None:
            tree[field] = value


def default_scope(rules: Sequence[Obj]) -> None:
    for rule in rules:
        default(rule, scope="*")


def default_match(resources: Obj) -> None:
    default(resources, matchPolicy="Equivalent", namespaceSelector={}, objectSelector={})
    default_scope(resources.get("resourceRules") or ())
    default_scope(resources.get("excludeResourceRules") or ())


def is_identifier(name: str) -> bool:
    """Whether an expression may call something so."""
    return _identifier(name) is not None and name not in RESERVED


# -- rules


def validate_rule(rule: Obj, at: str, errs: FieldErrors) -> None:
    """A rule with its operations."""
    operations: list[str] = rule.get("operations") or []
    if not operations:
        errs.required(f"{at}.operations")
    _alone(operations, f"{at}.operations", "operations", errs)
    for index, operation in enumerate(operations):
        if operation not in OPERATIONS:
            errs.not_supported(f"{at}.operations[{index}]", operation, OPERATIONS)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        values: list[str] = rule.get(field) or []
        if not values:
            errs.required(f"{at}.{field}")
        _alone(values, f"{at}.{field}", what, errs)
    for index, value in enumerate(rule.get("apiVersions") or ()):
        if not value:
            errs.required(f"{at}.apiVersions[{index}]")
    _resources(rule.get("resources") or [], f"{at}.resources", errs)
    scope = rule.get("scope")
    if scope is not None and scope not in SCOPES:
        errs.not_supported(f"{at}.scope", scope, SCOPES)


def _alone(values: Collection[str], at: str, what: str, errs: FieldErrors) -> None:
    if len(values) > 1 and "*" in values:
        errs.invalid(at, values, f"if '*' is present, must not specify other {what}")


def _resources(resources: list[str], at: str, errs: FieldErrors) -> None:
    if not resources:
        errs.required(at)
    all_parts: set[str] = set()
    """Resources whose every subresource is meant (`x/*`)."""
    every: set[str] = set()
    """Subresources that are meant of every resource (`*/x`)."""
    plain = False
    for index, text in enumerate(resources):
        if not text:
            errs.required(f"{at}[{index}]")
            continue
        resource, slash, part = text.partition("/")
        if not slash:
            plain = text != "*"
            continue
        if resource in all_parts:
            errs.invalid(f"{at}[{index}]", text, f"if '{resource}/*' is present, must not specify {text}")
        if part in every:
            errs.invalid(f"{at}[{index}]", text, f"if '*/{part}' is present, must not specify {text}")
        if part == "*":
            all_parts.add(resource)
        if resource == "*":
            every.add(part)
    if len(resources) > 1 and "*/*" in resources:
        errs.invalid(at, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and plain:
        errs.invalid(at, resources, "if '*' is present, must not specify other resources without subresources")


def validate_match(resources: Obj, at: str, errs: FieldErrors) -> None:
    """MatchResources of a policy or binding."""
    checks.choice(errs, f"{at}.matchPolicy", resources.get("matchPolicy"), MATCH_POLICIES)
    for field in ("namespaceSelector", "objectSelector"):
        if resources.get(field) is None:
            errs.required(f"{at}.{field}")
        checks.label_selector(errs, f"{at}.{field}", resources.get(field))
    for field in ("resourceRules", "excludeResourceRules"):
        for index, rule in enumerate(resources.get(field) or ()):
            where = f"{at}.{field}[{index}]"
            _resource_names(rule.get("resourceNames") or [], f"{where}.resourceNames", errs)
            validate_rule(rule, where, errs)


def _resource_names(listed: list[str], at: str, errs: FieldErrors) -> None:
    for index, name in enumerate(listed):
        checks.named(errs, f"{at}[{index}]", name, names.path_segment)
        if name in listed[:index]:
            errs.duplicate(f"{at}[{index}]", name)


def validate_mutated_operations(resources: Obj, at: str, errs: FieldErrors) -> None:
    """What is deleted cannot be changed."""
    allowed = tuple(operation for operation in OPERATIONS if operation != "DELETE")
    for rule in resources.get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            if operation not in allowed:
                errs.not_supported(f"{at}.resourceRules.operations", operation, allowed)


def validate_match_conditions(conditions: Sequence[Obj], at: str, params: bool, errs: FieldErrors) -> None:
    if len(conditions) > MAX_CONDITIONS:
        errs.too_many(at, len(conditions), MAX_CONDITIONS)
    scope = Scope(params=params)
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        where, name = f"{at}[{index}]", condition.get("name", "")
        if text := condition.get("expression", "").strip():
            scope.check(text, CONDITION, f"{where}.expression", errs)
        else:
            errs.required(f"{where}.expression")
        if not name:
            errs.required(f"{where}.name")
            continue
        checks.named(errs, f"{where}.name", name, names.qualified_name)
        if name in seen:
            errs.duplicate(f"{where}.name", name)
        seen.add(name)


# -- parameters


def validate_param_kind(kind: Obj, at: str, errs: FieldErrors) -> None:
    text, name = kind.get("apiVersion", ""), kind.get("kind", "")
    if not text:
        errs.required(f"{at}.apiVersion")
    elif text.count("/") > 1:
        errs.invalid(f"{at}.apiVersion", text, f"unexpected GroupVersion string: {text}")
    else:
        group, _, release = text.rpartition("/")
        if group and (wrong := names.dns1123_subdomain(group)):
            errs.invalid(f"{at}.apiVersion", group, ",".join(wrong))
        if not release:
            errs.invalid(f"{at}.apiVersion", text, "version must be specified")
        elif wrong := names.dns1035_label(release):
            errs.invalid(f"{at}.apiVersion", release, ",".join(wrong))
    if not name:
        errs.required(f"{at}.kind")
    elif wrong := names.dns1035_label(name.lower()):
        errs.invalid(f"{at}.kind", name, "may have mixed case, but should otherwise match: " + ",".join(wrong))


def validate_param_ref(reference: Obj, at: str, errs: FieldErrors) -> None:
    name, selector = reference.get("name", ""), reference.get("selector")
    exclusive = "name and selector are mutually exclusive"
    if name:
        checks.named(errs, f"{at}.name", name, names.path_segment)
        if selector is not None:
            errs.forbidden(f"{at}.name", exclusive)
    if selector is not None:
        checks.label_selector(errs, f"{at}.selector", selector)
        if name:
            errs.forbidden(f"{at}.selector", exclusive)
    if not name and selector is None:
        errs.required(at, "one of name or selector must be specified")
    checks.one_of(errs, f"{at}.parameterNotFoundAction", reference.get("parameterNotFoundAction"), ("Allow", "Deny"))
