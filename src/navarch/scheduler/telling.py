"""Why a pod is where it is, or nowhere, as data: what was decided last, and how the nodes look to it now."""

from __future__ import annotations

from typing import Any

from navarch.scheduler.advice import smallest_change
from navarch.scheduler.cycle import Cycle, Decision
from navarch.scheduler.groups import Groups, least_of
from navarch.scheduler.plugins.interface import PluginFailed
from navarch.scheduler.podinfo import PodInfo
from navarch.scheduler.registry import DEVICES


def told_of(info: PodInfo, decision: Decision | None, cycle: Cycle, groups: Groups) -> dict[str, Any]:
    return {
        "pod": str(info.key),
        "node": info.node,
        "scheduler": info.scheduler,
        "requests": dict(info.requests),
        "decision": decision
        and {
            "node": decision.node,
            "message": decision.message,
            "feasible": decision.feasible,
            "total": decision.total,
            "score": decision.score,
        },
        **_explained(cycle, info),
        "waits": "" if info.node else groups.waits_for(info),
        "group": _group(info, groups),
        "gates": [gate["name"] for gate in info.obj["spec"].get("schedulingGates") or []],
    }


def _explained(cycle: Cycle, info: PodInfo) -> dict[str, Any]:
    try:
        change = "" if info.node else smallest_change(cycle, info)
        return {"nodes": [list(row) for row in cycle.explain(info)], "change": change}
    except PluginFailed as error:
        return {"nodes": [[name, DEVICES, str(error)] for name in cycle.nodes.names if name], "change": ""}


def _group(info: PodInfo, groups: Groups) -> dict[str, Any] | None:
    """The group that a pod is tried with: how many it has, how many of them have a node, and how many it takes."""
    key = groups.key_of(info)
    if key is None:
        return None
    least = least_of(groups.objects.get(key))
    return {"name": key.name, "pods": groups.count(key), "scheduled": groups.scheduled(key), "least": least}
