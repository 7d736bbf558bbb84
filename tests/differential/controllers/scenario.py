"""Scenarios: what somebody does to a cluster, as data; and names of kinds.

scenarios/AREA.yaml is a list of `{name, nodes?, alone?, steps}`. `$ns` stands for the scenario's namespace, which bears its name.
`nodes` is how many nodes of its own it has (`$ns-0`, `$ns-1`...), tainted so that nobody else's pods come; `alone` scenarios are
played one after another when all others are through. A step is one of

    create: OBJECT              | a list of them
    patch: {of: TARGET, with: PATCH, type: merge|json|strategic|apply, subresource: ""}
    scale: {of: TARGET, replicas: N}
    delete: {of: TARGET, propagation: "", grace: null}
    evict: TARGET
    own: {of: Kind/name, owners: [TARGET...], block: false, finalizers: []}
    wait: CONDITION             | a list of them; until each is met
    record: NAME                | waits until all is quiet, and keeps what is there
    sleep: SECONDS
    node: {stop: N} | {start: N}        a node of its own falls silent, and comes back

TARGET is `Kind/name`, or `{kind, where, pick}`: the pick-th (by name) that is so. CONDITION is `{kind, name?, where?, count?}`: as many as
`count` (1, unless it says so) are so. WHERE is of paths and values; `conditions.Ready.status` finds an item by type or name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from navarch.api.scheme import kinds
from navarch.client.interface import Resource
from navarch.machinery.types import Obj

DIRECTORY = Path(__file__).parent / "scenarios"
MISSING = object()


@dataclass(frozen=True, slots=True)
class Scenario:
    area: str
    name: str
    steps: Sequence[Mapping[str, Any]]
    nodes: int = 0
    alone: bool = False


@cache
def scenarios() -> tuple[Scenario, ...]:
    found: list[Scenario] = []
    for path in sorted(DIRECTORY.glob("*.yaml")):
        for entry in yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if "name" not in entry:
                continue  # anchors
            steps = _filled(entry["steps"], entry["name"])
            found.append(Scenario(path.stem, entry["name"], steps, entry.get("nodes", 0), entry.get("alone", False)))
    if len({scenario.name for scenario in found}) != len(found):
        raise ValueError("two scenarios bear one name")
    return tuple(found)


def _filled(value: Any, namespace: str) -> Any:
    if isinstance(value, str):
        return value.replace("$ns", namespace)
    if isinstance(value, list):
        return [_filled(item, namespace) for item in value]
    if isinstance(value, dict):
        return {_filled(key, namespace): _filled(item, namespace) for key, item in value.items()}
    return value


@cache
def _by_kind() -> dict[str, Resource]:
    found: dict[str, Resource] = {}
    for kind in kinds():
        for version in kind.versions:
            resource = Resource(version.group, version.version, kind.plural, kind.namespaced)
            if version.group != "extensions":
                found.setdefault(kind.kind, resource)
            found[f"{resource.api_version}/{kind.kind}"] = resource
    found["Event"] = Resource("", "v1", "events")
    return found


def resource(kind: str, api_version: str = "") -> Resource:
    """Of a kind; one that is not built in is namespaced, and its plural ends in s."""
    known = _by_kind()
    if api_version:
        if found := known.get(f"{api_version}/{kind}"):
            return found
        group, _, version = api_version.rpartition("/")
        return Resource(group, version, kind.lower() + "s")
    return known[kind]


def value_at(obj: Any, path: str) -> Any:
    """What lies at a dotted path (`\\.` is a dot in a name); items of lists by number, or by their type or name."""
    for part in path.replace("\\.", "\0").split("."):
        part = part.replace("\0", ".")
        if isinstance(obj, dict):
            obj = obj.get(part, MISSING)
        elif isinstance(obj, list) and part.isdecimal():
            obj = obj[int(part)] if int(part) < len(obj) else MISSING
        elif isinstance(obj, list):
            named = (i for i in obj if isinstance(i, dict) and part in (i.get("type"), i.get("name"), i.get("key")))
            obj = next(named, MISSING)
        else:
            return MISSING
    return obj


def holds(obj: Obj, where: Mapping[str, Any]) -> bool:
    """Null means that nothing is there; `~` that something is."""
    for path, wanted in where.items():
        found = value_at(obj, path)
        if wanted is None:
            if found is not MISSING:
                return False
        elif wanted == "~":
            if found is MISSING:
                return False
        elif found != wanted:
            return False
    return True
