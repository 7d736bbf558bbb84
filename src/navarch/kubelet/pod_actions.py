"""What is to be done for a pod now: a pure function from its spec and what the runtime has, to a plan with reasons.

Source of the rules: upstream's computePodActions and the KEPs on sidecar containers (753) and pod phases. Called again
whenever anything changes; a plan that was carried out, or was interrupted, leads to the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from navarch.kubelet.runtime_state import Container, PodRuntime
from navarch.machinery.clock import parse_time
from navarch.machinery.types import Obj


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop one container; `reason` and `message` are those of its Killing event."""

    container: Container
    message: str
    grace: int | None = None
    """None: the pod's own grace period."""


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container's next run."""

    spec: Obj
    attempt: int
    init: bool = False


@dataclass(slots=True)
class PodPlan:
    """In this order: `kill_all` (and nothing else), or kills, then a sandbox, then starts."""

    kill_all: bool = False
    new_sandbox: int | None = None
    """The attempt number of the sandbox to create."""
    kills: list[Kill] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    requeue_after: float | None = None
    waiting: dict[str, str] = field(default_factory=dict)
    """Container -> why it waits (CrashLoopBackOff)."""
    reasons: list[str] = field(default_factory=list)

    def later(self, seconds: float) -> None:
        self.requeue_after = seconds if self.requeue_after is None else min(self.requeue_after, seconds)


class Unhealthy(NamedTuple):
    """Why a container must be restarted, and the seconds that the probe leaves it (None: as the pod says)."""

    message: str
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a plan depends on besides the pod and the runtime."""

    now: float
    unhealthy: Mapping[str, Unhealthy] = field(default_factory=dict)
    """Container id -> why it must be restarted (a failed liveness or startup probe)."""
    started: frozenset[str] = frozenset()
    """Ids of running containers whose startup probe has succeeded (all those without one)."""
    crash_wait: Callable[[str, float], float] = lambda name, finished: 0.0
    """(container, when its last run finished) -> seconds to wait before it may start again."""
    terminal: bool = False
    """The pod's phase is Succeeded or Failed: nothing starts again."""


def is_sidecar(container: Obj) -> bool:
    return container.get("restartPolicy") == "Always"


def container_hash(container: Obj) -> str:
    """Changes when a container must be made anew: upstream's hash covers its image and little else that may change."""
    return hashlib.sha256(orjson.dumps([container["name"], container.get("image")])).hexdigest()[:16]


def plan(pod: Obj, runtime: PodRuntime, at: Circumstances) -> PodPlan:
    """The next steps for a pod that is to be on this node."""
    result = PodPlan()
    spec = pod["spec"]
    if why := _must_end(pod, at):
        result.kill_all = runtime.anything_runs
        result.reasons.append(why)
        return result
    if deadline := _deadline(pod):
        result.later(max(deadline - at.now, 0.0))
    if runtime.sandbox is None:
        return _without_sandbox(spec, runtime, result)
    for container in spec.get("ephemeralContainers") or []:
        if runtime.latest(container["name"]) is None:
            result.starts.append(Start(container, 0))
            result.reasons.append(f"ephemeral container {container['name']} was added")
    inits = spec.get("initContainers") or []
    if not _init_steps(spec, inits, runtime, at, result):
        return result
    for container in spec["containers"]:
        _main_step(spec, container, runtime, at, result)
    if not result.starts and not result.kills and not result.reasons:
        result.reasons.append("everything runs as it should")
    return result


def _must_end(pod: Obj, at: Circumstances) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "the pod is being deleted"
    if at.terminal:
        return "the pod has finished"
    if past_deadline(pod, at.now):
        return "the pod was active on the node longer than its deadline"
    return ""


def past_deadline(pod: Obj, now: float) -> bool:
    """Whether the pod was active for longer than its activeDeadlineSeconds."""
    deadline = _deadline(pod)
    return bool(deadline) and deadline <= now


def _deadline(pod: Obj) -> float:
    seconds = pod["spec"].get("activeDeadlineSeconds")
    started = pod.get("status", {}).get("startTime")
    return parse_time(started) + seconds if seconds and started else 0.0


def _without_sandbox(spec: Obj, runtime: PodRuntime, result: PodPlan) -> PodPlan:
    """No sandbox is ready: a new one, unless the pod has done all it had to."""
    containers = [runtime.latest(c["name"]) for c in spec["containers"]]
    policy = spec.get("restartPolicy", "Always")
    if runtime.sandboxes and policy != "Always" and all(containers):
        over = all(c and c.exited for c in containers)
        done = over and (policy == "Never" or not any(c and c.failed for c in containers))
        if done:
            result.reasons.append("every container has finished, and the restart policy wants no more")
            return result
    result.new_sandbox = runtime.sandboxes[0].attempt + 1 if runtime.sandboxes else 0
    result.reasons.append("the pod has no ready sandbox")
    result.kills = [Kill(c, "the pod's sandbox is gone", 0) for c in runtime.all() if not c.exited]
    result.starts = _first_starts(spec, runtime)
    return result


