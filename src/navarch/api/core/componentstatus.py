"""ComponentStatus: whether the control plane's parts work, found out when it is asked for. Source: registry/core."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import NAME
from navarch.api.kind import Column, Kind, Version
from navarch.machinery.types import Obj


def row(obj: Obj, now: float) -> list[Any]:
    healthy = next((c for c in obj.get("conditions") or () if c.get("type") == "Healthy"), None)
    if healthy is None:
        return [obj["metadata"]["name"], "Unknown", "", ""]
    state = "Healthy" if healthy.get("status") == "True" else "Unhealthy"
    return [obj["metadata"]["name"], state, healthy.get("message", ""), healthy.get("error", "")]


KIND = Kind(
    kind="ComponentStatus",
    plural="componentstatuses",
    short_names=("cs",),
    namespaced=False,
    versions=(
        Version(
            group="",
            version="v1",
            definition="io.k8s.api.core.v1.ComponentStatus",
            deprecation="v1 ComponentStatus is deprecated in v1.19+",
        ),
    ),
    verbs=("get", "list"),
    ephemeral=True,
    columns=(
        NAME,
        Column(name="Status", description="Whether the part works."),
        Column(name="Message", description="What it says of itself."),
        Column(name="Error", description="Why it could not be asked."),
    ),
    row=row,
)
