"""How much is logged of which requests: an audit policy (audit.k8s.io/v1) and its evaluation.

Source: apiserver/pkg/audit/policy, apis/audit/validation. The first rule that matches decides. What carries secrets is
never logged with bodies here, whatever a policy says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.request import User
from navarch.machinery import names
from navarch.machinery.decode import parse_yaml

NONE, METADATA, REQUEST, REQUEST_RESPONSE = 0, 1, 2, 3
LEVELS = ("None", "Metadata", "Request", "RequestResponse")
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)
NOBODY = User("")
MAX_KNOWN = 4096
CONFIDENTIAL = frozenset(
    (("", "secrets", ""), ("", "serviceaccounts", "token"), ("authentication.k8s.io", "tokenreviews", ""))
)


class BadPolicy(Exception):
    """The policy cannot be used; the text says why."""


class Verdict(NamedTuple):
    level: int
    omit_stages: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


class Resources(NamedTuple):
    """Resources of one group ("*": any); no `resources`: all of them."""

    group: str
    resources: frozenset[str]
    names: frozenset[str]

    def match(self, asked: Attributes) -> bool:
        if self.group not in ("*", asked.group):
            return False
        if not self.resources:
            return True
        if self.names and asked.name not in self.names:
            return False
        found, resource, sub = self.resources, asked.resource, asked.subresource
        full = f"{resource}/{sub}" if sub else resource
        return full in found or "*" in found or f"{resource}/*" in found or (bool(sub) and f"*/{sub}" in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    verdict: Verdict
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    verbs: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    resources: Sequence[Resources] = ()
    urls: Sequence[str] = ()

    @property
    def is_particular(self) -> bool:
        """Whether it looks at more than what is done to which resource."""
        return bool(self.users or self.groups or self.namespaces or any(one.names for one in self.resources))

    def match(self, asked: Attributes) -> bool:
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.users and asked.user.name not in self.users:
            return False
        if self.groups and self.groups.isdisjoint(asked.user.groups):
            return False
        if self.namespaces or self.resources:
            if not asked.is_resource or (self.namespaces and asked.namespace not in self.namespaces):
                return False
            return not self.resources or any(resources.match(asked) for resources in self.resources)
        if self.urls:
            return not asked.is_resource and any(_url_matches(url, asked.path) for url in self.urls)
        return True


def _url_matches(url: str, path: str) -> bool:
    return url in ("*", path) or (url.endswith("*") and path.startswith(url.rstrip("*")))


class Policy:
    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._by_verb: dict[str, tuple[Rule, ...]] = {}
        self._silent: dict[tuple[str, str, str, str], bool] = {}

    def is_silent(self, verb: str, group: str, resource: str, subresource: str) -> bool:
        """Whether nothing is logged of a resource request, whoever makes it and wherever: what is asked first, for most
        requests only read."""
        key = (verb, group, resource, subresource)
        known = self._silent.get(key)
        if known is None:
            known = self._judge(Attributes(NOBODY, verb, True, "", group, "", resource, subresource))
            if len(self._silent) < MAX_KNOWN:
                self._silent[key] = known
        return known

    def _judge(self, asked: Attributes) -> bool:
        for rule in self._of_verb(asked.verb):
            if rule.urls:
                continue
            if rule.is_particular:
                if rule.verdict.level != NONE:
                    return False
            elif rule.match(asked):
                return rule.verdict.level == NONE
        return True

    def verdict(self, asked: Attributes) -> Verdict:
        """None where no rule matches."""
        for rule in self._by_verb.get(asked.verb) or self._of_verb(asked.verb):
            if rule.match(asked):
                verdict = rule.verdict
                if verdict.level > METADATA and (asked.group, asked.resource, asked.subresource) in CONFIDENTIAL:
                    return verdict._replace(level=METADATA)
                return verdict
        return Verdict(NONE)

    def _of_verb(self, verb: str) -> tuple[Rule, ...]:
        found = tuple(rule for rule in self._rules if not rule.verbs or verb in rule.verbs)
        if len(self._by_verb) < 64:
            self._by_verb[verb] = found
        return found


def parse(text: bytes) -> Policy:
    """Raises BadPolicy."""
    try:
        tree: Any = parse_yaml(text)
    except Exception as err:
        raise BadPolicy(f"the policy is no YAML: {err}") from None
    if not isinstance(tree, dict) or tree.get("kind") != "Policy" or tree.get("apiVersion") != "audit.k8s.io/v1":
        raise BadPolicy("apiVersion and kind must be audit.k8s.io/v1 and Policy")
    if not tree.get("rules"):
        raise BadPolicy("loaded illegal policy with 0 rules")
    omitted = _stages(tree.get("omitStages"), "omitStages")
    fields = bool(tree.get("omitManagedFields", False))
    try:
        return Policy([_rule(rule, f"rules[{i}]", omitted, fields) for i, rule in enumerate(tree["rules"])])
    except (AttributeError, TypeError) as err:
        raise BadPolicy(f"the policy has another shape than it should: {err}") from None


def _rule(tree: Any, at: str, omitted: frozenset[str], fields: bool) -> Rule:
    level = tree.get("level", "")
    if level not in LEVELS:
        raise BadPolicy(f"{at}.level: must be one of {', '.join(LEVELS)}")
    own = tree.get("omitManagedFields")
    rule = Rule(
        verdict=Verdict(
            LEVELS.index(level),
            omitted | _stages(tree.get("omitStages"), f"{at}.omitStages"),
            fields if own is None else bool(own),
        ),
        users=frozenset(tree.get("users") or ()),
        groups=frozenset(tree.get("userGroups") or ()),
        verbs=frozenset(tree.get("verbs") or ()),
        namespaces=frozenset(tree.get("namespaces") or ()),
        resources=tuple(_resources(one, f"{at}.resources[{i}]") for i, one in enumerate(tree.get("resources") or ())),
        urls=tuple(tree.get("nonResourceURLs") or ()),
    )
    for url in rule.urls:
        if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
            raise BadPolicy(f"{at}.nonResourceURLs: {url!r} must begin with a '/', and have '*' at its end only")
    if rule.urls and (rule.resources or rule.namespaces):
        raise BadPolicy(f"{at}.nonResourceURLs: rules cannot apply to both regular resources and non-resource URLs")
    return rule


def _resources(tree: Any, at: str) -> Resources:
    made = Resources(
        str(tree.get("group") or ""), frozenset(tree.get("resources") or ()), frozenset(tree.get("resourceNames") or ())
    )
    if made.group not in ("", "*") and names.dns1123_subdomain(made.group):
        raise BadPolicy(f"{at}.group: {made.group!r} is no group's name")
    if made.names and not made.resources:
        raise BadPolicy(f"{at}.resourceNames: using resourceNames requires at least one resource")
    return made


def _stages(found: Any, at: str) -> frozenset[str]:
    stages = frozenset(found or ())
    if not stages <= set(STAGES):
        raise BadPolicy(f"{at}: allowed stages are {','.join(STAGES)}")
    return stages


DEFAULT = b"""
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
# Secrets and tokens, and commands in containers: every touch.
- level: Metadata
  resources:
  - {group: "", resources: [secrets, serviceaccounts/token, pods/exec, pods/attach, pods/portforward, pods/proxy, nodes/proxy]}
  - {group: authentication.k8s.io, resources: [tokenreviews]}
# What only reads, and what the cluster's own parts write all the time.
- level: None
  verbs: [get, list, watch]
- level: None
  nonResourceURLs: ["*"]
- level: None
  resources:
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: authorization.k8s.io}
  - {group: authentication.k8s.io, resources: [selfsubjectreviews]}
- level: None
  userGroups: [system:nodes]
  verbs: [update, patch]
  resources:
  - {group: "", resources: [nodes/status, pods/status]}
- level: None
  userGroups: [system:serviceaccounts:kube-system]
  resources:
  - {group: "", resources: ["*/status", endpoints]}
  - {group: apps, resources: ["*/status"]}
  - {group: batch, resources: ["*/status"]}
  - {group: discovery.k8s.io, resources: [endpointslices]}
- level: None
  users: [system:apiserver]
- level: Metadata
"""
"""Every change by name, and every touch of secrets: what an administrator asks the log about."""
