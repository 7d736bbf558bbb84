"""The proxy's edge: watches Services, EndpointSlices and the node's pods, and keeps nftables as `rules` says."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from navarch.client import resources
from navarch.client.informer import Informer, InformerFactory
from navarch.client.interface import Client
from navarch.machinery.clock import Timer, World
from navarch.machinery.types import Key, Obj, key_of
from navarch.proxy import flows, nft, routes, rules
from navarch.proxy.health import Health, HealthCheck, HealthServers, health_check
from navarch.proxy.services import SERVICE_NAME_LABEL, ZONE_LABEL, Place, Port, host_ports, is_ours, service_ports

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.01
"""Changes within this time of the first become one transaction."""
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    node_name: str
    node_ip: str
    settings: rules.Settings
    health_port: int = 0
    """Where /healthz is told to load balancers; 0: nowhere."""
    metrics_port: int = 0


class Proxy:
    """`start()` returns once the first complete rules are in the kernel.

    `pods` is asked for the node's pods and their host ports: the proxy's own identity may not read pods."""

    def __init__(self, config: ProxyConfig, client: Client, world: World, pods: Client | None = None) -> None:
        self._config = config
        self._settings = config.settings
        self._world = world
        self._informers = InformerFactory(client, world)
        self._services = self._informers[resources.SERVICES]
        self._slices = self._informers[resources.ENDPOINT_SLICES]
        selector = f"spec.nodeName={config.node_name}"
        self._pods = Informer(pods or client, resources.PODS, world, field_selector=selector)
        self._nodes = Informer(client, resources.NODES, world, field_selector=f"metadata.name={config.node_name}")
        self._place = Place(config.node_name)
        self._ports: dict[Key, list[Port]] = {}
        self._checks: dict[Key, HealthCheck] = {}
        self._host_ports: list[Port] = []
        self._dirty: set[Key] = set()
        self._applied = rules.Ruleset()
        self._serving: flows.Serving = {}
        """The UDP fronts as they were when flows were last looked at."""
        self._loopback = False
        """Whether host ports answer on the loopback address: the bridge comes with the first pod."""
        self._timer: Timer | None = None
        self._applying = False
        self._again = False
        self.health = Health(world)
        self._servers = HealthServers(self.health, lambda: next(iter(self._nodes.list()), None))
        self.transactions = 0
        """How many were applied: a measure of churn."""

    async def start(self) -> None:
        settings = self._config.settings
        routes.guard(settings.pod_cidr, settings.service_cidr, self._config.node_ip)
        routes.forwarding()
        settings = self._settings = settings._replace(bridge_netfilter=routes.bridge_netfilter())
        if not settings.bridge_netfilter:
            log.warning("no br_netfilter in this kernel: replies between pods of one node are masqueraded")
        self._slices.add_index("service", _service_of_slice)
        self._informers.start()
        self._pods.start()
        self._nodes.start()
        synced = (asyncio.shield(informer.synced) for informer in (self._pods, self._nodes))
        await asyncio.gather(self._informers.wait_synced(), *synced)
        self._applying = True  # changes that come meanwhile wait: they are told from what is set now
        self._nodes.add_handler(self._node_changed)
        self._services.add_handler(self._service_changed)
        self._slices.add_handler(self._slice_changed)
        self._pods.add_handler(self._pod_changed)
        self._host_ports = host_ports(self._pods.list())
        target, serving = self._target()
        text = rules.base(settings) + rules.change(settings, rules.Ruleset(), target)
        await asyncio.to_thread(nft.apply, text)
        routes.timeouts()  # the rules have made the kernel follow connections
        self._applied = target
        await self._servers.start(self._config.health_port, self._config.metrics_port)
        await self._follow_up(serving)
        self._applying = False
        if self._again:
            self._again = False
            self._schedule()

    async def stop(self) -> None:
        """Stops following changes; the rules stay, so that services go on while the node agent restarts."""
        if self._timer:
            self._timer.cancel()
        await self._servers.stop()
        await asyncio.gather(self._informers.stop(), self._pods.stop(), self._nodes.stop())

    def _service_changed(self, old: Obj | None, new: Obj | None) -> None:
        if changed := new or old:
            self._mark(key_of(changed))

    def _slice_changed(self, old: Obj | None, new: Obj | None) -> None:
        for piece in (old, new):
            for name in _service_of_slice(piece) if piece else ():
                namespace, _, service = name.partition("/")
                self._mark(Key(namespace, service))

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        """The node's zone decides which endpoints are near."""
        labels = ((new or {}).get("metadata") or {}).get("labels") or {}
        place = Place(self._config.node_name, labels.get(ZONE_LABEL, ""))
        if place != self._place:
            self._place = place
            self._dirty.update(key_of(service) for service in self._services.list())
            self._schedule()

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        before, after = (host_ports([pod]) if pod else [] for pod in (old, new))
        if before != after:
            self._host_ports = host_ports(self._pods.list())
            self._schedule()

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        self._schedule()

    def _schedule(self, delay: float = GATHER_SECONDS) -> None:
        self.health.queued()
        if self._applying:
            self._again = True
        elif self._timer is None:
            self._timer = self._world.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._applying = True
        asyncio.get_running_loop().create_task(self._apply())

    async def _apply(self) -> None:
        failed, started = False, time.monotonic()
        try:
            target, serving = self._target()
            transaction = rules.change(self._settings, self._applied, target)
            if transaction:
                await asyncio.to_thread(nft.apply, transaction)
                self.transactions += 1
            self._applied = target
            await self._follow_up(serving)
        except nft.NftError as error:
            self.health.failed()
            log.error("nftables refused the change; all rules are set anew: %s", error)
            failed = not await self._reset()
        finally:
            self._applying = False
        if not failed:
            self.health.updated(time.monotonic() - started)
        if failed or self._again:
            self._again = False
            self._schedule(RETRY_SECONDS if failed else GATHER_SECONDS)

    async def _reset(self) -> bool:
        """Someone else changed the table: replace it as a whole."""
        target, serving = self._target()
        settings = self._settings
        try:
            text = rules.base(settings) + rules.change(settings, rules.Ruleset(), target)
            await asyncio.to_thread(nft.apply, text)
        except nft.NftError as error:
            log.error("nftables refused the whole table: %s", error)
            return False
        self._applied = target
        await self._follow_up(serving)
        return True

    async def _follow_up(self, serving: flows.Serving) -> None:
        """What the kernel needs after the rules. A flow that is forgotten is translated anew by its next packet."""
        if self._host_ports and not self._loopback:
            self._loopback = routes.loopback(self._settings.bridge)
        await self._servers.sync(self._checks)
        changed, self._serving = flows.worth_looking(self._serving, serving), serving
        if changed:
            try:
                await asyncio.to_thread(flows.forget, changed, self._config.node_ip)
            except OSError as error:
                log.warning("UDP flows to endpoints that are gone stay: %s", error)

    def _target(self) -> tuple[rules.Ruleset, flows.Serving]:
        """The rules as they should be now, and where UDP flows may lead; recomputes only services that changed."""
        dirty, self._dirty = self._dirty, set()
        for key in dirty:
            service = self._services.get(*key)
            self._ports.pop(key, None)
            self._checks.pop(key, None)
            if service and is_ours(service):
                slices = self._slices.by_index("service", f"{key.namespace}/{key.name}")
                self._ports[key] = service_ports(service, slices, self._place)
                if check := health_check(service, slices, self._place.node):
                    self._checks[key] = check
        ports = [*(port for found in self._ports.values() for port in found), *self._host_ports]
        return rules.ruleset(ports), flows.serving(ports)


def _service_of_slice(piece: Obj) -> list[str]:
    meta = piece["metadata"]
    name = (meta.get("labels") or {}).get(SERVICE_NAME_LABEL)
    return [f"{meta['namespace']}/{name}"] if name else []
