"""Binding: that a pod runs on a node, said of the pod that it is named for."""

from __future__ import annotations

from navarch.api.kind import Kind, Version

KIND = Kind(
    kind="Binding",
    plural="bindings",
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.Binding"),),
    verbs=("create",),
    ephemeral=True,
)
