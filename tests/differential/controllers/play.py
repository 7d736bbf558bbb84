"""Plays scenarios on a cluster, and keeps what it is like whenever a step says so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.differential.controllers.normal import Normal
from tests.differential.controllers.scenario import Scenario, holds, resource
from tests.differential.controllers.sight import KINDS, Sight

from navarch.client.interface import Client, Resource
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj
from navarch.sim.hollow import HollowNodes, Shape

QUIET = 2.5
"""Seconds without a change after which a scenario is at rest."""
PATIENCE = 200.0
"""Seconds that a condition may take."""
PAUSE = 0.25
ZONES, OWN_ZONES = ("hollow-1001", "hollow-1002"), ("zone-a", "zone-b")
NODES = 4
OWN = "scenario"
"""The key of the taint and the label of nodes that belong to one scenario."""
Result = dict[str, Any]
"""A recording's name -> kind -> objects."""


class Cluster:
    """What scenarios are played on: a server somewhere, and hollow nodes on it."""

    def __init__(self, client: Client, world: World, connect: Callable[[str], Client]) -> None:
        """`connect` makes a client of that name for a part."""
        self.client, self.world, self.connect = client, world, connect
        self.sight = Sight(client, world)
        self.nodes = HollowNodes(connect("kubelet"), world, NODES, shape=Shape(zones=ZONES))

    async def start(self) -> None:
        await self.sight.start()
        await self.nodes.start()

    async def stop(self) -> None:
        await self.nodes.stop()
        await self.sight.stop()

    async def play(self, scenarios: Sequence[Scenario], at_once: int) -> dict[str, Result]:
        gate = asyncio.Semaphore(at_once)
        found: dict[str, Result] = {}

        async def one(scenario: Scenario) -> None:
            async with gate:
                player = Player(self, scenario)
                await player.play()
                found[scenario.name] = player.result

        for scenario in scenarios:
            self.sight.expect(scenario.name)
        await asyncio.gather(*(one(s) for s in scenarios if not s.alone))
        for scenario in scenarios:
            if scenario.alone:
                await one(scenario)
        return {scenario.name: found[scenario.name] for scenario in scenarios}


