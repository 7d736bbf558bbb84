"""What the server serves, told to clients: /api, /apis and below (legacy and aggregated), /version, health."""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from navarch.api.apiextensions.kinds import version_order
from navarch.api.kind import Kind, Subresource, Version
from navarch.apiserver.negotiate import dump, is_pretty
from navarch.apiserver.request import Request, Response
from navarch.apiserver.scheme import Scheme
from navarch.machinery.types import GroupVersion, Obj

MINOR = "36"
AGGREGATED = ("v2", "v2beta1")
GROUP_PRIORITIES: Mapping[str, int] = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "resource.k8s.io": 16200,
    "metrics.k8s.io": 100,
}
"""How much groups are preferred, as upstream's aggregator has it; others follow, by name."""
REGISTRATION = "apiregistration.k8s.io"


class Discovery:
    """Documents made once from the kinds."""

    def __init__(self, scheme: Scheme, address: str) -> None:
        self._scheme = scheme
        self._address = address
        self._revision = -1
        self._served: dict[GroupVersion, list[tuple[Kind, Version]]] = {}
        self._groups: list[str] = []
        self._documents: dict[str, Obj] = {}
        self._aggregated: dict[tuple[str, str], tuple[bytes, str]] = {}

    @property
    def _by_version(self) -> dict[GroupVersion, list[tuple[Kind, Version]]]:
        """What is served now; the documents of what was are forgotten."""
        if self._revision != self._scheme.revision:
            self._revision = self._scheme.revision
            self._documents.clear()
            self._aggregated.clear()
            self._groups = []
            self._served = found = {}
            for kind in self._scheme.kinds:
                for version in kind.versions:
                    found.setdefault(version.gv, []).append((kind, version))
            for served in found.values():
                served.sort(key=lambda s: s[0].plural)
        return self._served

    def groups(self) -> list[str]:
        """Every group but the core one; those that hold only other groups' kinds come last."""
        by_version = self._by_version
        if not self._groups:
            homes = {kind.hub.group for served in by_version.values() for kind, _ in served}
            self._groups = sorted(
                {gv.group for gv in by_version} - {""},
                key=lambda group: (group != REGISTRATION, -GROUP_PRIORITIES.get(group, 0), group not in homes, group),
            )
        return self._groups

    def versions(self, group: str) -> list[str]:
        """A group's versions, the preferred one first."""
        return sorted((gv.version for gv in self._by_version if gv.group == group), key=version_order)

    def handle(self, request: Request, parts: Sequence[str]) -> Response | None:
        """Answers /api, /apis, /api/v1, /apis/G and /apis/G/V; None for any other path."""
        _ = self._by_version
        if len(parts) == 1 and (version := _aggregated_version(request.headers.get("accept", ""))):
            return self._aggregate(request, parts[0], version)
        tree = self._document("/".join(parts), parts)
        return None if tree is None else Response(200, dump(tree, is_pretty(request)))

    def _document(self, path: str, parts: Sequence[str]) -> Obj | None:
        found = self._documents.get(path)
        if found is None:
            found = self._make(parts)
            if found is not None:
                self._documents[path] = found
        return found

    def _make(self, parts: Sequence[str]) -> Obj | None:
        match parts:
            case ["api"]:
                cidrs = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": cidrs}
            case ["apis"]:
                groups = [self._group(group) for group in self.groups() if self._current(group)]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if group in self.groups():
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["api", version]:
                return self._resources(GroupVersion("", version))
            case ["apis", group, version]:
                return self._resources(GroupVersion(group, version))
            case _:
                return None

    def _current(self, group: str) -> list[str]:
        """The versions that the old form of discovery tells. Retired ones are left out: clients that search it by plain
        names (the Python clients, kopf) would find things twice. Who asks for a retired version by its full name (kubectl,
        Helm) reads the aggregated form."""
        return [version for version in self.versions(group) if not self._retired(GroupVersion(group, version))]

    def _group(self, group: str) -> Obj:
        shown = self._current(group) or self.versions(group)
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in shown]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _retired(self, gv: GroupVersion) -> bool:
        """Whether upstream has this version no longer."""
        return all(version.deprecation and not kind.typed_items for kind, version in self._by_version[gv])

    def _resources(self, gv: GroupVersion) -> Obj | None:
        served = self._by_version.get(gv)
        if served is None:
            return None
        resources: list[Obj] = []
        for kind, version in served:
            resources.append(_resource(kind, version))
            resources.extend(_subresource(kind, s) for s in subresources_of(kind, version))
        typed: Obj = {"kind": "APIResourceList"} if not gv.group else {"kind": "APIResourceList", "apiVersion": "v1"}
        return {**typed, "groupVersion": str(gv), "resources": resources}

    # -- aggregated

    def _aggregate(self, request: Request, root: str, version: str) -> Response:
        key = (root, version)
        if key not in self._aggregated:
            groups = [""] if root == "api" else self.groups()
            items = [self._aggregated_group(group) for group in groups]
            tree = {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": f"apidiscovery.k8s.io/{version}",
                "metadata": {},
                "items": items,
            }
            body = orjson.dumps(tree)
            self._aggregated[key] = (body, f'"{hashlib.sha512(body).hexdigest().upper()}"')
        body, etag = self._aggregated[key]
        headers = [("ETag", etag), ("Vary", "Accept"), ("Cache-Control", "public")]
        if request.headers.get("if-none-match") == etag:
            return Response(304, b"", headers=headers)
        content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        return Response(200, body, content_type, headers)

    def _aggregated_group(self, group: str) -> Obj:
        versions: list[Obj] = []
        for version in self.versions(group):
            served = self._by_version[GroupVersion(group, version)]
            resources = [_discovered(kind, v) for kind, v in served]
            versions.append({"version": version, "resources": resources, "freshness": "Current"})
        return {"metadata": {"name": group} if group else {}, "versions": versions}


