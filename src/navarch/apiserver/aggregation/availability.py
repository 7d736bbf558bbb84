"""Whether an extension server is available: what its condition says. Pure.

Source: kube-aggregator's controllers/status/remote.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from navarch.apiserver.aggregation.remote import AVAILABLE, Remote, available_of
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Obj


class Verdict(NamedTuple):
    status: bool
    reason: str
    message: str


PASSED = Verdict(True, "Passed", "all checks passed")
LOCAL = Verdict(True, "Local", "Local APIServices are always available")
"""Of what this server serves itself."""


def before_asking(remote: Remote, service: Obj | None, slices: Sequence[Obj]) -> Verdict | None:
    """What is plain without asking the server itself; None: it must be asked."""
    what = f'service/{remote.service} in "{remote.namespace}"'
    if service is None:
        return Verdict(False, "ServiceNotFound", f"{what} is not present")
    if service["spec"].get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((p for p in service["spec"].get("ports") or () if p["port"] == remote.port), None)
    if port is None:
        return Verdict(False, "ServicePortError", f"{what} is not listening on port {remote.port}")
    if not slices:
        return Verdict(False, "EndpointsNotFound", f"cannot find endpointslices for {what}")
    name = port.get("name") or ""
    if not any(_ready(piece, name) for piece in slices):
        message = f'endpointslices for {what} have no addresses with port name "{name}"'
        return Verdict(False, "MissingEndpoints", message)
    return None


def _ready(piece: Obj, port: str) -> bool:
    endpoints = piece.get("endpoints") or ()
    return any((e.get("conditions") or {}).get("ready") is not False for e in endpoints) and any(
        (p.get("name") or "") == port and p.get("port") for p in piece.get("ports") or ()
    )


def is_local(obj: Obj) -> bool:
    """Whether the condition says that this server serves it itself."""
    return (available_of(obj) or {}).get("reason") == LOCAL.reason


def failed(trouble: str) -> Verdict:
    return Verdict(False, "FailedDiscoveryCheck", trouble)


def with_condition(obj: Obj, verdict: Verdict, now: float) -> Obj | None:
    """The APIService with the condition in its status; None where it is there already."""
    old = available_of(obj) or {}
    status = "True" if verdict.status else "False"
    if (old.get("status"), old.get("reason"), old.get("message")) == (status, *verdict[1:]):
        return None
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    condition = {
        "type": AVAILABLE,
        "status": status,
        "lastTransitionTime": since or rfc3339(now),
        "reason": verdict.reason,
        "message": verdict.message,
    }
    others = [c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") != AVAILABLE]
    return {**obj, "status": {**(obj.get("status") or {}), "conditions": [*others, condition]}}
