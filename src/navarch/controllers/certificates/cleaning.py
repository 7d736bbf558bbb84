"""Requests that are done with, or that nobody judges, go after a while. Source: certificates/cleaner."""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.certificates.certificatesigningrequest import APPROVED, DENIED, FAILED, decoded
from navarch.client.resources import CERTIFICATE_REQUESTS
from navarch.controllers import objects
from navarch.controllers.certificates.approving import request_keys
from navarch.controllers.certificates.authority import ends_at
from navarch.controlloop.plan import Caches, Delete, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of

HOUR = 3600.0
JUDGED_SECONDS, PENDING_SECONDS = HOUR, 24 * HOUR
"""How long what is issued, denied or failed is kept, and what is not judged or approved in vain."""


class CleaningController:
    name = "certificatesigningrequest-cleaner-controller"

    def __init__(self) -> None:
        self.watches = (Watch(CERTIFICATE_REQUESTS, request_keys),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        return caches[CERTIFICATE_REQUESTS].get("", key.name)

    def reconcile(self, observed: Obj, now: float) -> Plan:
        due = min(deadlines(observed), default=None)
        if due is None:
            return Plan(reasons=["it is kept"])
        if now <= due:
            return Plan(requeue_after=due - now + 1, reasons=[f"it is kept for {due - now:.0f} s more"])
        gone = Delete(CERTIFICATE_REQUESTS, key_of(observed), objects.uid_of(observed))
        return Plan([gone], reasons=["it is done with"])


def deadlines(request: Obj) -> Iterable[float]:
    """The times after any of which it is to go."""
    status = request.get("status") or {}
    conditions, issued = status.get("conditions") or (), status.get("certificate")
    if not conditions and (created := objects.created_at(request)):
        yield created + PENDING_SECONDS
    for condition in conditions:
        kind, updated = condition["type"], objects.time_of(condition.get("lastUpdateTime"))
        if kind == APPROVED and issued and (end := ends_at(decoded(issued))) is not None:
            yield end
        if not updated:
            continue
        if kind in (DENIED, FAILED) or (kind == APPROVED and issued):
            yield updated + JUDGED_SECONDS
        elif kind == APPROVED:
            yield updated + PENDING_SECONDS
