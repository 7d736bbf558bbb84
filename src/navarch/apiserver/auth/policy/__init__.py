"""The roles and bindings that every cluster has: upstream's bootstrap policy, as a table (`default.policy`).

A line that is not indented begins an object; the indented lines below a role are its rules:

    cluster-role NAME [LABEL=VALUE ...]        role NAMESPACE NAME
        VERBS : GROUPS : RESOURCES [: NAMES]
        VERBS : URLS
        aggregate LABEL=VALUE
    cluster-binding NAME ROLE SUBJECTS         binding NAMESPACE NAME KIND:ROLE SUBJECTS

What begins with [FEATURE] is there where that feature is on. Subjects are user:NAME, group:NAME or account:NAMESPACE:NAME. At every start what is missing is made, and rules and
subjects that are missing are put back, unless an object says otherwise (annotation rbac.authorization.kubernetes.io/autoupdate).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import NamedTuple

from navarch.api.features import NONE, Features
from navarch.client.interface import Resource
from navarch.machinery.types import Obj

GROUP = "rbac.authorization.k8s.io"
CLUSTER_ROLES = Resource(GROUP, "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(GROUP, "v1", "clusterrolebindings", namespaced=False)
ROLES = Resource(GROUP, "v1", "roles")
ROLE_BINDINGS = Resource(GROUP, "v1", "rolebindings")
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
BOOTSTRAPPING = "kubernetes.io/bootstrapping"


class Default(NamedTuple):
    resource: Resource
    object: Obj


def defaults(features: Features = NONE) -> list[Default]:
    """Every default object, as it is created."""
    text = files(__name__).joinpath("default.policy").read_text()
    return list(_objects(_enabled(text.splitlines(), features)))


def _enabled(lines: Iterable[str], features: Features) -> Iterator[str]:
    for line in lines:
        plain = line.lstrip()
        if not plain.startswith("["):
            yield line
            continue
        name, _, rest = plain[1:].partition("] ")
        if features.has(name):
            yield line[: len(line) - len(plain)] + rest


def _objects(lines: Iterable[str]) -> Iterator[Default]:
    current: Obj = {}
    for line in lines:
        if line.startswith(" "):
            _rule(current, line.strip())
            continue
        made = _head(line.split())
        current = made.object
        yield made


def _head(words: list[str]) -> Default:
    match words:
        case ["cluster-role", name, *labels]:
            return Default(CLUSTER_ROLES, {"metadata": _meta(name, labels), "rules": []})
        case ["role", namespace, name]:
            return Default(ROLES, {"metadata": {**_meta(name), "namespace": namespace}, "rules": []})
        case ["cluster-binding", name, role, *subjects]:
            return Default(CLUSTER_ROLE_BINDINGS, _binding(_meta(name), "ClusterRole", role, subjects))
        case ["binding", namespace, name, reference, *subjects]:
            kind, _, role = reference.partition(":")
            return Default(ROLE_BINDINGS, _binding({**_meta(name), "namespace": namespace}, kind, role, subjects))
        case _:
            raise ValueError(f"default.policy: {' '.join(words)}")


def _meta(name: str, labels: Iterable[str] = ()) -> Obj:
    pairs = dict(label.split("=", 1) for label in labels)
    return {"name": name, "labels": {BOOTSTRAPPING: "rbac-defaults", **pairs}, "annotations": {AUTO_UPDATE: "true"}}


def _binding(meta: Obj, kind: str, role: str, subjects: Iterable[str]) -> Obj:
    reference = {"apiGroup": GROUP, "kind": kind, "name": role}
    found = [_subject(subject) for subject in subjects]
    return {"metadata": meta, "roleRef": reference, **({"subjects": found} if found else {})}


def _subject(text: str) -> Obj:
    kind, _, name = text.partition(":")
    if kind == "account":
        namespace, _, name = name.partition(":")
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return {"apiGroup": GROUP, "kind": kind.capitalize(), "name": name}


def _rule(role: Obj, line: str) -> None:
    if line.startswith("aggregate "):
        label, _, value = line.removeprefix("aggregate ").partition("=")
        selectors = role.setdefault("aggregationRule", {}).setdefault("clusterRoleSelectors", [])
        selectors.append({"matchLabels": {label: value}})
        return
    verbs, *parts = (part.split() for part in line.split(" : "))
    if len(parts) == 1:
        role["rules"].append({"nonResourceURLs": parts[0], "verbs": verbs})
        return
    rule: Obj = {"apiGroups": ["" if g == "core" else g for g in parts[0]], "resources": parts[1], "verbs": verbs}
    if len(parts) > 2:
        rule["resourceNames"] = parts[2]
    role["rules"].append(rule)


def completed(live: Obj, wanted: Obj) -> Obj | None:
    """A live object with what it lacks of its default; None where it lacks nothing or wants no update."""
    if (live["metadata"].get("annotations") or {}).get(AUTO_UPDATE) == "false":
        return None
    made = dict(live)
    labels = live["metadata"].get("labels") or {}
    missing_labels = {k: v for k, v in wanted["metadata"]["labels"].items() if k not in labels}
    if missing_labels:
        made["metadata"] = {**live["metadata"], "labels": {**labels, **missing_labels}}
    field = "subjects" if "roleRef" in wanted else "rules"
    if "aggregationRule" not in wanted:
        present = live.get(field) or []
        lacking = [item for item in wanted.get(field) or [] if item not in present]
        if lacking:
            made[field] = [*present, *lacking]
    return made if made != live else None
