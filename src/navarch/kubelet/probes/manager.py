"""One task per probe of a running container; what they found, for plans and statuses to read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from navarch.kubelet.cri import Cri
from navarch.kubelet.pod_actions import Unhealthy, is_sidecar
from navarch.kubelet.probes.probers import Outcome, Target, ask
from navarch.kubelet.probes.state import Probe, State, step
from navarch.kubelet.runtime_state import Container, PodRuntime
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

KINDS = ("startup", "readiness", "liveness")
Tell = Callable[[Obj, Obj, str, str, str], None]
"""(pod, container, type, reason, message): writes an Event."""


@dataclass(slots=True)
class _Probed:
    """A running container's probes."""

    pod: Obj
    container: Obj
    states: dict[str, State] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    """(kind, result) -> how often."""
    has_started: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def uid(self) -> str:
        return self.pod["metadata"]["uid"]


class ProbeManager:
    """`changed(pod uid)` is called whenever a verdict changes."""

    def __init__(self, cri: Cri, world: World, changed: Callable[[str], None], event: Tell) -> None:
        self._cri, self._world, self._changed, self._event = cri, world, changed, event
        self._probed: dict[str, _Probed] = {}
        """Container id -> its probes; only of those that have any."""

    def sync(self, pod: Obj, runtime: PodRuntime, pod_ip: str) -> None:
        """Starts probing what runs, and stops what does not run any more."""
        uid, running = pod["metadata"]["uid"], set[str]()
        for container in _probed_containers(pod):
            last = runtime.latest(container["name"])
            if last and last.running:
                running.add(last.id)
                if last.id not in self._probed:
                    self._begin(pod, container, last, pod_ip)
        for id, probed in [(id, probed) for id, probed in self._probed.items() if probed.uid == uid]:
            if id not in running:
                self._end(id)
            elif "deletionTimestamp" in pod["metadata"]:  # it may end in peace; whether it is ready still counts
                for kind in ("startup", "liveness"):
                    if task := probed.tasks.pop(kind, None):
                        task.cancel()

    def forget(self, pod_uid: str) -> None:
        for id in [id for id, probed in self._probed.items() if probed.uid == pod_uid]:
            self._end(id)

    def ready(self, container_id: str) -> bool:
        """True where the container has no such probe."""
        state = self._state(container_id, "readiness")
        return state is None or state.verdict is True

    def started(self, container_id: str) -> bool:
        state = self._state(container_id, "startup")
        return state is None or state.verdict is True

    def unhealthy(self, pod_uid: str) -> Mapping[str, Unhealthy]:
        """Container id -> why it must be restarted."""
        found: dict[str, Unhealthy] = {}
        for id, probed in self._probed.items():
            for kind in ("startup", "liveness"):
                state = probed.states.get(kind)
                if probed.uid == pod_uid and state and state.verdict is False:
                    text = f"Container {probed.container['name']} failed {kind} probe, will be restarted"
                    found[id] = Unhealthy(text, probed.container[f"{kind}Probe"].get("terminationGracePeriodSeconds"))
        return found

    def counts(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """(container, namespace, pod, pod uid, probe type, result) -> how often: prober_probe_total."""
        for probed in self._probed.values():
            meta = probed.pod["metadata"]
            for (kind, result), count in probed.counts.items():
                names = (probed.container["name"], meta["namespace"], meta["name"], meta["uid"])
                yield (*names, kind.capitalize(), result), count

    def _state(self, id: str, kind: str) -> State | None:
        probed = self._probed.get(id)
        return probed.states.get(kind) if probed else None

    def _begin(self, pod: Obj, container: Obj, run: Container, ip: str) -> None:
        probed = self._probed[run.id] = _Probed(pod, container)
        before = _status_of(pod, run)
        first = {
            "startup": State(True if before.get("started") else None),
            "readiness": State(bool(before.get("ready"))),
            "liveness": State(True),
        }
        if "startupProbe" not in container or before.get("started"):
            probed.has_started.set()
        target = Target(container, run.id, ip)
        for kind in KINDS:
            if spec := container.get(f"{kind}Probe"):
                probed.states[kind] = first[kind]
                if kind == "startup" and probed.has_started.is_set():
                    continue
                work = self._probe(probed, kind, spec, target, run.started)
                probed.tasks[kind] = asyncio.get_running_loop().create_task(work)

    def _end(self, id: str) -> None:
        for task in self._probed.pop(id).tasks.values():
            task.cancel()

    async def _probe(self, probed: _Probed, kind: str, spec: Obj, target: Target, began: float) -> None:
        probe = Probe.of(spec)
        if kind != "startup":
            await probed.has_started.wait()
        due = max(began + probe.delay, self._world.now())
        while True:
            await self._world.sleep(max(due - self._world.now(), 0.0))
            outcome = await ask(spec, target, probe.timeout, self._cri)
            self._tell(probed, kind, outcome)
            before = after = probed.states[kind]
            if outcome.passed is not None:
                after = probed.states[kind] = step(before, outcome.passed, probe)
            if after.verdict != before.verdict:
                if kind == "startup" and after.verdict:
                    probed.has_started.set()
                self._changed(probed.uid)
            if after.verdict is not None and kind == "startup":
                return
            if after.verdict is False and kind == "liveness":
                return
            due = next_due(due, probe.period, self._world.now())

    def _tell(self, probed: _Probed, kind: str, outcome: Outcome) -> None:
        result = {True: "successful", False: "failed", None: "unknown"}[outcome.passed]
        probed.counts[kind, result] = probed.counts.get((kind, result), 0) + 1
        if outcome.passed and not outcome.warning:
            return
        reason, what = "Unhealthy", "failed"
        if outcome.passed is None:
            what = "errored and resulted in unknown state"
        elif outcome.warning:
            reason, what = "ProbeWarning", "warning"
        text = f"{kind.capitalize()} probe {what}: {outcome.message}"
        self._event(probed.pod, probed.container, "Warning", reason, text)


def next_due(due: float, period: float, now: float) -> float:
    """When to ask next: every period, however long an answer takes; questions that are overdue are left out."""
    following = due + period
    return following if following >= now else now


def _probed_containers(pod: Obj) -> Iterator[Obj]:
    spec = pod["spec"]
    for container in [*spec["containers"], *(c for c in spec.get("initContainers") or [] if is_sidecar(c))]:
        if any(f"{kind}Probe" in container for kind in KINDS):
            yield container


def _status_of(pod: Obj, run: Container) -> Obj:
    """What the pod's status says of this very run: verdicts outlive a restart of the kubelet."""
    status = pod.get("status") or {}
    for each in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        if each.get("containerID", "").endswith(f"//{run.id}"):
            return each
    return {}
