"""Role and ClusterRole: what may be done, in one namespace or everywhere."""

from __future__ import annotations

from navarch.api.columns import NAME_AND_CREATION, creation_row
from navarch.api.kind import Kind
from navarch.api.podspec import checks
from navarch.api.rbac.rules import validate_rules, versions
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj


def validate_role(obj: Obj, errs: FieldErrors) -> None:
    validate_rules(obj.get("rules") or (), True, errs)


def validate_cluster_role(obj: Obj, errs: FieldErrors) -> None:
    validate_rules(obj.get("rules") or (), False, errs)
    aggregation = obj.get("aggregationRule")
    if aggregation is None:
        return
    at = "aggregationRule.clusterRoleSelectors"
    selectors = aggregation.get("clusterRoleSelectors")
    if not selectors:
        errs.required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil")
    for index, selector in enumerate(selectors or ()):
        known = len(errs.items)
        checks.label_selector(errs, f"{at}[{index}]", selector)
        if len(errs.items) > known:
            errs.invalid(f"{at}[{index}]", None, "invalid label selector.")


KINDS = (
    Kind(
        kind="ClusterRole",
        plural="clusterroles",
        namespaced=False,
        versions=versions("ClusterRole"),
        validate=validate_cluster_role,
        name_is_valid=names.path_segment,
        allow_create_on_update=True,
        columns=NAME_AND_CREATION,
        row=creation_row,
    ),
    Kind(
        kind="Role",
        plural="roles",
        versions=versions("Role"),
        validate=validate_role,
        name_is_valid=names.path_segment,
        allow_create_on_update=True,
        columns=NAME_AND_CREATION,
        row=creation_row,
    ),
)
