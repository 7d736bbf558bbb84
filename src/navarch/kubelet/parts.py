"""What the pod worker needs of its neighbours, as interfaces: the composition hands them in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from navarch.kubelet.cri import Cri
from navarch.kubelet.pod_actions import Unhealthy
from navarch.kubelet.runtime_state import PodRuntime
from navarch.machinery.types import Obj


class HostVolume(Protocol):
    """Where a volume of a pod is on the host."""

    @property
    def path(self) -> str: ...

    @property
    def read_only(self) -> bool: ...


class Volumes(Protocol):
    async def mount(self, pod: Obj) -> Mapping[str, Any]:
        """Volume name -> HostVolume. May be called again to refresh. Raises an exception with a message for people."""
        ...

    async def unmount(self, pod_uid: str) -> None: ...

    def orphans(self, known: Collection[str]) -> list[str]: ...


class Probes(Protocol):
    def sync(self, pod: Obj, runtime: PodRuntime, pod_ip: str) -> None: ...

    def forget(self, pod_uid: str) -> None: ...

    def ready(self, container_id: str) -> bool: ...

    def started(self, container_id: str) -> bool: ...

    def unhealthy(self, pod_uid: str) -> Mapping[str, Unhealthy]: ...


ContainerMounts = Callable[[Obj, Obj, Mapping[str, Any], Callable[[str], str]], Sequence[dict[str, Any]]]
"""(pod, container, volumes, expand) -> the CRI's Mounts."""
RunHook = Callable[[Obj, Obj, Obj, str, str, Cri], Awaitable[None]]
"""(handler, pod, container, container id, pod IP, runtime); raises an exception with a message for people."""
Emit = Callable[[Obj, str, str, str], None]
"""(regarding, type, reason, message): writes an Event."""
