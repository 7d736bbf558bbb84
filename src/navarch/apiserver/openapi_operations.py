"""What can be asked of the API, verb by verb: paths, parameters and answers, in neither OpenAPI version's words.

Source: apiserver's endpoints/installer.go and endpoints/openapi, apiextensions' openapi/builder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from navarch.api.kind import Kind, Subresource, Version
from navarch.apiserver.discovery import subresources_of
from navarch.machinery.types import GroupVersion, Obj

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_MEDIA = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_STREAMS = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_CUSTOM_MEDIA = ("application/json", "application/yaml")
_CUSTOM_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")

QUERY: dict[str, tuple[str, str]] = {
    "allowWatchBookmarks": ("boolean", "Ask a watch for BOOKMARK events."),
    "command": ("string", "The command and its arguments, one parameter each."),
    "container": ("string", "Which container of the pod; needed where it has several."),
    "continue": ("string", "Token of the answer that this list goes on from."),
    "dryRun": ("string", "`All`: run every step of the write but storing it."),
    "fieldManager": ("string", "Who makes the change, for managed fields; an apply must name one."),
    "fieldSelector": ("string", "Restricts the answer to objects with these fields."),
    "fieldValidation": ("string", "`Ignore`, `Warn` or `Strict`: what is done about unknown and duplicate fields."),
    "follow": ("boolean", "Go on with what is logged later."),
    "force": ("boolean", "Let an apply take over fields that other managers own."),
    "gracePeriodSeconds": ("integer", "Seconds before the object goes; 0 at once."),
    "insecureSkipTLSVerifyBackend": ("boolean", "Do not verify the kubelet's certificate."),
    "labelSelector": ("string", "Restricts the answer to objects with these labels."),
    "limit": ("integer", "The most items to answer with."),
    "limitBytes": ("integer", "The most bytes to answer with."),
    "orphanDependents": ("boolean", "Deprecated: use propagationPolicy."),
    "path": ("string", "What is asked of the proxied server."),
    "ports": ("integer", "The pod's ports to forward (over WebSockets)."),
    "pretty": ("string", "`true`: an answer for people to read."),
    "previous": ("boolean", "The log of the container before its last restart."),
    "propagationPolicy": ("string", "`Orphan`, `Background` or `Foreground`: what becomes of dependents."),
    "resourceVersion": ("string", "What revision to read or to watch from."),
    "resourceVersionMatch": ("string", "How resourceVersion is meant: `Exact` or `NotOlderThan`."),
    "sendInitialEvents": ("boolean", "Begin a watch with the objects that are there."),
    "sinceSeconds": ("integer", "Only what was logged in so many seconds before now."),
    "stderr": ("boolean", "Get the command's errors."),
    "stdin": ("boolean", "Send the command input."),
    "stdout": ("boolean", "Get the command's output."),
    "stream": ("string", "`All`, `Stdout` or `Stderr`."),
    "tailLines": ("integer", "Only so many lines from the end."),
    "timeoutSeconds": ("integer", "How long a list or watch may take."),
    "timestamps": ("boolean", "Begin every line with its time."),
    "tty": ("boolean", "Give the command a terminal."),
    "watch": ("boolean", "Follow changes instead of listing."),
}
"""Name of a query parameter -> (its type, what it does)."""

_SELECT = ("continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch")
_LIST = ("allowWatchBookmarks", *_SELECT, "sendInitialEvents", "timeoutSeconds", "watch")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_LOG = (
    *("container", "follow", "insecureSkipTLSVerifyBackend", "limitBytes", "previous", "sinceSeconds", "stream"),
    *("tailLines", "timestamps"),
)
_STREAM = ("container", "stderr", "stdin", "stdout", "tty")
_OPTIONS = {
    "PodAttachOptions": _STREAM,
    "PodExecOptions": ("command", *_STREAM),
    "PodPortForwardOptions": ("ports",),
    "PodProxyOptions": ("path",),
    "ServiceProxyOptions": ("path",),
    "NodeProxyOptions": ("path",),
}
"""Subresources that connect to something: what their options are."""
_CONNECTS = ("get", "post")
_PROXIES = ("delete", "get", "head", "options", "patch", "post", "put")
_RETURNED = frozenset(
    [
        "CSIDriver",
        "CSINode",
        "DeviceClass",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Pod",
        "PodTemplate",
        "ResourceClaim",
        "ResourceClaimTemplate",
        "ResourceQuota",
        "ResourceSlice",
        "Service",
        "ServiceAccount",
        "StorageClass",
        "VolumeAttachment",
        "VolumeAttributesClass",
    ]
)
"""Kinds whose deletion is answered with what was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One verb on one path."""

    path: str
    method: str
    id: str
    tag: str
    description: str
    action: str = ""
    query: tuple[str, ...] = ()
    body: str = ""
    """Definition of the request's body; empty: none."""
    answer: str = ""
    """Definition of the answer; empty: text."""
    gvk: Obj | None = None
    media: tuple[str, ...] = _MEDIA
    patches: tuple[str, ...] = _PATCHES

    @property
    def codes(self) -> tuple[str, ...]:
        """What success may be."""
        if self.action in ("connect", "deletecollection") or (
            self.action == "patch" and self.patches is _CUSTOM_PATCHES
        ):
            return ("200",)
        more = {"post": ("200", "201", "202"), "put": ("200", "201"), "patch": ("200", "201"), "delete": ("200", "202")}
        return more.get(self.method, ("200",))