def subresources_of(kind: Kind, version: Version) -> list[Subresource]:
    """By name; those of a custom kind may differ from version to version, and its status comes first."""
    if kind.typed_items:
        return list(kind.extra.get("subresources", {}).get(version.version, kind.subresources))
    return sorted(kind.subresources, key=lambda s: s.name)


def _verbs(kind: Kind) -> list[str]:
    return list(kind.verbs) if kind.typed_items else sorted(kind.verbs)


def _aggregated_version(accept: str) -> str:
    """The version of aggregated discovery that an Accept header asks for before plain JSON; "" for none."""
    for choice in accept.split(","):
        media, *rest = (part.strip() for part in choice.split(";"))
        params = dict(part.split("=", 1) for part in rest if "=" in part)
        if media != "application/json":
            continue
        if params.get("as") != "APIGroupDiscoveryList":
            return ""
        if params.get("g") == "apidiscovery.k8s.io" and params.get("v") in AGGREGATED:
            return params["v"]
    return ""


def storage_version_hash(kind: Kind) -> str:
    """Changes when what is stored changes: the hash of the storage version's group/version/kind."""
    hub = kind.hub
    text = kind.extra.get("storage") or f"{hub.group}/{hub.version}/{kind.kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:8]).decode()


def _singular(kind: Kind) -> str:
    return kind.singular or kind.kind.lower()


def _resource(kind: Kind, version: Version) -> Obj:
    found: Obj = {
        "name": kind.plural,
        "singularName": _singular(kind),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _verbs(kind),
    }
    if _competes(kind, version):
        if kind.short_names:
            found["shortNames"] = list(kind.short_names)
        if kind.categories:
            found["categories"] = list(kind.categories)
    if not kind.ephemeral:
        found["storageVersionHash"] = storage_version_hash(kind)
    return found


def _subresource(kind: Kind, sub: Subresource) -> Obj:
    found: Obj = {"name": f"{kind.plural}/{sub.name}", "singularName": "", "namespaced": kind.namespaced}
    if sub.group or sub.version:
        found["group"], found["version"] = sub.group, sub.version
    found["kind"] = sub.kind
    found["verbs"] = sorted(sub.verbs)
    return found


def _competes(kind: Kind, version: Version) -> bool:
    """Whether the group's short names count: those of a retired group do not."""
    return version.group == kind.hub.group or not version.deprecation


def _discovered(kind: Kind, version: Version) -> Obj:
    here = (version.group, version.version) if kind.typed_items else ("", "")
    found: Obj = {
        "resource": kind.plural,
        "responseKind": {"group": here[0], "version": here[1], "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": _singular(kind),
        "verbs": _verbs(kind),
    }
    if _competes(kind, version):
        if kind.short_names:
            found["shortNames"] = list(kind.short_names)
        if kind.categories:
            found["categories"] = list(kind.categories)
    if subresources := subresources_of(kind, version):
        found["subresources"] = [
            {
                "subresource": s.name,
                "responseKind": {"group": s.group or here[0], "version": s.version or here[1], "kind": s.kind},
                "verbs": sorted(s.verbs),
            }
            for s in subresources
        ]
    return found


def version_info(product: str) -> Obj:
    return {
        "major": "1",
        "minor": MINOR,
        "emulationMajor": "1",
        "emulationMinor": MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": str(int(MINOR) - 1),
        "gitVersion": f"v1.{MINOR}.0+navarch{product}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"linux/{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(platform.machine(), platform.machine()) }",
    }


def plain(status: int, text: str) -> Response:
    headers = [("X-Content-Type-Options", "nosniff")]
    return Response(status, text.encode(), "text/plain; charset=utf-8", headers)


def not_found() -> Response:
    """What upstream's mux says of a path that nothing serves."""
    return plain(404, "404 page not found\n")


def index(paths: Sequence[str]) -> Any:
    return {"paths": sorted(paths)}