class Player:
    def __init__(self, cluster: Cluster, scenario: Scenario) -> None:
        self._cluster, self._scenario = cluster, scenario
        self._ns = scenario.name
        self._client, self._sight, self._world = cluster.client, cluster.sight, cluster.world
        self._normal = Normal()
        self._nodes: HollowNodes | None = None
        self._refused: list[str] = []
        self.result: Result = {}

    async def play(self) -> None:
        try:
            await self._begin()
            for number, step in enumerate(self._scenario.steps):
                for verb, argument in step.items():
                    try:
                        await getattr(self, f"_{verb}")(argument)
                    except StatusError as err:
                        self._refused.append(f"{verb}: {err.code} {err.reason} {self._normal.text(err.message)}")
                    except TimeoutError as err:
                        self.result[f"step {number}"] = {"never": str(err)}
                        await self._record("stuck")
                        return
        finally:
            if self._nodes:
                await self._nodes.stop()

    async def _begin(self) -> None:
        labels = {OWN: "yes"}
        await self._client.create(resource("Namespace"), {"metadata": {"name": self._ns, "labels": labels}})
        if self._scenario.nodes:
            taint = {"key": OWN, "value": self._ns, "effect": "NoSchedule"}
            shape = Shape(zones=OWN_ZONES, taints=[taint], labels={OWN: self._ns})
            connect, world = self._cluster.connect, self._world
            self._nodes = HollowNodes(
                connect("kubelet"), world, self._scenario.nodes, shape=shape, prefix=f"{self._ns}-"
            )
            await self._nodes.start()
            ready = {"kind": "Node", "where": {"spec.taints.node\\.kubernetes\\.io/not-ready": None}}
            await self._wait({**ready, "count": self._scenario.nodes})
        await self._wait([{"kind": "ServiceAccount"}, {"kind": "ConfigMap", "name": "kube-root-ca.crt"}])

    # -- steps

    async def _create(self, objects: Any) -> None:
        for obj in objects if isinstance(objects, list) else [objects]:
            kind = resource(obj["kind"], obj.get("apiVersion", ""))
            obj = {**obj, "apiVersion": kind.api_version}
            namespace = obj.get("metadata", {}).get("namespace", self._ns)
            made = await self._client.create(kind, obj, namespace if kind.namespaced else "")
            if obj.get("status"):
                status = {"metadata": {"name": made["metadata"]["name"]}, "status": obj["status"]}
                await self._client.patch(kind, made["metadata"]["name"], status, self._ns, subresource="status")
        self._sight.touch(self._ns)

    async def _patch(self, what: Mapping[str, Any]) -> None:
        await self._patched(what["of"], what["with"], what.get("type", "merge"), what.get("subresource", ""))

    async def _patched(self, target: Any, body: Any, type: Any, subresource: str) -> None:
        kind, name, namespace = self._target(target)
        await self._client.patch(kind, name, body, namespace, type=type, subresource=subresource, **_manager(type))
        self._sight.touch(self._ns)

    async def _scale(self, what: Mapping[str, Any]) -> None:
        await self._patched(what["of"], {"spec": {"replicas": what["replicas"]}}, "merge", "scale")

    async def _delete(self, what: Any) -> None:
        what = {"of": what} if isinstance(what, str) else what
        kind, name, namespace = self._target(what["of"])
        await self._client.delete(
            kind, name, namespace, propagation=what.get("propagation", ""), grace_period_seconds=what.get("grace")
        )
        self._sight.touch(self._ns)

    async def _evict(self, target: Any) -> None:
        kind, name, namespace = self._target(target)
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
        await self._client.create(kind, body, namespace, name=name, subresource="eviction")
        self._sight.touch(self._ns)

    async def _own(self, what: Mapping[str, Any]) -> None:
        """Makes an object whose owners are others."""
        owners: list[Obj] = []
        for owner in what["owners"]:
            kind, name, namespace = self._target(owner)
            found = await self._client.get(kind, name, namespace)
            reference = {"apiVersion": kind.api_version, "kind": owner.partition("/")[0], "name": name}
            block = {"blockOwnerDeletion": True} if what.get("block") else {}
            owners.append({**reference, "uid": found["metadata"]["uid"], **block})
        kind, _, name = what["of"].partition("/")
        meta = {"name": name, "ownerReferences": owners, "finalizers": what.get("finalizers", [])}
        await self._create({"kind": kind, "metadata": meta})

    async def _wait(self, conditions: Any) -> None:
        conditions = conditions if isinstance(conditions, list) else [conditions]
        deadline = self._world.now() + PATIENCE
        while unmet := [c for c in conditions if not self._met(c)]:
            if self._world.now() > deadline:
                raise TimeoutError(f"{unmet[0]}")
            await self._world.sleep(PAUSE)

    def _met(self, condition: Mapping[str, Any]) -> bool:
        return len(self._found(condition)) == condition.get("count", 1)

    def _found(self, what: Mapping[str, Any]) -> list[Obj]:
        name, where = what.get("name"), what.get("where") or {}
        found = [
            obj
            for obj in self._sight.of(what["kind"], self._ns)
            if (name is None or obj["metadata"]["name"] == name) and holds(obj, where)
        ]
        return sorted(found, key=lambda obj: obj["metadata"]["name"])

    async def _sleep(self, seconds: float) -> None:
        await self._world.sleep(seconds)

    async def _node(self, what: Mapping[str, int]) -> None:
        assert self._nodes
        for verb, index in what.items():
            {"stop": self._nodes.heartbeat.stopped.add, "start": self._nodes.heartbeat.stopped.discard}[verb](
                f"{self._ns}-{index}"
            )
        self._sight.touch(self._ns)

    async def _record(self, name: str) -> None:
        deadline = self._world.now() + PATIENCE
        self._sight.touch(self._ns)
        while self._sight.quiet_for(self._ns) < QUIET and self._world.now() < deadline:
            await self._world.sleep(PAUSE)
        objects = {kind: list(self._sight.of(kind, self._ns)) for kind in KINDS}
        self._normal.learn([obj for group in objects.values() for obj in group])
        seen: dict[str, Any] = {"events": self._normal.events(objects.pop("Event"))}
        for kind, group in objects.items():
            if group := [obj for obj in group if not _everywhere(obj)]:
                seen[kind] = self._normal.objects(group)
        if self._refused:
            seen["refused"] = list(self._refused)
        self.result[name] = seen

    def _target(self, target: Any) -> tuple[Resource, str, str]:
        if isinstance(target, str):
            kind, _, name = target.rpartition("/")
            version, _, kind = kind.rpartition("/")
        else:
            found = self._found(target)
            if len(found) <= target.get("pick", 0):
                raise StatusError(404, "NotFound", f"there is no such {target}")
            version, kind, name = "", target["kind"], found[target.get("pick", 0)]["metadata"]["name"]
        of = resource(kind, version)
        return of, name, self._ns if of.namespaced else ""


def _manager(type: str) -> dict[str, Any]:
    return {"field_manager": "somebody", "force": True} if type == "apply" else {}


def _everywhere(obj: Obj) -> bool:
    """What every namespace has (vendors' authorities among it)."""
    kind, name = obj["kind"], obj["metadata"]["name"]
    return (kind == "ConfigMap" and name.endswith("-ca.crt")) or (kind, name) == ("ServiceAccount", "default")


def clean_environment() -> dict[str, str]:
    """For the real one's processes: no proxy, no kubeconfig."""
    kept = ("PATH", "HOME", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"GOMAXPROCS": "2"}
