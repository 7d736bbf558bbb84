"""The questions who somebody is."""

from __future__ import annotations

from navarch.api.kind import Kind, Version

GROUP = "authentication.k8s.io"


def _review(kind: str) -> Kind:
    return Kind(
        kind=kind,
        plural=kind.lower() + "s",
        namespaced=False,
        versions=(Version(group=GROUP, version="v1", definition=f"io.k8s.api.authentication.v1.{kind}"),),
        verbs=("create",),
        ephemeral=True,
    )


KINDS = (_review("SelfSubjectReview"), _review("TokenReview"))