def operations(group: str, version: str, kinds: Iterable[Kind]) -> Iterator[Operation]:
    """Every operation on the resources of one group version."""
    mine = [(k, v) for k in kinds for v in k.versions if (v.group, v.version) == (group, version)]
    if any(not kind.typed_items for kind, _ in mine):
        gv = GroupVersion(group, version)
        root = f"/apis/{gv}/" if group else f"/api/{version}/"
        yield _plain(root, f"get{_camel(gv)}APIResources", _tag(gv), "the resources of a version", "APIResourceList")
    for kind, served in mine:
        yield from _Resource(kind, served).operations()


def group_operation(group: str) -> Operation:
    """That of `/apis/GROUP/`."""
    name = _title(group)
    return _plain(f"/apis/{group}/", f"get{name}APIGroup", _lower(name), "the versions of a group", "APIGroup")


def other_operations() -> dict[str, Operation]:
    """Those that belong to no group, by the name of their document."""
    keys, configuration = "openid/v1/jwks", ".well-known/openid-configuration"
    account = "getServiceAccountIssuerOpenID"
    text = ("application/json",)
    return {
        configuration: _plain(
            f"/{configuration}/", f"{account}Configuration", "WellKnown", "who issues tokens", "", text
        ),
        "api": _plain("/api/", "getCoreAPIVersions", "core", "the versions of the core group", "APIVersions"),
        "apis": _plain("/apis/", "getAPIVersions", "apis", "the groups", "APIGroupList"),
        keys: _plain(
            f"/{keys}/", f"{account}Keyset", "openid", "the keys of tokens", "", ("application/jwk-set+json",)
        ),
        "version": Operation(
            path="/version/",
            method="get",
            id="getCodeVersion",
            tag="version",
            description="get the server's version",
            answer="io.k8s.apimachinery.pkg.version.Info",
            media=text,
        ),
    }


def _plain(path: str, id: str, tag: str, what: str, answer: str, media: tuple[str, ...] = _MEDIA) -> Operation:
    definition = f"{META}.{answer}" if answer else ""
    return Operation(path=path, method="get", id=id, tag=tag, description=f"get {what}", answer=definition, media=media)


def _title(group: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in (group.removesuffix(".k8s.io") or "core").split("."))


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _camel(gv: GroupVersion) -> str:
    return _title(gv.group) + gv.version[:1].upper() + gv.version[1:]


def _tag(gv: GroupVersion) -> str:
    return f"{_lower(_title(gv.group))}_{gv.version}"


