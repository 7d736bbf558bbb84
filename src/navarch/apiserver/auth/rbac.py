"""Role-based access control, decided on the watch caches. Source: plugin/pkg/auth/authorizer/rbac.

Decisions are remembered until any role or binding changes; a remembered one costs a dictionary look-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.request import User
from navarch.apiserver.watchcache import CacheSet, Entry
from navarch.machinery.types import GroupResource, Obj

GROUP = "rbac.authorization.k8s.io"
REMEMBERED = 50_000
REMEMBERED_LENGTH = 512
"""Characters of what a client chose in a remembered question: memory is bounded."""
SERVICE_ACCOUNT = "system:serviceaccount:"
RoleKey = tuple[str, str, str]
"""(resource, namespace, name) of a role."""


class Rule(NamedTuple):
    """A PolicyRule, ready to be asked."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...]
    resources: tuple[str, ...]
    names: tuple[str, ...]
    urls: tuple[str, ...]

    @staticmethod
    def of(rule: Obj) -> Rule:
        return Rule(
            tuple(rule.get("verbs") or ()),
            tuple(rule.get("apiGroups") or ()),
            tuple(rule.get("resources") or ()),
            tuple(rule.get("resourceNames") or ()),
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
    """A binding of one subject: its place among all bindings, where it holds ("": everywhere), the role it refers to, and
    what it is called."""

    order: int
    namespace: str
    role: RoleKey
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
        self._grants: dict[str, list[Grant]] = {}
        self._bound = False
        self._rules: dict[RoleKey, tuple[Entry, tuple[Rule, ...]]] = {}
        self._decisions: dict[Attributes, Decision] = {}
        for cache in self._roles.values():
            cache.on_change(self._role_changed)
        for cache in self._bindings:
            cache.on_change(self._binding_changed)

    def _role_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        self._decisions.clear()
        if entry is None and previous is not None:
            self._rules.pop(_role_key(previous), None)

    def _binding_changed(self, entry: Entry | None, previous: Entry | None) -> None:
        self._decisions.clear()
        self._bound = False

    def authorize(self, attributes: Attributes) -> Decision:
        decision = self._decisions.get(attributes)
        if decision is None and attributes.name and attributes.is_resource:
            # what is allowed without a name is allowed for each: names come and go, and each would be decided anew
            unnamed = attributes._replace(name="", path="", fields="")
            decision = self._decisions.get(unnamed)
            if decision is None:
                decision = self._decisions[unnamed] = self._decide(unnamed)
            if decision.allowed:
                return decision
            decision = None
        if decision is None:
            decision = self._decide(attributes)
            if len(attributes.path) + len(attributes.name) + len(attributes.fields) < REMEMBERED_LENGTH:
                if len(self._decisions) >= REMEMBERED:
                    self._decisions.clear()
                self._decisions[attributes] = decision
        return decision

    def rules_for(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """Every rule that holds for a user in a namespace ("": cluster-wide only), and what is wrong with others."""
        rules: list[Rule] = []
        missing: list[str] = []
        for grant in self._granted(user, namespace):
            found = self.role(*grant.role)
            if found is None:
                missing.append(_not_found(grant.role))
            else:
                rules.extend(found)
        return rules, missing

    def written_rules(self, user: User, namespace: str) -> tuple[list[Obj], list[str]]:
        """`rules_for` as the roles have them."""
        rules: list[Obj] = []
        missing: list[str] = []
        for grant in self._granted(user, namespace):
            resource, home, name = grant.role
            entry = self._roles[resource].get(home, name)
            if entry is None:
                missing.append(_not_found(grant.role))
            else:
                rules.extend(entry.obj.get("rules") or ())
        return rules, missing

    def role(self, resource: str, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a role or cluster role; None where there is none."""
        entry = self._roles[resource].get(namespace, name)
        if entry is None:
            return None
        key = (resource, namespace, name)
        known = self._rules.get(key)
        if known is None or known[0] is not entry:
            known = self._rules[key] = (entry, tuple(Rule.of(rule) for rule in entry.obj.get("rules") or ()))
        return known[1]

    # -- deciding

    def _decide(self, asked: Attributes) -> Decision:
        missing: list[str] = []
        for grant in self._granted(asked.user, asked.namespace if asked.is_resource else ""):
            rules = self.role(*grant.role)
            if rules is None:
                missing.append(_not_found(grant.role))
            elif any(rule.allows(asked) for rule in rules):
                return Decision(True, reason=f"RBAC: allowed by {grant.binding}")
        return Decision(False, reason=f"RBAC: {_aggregate(missing)}" if missing else "")

    def _granted(self, user: User, namespace: str) -> Iterable[Grant]:
        """Each binding once: those of the whole cluster first."""
        if not self._bound:
            self._bind()
        found: dict[int, Grant] = {}
        for subject in subjects_of(user):
            for grant in self._grants.get(subject, ()):
                if not grant.namespace or grant.namespace == namespace:
                    found.setdefault(grant.order, grant)
        return [found[order] for order in sorted(found)]

    def _bind(self) -> None:
        """Indexes the bindings by subject."""
        grants: dict[str, list[Grant]] = {}
        for order, entry in enumerate(entry for cache in self._bindings for entry in cache.range()):
            for subject in entry.obj.get("subjects") or ():
                if key := _subject_key(subject, entry.namespace):
                    grants.setdefault(key, []).append(_grant(order, entry, subject))
        self._grants = grants
        self._bound = True


def _role_key(entry: Entry) -> RoleKey:
    return ("roles" if entry.namespace else "clusterroles", entry.namespace, entry.name)


def _grant(order: int, entry: Entry, subject: Obj) -> Grant:
    reference = entry.obj["roleRef"]
    cluster = reference["kind"] == "ClusterRole"
    role = ("clusterroles", "", reference["name"]) if cluster else ("roles", entry.namespace, reference["name"])
    kind = f'RoleBinding "{entry.name}/{entry.namespace}"' if entry.namespace else f'ClusterRoleBinding "{entry.name}"'
    name = subject["name"]
    if subject["kind"] == "ServiceAccount":
        name = f"{name}/{subject.get('namespace') or entry.namespace}"
    whom = f'{subject["kind"]} "{name}"'
    return Grant(order, entry.namespace, role, f'{kind} of {reference["kind"]} "{reference["name"]}" to {whom}')


def _subject_key(subject: Obj, namespace: str) -> str:
    if subject["kind"] == "ServiceAccount":
        space = subject.get("namespace") or namespace
        return f"ServiceAccount:{space}:{subject['name']}" if space else ""
    return f"{subject['kind']}:{subject['name']}"


def _not_found(role: RoleKey) -> str:
    return f'{role[0][:-1]}.{GROUP} "{role[2]}" not found'


def _aggregate(messages: Sequence[str]) -> str:
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
