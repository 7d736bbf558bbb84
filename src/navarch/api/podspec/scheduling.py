"""Validation of where a pod may run: affinity, tolerations, spread, gates."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def validate_tolerations(tolerations: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    for index, toleration in enumerate(tolerations):
        at = f"{path}[{index}]"
        key, operator, value = (toleration.get(field) or "" for field in ("key", "operator", "value"))
        effect = toleration.get("effect") or ""
        if key:
            checks.named(errs, f"{at}.key", key, names.qualified_name)
        elif operator != "Exists":
            message = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errs.invalid(f"{at}.operator", operator, message)
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            errs.invalid(f"{at}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        if operator in ("", "Equal"):
            if messages := names.label_value(value):
                errs.invalid(f"{at}.operator", value, ";".join(messages))
        elif operator == "Exists":
            if value:
                errs.invalid(f"{at}.operator", value, "value must be empty when `operator` is 'Exists'")
        elif operator in ("Lt", "Gt"):
            errs.not_supported(f"{at}.operator", operator, ("Equal", "Exists", "Gt", "Lt"))
        else:
            errs.not_supported(f"{at}.operator", operator, ("Equal", "Exists"))
        if effect and effect not in EFFECTS:
            errs.not_supported(f"{at}.effect", effect, EFFECTS)


def validate_affinity(affinity: Obj, path: str, errs: FieldErrors) -> None:
    if node := affinity.get("nodeAffinity"):
        _node_affinity(node, f"{path}.nodeAffinity", errs)
    for field in ("podAffinity", "podAntiAffinity"):
        if pods := affinity.get(field):
            _pod_affinity(pods, f"{path}.{field}", errs)


def _weight(term: Obj, path: str, errs: FieldErrors) -> None:
    weight = term.get("weight", 0)
    if not 0 < weight <= 100:
        errs.invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _node_affinity(affinity: Obj, path: str, errs: FieldErrors) -> None:
    if (required := affinity.get(REQUIRED)) is not None:
        validate_node_selector(required, f"{path}.{REQUIRED}", errs)
    for index, term in enumerate(affinity.get(PREFERRED) or ()):
        _weight(term, f"{path}.{PREFERRED}[{index}]", errs)
        _node_term(term.get("preference") or {}, f"{path}.{PREFERRED}[{index}].preference", False, errs)


def validate_node_selector(selector: Obj, path: str, errs: FieldErrors) -> None:
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        errs.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for index, term in enumerate(terms):
        _node_term(term, f"{path}.nodeSelectorTerms[{index}]", True, errs)


def _node_term(term: Obj, path: str, strict: bool, errs: FieldErrors) -> None:
    for index, requirement in enumerate(term.get("matchExpressions") or ()):
        _node_requirement(requirement, f"{path}.matchExpressions[{index}]", strict, errs)
    for index, requirement in enumerate(term.get("matchFields") or ()):
        at, values = f"{path}.matchFields[{index}]", requirement.get("values") or ()
        operator, key = requirement.get("operator", ""), requirement.get("key", "")
        if operator not in ("In", "NotIn"):
            errs.invalid(f"{at}.operator", operator, "not a valid selector operator")
        elif len(values) != 1:
            message = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            errs.required(f"{at}.values", message)
        if key != "metadata.name":
            errs.invalid(f"{at}.key", key, "not a valid field selector key")
            continue
        for position, value in enumerate(values):
            checks.named(errs, f"{at}.values[{position}]", value, names.dns1123_subdomain)


def _node_requirement(requirement: Obj, path: str, strict: bool, errs: FieldErrors) -> None:
    operator, values = requirement.get("operator", ""), requirement.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            errs.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            errs.forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            errs.required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    else:
        errs.invalid(f"{path}.operator", operator, "not a valid selector operator")
    checks.named(errs, f"{path}.key", requirement.get("key", ""), names.qualified_name)
    if strict:
        for index, value in enumerate(values):
            checks.named(errs, f"{path}.values[{index}]", value, names.label_value)


def _pod_affinity(affinity: Obj, path: str, errs: FieldErrors) -> None:
    for index, term in enumerate(affinity.get(REQUIRED) or ()):
        _pod_term(term, f"{path}.{REQUIRED}[{index}]", errs)
    for index, weighted in enumerate(affinity.get(PREFERRED) or ()):
        at = f"{path}.{PREFERRED}[{index}]"
        _weight(weighted, at, errs)
        _pod_term(weighted.get("podAffinityTerm") or {}, f"{at}.podAffinityTerm", errs)


def _pod_term(term: Obj, path: str, errs: FieldErrors) -> None:
    checks.label_selector(errs, f"{path}.labelSelector", term.get("labelSelector"))
    checks.label_selector(errs, f"{path}.namespaceSelector", term.get("namespaceSelector"))
    for namespace in term.get("namespaces") or ():
        checks.named(errs, f"{path}.namespace", namespace, names.dns1123_label)
    _label_keys(term, path, errs)
    key = term.get("topologyKey", "")
    if not key:
        errs.required(f"{path}.topologyKey", "can not be empty")
    checks.named(errs, f"{path}.topologyKey", key, names.qualified_name)


def _label_keys(holder: Obj, path: str, errs: FieldErrors) -> None:
    """matchLabelKeys and mismatchLabelKeys: they need a selector, and exclude each other."""
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        keys = holder.get(field) or ()
        if keys and holder.get("labelSelector") is None:
            errs.forbidden(f"{path}.{field}", "must not be specified when labelSelector is not set")
            continue
        for index, key in enumerate(keys):
            checks.named(errs, f"{path}.{field}[{index}]", key, names.qualified_name)
    both = set(holder.get("mismatchLabelKeys") or ())
    for index, key in enumerate(holder.get("matchLabelKeys") or ()):
        if key in both:
            message = "exists in both matchLabelKeys and mismatchLabelKeys"
            errs.invalid(f"{path}.matchLabelKeys[{index}]", key, message)


def validate_spread(constraints: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    for index, constraint in enumerate(constraints):
        at = f"{path}[{index}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        action = constraint.get("whenUnsatisfiable", "")
        if skew <= 0:
            errs.invalid(f"{at}.maxSkew", skew, "must be greater than zero")
        if not key:
            errs.required(f"{at}.topologyKey", "can not be empty")
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            errs.not_supported(f"{at}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        later = ((c.get("topologyKey", ""), c.get("whenUnsatisfiable", "")) for c in constraints[index + 1 :])
        if (key, action) in later:
            errs.duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}")
        if (domains := constraint.get("minDomains")) is not None:
            if domains <= 0:
                errs.invalid(f"{at}.minDomains", domains, "must be greater than zero")
            if action != "DoNotSchedule":
                message = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                errs.invalid(f"{at}.minDomains", domains, message)
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            if (policy := constraint.get(field)) is not None and policy not in ("Honor", "Ignore"):
                errs.not_supported(f"{at}.{field}", policy, ("Honor", "Ignore"))
        _label_keys(constraint, at, errs)
        checks.label_selector(errs, f"{at}.labelSelector", constraint.get("labelSelector"))


def validate_gates(gates: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, gate in enumerate(gates):
        name = gate.get("name", "")
        checks.named(errs, f"{path}[{index}]", name, names.qualified_name)
        if name in seen:
            errs.duplicate(f"{path}[{index}]", name)
        seen.add(name)