class _Resource:
    """A kind in one of its versions."""

    def __init__(self, kind: Kind, served: Version) -> None:
        self.kind, self.served = kind, served
        self.root = f"/apis/{served.gv}" if served.group else f"/api/{served.version}"
        below = f"namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else kind.plural
        self.many, self.one = f"{self.root}/{below}", f"{self.root}/{below}/{{name}}"
        self.camel = _camel(served.gv)
        self.scoped = ("Namespaced" if kind.namespaced else "") + kind.kind
        self.unit = self.camel + self.scoped
        self.gvk = {"group": served.group, "version": served.version, "kind": kind.kind}
        self._has = kind.verbs.__contains__
        self.media = _CUSTOM_MEDIA if kind.typed_items else _MEDIA

    def operations(self) -> Iterator[Operation]:
        yield from self._collection()
        yield from self._object()
        for subresource in subresources_of(self.kind, self.served):
            if subresource.kind in _OPTIONS:
                yield from self._connections(subresource)
            else:
                yield from self._subresource(subresource)
        if self._has("watch") and not self.kind.typed_items:
            yield from self._watches()

    def _operation(self, path: str, method: str, action: str, id: str, query: tuple[str, ...], body: str, answer: str):
        return Operation(
            path=path,
            method=method,
            id=id,
            tag=_tag(self.served.gv),
            description=f"{action} {self.kind.kind}",
            action=action,
            query=query,
            body=body,
            answer=answer,
            gvk=self.gvk,
            media=(*self.media, *(_STREAMS if action == "list" and self.media is _MEDIA else ())),
            patches=_CUSTOM_PATCHES if self.kind.typed_items else _PATCHES,
        )

    def _collection(self) -> Iterator[Operation]:
        has, definition = self._has, self.served.definition
        listed = definition + "List"
        if has("list"):
            yield self._operation(self.many, "get", "list", f"list{self.unit}", _LIST, "", listed)
            if self.kind.namespaced:
                path, id = f"{self.root}/{self.kind.plural}", f"list{self.camel}{self.kind.kind}ForAllNamespaces"
                yield self._operation(path, "get", "list", id, _LIST, "", listed)
        if has("create"):
            yield self._operation(self.many, "post", "post", f"create{self.unit}", _WRITE, definition, definition)
        if has("deletecollection"):
            query = (*_SELECT, *_DELETE, "sendInitialEvents", "timeoutSeconds")
            id, options = f"delete{self.camel}Collection{self.scoped}", f"{META}.DeleteOptions"
            yield self._operation(self.many, "delete", "deletecollection", id, query, options, f"{META}.Status")

    def _object(self) -> Iterator[Operation]:
        has, definition = self._has, self.served.definition
        if has("get"):
            yield self._operation(self.one, "get", "get", f"read{self.unit}", (), "", definition)
        if has("update"):
            yield self._operation(self.one, "put", "put", f"replace{self.unit}", _WRITE, definition, definition)
        if has("delete"):
            returned = self.kind.kind in _RETURNED and not self.kind.typed_items
            answer, options = definition if returned else f"{META}.Status", f"{META}.DeleteOptions"
            yield self._operation(self.one, "delete", "delete", f"delete{self.unit}", _DELETE, options, answer)
        if has("patch"):
            query = (*_WRITE, "force")
            yield self._operation(self.one, "patch", "patch", f"patch{self.unit}", query, f"{META}.Patch", definition)

    def _subresource(self, subresource: Subresource) -> Iterator[Operation]:
        served, path = self.served, f"{self.one}/{subresource.name}"
        version = subresource.version or served.version
        group = subresource.group or (served.group if not subresource.version else "")
        same = subresource.kind == self.kind.kind
        definition = (
            served.definition if same else f"io.k8s.api.{group.split('.')[0] or 'core'}.{version}.{subresource.kind}"
        )
        suffix = "".join(part.capitalize() for part in subresource.name.split("/"))
        for verb in subresource.verbs:
            if verb not in _METHODS:
                continue
            method, word, action = _METHODS[verb]
            query = () if verb == "get" else (*_WRITE, "force") if verb == "patch" else _WRITE
            body = "" if verb == "get" else f"{META}.Patch" if verb == "patch" else definition
            found = self._operation(path, method, action, f"{word}{self.unit}{suffix}", query, body, definition)
            changes: Obj = {
                "description": f"{action} {subresource.name} of {self.kind.kind}",
                "gvk": self.gvk
                if self.kind.typed_items
                else {"group": group, "version": version, "kind": subresource.kind},
            }
            if subresource.name == "log":
                changes |= {"query": _LOG, "answer": "", "media": (*_MEDIA, "text/plain")}
            yield replace(found, **changes)

    def _connections(self, subresource: Subresource) -> Iterator[Operation]:
        proxy = subresource.name == "proxy"
        for suffix, below in (("", ""), ("WithPath", "/{path}")) if proxy else (("", ""),):
            for method in _PROXIES if proxy else _CONNECTS:
                name = subresource.name.capitalize()
                yield Operation(
                    path=f"{self.one}/{subresource.name}{below}",
                    method=method,
                    id=f"connect{self.camel}{method.capitalize()}{self.scoped}{name}{suffix}",
                    tag=_tag(self.served.gv),
                    description=f"connect {method.upper()} requests to {subresource.name} of {self.kind.kind}",
                    action="connect",
                    query=_OPTIONS[subresource.kind],
                    gvk={**self.gvk, "kind": subresource.kind},
                    media=("*/*",),
                )

    def _watches(self) -> Iterator[Operation]:
        """The old paths of watches: deprecated, served all the same."""
        base = f"{self.root}/watch/"
        event, media = f"{META}.WatchEvent", (*self.media, *_STREAMS)

        def watch(path: str, action: str, id: str) -> Operation:
            found = self._operation(path.replace(f"{self.root}/", base, 1), "get", action, id, _LIST, "", event)
            return replace(found, media=media, description=f"{found.description}; deprecated: list with `watch`")

        yield watch(self.many, "watchlist", f"watch{self.unit}List")
        if self.kind.namespaced:
            everywhere = f"watch{self.camel}{self.kind.kind}ListForAllNamespaces"
            yield watch(f"{self.root}/{self.kind.plural}", "watchlist", everywhere)
        if self._has("get"):
            yield watch(self.one, "watch", f"watch{self.unit}")


_METHODS = {
    "get": ("get", "read", "get"),
    "update": ("put", "replace", "put"),
    "patch": ("patch", "patch", "patch"),
    "create": ("post", "create", "post"),
}
