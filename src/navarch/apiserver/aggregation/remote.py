"""An APIService that a service of the cluster serves, as the proxy and the checks read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from navarch.machinery.types import Obj

AVAILABLE = "Available"


class Remote(NamedTuple):
    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int
    bundle: str
    """Base64 of PEM; empty: what the machine believes."""
    insecure: bool
    group_priority: int
    version_priority: int
    available: bool

    @property
    def root(self) -> str:
        """The path below which it serves."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def server_name(self) -> str:
        """What its certificate must say."""
        return f"{self.service}.{self.namespace}.svc"


def remote_of(obj: Obj) -> Remote | None:
    """None for what this server serves itself."""
    spec = obj["spec"]
    service = spec.get("service")
    if service is None:
        return None
    condition = available_of(obj)
    return Remote(
        name=obj["metadata"]["name"],
        group=spec.get("group", ""),
        version=spec.get("version", ""),
        namespace=service.get("namespace", ""),
        service=service.get("name", ""),
        port=service.get("port") or 443,
        bundle=spec.get("caBundle") or "",
        insecure=bool(spec.get("insecureSkipTLSVerify")),
        group_priority=spec["groupPriorityMinimum"],
        version_priority=spec["versionPriority"],
        available=condition is not None and condition.get("status") == "True",
    )


def available_of(obj: Obj) -> Obj | None:
    """The condition Available."""
    conditions: Iterable[Obj] = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c.get("type") == AVAILABLE), None)
