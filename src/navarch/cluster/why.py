"""Why a pod is where it is, or nowhere: the reasons of the scheduler and of the controllers, served and worded.

GET /navarch/why/pods/NAMESPACE/NAME (below /navarch/, a nonResourceURL) answers what `told` puts into words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from navarch.apiserver.negotiate import dump
from navarch.apiserver.request import Request, Response
from navarch.apiserver.server import ApiServer
from navarch.machinery import errors
from navarch.machinery.types import GroupResource, Key, Obj

if TYPE_CHECKING:
    from navarch.cluster.controlplane import ControlPlane

PREFIX = "/navarch/why/"
PODS = GroupResource("", "pods")
OWNERS = {
    "ReplicaSet": ("replicaset-controller", GroupResource("apps", "replicasets")),
    "ReplicationController": ("replication-controller", GroupResource("", "replicationcontrollers")),
    "Deployment": ("deployment-controller", GroupResource("apps", "deployments")),
    "StatefulSet": ("statefulset-controller", GroupResource("apps", "statefulsets")),
    "DaemonSet": ("daemonset-controller", GroupResource("apps", "daemonsets")),
    "Job": ("job-controller", GroupResource("batch", "jobs")),
}
"""Kind of an owner -> its controller, and its resource."""


def path(namespace: str, name: str) -> str:
    return f"{PREFIX}pods/{namespace}/{name}"


def serve(server: ApiServer, plane: ControlPlane) -> None:
    """Answers under PREFIX from now on."""

    def handle(request: Request) -> Response:
        parts = request.segments()
        if len(parts) != 5 or parts[2] != "pods":
            raise errors.path_not_found()
        return Response(200, dump(_answer(server, plane, parts[3], parts[4])))

    server.routes.below[PREFIX] = handle


def _answer(server: ApiServer, plane: ControlPlane, namespace: str, name: str) -> Obj:
    pod = server.lookup(PODS, namespace, name)
    if pod is None:
        raise errors.not_found(PODS, name)
    scheduling = plane.scheduler.why(namespace, name) if plane.scheduler else None
    return {"pod": pod, "scheduling": scheduling, "owners": list(_owners(server, plane, pod, namespace))}


def _owners(server: ApiServer, plane: ControlPlane, obj: Obj, namespace: str) -> Iterator[Obj]:
    """Up the chain of controllers: what each has last decided, and why."""
    for _ in range(4):
        owner = next((o for o in obj["metadata"].get("ownerReferences") or () if o.get("controller")), None)
        if owner is None or owner["kind"] not in OWNERS:
            return
        controller, resource = OWNERS[owner["kind"]]
        said = plane.controllers.why(controller, Key(namespace, owner["name"])) if plane.controllers else None
        yield {
            "kind": owner["kind"],
            "name": owner["name"],
            "reasons": list(said.reasons) if said else [],
            "error": said.error if said else "",
        }
        found = server.lookup(resource, namespace, owner["name"])
        if found is None:
            return
        obj = found


# -- in words


def told(answer: Obj) -> list[str]:
    """The answer for a person, line by line."""
    pod = answer["pod"]
    meta, status = pod["metadata"], pod.get("status") or {}
    lines = [f"Pod {meta['namespace']}/{meta['name']}"]
    lines += _placement(answer)
    lines += _containers(status)
    for owner in answer["owners"]:
        why = "; ".join(owner["reasons"]) or "nothing decided yet"
        lines.append(
            f"{owner['kind']} {owner['name']}: {why}" + (f" (last failure: {owner['error']})" if owner["error"] else "")
        )
    return lines


def _placement(answer: Obj) -> list[str]:
    pod, scheduling = answer["pod"], answer["scheduling"]
    node = pod["spec"].get("nodeName", "")
    if scheduling is None:
        return [f"is on node {node}" if node else "is on no node; no scheduler runs here"]
    decision = scheduling.get("decision")
    if node:
        lines = [f"is on node {node}"]
        if decision and decision["node"] == node:
            lines.append(
                f"chosen of {decision['feasible']} fitting nodes ({decision['total']} in all), with the best score"
            )
        elif not decision:
            lines.append("placed before this scheduler started, or by somebody else")
    else:
        lines = ["is on no node"]
        if scheduling["gates"]:
            lines.append(f"held back by scheduling gates: {', '.join(scheduling['gates'])}")
        elif waits := scheduling.get("waits"):
            lines.append(waits)
        elif decision:
            lines.append(decision["message"])
        else:
            lines.append(f"not tried yet by the scheduler {scheduling['scheduler']}")
    if group := scheduling.get("group"):
        counted = f"{group['pods']} pods, {group['scheduled']} of them with a node"
        lines.append(f"tried together with pod group {group['name']}: {counted}, at least {group['least']} or none")
    if change := scheduling.get("change"):
        lines.append(change)
    return lines + _table(scheduling["nodes"])


def _table(rows: Sequence[Sequence[Any]]) -> list[str]:
    if not rows:
        return ["there are no nodes"]
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) if i < len(row) else 0 for row in cells) for i in range(max(map(len, cells)))]
    return ["as the nodes look to it now:"] + [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in cells
    ]


def _containers(status: Obj) -> list[str]:
    lines: list[str] = []
    if status.get("reason"):
        lines.append(f"{status.get('phase', '')}: {status['reason']}: {status.get('message', '')}".rstrip(": "))
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        for kind in ("waiting", "terminated"):
            state = (container.get("state") or {}).get(kind)
            if state and state.get("reason"):
                text = f": {state['message']}" if state.get("message") else ""
                lines.append(
                    f"container {container['name']} {'waits' if kind == 'waiting' else 'has ended'}: {state['reason']}{text}"
                )
    return lines
