"""RoleBinding and ClusterRoleBinding: who has a role, in one namespace or everywhere."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind
from navarch.api.rbac.rules import default_binding, validate_binding, validate_binding_update, versions
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def validate_role_binding(obj: Obj, errs: FieldErrors) -> None:
    validate_binding(obj, True, errs)


def validate_cluster_role_binding(obj: Obj, errs: FieldErrors) -> None:
    validate_binding(obj, False, errs)


def row(obj: Obj, now: float) -> list[Any]:
    reference, subjects = obj.get("roleRef") or {}, obj.get("subjects") or ()

    def named(kind: str) -> str:
        return ", ".join(s.get("name", "") for s in subjects if s.get("kind") == kind)

    accounts = [f"{s.get('namespace', '')}/{s.get('name', '')}" for s in subjects if s.get("kind") == "ServiceAccount"]
    return [
        obj["metadata"]["name"],
        f"{reference.get('kind', '')}/{reference.get('name', '')}",
        age_of(obj, now),
        named("User"),
        named("Group"),
        ", ".join(accounts),
    ]


COLUMNS = (
    NAME,
    Column(name="Role", description="The role that is given."),
    AGE,
    Column(name="Users", description="Users who have the role.", priority=1),
    Column(name="Groups", description="Groups that have the role.", priority=1),
    Column(name="ServiceAccounts", description="Service accounts that have the role.", priority=1),
)

KINDS = (
    Kind(
        kind="ClusterRoleBinding",
        plural="clusterrolebindings",
        namespaced=False,
        versions=versions("ClusterRoleBinding"),
        defaults=default_binding,
        validate=validate_cluster_role_binding,
        validate_update=validate_binding_update,
        name_is_valid=names.path_segment,
        allow_create_on_update=True,
        columns=COLUMNS,
        row=row,
    ),
    Kind(
        kind="RoleBinding",
        plural="rolebindings",
        versions=versions("RoleBinding"),
        defaults=default_binding,
        validate=validate_role_binding,
        validate_update=validate_binding_update,
        name_is_valid=names.path_segment,
        allow_create_on_update=True,
        columns=COLUMNS,
        row=row,
    ),
)
