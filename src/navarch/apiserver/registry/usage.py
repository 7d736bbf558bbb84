"""metrics.k8s.io: NodeMetrics and PodMetrics, made of the samples that the scraper has."""

from __future__ import annotations

from navarch.api.metrics.samples import GROUP, node_metrics, pod_metrics
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.usage.scraper import Scraper
from navarch.apiserver.watchcache import ResourceCache
from navarch.machinery import errors
from navarch.machinery.types import GroupResource, Obj


class NodeMetrics(Virtual):
    definition = "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics"

    def __init__(self, scraper: Scraper, nodes: ResourceCache) -> None:
        self._scraper = scraper
        self._nodes = nodes

    async def get(self, call: Call) -> Obj:
        entry, pair = self._nodes.get("", call.name), (await self._scraper.pairs()).get(call.name)
        made = node_metrics(entry.obj, pair) if entry is not None and pair is not None else None
        if made is None:
            raise errors.not_found(GroupResource(GROUP, "nodemetrics"), call.name)
        return made

    async def everything(self, call: Call) -> list[Obj]:
        pairs = await self._scraper.pairs()
        found = ((entry.obj, pairs.get(entry.name)) for entry in self._nodes.range())
        made = [node_metrics(node, pair) for node, pair in found if pair is not None]
        return [obj for obj in made if obj is not None]


class PodMetrics(Virtual):
    definition = "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics"

    def __init__(self, scraper: Scraper, pods: ResourceCache) -> None:
        self._scraper = scraper
        self._pods = pods

    async def get(self, call: Call) -> Obj:
        pairs, entry = await self._scraper.pairs(), self._pods.get(call.namespace, call.name)
        pair = pairs.get(entry.obj["spec"].get("nodeName", "")) if entry is not None else None
        made = pod_metrics(entry.obj, pair) if entry is not None and pair is not None else None
        if made is None:
            raise errors.not_found(GroupResource(GROUP, "podmetrics"), f"{call.namespace}/{call.name}")
        return made

    async def everything(self, call: Call) -> list[Obj]:
        """All, or those of a namespace."""
        pairs = await self._scraper.pairs()
        found = ((e.obj, pairs.get(e.obj["spec"].get("nodeName", ""))) for e in self._pods.range(call.namespace))
        made = [pod_metrics(pod, pair) for pod, pair in found if pair is not None]
        return [obj for obj in made if obj is not None]
