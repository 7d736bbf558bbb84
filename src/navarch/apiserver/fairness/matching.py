"""Which flow schema a request belongs to, and which flow of it. Pure.

Source: apiserver's util/flowcontrol/rule.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from navarch.apiserver.request import RequestInfo, User
from navarch.machinery.types import Obj

ACCOUNT = "system:serviceaccount:"


def ordered(schemas: Iterable[Obj]) -> list[Obj]:
    """In the order in which they are tried."""
    return sorted(schemas, key=lambda s: (s["spec"].get("matchingPrecedence") or 1000, s["metadata"]["name"]))


def matches(schema: Obj, user: User, info: RequestInfo) -> bool:
    return any(_rule_matches(rule, user, info) for rule in schema["spec"].get("rules") or ())


def distinguisher(schema: Obj, user: User, info: RequestInfo) -> str:
    """What tells the schema's flows apart."""
    method = (schema["spec"].get("distinguisherMethod") or {}).get("type")
    if method == "ByUser":
        return user.name
    return info.namespace if method == "ByNamespace" else ""


def _rule_matches(rule: Obj, user: User, info: RequestInfo) -> bool:
    if not any(_is_subject(subject, user) for subject in rule.get("subjects") or ()):
        return False
    if info.is_resource:
        return any(_covers(one, info) for one in rule.get("resourceRules") or ())
    return any(
        _has(one["verbs"], info.verb) and _covers_path(one["nonResourceURLs"], info.path)
        for one in rule.get("nonResourceRules") or ()
    )


def _is_subject(subject: Obj, user: User) -> bool:
    match subject["kind"]:
        case "User":
            return subject["user"]["name"] in ("*", user.name)
        case "Group":
            name = subject["group"]["name"]
            return name == "*" or name in user.groups
        case "ServiceAccount":
            account = subject["serviceAccount"]
            start = f"{ACCOUNT}{account['namespace']}:"
            if account["name"] == "*":
                return user.name.startswith(start)
            return user.name == start + account["name"]
        case _:
            return False


def _covers(rule: Obj, info: RequestInfo) -> bool:
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    if not (
        _has(rule["verbs"], info.verb) and _has(rule["resources"], resource) and _has(rule["apiGroups"], info.group)
    ):
        return False
    if not info.namespace:
        return bool(rule.get("clusterScope"))
    return _has(rule.get("namespaces") or (), info.namespace)


def _has(words: Sequence[str], word: str) -> bool:
    """`*` stands for all where it stands alone."""
    return word in words or (len(words) == 1 and words[0] == "*")


def _covers_path(patterns: Sequence[str], path: str) -> bool:
    for pattern in patterns:
        if pattern in ("*", path):
            return True
        start = pattern.removesuffix("*")
        if path.startswith(start if start.endswith("/") else f"{start}/"):
            return True
    return False
