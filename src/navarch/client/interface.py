"""The one client interface. Controllers, the scheduler, the kubelet and the proxy know the API only through it.

`navarch.apiserver.inprocess` and `navarch.client.http` implement it; both raise `StatusError` for every failure
that the API answers, and `ConnectionError` where no answer came.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from navarch.machinery.types import Obj

PatchType = Literal["json", "merge", "strategic", "apply"]
"""application/{json-patch,merge-patch,strategic-merge-patch}+json, application/apply-patch+yaml."""


class Resource(NamedTuple):
    """A resource at a version, as a request path names it."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and self.namespaced:
            root += f"/namespaces/{namespace}"
        root += f"/{self.plural}"
        if name:
            root += f"/{name}"
        if subresource:
            root += f"/{subresource}"
        return root


class ListResult(NamedTuple):
    resource_version: str
    items: Sequence[Obj]
    """Each with apiVersion and kind. Shared and immutable: copy before changing."""
    continue_token: str = ""
    remaining: int = 0


class WatchEvent(NamedTuple):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK; an ERROR ends the watch by raising StatusError."""

    type: str
    object: Obj


class Client(Protocol):
    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Obj: ...

    async def list(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> ListResult:
        """An empty namespace lists all namespaces."""
        ...

    def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncIterator[Sequence[WatchEvent]]:
        """Events after `resource_version`, with bookmarks, in batches as they come. Ends when the server ends it;
        raises StatusError (410 when the version is too old) or ConnectionError."""
        ...

    async def create(
        self, resource: Resource, obj: Obj, namespace: str = "", *, name: str = "", subresource: str = ""
    ) -> Obj:
        """`name` with `subresource` for bindings, evictions, tokens."""
        ...

    async def update(self, resource: Resource, obj: Obj, namespace: str = "", *, subresource: str = "") -> Obj: ...

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Obj: ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        resource_version: str = "",
        grace_period_seconds: int | None = None,
        propagation: Literal["", "Background", "Foreground", "Orphan"] = "",
    ) -> Obj:
        """`uid` and `resource_version` are preconditions. Answers the object as last seen, or a Status."""
        ...

    async def delete_collection(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None: ...

    async def raw(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Any:
        """Any other path; a JSON body in and out."""
        ...