def _first_starts(spec: Obj, runtime: PodRuntime) -> list[Start]:
    """What starts in a fresh sandbox: the first init container, or the containers."""
    inits = spec.get("initContainers") or []
    if inits:
        return [Start(inits[0], _next_attempt(runtime.latest(inits[0]["name"])), True)]
    policy = spec.get("restartPolicy", "Always")
    starts: list[Start] = []
    for container in spec["containers"]:
        last = runtime.latest(container["name"])
        if last is None or _restarts(policy, container, last):
            starts.append(Start(container, _next_attempt(last)))
    return starts


def _init_steps(spec: Obj, inits: Sequence[Obj], runtime: PodRuntime, at: Circumstances, result: PodPlan) -> bool:
    """Runs init containers in their order. True where the pod's own containers may run."""
    main_began = any(runtime.latest(c["name"]) for c in spec["containers"])
    for container in inits:
        last = runtime.latest(container["name"])
        if is_sidecar(container):
            if not _sidecar_step(container, last, at, result) and not main_began:
                return False
            continue
        if main_began or (last and last.exited and last.exit_code == 0):
            continue
        if last is None:
            result.starts.append(Start(container, 0, True))
            result.reasons.append(f"init container {container['name']} is next")
        elif last.failed:
            _restart_failed_init(spec, container, last, at, result)
        else:
            result.reasons.append(f"init container {container['name']} is running")
        return False
    return True


def _restart_failed_init(spec: Obj, container: Obj, last: Container, at: Circumstances, result: PodPlan) -> None:
    if spec.get("restartPolicy", "Always") == "Never":
        result.reasons.append(f"init container {container['name']} failed, and the restart policy is Never")
        result.kills = []
    else:
        _start_again(container, last, at, result, init=True)


def _sidecar_step(container: Obj, last: Container | None, at: Circumstances, result: PodPlan) -> bool:
    """True where the next container may start: the sidecar runs, and its startup probe has succeeded."""
    name = container["name"]
    if last is None:
        result.starts.append(Start(container, 0, True))
        result.reasons.append(f"sidecar {name} is next")
        return False
    if last.exited:
        _start_again(container, last, at, result, init=True)
        return False
    if last.id in at.unhealthy:
        result.kills.append(Kill(last, *at.unhealthy[last.id]))
        return False
    return last.running and last.id in at.started


def _main_step(spec: Obj, container: Obj, runtime: PodRuntime, at: Circumstances, result: PodPlan) -> None:
    name = container["name"]
    last = runtime.latest(name)
    if last is None:
        result.starts.append(Start(container, 0))
        result.reasons.append(f"container {name} has not run yet")
    elif last.exited:
        if _restarts(spec.get("restartPolicy", "Always"), container, last):
            _start_again(container, last, at, result)
        else:
            result.reasons.append(f"container {name} has finished, and is not to be restarted")
    elif last.id in at.unhealthy:
        result.kills.append(Kill(last, *at.unhealthy[last.id]))
    elif last.spec_hash and last.spec_hash != container_hash(container):
        result.kills.append(Kill(last, f"Container {name} definition changed"))
        result.reasons.append(f"the image of container {name} was changed")
    elif not last.running:  # created, and the kubelet died before it started it
        result.kills.append(Kill(last, f"Container {name} was never started", 0))


def _start_again(container: Obj, last: Container, at: Circumstances, result: PodPlan, *, init: bool = False) -> None:
    name = container["name"]
    wait = at.crash_wait(name, last.finished)
    if wait > 0:
        result.waiting[name] = "CrashLoopBackOff"
        result.later(wait)
        result.reasons.append(f"container {name} waits {wait:.0f} s before it starts again")
    else:
        result.starts.append(Start(container, last.attempt + 1, init))
        result.reasons.append(f"container {name} exited with code {last.exit_code} and starts again")


def _restarts(policy: str, container: Obj, last: Container) -> bool:
    policy = container.get("restartPolicy") or policy
    for rule in container.get("restartPolicyRules") or []:
        codes = rule.get("exitCodes") or {}
        inside = last.exit_code in (codes.get("values") or [])
        if rule.get("action") == "Restart" and inside == (codes.get("operator") == "In"):
            return True
    return policy == "Always" or (policy == "OnFailure" and last.exit_code != 0)


def _next_attempt(last: Container | None) -> int:
    return last.attempt + 1 if last else 0
