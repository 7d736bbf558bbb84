"""One discovery and one OpenAPI of what this server and the extension servers serve. Pure.

Sources: kube-aggregator's handler_apis and handler_discovery, apiserver's endpoints/discovery/aggregated, kube-openapi's
aggregator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from navarch.api.apiextensions.kinds import version_order
from navarch.apiserver.aggregation.remote import Remote
from navarch.apiserver.discovery import REGISTRATION
from navarch.machinery.types import Obj

Priority = Callable[[str], int]
"""The priority of a group."""
LATER = 1000
"""The version priority of what has no APIService."""


def group_list(tree: Obj, remotes: Iterable[Remote], priority: Priority) -> Obj:
    """The APIGroupList with the groups and versions of `remotes`."""
    groups = {group["name"]: group for group in tree["groups"]}
    for name, own in _by_group(remotes).items():
        groups[name] = group(groups.get(name), name, own)
    return {**tree, "groups": _ordered(groups, priority)}


def group(local: Obj | None, name: str, remotes: Sequence[Remote]) -> Obj:
    """The APIGroup with the versions of `remotes`."""
    versions = [v["version"] for v in (local or {}).get("versions") or ()]
    named = [{"groupVersion": f"{name}/{v}", "version": v} for v in _versions(versions, remotes)]
    return {**(local or {"name": name}), "versions": named, "preferredVersion": named[0]}


def aggregated(tree: Obj, remotes: Iterable[Remote], known: Mapping[str, Obj], priority: Priority) -> Obj:
    """The APIGroupDiscoveryList with what is `known` of `remotes` (APIVersionDiscovery by APIService)."""
    groups = {item["metadata"].get("name", ""): item for item in tree["items"]}
    for name, own in _by_group(remotes).items():
        item: Obj = groups.get(name) or {"metadata": {"name": name}, "versions": []}
        found = {v["version"]: v for v in item["versions"]}
        found |= {r.version: known.get(r.name) or {"version": r.version, "freshness": "Stale"} for r in own}
        groups[name] = {
            **item,
            "versions": [found[v] for v in _versions([v["version"] for v in item["versions"]], own)],
        }
    return {**tree, "items": _ordered(groups, priority)}


def _by_group(remotes: Iterable[Remote]) -> dict[str, list[Remote]]:
    found: dict[str, list[Remote]] = {}
    for remote in remotes:
        if remote.group:
            found.setdefault(remote.group, []).append(remote)
    return found


def _ordered(groups: Mapping[str, Obj], priority: Priority) -> list[Obj]:
    names = sorted(groups, key=lambda name: (name != REGISTRATION, -priority(name), name))
    return [groups[name] for name in names]


def _versions(local: Iterable[str], remotes: Iterable[Remote]) -> list[str]:
    ranks = dict.fromkeys(local, LATER) | {remote.version: remote.version_priority for remote in remotes}
    return sorted(ranks, key=lambda version: (-ranks[version], version_order(version)))


def from_aggregated(tree: Any, remote: Remote) -> Obj | None:
    """What an APIGroupDiscoveryList says of the version; None for nothing. Raises for what is no such list."""
    for item in tree["items"]:
        if item["metadata"].get("name", "") == remote.group:
            for version in item["versions"]:
                if version["version"] == remote.version:
                    return {**version, "freshness": "Current"}
    return None


def from_legacy(tree: Any, remote: Remote) -> Obj:
    """The same of an APIResourceList. Raises for what is no such list."""
    found: dict[str, Obj] = {}
    for entry in tree["resources"]:
        name, _, sub = entry["name"].partition("/")
        kind = {
            "group": entry.get("group") or remote.group,
            "version": entry.get("version") or remote.version,
            "kind": entry["kind"],
        }
        if sub:
            parent = found.setdefault(name, {"resource": name, "scope": _scope(entry), "verbs": []})
            shown = {"subresource": sub, "responseKind": kind, "verbs": entry["verbs"]}
            parent.setdefault("subresources", []).append(shown)
            continue
        resource = found.setdefault(name, {"resource": name})
        resource |= {"responseKind": kind, "scope": _scope(entry), "verbs": entry["verbs"]}
        resource["singularResource"] = entry.get("singularName") or ""
        for field in ("shortNames", "categories"):
            if entry.get(field):
                resource[field] = entry[field]
    return {"version": remote.version, "resources": list(found.values()), "freshness": "Current"}


def _scope(entry: Obj) -> str:
    return "Namespaced" if entry.get("namespaced") else "Cluster"


# -- OpenAPI


def swagger(tree: Obj, specs: Sequence[tuple[Remote, Obj]]) -> Obj:
    """The Swagger document with the extension servers' paths and what those need; definitions of a name that means
    something else here get another one."""
    paths, definitions = dict(tree["paths"]), dict(tree["definitions"])
    for remote, spec in specs:
        own = own_paths(remote, spec)
        theirs = spec.get("definitions") or {}
        names: dict[str, str] = {}
        for name in reached(own, theirs):
            names[name] = _free(name, theirs[name], definitions)
        for name, new in names.items():
            definitions.setdefault(new, _renamed(theirs[name], names))
        paths |= {path: _renamed(item, names) for path, item in own.items() if path not in paths}
    return {**tree, "paths": paths, "definitions": definitions}


REFERENCE = "#/definitions/"


def own_paths(remote: Remote, spec: Obj) -> Obj:
    """The paths of a Swagger document that are the version's, with the parameters that it has written elsewhere."""
    paths: Obj = spec.get("paths") or {}
    shared: Obj = {f"#/parameters/{name}": one for name, one in (spec.get("parameters") or {}).items()}
    mine = {path: item for path, item in paths.items() if path.startswith(f"{remote.root}/") or path == remote.root}
    return {path: _inlined(item, shared) for path, item in mine.items()} if shared else mine


def _inlined(node: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(value, shared) for value in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str) and reference in shared:
        return shared[reference]
    return {key: _inlined(value, shared) for key, value in node.items()}


def reached(node: Any, definitions: Mapping[str, Any]) -> list[str]:
    """The definitions that a node leads to."""
    found: dict[str, None] = {}
    waiting: list[Any] = [node]
    while waiting:
        at = waiting.pop()
        if isinstance(at, dict):
            reference = at.get("$ref")
            if isinstance(reference, str) and reference.startswith(REFERENCE):
                name = reference[len(REFERENCE) :]
                if name in definitions and name not in found:
                    found[name] = None
                    waiting.append(definitions[name])
            waiting.extend(at.values())
        elif isinstance(at, list):
            waiting.extend(at)
    return sorted(found)


def _free(name: str, definition: Any, taken: Mapping[str, Any]) -> str:
    """The name where it is free or means the same already (its description aside), else one with a number."""
    new, number = name, 1
    while new in taken and not _alike(taken[new], definition):
        number += 1
        new = f"{name}_v{number}"
    return new


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = (one.keys() | other.keys()) - {"description", "x-kubernetes-group-version-kind"}
        return all(_alike(one.get(key), other.get(key)) for key in keys)
    return one == other


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    if not isinstance(node, dict):
        return node
    shaped = {key: _renamed(value, names) for key, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith(REFERENCE):
        name = reference[len(REFERENCE) :]
        shaped["$ref"] = REFERENCE + names.get(name, name)
    return shaped
