"""How long kubelets may remember secrets and config maps, by the size of the cluster. Source: upstream's pkg/controller/ttl."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from navarch.client.resources import NODES
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Patch, Plan, Watch
from navarch.machinery.types import Key, Obj, key_of

ANNOTATION = "node.alpha.kubernetes.io/ttl"
STEPS = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 2**31 - 1, 300))
"""(fewest nodes, most nodes, seconds): steps overlap, so that a cluster at a border does not swing."""


@dataclass(frozen=True, slots=True)
class Observed:
    node: Obj
    seconds: int


class TtlController:
    name = "ttl-controller"

    def __init__(self) -> None:
        self._step = 0
        self._count = 0
        self.watches = (Watch(NODES, self._keys),)

    def _keys(self, old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
        if old is not None and new is not None:
            return [key_of(new)] if objects.annotations_of(old) != objects.annotations_of(new) else ()
        self._count += 1 if old is None else -1
        fewest, most, _ = STEPS[self._step]
        step = self._step + (self._count > most) - (self._count < fewest)
        if step != self._step:
            self._step = step
            return [key_of(node) for node in caches[NODES].list()]
        return [key_of(new)] if new is not None else ()

    def observe(self, key: Key, caches: Caches) -> Observed | None:
        node = caches[NODES].get("", key.name)
        return Observed(node, STEPS[self._step][2]) if node is not None else None

    def reconcile(self, observed: Observed, now: float) -> Plan:
        node, wanted = observed.node, str(observed.seconds)
        if objects.annotations_of(node).get(ANNOTATION) == wanted:
            return Plan(reasons=[f"its kubelet may remember for {wanted} s"])
        change = {"metadata": {"uid": objects.uid_of(node), "annotations": {ANNOTATION: wanted}}}
        return Plan([Patch(NODES, key_of(node), change)], reasons=[f"its kubelet may remember for {wanted} s"])
