"""From what the runtime has to the PodStatus that the API shows: a pure function, upstream's generateAPIPodStatus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from navarch.kubelet.pod_actions import is_sidecar
from navarch.kubelet.runtime_state import Container, PodRuntime
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj

RUNTIME = "containerd"
RESIZING = ("PodResizePending", "PodResizeInProgress")
"""Conditions that are there only while they hold."""


@dataclass(frozen=True, slots=True)
class View:
    """What a status shows besides the runtime's state."""

    now: float
    host_ip: str
    ready: frozenset[str] = frozenset()
    """Ids of running containers whose readiness probe passes (all those without one)."""
    started: frozenset[str] = frozenset()
    """Ids of running containers whose startup probe has passed."""
    waiting: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Container -> (reason, message) why it does not run: image pulls, back-off, bad configuration."""
    messages: Mapping[str, str] = field(default_factory=dict)
    """Container id -> its termination message."""
    failure: tuple[str, str] | None = None
    """(reason, message) of a pod that the node refused or evicted, or whose deadline passed."""
    actuated: Mapping[str, Obj] = field(default_factory=dict)
    """Running container -> the resources it has, where they may differ from those it is to have."""
    resizing: Sequence[tuple[str, str, str, int | None]] = ()
    """Conditions of a resize under way: (type, reason, message, generation)."""
    devices: Mapping[str, Sequence[Obj]] = field(default_factory=dict)
    """Container -> how its devices are."""
    disruption: str = ""
    """Why the node ends the pod, where that disrupts its work."""
    ended: bool = False
    """All its containers were stopped for good, whatever the restart policy says: it is being deleted."""


def pod_status(pod: Obj, runtime: PodRuntime, view: View) -> Obj:
    """The whole status; conditions keep their transition times where they did not change."""
    spec, old = pod["spec"], pod.get("status", {})
    inits, mains = spec.get("initContainers") or [], spec["containers"]
    init_done = _initialized(inits, mains, runtime, view)
    init_statuses = [_container_status(c, pod, runtime, view, True, init_done) for c in inits]
    statuses = [_container_status(c, pod, runtime, view, False, init_done) for c in mains]
    phase = _phase(spec, runtime, view, old, init_statuses)
    status: Obj = {
        "phase": phase,
        "conditions": _conditions(pod, runtime, view, phase, init_done, statuses, init_statuses),
        "hostIP": view.host_ip,
        "hostIPs": [{"ip": view.host_ip}],
        "startTime": old.get("startTime") or rfc3339(view.now),
        "qosClass": old.get("qosClass", "BestEffort"),
        "containerStatuses": statuses,
    }
    if generation := pod["metadata"].get("generation"):
        status["observedGeneration"] = generation
    if init_statuses:
        status["initContainerStatuses"] = init_statuses
    if own := spec.get("resources"):
        status["resources"] = _sizes(view.actuated.get("", own))
        status |= {"allocatedResources": own["requests"]} if own.get("requests") else {}
    if view.failure:
        status["reason"], status["message"] = view.failure
    ips = _pod_ips(pod, runtime, view)
    if ips:
        status["podIP"] = ips[0]
        status["podIPs"] = [{"ip": ip} for ip in ips]
    if ephemeral := [
        _container_status(c, pod, runtime, view, False, True) for c in spec.get("ephemeralContainers") or []
    ]:
        status["ephemeralContainerStatuses"] = [{**s, "ready": False} for s in ephemeral]
    for kept in ("nominatedNodeName", "resize", "resourceClaimStatuses", "extendedResourceClaimStatus"):
        if kept in old:
            status[kept] = old[kept]
    return status


def _pod_ips(pod: Obj, runtime: PodRuntime, view: View) -> Sequence[str]:
    if pod["spec"].get("hostNetwork"):
        return [view.host_ip] if runtime.sandboxes else []
    if runtime.sandbox and runtime.sandbox.ips:
        return runtime.sandbox.ips
    return [entry["ip"] for entry in pod.get("status", {}).get("podIPs", [])]


def _initialized(inits: Sequence[Obj], mains: Sequence[Obj], runtime: PodRuntime, view: View) -> bool:
    if any(runtime.latest(c["name"]) for c in mains):
        return True
    for container in inits:
        last = runtime.latest(container["name"])
        if is_sidecar(container):
            if last is None or last.id not in view.started:
                return False
        elif last is None or not last.exited or last.exit_code != 0:
            return False
    return True


# -- containers


def _container_status(container: Obj, pod: Obj, runtime: PodRuntime, view: View, init: bool, init_done: bool) -> Obj:
    name = container["name"]
    runs = runtime.containers.get(name, ())
    last = runs[0] if runs else None
    waiting = view.waiting.get(name)
    status: Obj = {
        "name": name,
        "state": {},
        "lastState": {},
        "ready": False,
        "restartCount": last.attempt if last else _old_count(pod, name, init),
        "image": (last.image if last else "") or container.get("image", ""),
        "imageID": last.image_ref if last else "",
    }
    if mounts := [_mount_status(mount) for mount in container.get("volumeMounts") or ()]:
        status["volumeMounts"] = mounts
    if not init and (devices := view.devices.get(name)):
        status["allocatedResourcesStatus"] = devices
    allocated = container.get("resources") or {}
    if last is None:
        reason, message = waiting or _not_started(init, init_done, pod)
        status["state"] = {"waiting": _named(reason, message)}
        status["started"] = False
        return status
    status["containerID"] = f"{RUNTIME}://{last.id}"
    if requests := allocated.get("requests"):
        status["allocatedResources"] = requests
    status["resources"] = _sizes(view.actuated.get(name, allocated) if last.running else allocated)
    if waiting and last.exited:
        status["state"] = {"waiting": _named(*waiting)}
        status["lastState"] = {"terminated": terminated(last, view)}
    elif last.running:
        status["state"] = {"running": {"startedAt": rfc3339(last.started)}}
    elif last.exited:
        status["state"] = {"terminated": terminated(last, view)}
    else:
        status["state"] = {"waiting": {"reason": "ContainerCreating"}}
    if not status["lastState"] and len(runs) > 1 and runs[1].exited:
        status["lastState"] = {"terminated": terminated(runs[1], view)}
    status["started"] = last.running and last.id in view.started
    if init and not is_sidecar(container):
        status["ready"] = last.exited and last.exit_code == 0
    else:
        status["ready"] = last.running and last.id in view.ready and last.id in view.started
    return status


def _mount_status(mount: Obj) -> Obj:
    made = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        made |= {"readOnly": True, "recursiveReadOnly": "Disabled"}  # the runtime knows no other way
    return made


def _sizes(resources: Obj) -> Obj:
    return {side: resources[side] for side in ("limits", "requests", "claims") if resources.get(side)}


def _named(reason: str, message: str) -> Obj:
    return {"reason": reason, "message": message} if message else {"reason": reason}


def _not_started(init: bool, init_done: bool, pod: Obj) -> tuple[str, str]:
    has_inits = bool(pod["spec"].get("initContainers"))
    return ("PodInitializing" if has_inits and (init or not init_done) else "ContainerCreating"), ""


def _old_count(pod: Obj, name: str, init: bool) -> int:
    statuses = pod.get("status", {}).get("initContainerStatuses" if init else "containerStatuses") or []
    return next((s.get("restartCount", 0) for s in statuses if s["name"] == name), 0)


def terminated(run: Container, view: View) -> Obj:
    reason = run.reason or ("Completed" if run.exit_code == 0 else "Error")
    state: Obj = {"exitCode": run.exit_code, "reason": reason}
    if message := view.messages.get(run.id) or run.message:
        state["message"] = message
    if run.started:
        state["startedAt"] = rfc3339(run.started)
    if run.finished:
        state["finishedAt"] = rfc3339(run.finished)
    state["containerID"] = f"{RUNTIME}://{run.id}"
    return state


# -- the phase


def _phase(spec: Obj, runtime: PodRuntime, view: View, old: Obj, init_statuses: Sequence[Obj]) -> str:
    if old.get("phase") in ("Succeeded", "Failed"):
        return old["phase"]
    if view.failure:
        return "Failed"
    policy = spec.get("restartPolicy", "Always")
    for container, status in zip(spec.get("initContainers") or [], init_statuses, strict=True):
        ended = status["state"].get("terminated")
        if ended and ended["exitCode"] != 0 and policy == "Never" and not is_sidecar(container):
            return "Failed"
    runs = [runtime.latest(c["name"]) for c in spec["containers"]]
    if view.ended:
        return "Succeeded" if all(run and run.exited and run.exit_code == 0 for run in runs) else "Failed"
    if any(run is None for run in runs):
        return "Running" if any(run and run.running for run in runs) else "Pending"
    known = [run for run in runs if run]
    if any(not run.exited for run in known):
        return "Running" if any(run.running or run.exited for run in known) else "Pending"
    if policy == "Always":
        return "Running"
    if all(run.exit_code == 0 for run in known):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


# -- conditions


def _conditions(
    pod: Obj,
    runtime: PodRuntime,
    view: View,
    phase: str,
    init_done: bool,
    statuses: Sequence[Obj],
    init_statuses: Sequence[Obj],
) -> list[Obj]:
    spec, old = pod["spec"], pod.get("status", {})
    containers = _containers_ready(spec, phase, statuses, init_statuses)
    ready = containers
    if containers[0]:
        unmet = [g["conditionType"] for g in spec.get("readinessGates") or [] if not _holds(old, g["conditionType"])]
        if unmet:
            text = ", ".join(
                f'corresponding condition of pod readiness gate "{name}" does not exist.' for name in unmet
            )
            ready = (False, "ReadinessGatesNotReady", text)
    started = runtime.sandbox is not None and (bool(runtime.sandbox.ips) or bool(spec.get("hostNetwork")))
    pending = [
        c["name"] for c, s in zip(spec.get("initContainers") or [], init_statuses, strict=True) if not s["ready"]
    ]
    initialized: tuple[bool, str, str] = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    if not init_done and phase != "Succeeded":
        initialized = (False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(pending)}]")
    wanted: list[tuple[str, tuple[bool, str, str]]] = [
        ("PodReadyToStartContainers", (started, "", "")),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", (True, "", "")),
    ]
    own = {name for name, _ in wanted} | set(RESIZING)
    generation = pod["metadata"].get("generation")
    made = [_condition(old, name, found, view.now, generation) for name, found in wanted]
    if view.disruption:
        own.add("DisruptionTarget")
        why = (True, "TerminationByKubelet", view.disruption)
        made.append(_condition(old, "DisruptionTarget", why, view.now, generation))
    made += [_condition(old, name, (True, reason, text), view.now, at) for name, reason, text, at in view.resizing]
    return made + [c for c in old.get("conditions") or [] if c["type"] not in own]


def _containers_ready(
    spec: Obj, phase: str, statuses: Sequence[Obj], init_statuses: Sequence[Obj]
) -> tuple[bool, str, str]:
    if phase == "Succeeded":
        return False, "PodCompleted", ""
    if phase == "Failed":
        return False, "PodFailed", ""
    sidecars = [s for c, s in zip(spec.get("initContainers") or [], init_statuses, strict=True) if is_sidecar(c)]
    unready = [s["name"] for s in [*sidecars, *statuses] if not s["ready"]]
    if not unready:
        return True, "", ""
    return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"


def _holds(status: Obj, condition: str) -> bool:
    return any(c["type"] == condition and c["status"] == "True" for c in status.get("conditions") or [])


def _condition(old: Obj, name: str, found: tuple[bool, str, str], now: float, generation: int | None) -> Obj:
    holds, reason, message = found
    status = "True" if holds else "False"
    before = next((c for c in old.get("conditions") or [] if c["type"] == name), None)
    same = before is not None and before["status"] == status
    made: dict[str, Any] = {"type": name, "status": status, "lastProbeTime": None}
    made["lastTransitionTime"] = before["lastTransitionTime"] if same and before else rfc3339(now)
    if reason:
        made["reason"] = reason
    if message:
        made["message"] = message
    if generation:
        made["observedGeneration"] = generation
    return made
