"""ClusterRoles with an aggregationRule hold the rules of all roles they select."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from navarch.client.interface import Resource
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Patch, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of

CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)


@dataclass(frozen=True, slots=True)
class Observed:
    role: Obj
    others: Sequence[Obj]


class ClusterRoleAggregationController:
    name = "clusterrole-aggregation-controller"

    def __init__(self) -> None:
        self.watches = (Watch(CLUSTER_ROLES, _keys),)

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        role = caches[CLUSTER_ROLES].get("", key.name)
        if role is None or not role.get("aggregationRule"):
            return None
        return Observed(role, [other for other in caches[CLUSTER_ROLES].list() if other is not role])

    def reconcile(self, observed: Observed, now: float) -> Plan:
        rules = aggregated(observed.role, observed.others)
        if rules == list(observed.role.get("rules") or ()):
            return Plan(reasons=["its rules are those of the roles it selects"])
        change = objects.exact(observed.role, {"rules": rules})
        return Plan([Patch(CLUSTER_ROLES, key_of(observed.role), change)], reasons=["its rules have changed"])


def aggregated(role: Obj, others: Sequence[Obj]) -> list[Any]:
    """The rules of the selected roles, by selector and then by name, each once."""
    rules: list[Any] = []
    for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
        for other in sorted(others, key=lambda r: r["metadata"]["name"]):
            if objects.selects(selector, objects.labels_of(other)):
                rules += [rule for rule in other.get("rules") or () if rule not in rules]
    return rules


def _keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Any role's change may matter to any aggregate."""
    return [key_of(role) for role in caches[CLUSTER_ROLES].list() if role.get("aggregationRule")]
