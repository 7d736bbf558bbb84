"""Claims that ask for more than they have: who makes their volumes makes them grow. Source: pkg/controller/volume/expand.

No volume is grown by the controller itself: upstream's last plugins that could be are CSI drivers now, and the volumes
that a node makes on demand are grown by the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from navarch.api.storage.matching import PROVISIONED_BY, size_of
from navarch.client.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Emit, Plan, Watch
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Key, Obj, key_of

WAITING = "waiting for an external controller to expand this PVC"


@dataclass(frozen=True, slots=True)
class Observed:
    claim: Obj
    volume: Obj


class ExpandController:
    name = "volume_expand"

    def __init__(self) -> None:
        self.watches = (
            Watch(PERSISTENT_VOLUME_CLAIMS, _grown),
            Watch(PERSISTENT_VOLUMES, lambda old, new, caches: ()),
        )

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        claim = caches[PERSISTENT_VOLUME_CLAIMS].get(key.namespace, key.name)
        volume = caches[PERSISTENT_VOLUMES].get("", claim["spec"].get("volumeName", "")) if claim else None
        return Observed(claim, volume) if claim is not None and volume is not None else None

    def reconcile(self, observed: Observed, now: float) -> Plan:
        claim, volume = observed.claim, observed.volume
        reference = volume["spec"].get("claimRef") or {}
        if reference.get("uid") != objects.uid_of(claim):
            return Plan(reasons=["its volume is not bound to it"])
        has = Quantity.of(((claim.get("status") or {}).get("capacity") or {}).get("storage", "0"))
        if size_of(claim) <= has:
            return Plan(reasons=["it has what it asks for"])
        made_by = objects.annotations_of(volume).get(PROVISIONED_BY) or volume["spec"].get("csi")
        kind = "Normal" if made_by else "Warning"
        return Plan([Emit(claim, kind, "ExternalExpanding", WAITING)], reasons=[WAITING])


def _grown(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Claims that ask for more than before."""
    if old is None or new is None or size_of(new) <= size_of(old):
        return ()
    return (key_of(new),)
