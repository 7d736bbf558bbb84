"""TaintToleration and NodeUnschedulable."""

from __future__ import annotations

from typing import Any

from navarch.api.podspec.placement import tolerates
from navarch.machinery.types import Obj

UNSCHEDULABLE_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class TaintToleration:
    name = "TaintToleration"
    weight = 3
    normalise = "inverse"

    def prepare(self, pod: Obj) -> Any:
        tolerations = pod["spec"].get("tolerations") or []
        preferring = [t for t in tolerations if t.get("effect") in (None, "", "PreferNoSchedule")]
        return tolerations, preferring

    def filter(self, prepared: Any, node: Obj) -> str:
        for taint in (node.get("spec") or {}).get("taints") or []:
            if taint.get("effect") in ("NoSchedule", "NoExecute") and not any(
                tolerates(toleration, taint) for toleration in prepared[0]
            ):
                return "node(s) had untolerated taint(s)"
        return ""

    def score(self, prepared: Any, node: Obj) -> int:
        """How many soft taints the pod does not tolerate: fewer is better."""
        return sum(
            taint.get("effect") == "PreferNoSchedule" and not any(tolerates(t, taint) for t in prepared[1])
            for taint in (node.get("spec") or {}).get("taints") or []
        )


class NodeUnschedulable:
    name = "NodeUnschedulable"
    weight = 0
    normalise = "max"

    def prepare(self, pod: Obj) -> Any:
        return any(tolerates(t, UNSCHEDULABLE_TAINT) for t in pod["spec"].get("tolerations") or [])

    def filter(self, prepared: Any, node: Obj) -> str:
        return "node(s) were unschedulable" if (node.get("spec") or {}).get("unschedulable") and not prepared else ""

    def score(self, prepared: Any, node: Obj) -> int:
        return 0
