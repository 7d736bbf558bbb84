"""The node's presence in the API: it registers, keeps its status, and renews its lease.

Intervals are upstream's: the lease every 10 s of its 40; the status is looked at every 10 s and written when it changed,
or after 5 minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

from navarch.client.interface import Client
from navarch.client.resources import LEASES, NODES
from navarch.kubelet import machine, node_status
from navarch.kubelet.context import KubeletConfig
from navarch.kubelet.cri import Cri, CriError
from navarch.kubelet.node_status import NodeFacts
from navarch.kubelet.parts import Emit
from navarch.machinery.clock import World, rfc3339_micro
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)

LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
STATUS_SECONDS = 10.0
EAGER_SECONDS = 0.05
"""While it is not ready, the node looks again so soon: what hinders it (no pod network yet) passes quickly at start."""
EAGER_FOR = 30.0
LEASE_NAMESPACE = "kube-node-lease"


class Registration:
    def __init__(
        self,
        config: KubeletConfig,
        cri: Cri,
        client: Client,
        world: World,
        emit: Emit,
        pressures: Callable[[], Collection[str]],
        volumes_in_use: Callable[[], Sequence[str]],
        devices: Callable[[], Mapping[str, tuple[int, int]]],
    ) -> None:
        """`pressures` answers the conditions of shortage that hold."""
        self._pressures, self._volumes_in_use, self._devices = pressures, volumes_in_use, devices
        self._config, self._cri, self._client, self._world, self._emit = config, cri, client, world, emit
        self._constant = machine.facts(config.root)
        self._runtime = ""
        self._images: Sequence[Obj] = ()
        self._images_at = 0.0
        self._written_at = 0.0
        self._lease: Obj | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()
        self.node: Obj = {}
        """As the API has it."""
        self.ready = False

    async def start(self) -> None:
        """Returns once the node is registered (not necessarily ready)."""
        await self._register()
        self._emit(self.reference(), "Normal", "Starting", "Starting kubelet.")
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._keep_status()), loop.create_task(self._keep_lease())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def look(self) -> None:
        """Something that the status tells of has changed (images, say)."""
        self._images_at = 0.0
        self._look.set()

    def reference(self) -> Obj:
        name = self._config.node_name
        return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}

    # -- the Node

    async def facts(self) -> NodeFacts:
        """The machine and its runtime as they are now."""
        config, now = self._config, self._world.now()
        problems: list[str] = []
        try:
            if not self._runtime:
                found = await self._cri.version()
                self._runtime = f"{found.get('runtime_name', 'containerd')}://{found.get('runtime_version', '')}"
            conditions = await self._cri.conditions()
            for kind, prefix in (
                ("RuntimeReady", "container runtime not ready"),
                ("NetworkReady", "container runtime network not ready"),
            ):
                found = conditions.get(kind, {})
                if not found.get("status"):
                    reason, message = found.get("reason", ""), found.get("message", "")
                    problems.append(f"{prefix}: {kind}=false reason:{reason} message:{message}")
            if now - self._images_at > STATUS_SECONDS / 2:
                self._images, self._images_at = await self._cri.images(), now
        except CriError as error:
            problems.append(f"container runtime is down: {error}")
        held = self._pressures()
        return NodeFacts(
            name=config.node_name,
            addresses=[config.node_ip],
            port=config.port,
            runtime=self._runtime or "containerd://",
            max_pods=config.max_pods,
            images=self._images,
            problems=problems,
            volumes_in_use=self._volumes_in_use(),
            devices=self._devices(),
            memory_pressure="MemoryPressure" in held,
            disk_pressure="DiskPressure" in held,
            pid_pressure="PIDPressure" in held,
            **self._constant,
        )

    async def _register(self) -> None:
        while True:
            facts = await self.facts()
            try:
                made = node_status.new_node(facts, self._world.now())
                made["metadata"]["labels"] |= self._config.labels
                try:
                    self.node = await self._client.create(NODES, made)
                except StatusError as error:
                    if error.code != 409:
                        raise
                    self.node = await self._client.get(NODES, self._config.node_name)
                    await self._adopt(facts)
                self._written_at = self._world.now()
                return
            except (StatusError, ConnectionError, OSError) as error:
                log.warning("node %s is not registered yet: %s", self._config.node_name, error)
                await self._world.sleep(0.2)

    async def _adopt(self, facts: NodeFacts) -> None:
        """The Node was there: its labels are made what they must be; everything else of it is kept."""
        wanted = {**node_status.labels(facts), **self._config.labels}
        have = self.node["metadata"].get("labels") or {}
        if any(have.get(name) != value for name, value in wanted.items()):
            patch = {"metadata": {"labels": wanted}}
            self.node = await self._client.patch(NODES, self._config.node_name, patch)

    async def _keep_status(self) -> None:
        started = self._world.now()
        while True:
            try:
                await self.update()
            except StatusError as error:
                if error.code == 404:
                    await self._register()
                else:
                    log.warning("node status refused: %s", error.message)
            except (ConnectionError, OSError) as error:
                log.info("node status not written: %s", error)
            eager = not self.ready and self._world.now() - started < EAGER_FOR
            self._look.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), EAGER_SECONDS if eager else STATUS_SECONDS)

    async def update(self) -> None:
        """Looks at the machine, and writes the status where it changed or is due."""
        facts, now = await self.facts(), self._world.now()
        old = self.node.get("status") or {}
        status = node_status.status(old, facts, now)
        self.ready = not facts.problems
        if not node_status.changed(old, status) and now - self._written_at < node_status.REPORT_SECONDS:
            return
        was = _ready(old)
        patch = {"metadata": {"uid": self.node["metadata"]["uid"]}, "status": _patch(old, status)}
        self.node = await self._client.patch(
            NODES, self._config.node_name, patch, type="strategic", subresource="status"
        )
        self._written_at = now
        if was != (_ready(status)):
            word = "NodeReady" if self.ready else "NodeNotReady"
            self._emit(self.reference(), "Normal", word, f"Node {self._config.node_name} status is now: {word}")

    def observed(self, node: Obj) -> None:
        """The API's newer Node."""
        if node["metadata"].get("uid") == self.node.get("metadata", {}).get("uid"):
            self.node = node

    # -- the lease

    async def _keep_lease(self) -> None:
        while True:
            delay = RENEW_SECONDS
            try:
                await self._renew()
            except StatusError as error:
                self._lease = None
                delay = 0.5
                if error.code != 409:
                    log.warning("lease not renewed: %s", error.message)
            except (ConnectionError, OSError):
                delay = 0.5
            await self._world.sleep(delay)

    async def _renew(self) -> None:
        name = self._config.node_name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": rfc3339_micro(self._world.now()),
        }
        if self._lease is None:
            try:
                self._lease = await self._client.get(LEASES, name, LEASE_NAMESPACE)
            except StatusError as error:
                if error.code != 404:
                    raise
                owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self.node["metadata"]["uid"]}
                meta = {"name": name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner]}
                made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
                self._lease = await self._client.create(LEASES, made, LEASE_NAMESPACE)
                return
        renewed = {**self._lease, "spec": {**self._lease.get("spec", {}), **spec}}
        self._lease = await self._client.update(LEASES, renewed, LEASE_NAMESPACE)


def _ready(status: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])


def _patch(old: Obj, new: Obj) -> Obj:
    """What of the status is sent: everything that differs; addresses replaced as a whole, for their key is the type."""
    patch: dict[str, Any] = {name: value for name, value in new.items() if old.get(name) != value}
    if "addresses" in patch and old.get("addresses"):
        patch["addresses"] = [{"$patch": "replace"}, *patch["addresses"]]
    return patch
