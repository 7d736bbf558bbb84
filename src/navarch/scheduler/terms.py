"""Terms of inter-pod affinity, and constraints on spreading: what of other pods a pod's place depends on, parsed once.

Source: component-helpers and pkg/scheduler/framework AffinityTerm; KEP-2249 (namespaceSelector), KEP-895 (spreading).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import orjson

from navarch.machinery.selectors import LabelSelector, from_label_selector
from navarch.machinery.trees import get
from navarch.machinery.types import Obj

Labels = Mapping[str, str]
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """Which pods, and what of their nodes counts as the same place. Interned: equal terms are the same object."""

    topology: str
    namespaces: frozenset[str]
    selector: LabelSelector
    namespace_selector: LabelSelector

    def matches(self, namespace: str, labels: Labels, namespace_labels: Labels) -> bool:
        inside = namespace in self.namespaces or self.namespace_selector.matches(namespace_labels)
        return inside and self.selector.matches(labels)


class Weighted(NamedTuple):
    weight: int
    """Negative for anti-affinity."""
    term: Term


@dataclass(frozen=True, slots=True)
class Terms:
    affinity: tuple[Term, ...] = ()
    anti: tuple[Term, ...] = ()
    preferred: tuple[Weighted, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.affinity or self.anti or self.preferred)


NO_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Spread:
    """A topology spread constraint."""

    max_skew: int
    topology: str
    selector: LabelSelector
    min_domains: int
    hard: bool
    """DoNotSchedule."""
    honor_affinity: bool
    honor_taints: bool


@lru_cache(4096)
def _interned(encoded: bytes) -> Term:
    topology, namespaces, selector, namespace_selector = orjson.loads(encoded)
    return Term(topology, frozenset(namespaces), from_label_selector(selector), from_label_selector(namespace_selector))


@lru_cache(4096)
def _interned_selector(encoded: bytes) -> LabelSelector:
    return from_label_selector(orjson.loads(encoded))


def selector_of(selector: Obj | None) -> LabelSelector:
    """Interned: equal selectors are the same object, so that what they count is counted once."""
    return _interned_selector(orjson.dumps(selector, option=orjson.OPT_SORT_KEYS))


def term_of(term: Obj, namespace: str) -> Term:
    """Without namespaces and namespaceSelector a term means the pod's own namespace."""
    named, selected = sorted(term.get("namespaces") or ()), term.get("namespaceSelector")
    if not named and selected is None:
        named = [namespace]
    parts = [term["topologyKey"], named, term.get("labelSelector"), selected]
    return _interned(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS))


def terms_of(spec: Obj, namespace: str) -> Terms:
    affinity = spec.get("affinity")
    if not affinity:
        return NO_TERMS
    towards, against = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    preferred = [
        Weighted(sign * soft["weight"], term_of(soft["podAffinityTerm"], namespace))
        for sign, side in ((1, towards), (-1, against))
        for soft in side.get(PREFERRED) or ()
    ]
    return Terms(
        tuple(term_of(term, namespace) for term in towards.get(REQUIRED) or ()),
        tuple(term_of(term, namespace) for term in against.get(REQUIRED) or ()),
        tuple(preferred),
    )


def spread_of(constraint: Obj, labels: Labels) -> Spread:
    """`matchLabelKeys` take their values from the pod's own labels; keys it lacks are ignored."""
    selector = constraint.get("labelSelector")
    own = [key for key in constraint.get("matchLabelKeys") or () if key in labels]
    if own and selector is not None:
        added = [{"key": key, "operator": "In", "values": [labels[key]]} for key in own]
        selector = {**selector, "matchExpressions": [*(selector.get("matchExpressions") or ()), *added]}
    return Spread(
        max_skew=constraint["maxSkew"],
        topology=constraint["topologyKey"],
        selector=selector_of(selector),
        min_domains=constraint.get("minDomains") or 1,
        hard=constraint.get("whenUnsatisfiable") == "DoNotSchedule",
        honor_affinity=(constraint.get("nodeAffinityPolicy") or "Honor") == "Honor",
        honor_taints=constraint.get("nodeTaintsPolicy") == "Honor",
    )


def node_names(spec: Obj) -> frozenset[str] | None:
    """The only nodes by whose names the required node affinity lets the pod go; None where it does not say."""
    terms = get(spec, "affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms")
    if not terms:
        return None
    found: set[str] = set()
    for term in terms:
        named: set[str] | None = None
        for field in term.get("matchFields") or ():
            if field["key"] == "metadata.name" and field["operator"] == "In":
                values = set(field["values"])
                named = values if named is None else named & values
        if named is None:
            return None
        found |= named
    return frozenset(found)
