"""Role-based access control, decided on the watch caches. Source: plugin/pkg/auth/authorizer/rbac.

Decisions are remembered until any role or binding changes; a remembered one costs a dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.request import User
from navarch.apiserver.watchcache import CacheSet, Entry, ResourceCache
from navarch.machinery.types import GroupResource, Obj

GROUP = "rbac.authorization.k8s.io"
REMEMBERED = 50_000
SERVICE_ACCOUNT = "system:serviceaccount:"


class Rule(NamedTuple):
    """A PolicyRule, ready to be asked."""

    verbs: frozenset[str]
    groups: frozenset[str]
    resources: frozenset[str]
    names: frozenset[str]
    urls: tuple[str, ...]

    @staticmethod
    def of(rule: Obj) -> Rule:
        return Rule(
            frozenset(rule.get("verbs") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("resources") or ()),
            frozenset(rule.get("resourceNames") or ()),
            tuple(rule.get("nonResourceURLs") or ()),
        )

    def allows(self, asked: Attributes) -> bool:
        if asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if not asked.is_resource:
            return any(_url_matches(url, asked.path) for url in self.urls)
        return self._covers(asked)

    def _covers(self, asked: Attributes) -> bool:
        if asked.group not in self.groups and "*" not in self.groups:
            return False
        full = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        resources = self.resources
        any_parent = f"*/{asked.subresource}" if asked.subresource else "*"
        if not (full in resources or "*" in resources or any_parent in resources):
            return False
        return not self.names or asked.name in self.names


def _url_matches(pattern: str, path: str) -> bool:
    return pattern == "*" or pattern == path or (pattern.endswith("*") and path.startswith(pattern[:-1]))


class Grant(NamedTuple):
    """A binding of one subject: where it holds ("": everywhere), the role it refers to, and what it is called."""

    namespace: str
    role: tuple[str, str, str]
    """(resource, namespace, name)."""
    binding: str


def subjects_of(user: User) -> Iterator[str]:
    """The keys under which a user's grants are found."""
    yield f"User:{user.name}"
    for group in user.groups:
        yield f"Group:{group}"
    if user.name.startswith(SERVICE_ACCOUNT):
        yield f"ServiceAccount:{user.name.removeprefix(SERVICE_ACCOUNT)}"


class RbacAuthorizer:
    def __init__(self, caches: CacheSet) -> None:
        self._roles = {name: caches[GroupResource(GROUP, name)] for name in ("clusterroles", "roles")}
        self._bindings = [caches[GroupResource(GROUP, name)] for name in ("clusterrolebindings", "rolebindings")]
        self._watched: Sequence[ResourceCache] = (*self._roles.values(), *self._bindings)
        self._seen: tuple[int, ...] = ()
        self._bound_at: tuple[int, ...] = ()
        self._grants: dict[str, list[Grant]] = {}
        self._rules: dict[tuple[str, str, str], tuple[Entry, tuple[Rule, ...]]] = {}
        self._decisions: dict[Attributes, Decision] = {}

    def authorize(self, attributes: Attributes) -> Decision:
        seen = tuple([cache.fanout.newest for cache in self._watched])
        if seen != self._seen:
            self._seen = seen
            self._decisions.clear()
            self._rebind()
        decision = self._decisions.get(attributes)
        if decision is None:
            if len(self._decisions) >= REMEMBERED:
                self._decisions.clear()
            decision = self._decisions[attributes] = self._decide(attributes)
        return decision

    def rules_for(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """Every rule that holds for a user in a namespace ("": cluster-wide only), and the roles that are missing."""
        self._rebind()
        rules: list[Rule] = []
        missing: list[str] = []
        for grant in self._granted(user, namespace):
            found = self._role(grant.role)
            if found is None:
                missing.append(_not_found(grant.role))
            else:
                rules.extend(found)
        return rules, missing

    # -- deciding

    def _decide(self, asked: Attributes) -> Decision:
        missing: list[str] = []
        for grant in self._granted(asked.user, asked.namespace if asked.is_resource else ""):
            rules = self._role(grant.role)
            if rules is None:
                missing.append(_not_found(grant.role))
            elif any(rule.allows(asked) for rule in rules):
                return Decision(True, reason=f"RBAC: allowed by {grant.binding}")
        return Decision(False, reason=f"RBAC: {_aggregate(missing)}" if missing else "")

    def _granted(self, user: User, namespace: str) -> Iterable[Grant]:
        for subject in subjects_of(user):
            for grant in self._grants.get(subject, ()):
                if not grant.namespace or grant.namespace == namespace:
                    yield grant

    def _role(self, role: tuple[str, str, str]) -> tuple[Rule, ...] | None:
        resource, namespace, name = role
        entry = self._roles[resource].get(namespace, name)
        if entry is None:
            return None
        known = self._rules.get(role)
        if known is None or known[0] is not entry:
            known = self._rules[role] = (entry, tuple(Rule.of(rule) for rule in entry.obj.get("rules") or ()))
        return known[1]

    # -- the index of bindings

    def _rebind(self) -> None:
        bound_at = tuple(cache.fanout.newest for cache in self._bindings)
        if bound_at == self._bound_at and self._grants:
            return
        self._bound_at = bound_at
        grants: dict[str, list[Grant]] = {}
        for cache in self._bindings:
            for entry in cache.range():
                grant = _grant(entry)
                for subject in entry.obj.get("subjects") or ():
                    grants.setdefault(_subject_key(subject, entry.namespace), []).append(grant)
        self._grants = grants


def _grant(entry: Entry) -> Grant:
    reference = entry.obj["roleRef"]
    cluster = reference["kind"] == "ClusterRole"
    role = ("clusterroles", "", reference["name"]) if cluster else ("roles", entry.namespace, reference["name"])
    kind = f'RoleBinding "{entry.name}/{entry.namespace}"' if entry.namespace else f'ClusterRoleBinding "{entry.name}"'
    return Grant(entry.namespace, role, f'{kind} of {reference["kind"]} "{reference["name"]}"')


def _subject_key(subject: Obj, namespace: str) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"ServiceAccount:{subject.get('namespace') or namespace}:{subject['name']}"
    return f"{subject['kind']}:{subject['name']}"


def _not_found(role: tuple[str, str, str]) -> str:
    return f'{role[0][:-1]}.{GROUP} "{role[2]}" not found'


def _aggregate(messages: Sequence[str]) -> str:
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
