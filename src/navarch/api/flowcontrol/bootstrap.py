"""The flow schemas and priority levels that every cluster has: mandatory ones, whose specs are fixed, and suggested
ones, kept up to date while their annotation says so. Source: apis/flowcontrol bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from navarch.machinery.types import Obj

AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
EXEMPT, CATCH_ALL = "exempt", "catch-all"


def _limited(shares: int, lendable: int, queuing: tuple[int, int, int] | None) -> Obj:
    """`queuing`: queues, hand size, length limit; None rejects at once."""
    response: Obj = {"type": "Reject"}
    if queuing is not None:
        queues, hand, length = queuing
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}
    return {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response},
    }


MANDATORY_LEVELS: Mapping[str, Obj] = {
    CATCH_ALL: _limited(5, 0, None),
    EXEMPT: {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
}
SUGGESTED_LEVELS: Mapping[str, Obj] = {
    "system": _limited(30, 33, (64, 6, 50)),
    "node-high": _limited(40, 25, (64, 6, 50)),
    "leader-election": _limited(10, 0, (16, 4, 50)),
    "workload-high": _limited(40, 50, (128, 6, 50)),
    "workload-low": _limited(100, 90, (128, 6, 50)),
    "global-default": _limited(20, 50, (128, 6, 50)),
}

EVERYTHING: Obj = {
    "resourceRules": [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
}
EVERYONE = ("system:unauthenticated", "system:authenticated")
CONTROLLERS, SCHEDULER, NODES = "system:kube-controller-manager", "system:kube-scheduler", "system:nodes"


def _groups(*names: str) -> list[Obj]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Obj]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


SYSTEM_ACCOUNTS: list[Obj] = [{"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}]


def _resources(verbs: Sequence[str], group: str, resources: Sequence[str], cluster: bool) -> Obj:
    rule: Obj = {"verbs": list(verbs), "apiGroups": [group], "resources": list(resources), "namespaces": ["*"]}
    return {**rule, "clusterScope": True} if cluster else rule


def _schema(level: str, precedence: int, by: str, subjects: list[Obj], what: Obj) -> Obj:
    """`by` is what tells flows apart: ByUser, ByNamespace or nothing."""
    spec: Obj = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if by:
        spec["distinguisherMethod"] = {"type": by}
    return {**spec, "rules": [{"subjects": subjects, **what}]}


MANDATORY_SCHEMAS: Mapping[str, Obj] = {
    EXEMPT: _schema(EXEMPT, 1, "", _groups("system:masters"), EVERYTHING),
    CATCH_ALL: _schema(CATCH_ALL, 10000, "ByUser", _groups(*EVERYONE), EVERYTHING),
}
SUGGESTED_SCHEMAS: Mapping[str, Obj] = {
    "system-nodes": _schema("system", 500, "ByUser", _groups(NODES), EVERYTHING),
    "system-node-high": _schema(
        "node-high",
        400,
        "ByUser",
        _groups(NODES),
        {
            "resourceRules": [
                _resources(["*"], "", ["nodes", "nodes/status"], True),
                _resources(["*"], "coordination.k8s.io", ["leases"], False),
            ]
        },
    ),
    "probes": _schema(
        EXEMPT,
        2,
        "",
        _groups(*EVERYONE),
        {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]},
    ),
    "system-leader-election": _schema(
        "leader-election",
        100,
        "ByUser",
        _users(CONTROLLERS, SCHEDULER) + SYSTEM_ACCOUNTS,
        {"resourceRules": [_resources(["get", "create", "update"], "coordination.k8s.io", ["leases"], False)]},
    ),
    "kube-controller-manager": _schema("workload-high", 800, "ByNamespace", _users(CONTROLLERS), EVERYTHING),
    "kube-scheduler": _schema("workload-high", 800, "ByNamespace", _users(SCHEDULER), EVERYTHING),
    "kube-system-service-accounts": _schema("workload-high", 900, "ByNamespace", SYSTEM_ACCOUNTS, EVERYTHING),
    "service-accounts": _schema("workload-low", 9000, "ByUser", _groups("system:serviceaccounts"), EVERYTHING),
    "global-default": _schema("global-default", 9900, "ByUser", _groups(*EVERYONE), EVERYTHING),
}
