"""What the runtime has of one pod, as the pure parts of the kubelet see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from navarch.kubelet.cri_tables import CREATED, EXITED, RUNNING, SANDBOX_READY

POD_NAME, POD_NAMESPACE, POD_UID = "io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
CONTAINER_HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
MESSAGE_PATH, MESSAGE_POLICY = (
    "io.kubernetes.container.terminationMessagePath",
    "io.kubernetes.container.terminationMessagePolicy",
)
GRACE = "io.kubernetes.pod.terminationGracePeriod"
"""Labels and annotations of sandboxes and containers, as upstream's runtimes carry them."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container's run. Times are seconds since the epoch; 0 where it has not come to that."""

    id: str
    name: str
    attempt: int
    state: int
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    spec_hash: str = ""

    @property
    def running(self) -> bool:
        return self.state == RUNNING

    @property
    def exited(self) -> bool:
        return self.state not in (RUNNING, CREATED)

    @property
    def failed(self) -> bool:
        return self.exited and self.exit_code != 0


@dataclass(frozen=True, slots=True)
class Sandbox:
    id: str
    attempt: int
    ready: bool
    created: float
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodRuntime:
    """A pod's sandboxes and containers, each newest first."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: dict[str, tuple[Container, ...]] = field(default_factory=dict)

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox, if it is ready."""
        return self.sandboxes[0] if self.sandboxes and self.sandboxes[0].ready else None

    def latest(self, name: str) -> Container | None:
        runs = self.containers.get(name)
        return runs[0] if runs else None

    def all(self) -> Iterable[Container]:
        return (run for runs in self.containers.values() for run in runs)

    @property
    def anything_runs(self) -> bool:
        return any(sandbox.ready for sandbox in self.sandboxes) or any(not run.exited for run in self.all())


def sandbox_of(tree: dict[str, Any], network: dict[str, Any] | None = None) -> Sandbox:
    """From the CRI's PodSandbox (or PodSandboxStatus)."""
    found = network or tree.get("network") or {}
    ips = [found["ip"]] if found.get("ip") else []
    ips += [other["ip"] for other in found.get("additional_ips", [])]
    return Sandbox(
        tree["id"],
        tree.get("metadata", {}).get("attempt", 0),
        tree.get("state", 0) == SANDBOX_READY,
        tree.get("created_at", 0) / 1e9,
        tuple(ips),
    )


def container_of(status: dict[str, Any]) -> Container:
    """From the CRI's ContainerStatus."""
    annotations = status.get("annotations", {})
    image = status.get("image", {})
    return Container(
        id=status["id"],
        name=status.get("labels", {}).get(CONTAINER_NAME) or status["metadata"]["name"],
        attempt=int(annotations.get(RESTART_COUNT, status["metadata"].get("attempt", 0))),
        state=status.get("state", CREATED),
        created=status.get("created_at", 0) / 1e9,
        started=status.get("started_at", 0) / 1e9,
        finished=status.get("finished_at", 0) / 1e9,
        exit_code=status.get("exit_code", 0) if status.get("state") == EXITED else 0,
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        image=image.get("user_specified_image") or image.get("image", ""),
        image_ref=status.get("image_ref", "") or status.get("image_id", ""),
        spec_hash=annotations.get(CONTAINER_HASH, ""),
    )
