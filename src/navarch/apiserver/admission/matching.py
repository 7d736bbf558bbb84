"""Which requests a webhook, a policy or a binding is about. Source: admission/plugin/webhook/predicates, policy/matching."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from navarch.api.kind import Kind, Version
from navarch.apiserver.admission.interface import AdmissionRequest, Body
from navarch.apiserver.watchcache import ResourceCache
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.selectors import LabelSelector, from_label_selector
from navarch.machinery.types import GroupResource, GroupVersion, Obj

GROUP = "admissionregistration.k8s.io"
NAMESPACES = GroupResource("", "namespaces")
EVERY = "*"
POLICIES = frozenset(
    GroupResource(GROUP, f"{kind}admission{what}")
    for kind in ("mutating", "validating")
    for what in ("policies", "policybindings")
)
"""What policies have no say about: themselves."""
CONFIGURATIONS = POLICIES | {
    GroupResource(GROUP, f"{kind}webhookconfigurations") for kind in ("mutating", "validating")
}
"""What webhooks have no say about."""


class Rule(NamedTuple):
    """A (Named)RuleWithOperations."""

    scope: str
    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    """(resource, subresource)."""
    names: frozenset[str]
    """Empty: any."""

    @staticmethod
    def of(rule: Obj) -> Rule:
        parts = (text.partition("/") for text in rule.get("resources") or ())
        return Rule(
            rule.get("scope") or EVERY,
            frozenset(rule.get("operations") or ()),
            frozenset(rule.get("apiGroups") or ()),
            frozenset(rule.get("apiVersions") or ()),
            tuple((resource, subresource) for resource, _, subresource in parts),
            frozenset(rule.get("resourceNames") or ()),
        )

    def covers(self, request: AdmissionRequest, version: Version) -> bool:
        """Whether it is about the request's kind, in that version, its subresource and operation."""
        kind = request.kind
        if (self.scope == "Namespaced" and not kind.namespaced) or (self.scope == "Cluster" and kind.namespaced):
            return False
        if not _listed(self.operations, request.operation) or not _listed(self.groups, version.group):
            return False
        if not _listed(self.versions, version.version):
            return False
        return any(
            resource in (EVERY, kind.plural) and subresource in (EVERY, request.subresource)
            for resource, subresource in self.resources
        )


def _listed(items: frozenset[str], wanted: str) -> bool:
    return wanted in items or EVERY in items


def _first(rules: Iterable[Rule], request: AdmissionRequest, equivalent: bool) -> Version | None:
    """The version in which a rule is about the request: its own where one is, else the first equivalent one."""
    for rule in rules:
        if rule.covers(request, request.version) and (not rule.names or request.name in rule.names):
            return request.version
    if not equivalent:
        return None
    for rule in rules:
        for version in request.kind.versions:
            if version is request.version or not rule.covers(request, version):
                continue
            if not rule.names or request.name in rule.names:
                return version
    return None


class Matcher:
    """The rules and selectors of one webhook, policy or binding."""

    __slots__ = ("_equivalent", "_excluded", "_namespaces", "_objects", "_rules", "_selector")

    def __init__(self, tree: Obj, rules: str, namespaces: ResourceCache) -> None:
        """`tree` holds the selectors, matchPolicy and, in the field `rules`, the rules."""
        self._rules = [Rule.of(rule) for rule in tree.get(rules) or ()]
        self._excluded = [Rule.of(rule) for rule in tree.get("excludeResourceRules") or ()]
        self._equivalent = tree.get("matchPolicy") == "Equivalent"
        self._selector = _selector(tree.get("namespaceSelector"))
        self._objects = _selector(tree.get("objectSelector"))
        self._namespaces = namespaces

    def concerns(self, request: AdmissionRequest, rules_needed: bool = True) -> bool:
        """Whether it may be about requests for the kind, subresource and operation."""
        if not self._rules:
            return not rules_needed
        return any(rule.covers(request, version) for rule in self._rules for version in request.kind.versions)

    def version(self, request: AdmissionRequest, rules_needed: bool = True) -> Version | None:
        """The version that it wants to see the request in; None: it is not about it. Raises StatusError 404 where the
        namespace that it must look at is gone."""
        if self._objects is not None and not _matches_object(self._objects, request):
            return None
        missing: StatusError | None = None
        if self._selector is not None:
            labels = self._namespace_labels(request)
            if isinstance(labels, StatusError):
                missing = labels
            elif labels is not None and not self._selector.matches(labels):
                return None
        if self._excluded and _first(self._excluded, request, self._equivalent) is not None:
            return None
        if not self._rules and not rules_needed:
            found: Version | None = request.version
        else:
            found = _first(self._rules, request, self._equivalent)
        if found is not None and missing is not None:
            raise missing
        return found

    def _namespace_labels(self, request: AdmissionRequest) -> Mapping[str, str] | StatusError | None:
        """None: there is no namespace."""
        if request.resource == NAMESPACES:
            if not request.subresource and request.operation in ("CREATE", "UPDATE") and request.object is not None:
                return request.object["metadata"].get("labels") or {}
        elif not request.namespace:
            return None
        entry = self._namespaces.get("", request.namespace)
        return entry.labels if entry is not None else errors.not_found(NAMESPACES, request.namespace)


def _selector(tree: Obj | None) -> LabelSelector | None:
    """None for one that selects everything."""
    if not tree or not (tree.get("matchLabels") or tree.get("matchExpressions")):
        return None
    return from_label_selector(tree)


def _matches_object(selector: LabelSelector, request: AdmissionRequest) -> bool:
    for obj in (request.object, request.old):
        if obj is not None and "metadata" in obj and selector.matches(obj["metadata"].get("labels") or {}):
            return True
    return False


def kind_of(request: AdmissionRequest, version: Version) -> Body:
    """Group, version and kind of the request's object as that version shows it."""
    return request.body or Body(version.group, version.version, request.kind.kind)


def resource_of(kind: Kind, version: Version) -> dict[str, str]:
    """A GroupVersionResource tree."""
    return {"group": version.group, "version": version.version, "resource": kind.plural}


def api_version(body: Body) -> str:
    return str(GroupVersion(body.group, body.version))
