"""The words every room shares: objects, and the names that address them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Obj: TypeAlias = "dict[str, Any]"
"""A Kubernetes object (or a part of one) as a JSON tree. Treat any Obj that you did not make as immutable."""


class GroupKind(NamedTuple):
    """A kind without its version; prints as messages name it: `Deployment.apps`, `Pod`."""

    group: str
    kind: str

    def __str__(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind


class GroupResource(NamedTuple):
    """A resource without its version; prints as messages name it: `deployments.apps`, `pods`."""

    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource


class GroupVersion(NamedTuple):
    """An API group and version; prints as `apiVersion` does: `apps/v1`, `v1`."""

    group: str
    version: str

    def __str__(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @staticmethod
    def parse(api_version: str) -> GroupVersion:
        """Reads an `apiVersion`. Raises ValueError where it has more than one slash."""
        group, slash, version = api_version.partition("/")
        if "/" in version:
            raise ValueError(f"unexpected GroupVersion string: {api_version}")
        return GroupVersion(group, version) if slash else GroupVersion("", group)


class Key(NamedTuple):
    """Where an object lives within its resource. `namespace` is empty for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Obj) -> Key:
    meta = obj["metadata"]
    return Key(meta.get("namespace", ""), meta["name"])
