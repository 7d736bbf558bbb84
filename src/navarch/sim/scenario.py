"""What somebody does to a cluster, and what befalls it, drawn from a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from navarch.client.interface import Client, Resource
from navarch.client.resources import (
    DAEMON_SETS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    STATEFUL_SETS,
)
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj
from navarch.sim.ledger import Expected

if TYPE_CHECKING:
    from navarch.sim.chaos import Cluster

SPACE = "default"
BOUNDS = (
    {"maxSurge": "25%", "maxUnavailable": "25%"},
    {"maxSurge": 1, "maxUnavailable": 0},
    {"maxSurge": 0, "maxUnavailable": 1},
)
ATTEMPTS = 30


class Scenario:
    """Orders and misfortunes, and what is to be expected after them."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._deployments: dict[str, int] = {}
        self._stateful: dict[str, int] = {}
        self._daemons: set[str] = set()
        self._jobs: dict[str, str] = {}
        self._services: dict[str, Obj] = {}
        self._gone: set[str] = set()
        self._count = 0

    def expected(self) -> Expected:
        return Expected(
            nodes=set(self._cluster.nodes),
            deployments=self._deployments,
            stateful_sets=self._stateful,
            daemon_sets=self._daemons,
            jobs=self._jobs,
            services=self._services,
            gone=self._gone,
        )

    async def play(self, seconds: float) -> None:
        """Sets things up, then does one thing after another for so long."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        for begin in self._beginnings():
            await begin()
            await asyncio.sleep(self._random.random() * 4)
        acts = self._acts()
        while loop.time() < ends:
            await asyncio.sleep(self._random.expovariate(1 / 12))
            await self._random.choice(acts)()

    async def heal(self) -> None:
        """Undoes what would keep the cluster from coming to rest."""
        await self._cluster.up()
        for name in self._cluster.nodes:
            await self._do(f"uncordon {name}", lambda to, n=name: to.patch(NODES, n, {"spec": {"unschedulable": None}}))

    # -- orders

    def _beginnings(self) -> list[Callable[[], Awaitable[None]]]:
        begin: list[Callable[[], Awaitable[None]]] = [self._deploy for _ in range(self._random.randint(1, 2))]
        for act, chance in (
            (self._set_up_state, 0.6),
            (self._daemonise, 0.5),
            (self._run_job, 0.7),
            (self._run_job, 0.4),
        ):
            if self._random.random() < chance:
                begin.append(act)
        self._random.shuffle(begin)
        return begin

    def _acts(self) -> list[Callable[[], Awaitable[None]]]:
        """Each as often as it is to happen."""
        return [
            *([self._scale] * 3),
            *([self._roll] * 3),
            *([self._delete_pod] * 3),
            *([self._die] * 3),
            *([self._cut] * 2),
            self._scale_state,
            self._cordon,
            self._crash,
            self._run_job,
            self._redeploy,
            self._namespace,
            self._evict,
        ]

    async def _do(self, what: str, order: Callable[[Client], Awaitable[Any]]) -> bool:
        """Gives an order, as often as it takes; whether it was carried out. What is not there (any more) is left."""
        self._cluster.tell(what)
        for _ in range(ATTEMPTS):
            try:
                await order(self._cluster.user())
                return True
            except ConnectionError:
                await asyncio.sleep(1)
            except StatusError as error:
                if error.code in (404, 409, 429) and error.reason != "Conflict":
                    self._cluster.tell(f"  {error.reason}: {error.message}")
                    return error.reason == "AlreadyExists"
                if error.reason != "Conflict" and error.code != 403:
                    raise
                await asyncio.sleep(1)
        raise AssertionError(f"could not {what}")

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}-{self._count}"

    def _template(self, labels: Obj, **more: Any) -> Obj:
        resources = {"requests": {"cpu": f"{self._random.randint(1, 4) * 50}m", "memory": "32Mi"}}
        container = {"name": "c", "image": "app:1", "resources": resources}
        return {"metadata": {"labels": labels, **more.pop("metadata", {})}, "spec": {"containers": [container], **more}}

    async def _deploy(self) -> None:
        name, replicas = self._name("web"), self._random.randint(1, 6)
        labels = {"app": name}
        spec: Obj = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": self._template(labels)}
        if self._random.random() < 0.2:
            spec["strategy"] = {"type": "Recreate"}
        else:
            spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": self._random.choice(BOUNDS)}
        await self._make(f"deploy {name} x{replicas}", DEPLOYMENTS, {"metadata": {"name": name}, "spec": spec})
        self._deployments[name] = replicas
        service = {"metadata": {"name": name}, "spec": {"selector": labels, "ports": [{"port": 80}]}}
        await self._make(f"service {name}", SERVICES, service)
        self._services[name] = labels
        budget = {"minAvailable": 1, "selector": {"matchLabels": labels}}
        await self._make(f"budget {name}", DISRUPTION_BUDGETS, {"metadata": {"name": name}, "spec": budget})

    async def _make(self, what: str, resource: Resource, obj: Obj) -> None:
        await self._do(what, lambda to: to.create(resource, obj, SPACE))

    async def _set_up_state(self) -> None:
        name, replicas = self._name("db"), self._random.randint(1, 4)
        labels = {"app": name}
        policy = self._random.choice(("OrderedReady", "Parallel"))
        spec = {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": policy,
            "selector": {"matchLabels": labels},
            "template": self._template(labels),
        }
        what = f"stateful set {name} x{replicas} {policy}"
        await self._make(what, STATEFUL_SETS, {"metadata": {"name": name}, "spec": spec})
        self._stateful[name] = replicas

    async def _daemonise(self) -> None:
        name = self._name("agent")
        labels = {"app": name}
        spec = {"selector": {"matchLabels": labels}, "template": self._template(labels)}
        await self._make(f"daemon set {name}", DAEMON_SETS, {"metadata": {"name": name}, "spec": spec})
        self._daemons.add(name)

    async def _run_job(self) -> None:
        name, count = self._name("job"), self._random.randint(1, 6)
        fails = self._random.random() < 0.2
        notes = {"navarch.hollow/run-seconds": str(self._random.randint(1, 40))}
        if fails:
            notes["navarch.hollow/exit-code"] = "1"
        spec = {
            "completions": count,
            "parallelism": self._random.randint(1, 3),
            "completionMode": self._random.choice(("NonIndexed", "Indexed")),
            "backoffLimit": 1 if fails else 100,
            "template": self._template({"job": name}, metadata={"annotations": notes}, restartPolicy="Never"),
        }
        await self._make(
            f"job {name} x{count} {spec['completionMode']}", JOBS, {"metadata": {"name": name}, "spec": spec}
        )
        self._jobs[name] = "Failed" if fails else "Complete"

    async def _scale(self) -> None:
        name, replicas = self._random.choice(sorted(self._deployments)), self._random.randint(0, 8)
        await self._set(f"scale {name} to {replicas}", DEPLOYMENTS, name, {"replicas": replicas})
        self._deployments[name] = replicas

    async def _scale_state(self) -> None:
        if self._stateful:
            name, replicas = self._random.choice(sorted(self._stateful)), self._random.randint(0, 5)
            await self._set(f"scale {name} to {replicas}", STATEFUL_SETS, name, {"replicas": replicas})
            self._stateful[name] = replicas

    async def _roll(self) -> None:
        """A new template: another image."""
        kinds = [(DEPLOYMENTS, n) for n in self._deployments] + [(STATEFUL_SETS, n) for n in self._stateful]
        kinds += [(DAEMON_SETS, n) for n in sorted(self._daemons)]
        resource, name = self._random.choice(kinds)
        image = f"app:{self._random.randint(1, 4)}"
        patch = {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}
        await self._set(f"set {name} to {image}", resource, name, patch)

    async def _set(self, what: str, resource: Resource, name: str, spec: Obj) -> None:
        await self._do(what, lambda to: to.patch(resource, name, {"spec": spec}, SPACE, type="strategic"))

    async def _redeploy(self) -> None:
        """Deletes one and makes a new one under another name."""
        name = self._random.choice(sorted(self._deployments))
        how: Any = self._random.choice(("Background", "Foreground"))
        await self._do(f"delete {name}, {how}", lambda to: to.delete(DEPLOYMENTS, name, SPACE, propagation=how))
        del self._deployments[name]
        await self._deploy()

    async def _namespace(self) -> None:
        """A namespace that lives only for a while."""
        name = self._name("space")
        await self._do(f"namespace {name}", lambda to: to.create(NAMESPACES, {"metadata": {"name": name}}))
        await asyncio.sleep(1 + self._random.random() * 10)
        labels = {"app": name}
        spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": self._template(labels)}
        deployment = {"metadata": {"name": "web"}, "spec": spec}
        await self._do(f"deploy in {name}", lambda to: to.create(DEPLOYMENTS, deployment, name))
        await asyncio.sleep(self._random.random() * 20)
        await self._do(f"delete namespace {name}", lambda to: to.delete(NAMESPACES, name))
        self._gone.add(name)

    # -- misfortunes

    def _some_pod(self) -> tuple[str, Obj] | None:
        pods = self._cluster.ledger["core/pods"]
        key = self._random.choice(sorted(pods)) if pods else ""
        return (key, pods[key]) if key.startswith(f"{SPACE}/") else None

    async def _delete_pod(self) -> None:
        if found := self._some_pod():
            name = found[1]["metadata"]["name"]
            await self._do(f"delete pod {name}", lambda to: to.delete(PODS, name, SPACE))

    async def _evict(self) -> None:
        if found := self._some_pod():
            name = found[1]["metadata"]["name"]
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": SPACE}}
            await self._do(
                f"evict {name}", lambda to: to.create(PODS, eviction, SPACE, name=name, subresource="eviction")
            )

    async def _die(self) -> None:
        self._cluster.die_after(self._random.randint(1, 25))

    async def _crash(self) -> None:
        await self._cluster.crash("killed", away=self._random.random() * 20)

    async def _cordon(self) -> None:
        name = self._random.choice(sorted(self._cluster.nodes))
        await self._do(f"cordon {name}", lambda to: to.patch(NODES, name, {"spec": {"unschedulable": True}}))

    async def _cut(self) -> None:
        """A node is cut off for a while, sometimes for so long that its pods are given up."""
        node = self._cluster.nodes[self._random.choice(sorted(self._cluster.nodes))]
        seconds = self._random.choice((5.0, 30.0, 100.0, 400.0)) * (0.5 + self._random.random())
        self._cluster.tell(f"{node.name} is cut off for {seconds:.0f} s")
        node.line.cut = True

        def mend() -> None:
            node.line.cut = False

        asyncio.get_running_loop().call_later(seconds, mend)
