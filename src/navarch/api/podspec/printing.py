"""Cells that workloads share in `kubectl get`: containers, images, selectors, ages, and a pod's STATUS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from navarch.api.kind import Column
from navarch.api.podspec.resources import is_sidecar
from navarch.machinery.tables import age, age_of
from navarch.machinery.types import Obj

NONE = "<none>"
NAME = Column(name="Name", format="name", description="The object's name, unique within its namespace.")
AGE = Column(name="Age", description="How long ago the object was created.")
TEMPLATE_COLUMNS = (
    Column(name="Containers", description="Names of the template's containers.", priority=1),
    Column(name="Images", description="Images of the template's containers.", priority=1),
)
SELECTOR = Column(name="Selector", description="Which pods belong to this object.", priority=1)


def template_cells(template: Obj | None) -> list[str]:
    """Names and images of a template's containers, each joined by commas."""
    containers = ((template or {}).get("spec") or {}).get("containers") or ()
    return [",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers)]


def labels_cell(labels: Obj | None) -> str:
    """A map of labels."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) if labels else NONE


def selector_text(selector: Obj | None) -> str:
    """A LabelSelector as a list's labelSelector would spell it; empty where it selects everything or nothing."""
    parts = [(key, f"{key}={value}") for key, value in ((selector or {}).get("matchLabels") or {}).items()]
    for term in (selector or {}).get("matchExpressions") or ():
        key, operator = term.get("key", ""), term.get("operator", "")
        values = ",".join(sorted(term.get("values") or ()))
        match operator:
            case "In":
                parts.append((key, f"{key} in ({values})"))
            case "NotIn":
                parts.append((key, f"{key} notin ({values})"))
            case "Exists":
                parts.append((key, key))
            case _:
                parts.append((key, f"!{key}"))
    return ",".join(text for _, text in sorted(parts))


def selector_cell(selector: Obj | None) -> str:
    return selector_text(selector) or NONE


# -- pods

POD_COLUMNS = (
    NAME,
    Column(name="Ready", description="How many of the pod's containers are ready."),
    Column(name="Status", description="What the pod's containers are doing, in one word."),
    Column(name="Restarts", description="How often containers restarted, and when one last did."),
    AGE,
    Column(name="IP", description="The pod's address.", priority=1),
    Column(name="Node", description="The node that runs the pod.", priority=1),
    Column(name="Nominated Node", description="The node on which the pod preempts others.", priority=1),
    Column(name="Readiness Gates", description="How many of the pod's readiness gates are true.", priority=1),
)


class _Tally:
    """Counts over a pod's container statuses."""

    __slots__ = ("last", "ready", "restarts")

    def __init__(self) -> None:
        self.ready = 0
        self.restarts = 0
        self.last = ""
        """When a container last restarted: RFC 3339 text of one form, so it compares as text."""

    def count(self, status: Obj) -> None:
        self.restarts += status.get("restartCount", 0)
        terminated = (status.get("lastState") or {}).get("terminated")
        if terminated is not None:
            self.last = max(self.last, terminated.get("finishedAt") or "")


def _end(terminated: Obj) -> str:
    """Why a container ended: its reason, or its signal or exit code."""
    if reason := terminated.get("reason"):
        return reason
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _is_true(conditions: Iterable[Obj], kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)


def _initialising(pod: Obj, everything: _Tally, sidecars: _Tally) -> str:
    """The reason while an init container is not through; empty once all are."""
    inits: list[Obj] = pod["spec"].get("initContainers") or []
    lasting = {c["name"] for c in inits if is_sidecar(c)}
    for index, status in enumerate((pod.get("status") or {}).get("initContainerStatuses") or ()):
        everything.count(status)
        sidecar = status.get("name") in lasting
        if sidecar:
            sidecars.count(status)
        state: Obj = status.get("state") or {}
        terminated: Obj | None = state.get("terminated")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if sidecar and status.get("started"):
            ready = 1 if status.get("ready") else 0
            everything.ready += ready
            sidecars.ready += ready
            continue
        if terminated is not None:
            return "Init:" + _end(terminated)
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(inits)}"
    return ""


def _running(status: Obj, reason: str, tally: _Tally) -> str:
    """The reason once initialised: what the first container with something to say says."""
    running, failure = False, ""
    for container in reversed(status.get("containerStatuses") or ()):
        tally.count(container)
        state: Obj = container.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            reason = waiting
        elif (terminated := state.get("terminated")) is not None:
            reason = _end(terminated)
            if terminated.get("exitCode"):
                failure = reason
        elif container.get("ready") and state.get("running") is not None:
            running = True
            tally.ready += 1
    if reason != "Completed":
        return reason
    if running and _is_true(status.get("conditions") or (), "Ready"):
        return "Running"
    return failure or ("NotReady" if running else reason)


def pod_row(pod: Obj, now: float) -> list[Any]:
    """A pod's cells, for POD_COLUMNS."""
    spec, status, metadata = pod["spec"], pod.get("status") or {}, pod["metadata"]
    conditions = status.get("conditions") or ()
    phase = status.get("phase", "")
    reason = status.get("reason") or phase
    for condition in conditions:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    tally, sidecars = _Tally(), _Tally()
    initialising = _initialising(pod, tally, sidecars)
    if initialising:
        reason = initialising
    if not initialising or _is_true(conditions, "Initialized"):
        tally = sidecars
        reason = _running(status, reason, tally)
    if "deletionTimestamp" in metadata:
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    restarts = str(tally.restarts)
    if tally.restarts and tally.last:
        restarts += f" ({age(tally.last, now)} ago)"
    total = len(spec.get("containers") or ()) + sum(map(is_sidecar, spec.get("initContainers") or ()))
    ips = status.get("podIPs") or ()
    return [
        metadata["name"],
        f"{tally.ready}/{total}",
        reason,
        restarts,
        age_of(pod, now),
        (ips[0].get("ip") if ips else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(spec.get("readinessGates") or (), conditions),
    ]


def _gates(gates: Iterable[Obj], conditions: Iterable[Obj]) -> str:
    wanted = [gate.get("conditionType", "") for gate in gates]
    return f"{sum(_is_true(conditions, kind) for kind in wanted)}/{len(wanted)}" if wanted else NONE
