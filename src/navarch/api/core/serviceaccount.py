"""ServiceAccount: who a pod's programs are. Source: upstream's registry/core/serviceaccount."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Kind, Subresource, Version
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj


def prepare_create(obj: Obj) -> None:
    """Of a reference to a secret only the name counts."""
    if secrets := obj.get("secrets"):
        obj["secrets"] = [{"name": secret["name"]} if secret.get("name") else {} for secret in secrets]


def prepare_update(new: Obj, old: Obj) -> None:
    prepare_create(new)


def row(obj: Obj, now: float) -> list[Any]:
    return [obj["metadata"]["name"], age_of(obj, now)]


KIND = Kind(
    kind="ServiceAccount",
    plural="serviceaccounts",
    short_names=("sa",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.ServiceAccount"),),
    subresources=(
        Subresource(name="token", kind="TokenRequest", verbs=("create",), group="authentication.k8s.io", version="v1"),
    ),
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    columns=(NAME, AGE),
    row=row,
)
