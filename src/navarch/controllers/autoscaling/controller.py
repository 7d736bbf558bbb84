"""Autoscalers are looked at every 15 seconds: their target's scale and their metrics are read, and it is decided."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from navarch.client.interface import Client
from navarch.client.resources import PODS
from navarch.controllers import objects
from navarch.controllers.autoscaling.decision import AUTOSCALERS, Observed, Target, decide, no_scale
from navarch.controllers.autoscaling.limits import History
from navarch.controllers.autoscaling.measuring import measure
from navarch.controllers.discovery import resource_of
from navarch.controlloop.plan import Caches, Call, Lister, Plan, Watch
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.selectors import LabelSelector, parse_label_selector
from navarch.machinery.types import Key, Obj, key_of


@dataclass(frozen=True, slots=True)
class Seen:
    autoscaler: Obj
    pods: Lister


class AutoscalingController:
    name = "horizontal-pod-autoscaler"

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world
        self._histories: dict[Key, History] = {}
        self._selectors: dict[Key, LabelSelector] = {}
        self.watches = (Watch(AUTOSCALERS, _keys), Watch(PODS, lambda old, new, caches: ()))

    def observe(self, key: Key, caches: Caches) -> Seen | None:
        found = caches[AUTOSCALERS].get(key.namespace, key.name)
        if found is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            return None
        return Seen(found, caches[PODS])

    def reconcile(self, observed: Seen, now: float) -> Plan:
        reference = observed.autoscaler["spec"]["scaleTargetRef"]
        what = f"measure {reference['kind']} {reference['name']}"
        return Plan([Call(what, lambda: self._measure(observed))], reasons=["it is looked at every 15 seconds"])

    async def _measure(self, seen: Seen) -> Plan:
        autoscaler, key = seen.autoscaler, key_of(seen.autoscaler)
        reference = autoscaler["spec"]["scaleTargetRef"]
        try:
            mapped = await resource_of(self._client, reference.get("apiVersion") or "v1", reference["kind"])
            got = await self._client.get(mapped.resource, reference["name"], key.namespace, subresource="scale")
        except StatusError as error:
            return no_scale(autoscaler, error.message, self._world.now())
        target = Target(mapped.resource, got)
        text = target.selector
        metrics = autoscaler["spec"].get("metrics") or ()
        asked = (measure(self._client, spec, key.namespace, text) for spec in metrics)
        measured = await asyncio.gather(*asked) if text and target.wanted else []
        pods, rivals = self._selected(key, text, seen.pods)
        observed = Observed(autoscaler, target, pods, measured, rivals)
        return decide(observed, self._histories.setdefault(key, History()), self._world.now())

    def _selected(self, key: Key, text: str, pods: Lister) -> tuple[Sequence[Obj], Sequence[Key]]:
        """The target's pods, and all autoscalers that have any of them."""
        if not text:
            return (), ()
        own = self._selectors[key] = parse_label_selector(text)
        found = [pod for pod in pods.list(key.namespace) if own.matches(objects.labels_of(pod))]
        others = [other for other in sorted(self._selectors) if other.namespace == key.namespace]
        rivals = [
            other for other in others if any(self._selectors[other].matches(objects.labels_of(pod)) for pod in found)
        ]
        return found, rivals


def _keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    """Of autoscalers that come, go, or are to do something else; the status is their own."""
    if old is not None and new is not None and old["spec"] == new["spec"]:
        return ()
    return [key_of(obj) for obj in (new or old,) if obj is not None]
