"""Nobody gives away more than they have: what a set of rules would grant that its giver does not hold.

Source: component-helpers/auth/rbac/validation (Covers), pkg/registry/rbac/validation (ConfirmNoEscalation).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from navarch.apiserver.auth.rbac import Rule
from navarch.machinery import gotext

MOST = 50_000
"""Single permissions that one check looks at: rules multiply."""
EVERYTHING = (
    Rule(("*",), ("*",), ("*",), (), ()),
    Rule(("*",), (), (), (), ("*",)),
)


class TooMany(Exception):
    """The rules stand for more permissions than are looked at."""


class Permission(NamedTuple):
    """The smallest rule: one verb on one resource (of one name, or of all: None), or on one path."""

    verb: str
    group: str = ""
    resource: str = ""
    name: str | None = None
    url: str = ""


def uncovered(owned: Sequence[Rule], wanted: Sequence[Rule]) -> list[str]:
    """What of `wanted` no rule of `owned` holds, in upstream's words and order. Raises TooMany."""
    count = sum(_size(rule) for rule in wanted)
    if count > MOST:
        raise TooMany(f"the rules grant {count} single permissions, of which at most {MOST} are checked")
    missing = [p for rule in wanted for p in _permissions(rule) if not any(_covers(own, p) for own in owned)]
    return sorted(_descriptions(missing))


def _size(rule: Rule) -> int:
    resources = len(rule.groups) * len(rule.resources) * max(1, len(rule.names))
    return len(rule.verbs) * (resources + len(rule.urls))


def _permissions(rule: Rule) -> Iterator[Permission]:
    names: Sequence[str | None] = rule.names or (None,)
    for group in rule.groups:
        for resource in rule.resources:
            for verb in rule.verbs:
                for name in names:
                    yield Permission(verb, group, resource, name)
    for url in rule.urls:
        for verb in rule.verbs:
            yield Permission(verb, url=url)


def _covers(own: Rule, wanted: Permission) -> bool:
    if wanted.verb not in own.verbs and "*" not in own.verbs:
        return False
    if wanted.url:
        return any(_url_covers(url, wanted.url) for url in own.urls)
    if wanted.group not in own.groups and "*" not in own.groups:
        return False
    if own.names and (wanted.name is None or wanted.name not in own.names):
        return False
    resource = wanted.resource
    if resource in own.resources or "*" in own.resources:
        return True
    return "/" in resource and f"*/{resource.partition('/')[2]}" in own.resources


def _url_covers(own: str, wanted: str) -> bool:
    return own == wanted or (own.endswith("*") and wanted.startswith(own.rstrip("*")))


def _descriptions(missing: Iterable[Permission]) -> set[str]:
    """One line for each resource, with all its missing verbs; one for each path and verb."""
    verbs: dict[Permission, list[str]] = {}
    for one in missing:
        key = one if one.url else one._replace(verb="")
        verbs.setdefault(key, []).append(one.verb)
    return {_describe(key, found) for key, found in verbs.items()}


def _describe(key: Permission, verbs: Sequence[str]) -> str:
    if key.url:
        parts = [f"NonResourceURLs:{quoted((key.url,))}"]
    else:
        parts = [f"APIGroups:{quoted((key.group,))}", f"Resources:{quoted((key.resource,))}"]
        if key.name is not None:
            parts.append(f"ResourceNames:{quoted((key.name,))}")
    return "{" + ", ".join((*parts, f"Verbs:{quoted(verbs)}")) + "}"


def quoted(words: Iterable[str]) -> str:
    """A list as Go's %q shows it."""
    return "[" + " ".join(gotext.quoted(word) for word in words) + "]"
