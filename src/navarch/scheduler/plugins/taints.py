"""TaintToleration and NodeUnschedulable."""

from __future__ import annotations

from typing import Any

from navarch.api.podspec.placement import tolerates
from navarch.machinery.types import Obj

UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class TaintToleration:
    name = "TaintToleration"
    filters = True
    reason = "node(s) had untolerated taint(s)"
    normalise = "inverse"

    def __init__(self, weight: int = 3) -> None:
        self.weight = weight

    def prepare(self, pod: Obj) -> Any:
        tolerations = pod["spec"].get("tolerations") or []
        preferring = [t for t in tolerations if t.get("effect") in (None, "", "PreferNoSchedule")]
        return tolerations, preferring

    def passes(self, prepared: Any, node: Obj) -> bool:
        return all(
            taint.get("effect") not in ("NoSchedule", "NoExecute") or any(tolerates(t, taint) for t in prepared[0])
            for taint in (node.get("spec") or {}).get("taints") or ()
        )

    def score(self, prepared: Any, node: Obj) -> int:
        """How many soft taints the pod does not tolerate: fewer is better."""
        return sum(
            taint.get("effect") == "PreferNoSchedule" and not any(tolerates(t, taint) for t in prepared[1])
            for taint in (node.get("spec") or {}).get("taints") or ()
        )


class NodeUnschedulable:
    name = "NodeUnschedulable"
    filters = True
    weight = 0
    reason = "node(s) were unschedulable"
    normalise = "max"

    def prepare(self, pod: Obj) -> Any:
        return any(tolerates(t, UNSCHEDULABLE_TAINT) for t in pod["spec"].get("tolerations") or [])

    def passes(self, prepared: Any, node: Obj) -> bool:
        return prepared or not (node.get("spec") or {}).get("unschedulable")

    def score(self, prepared: Any, node: Obj) -> int:
        return 0
