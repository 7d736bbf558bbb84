"""A node's process: the kubelet, the service proxy and cluster DNS, each with an identity of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from navarch.client.http import HttpClient
from navarch.client.interface import Client, Resource
from navarch.client.resources import ENDPOINT_SLICES, SERVICES
from navarch.cluster import machine, pki, preload, runtime, storage
from navarch.cluster.agents import KubeletAgent, run_agent
from navarch.cluster.config import ClusterConfig
from navarch.cluster.processes import CONTAINER_LOGS, KUBELET, POD_LOGS
from navarch.dns.server import DnsConfig, DnsServer, upstreams_of
from navarch.http.tls import TlsConfig
from navarch.kubelet.context import KubeletConfig
from navarch.kubelet.cri import wait_until_ready
from navarch.machinery.clock import RealWorld, World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj
from navarch.proxy.proxy import Proxy, ProxyConfig
from navarch.proxy.rules import Settings

log = logging.getLogger(__name__)

RUNTIME_SECONDS = 60.0
EVICTION_HARD = {"memory.available": "100Mi", "nodefs.available": "5%", "nodefs.inodesFree": "5%"}
"""The machine is somebody's own: its disk may well be fuller than upstream's defaults like it."""
API_RETRY_SECONDS = 0.1


def client(config: ClusterConfig, pair: pki.Pair, agent: str) -> HttpClient:
    """The API with the identity of a certificate's holder."""
    server = f"https://127.0.0.1:{config.api_port}"
    return HttpClient(server, ca=pki.paths(config).ca_cert, certificate=(pair.cert, pair.key), user_agent=agent)


def kubelet_config(config: ClusterConfig, node_ip: str) -> KubeletConfig:
    return KubeletConfig(
        node_name=machine.node_name(),
        node_ip=node_ip,
        root=KUBELET,
        log_root=POD_LOGS,
        log_links=CONTAINER_LOGS,
        cgroup=config.cgroup,
        cluster_dns=config.dns_ip,
        cluster_domain=config.dns_domain,
        resolv_conf=config.resolv_conf,
        port=config.kubelet_port,
        manifests=config.state / "manifests",
        loaded_images=LoadedImages(config),
        eviction_hard=EVICTION_HARD,
        pod_cidr_known=lambda cidr: runtime.write_cni(config, cidr),
    )


class LoadedImages:
    """The names of images loaded by hand; the list is read again when it has changed."""

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._stamp = -1
        self._names: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        with suppress(FileNotFoundError):
            stamp = self._config.loaded_images.stat().st_mtime_ns
            if stamp != self._stamp:
                self._names, self._stamp = frozenset(preload.loaded(self._config)), stamp
        return self._names


def proxy_config(config: ClusterConfig, node_ip: str) -> ProxyConfig:
    settings = Settings(config.table, config.pod_cidr, config.service_cidr, config.bridge)
    return ProxyConfig(
        node_name=machine.node_name(),
        node_ip=node_ip,
        settings=settings,
        health_port=config.proxy_health_port,
        metrics_port=config.proxy_metrics_port,
    )


def dns_config(config: ClusterConfig, node_ip: str) -> DnsConfig:
    own = [f"{address}/32" for address in machine.addresses()]
    return DnsConfig(
        address=node_ip,
        port=config.dns_port,
        domain=config.dns_domain,
        clients=(config.pod_cidr, config.service_cidr, "127.0.0.0/8", f"{node_ip}/32", *own),
        upstreams=upstreams_of(config.resolv_conf),
    )


def serving(config: ClusterConfig) -> TlsConfig:
    """What the kubelet proves itself with."""
    pair = pki.paths(config).kubelet
    return TlsConfig(certificate=pair.cert, key=pair.key)


class Node:
    """All of a node. `start()` returns when everything has been started; readiness follows in the API."""

    def __init__(self, config: ClusterConfig, world: World) -> None:
        self._config, self._world = config, world
        self._node_ip = machine.node_ip()
        identities = pki.paths(config)
        self._client = client(config, identities.node, "kubelet")
        self._proxy_client = client(config, identities.proxy, "kube-proxy")
        self._admin = client(config, identities.admin, "navarch")
        self._volumes_client = client(config, identities.volumes, "local-volumes")
        settings = kubelet_config(config, self._node_ip)
        authority = identities.ca_cert.read_bytes()
        self.agent = KubeletAgent(settings, config.containerd_socket, self._client, world, serving(config), authority)
        self.proxy = Proxy(proxy_config(config, self._node_ip), self._proxy_client, world, self._client)
        self.dns = DnsServer(dns_config(config, self._node_ip), self._proxy_client, world)
        self.volumes = storage.LocalVolumes(machine.node_name(), config.volumes, self._volumes_client, world)

    async def start(self) -> None:
        await asyncio.gather(self._start_runtime(), self._wait_for_api())
        await asyncio.gather(self.agent.start(), self.proxy.start(), self.dns.start(), self._publish())

    async def stop(self) -> None:
        """Pods, rules and addresses stay as they are."""
        await self.agent.stop()
        await self.volumes.stop()
        await self.dns.stop()
        await self.proxy.stop()
        for each in (self._client, self._proxy_client, self._admin, self._volumes_client):
            await each.close()

    async def _start_runtime(self) -> None:
        await wait_until_ready(self.agent.cri, RUNTIME_SECONDS)
        await asyncio.to_thread(preload.load_pause, self._config)

    async def _wait_for_api(self) -> None:
        while True:
            try:
                if await self._client.raw("GET", "/readyz") == "ok":
                    return
            except (StatusError, ConnectionError, OSError):
                pass
            await self._world.sleep(API_RETRY_SECONDS)

    async def _publish(self) -> None:
        """What this node serves is made known; its volumes wait for the right to make them."""
        await self._until_done("cluster DNS", self._publish_dns)
        await self._until_done("storage", lambda: storage.publish(self._admin))
        await self.volumes.start()

    async def _until_done(self, what: str, publish: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                return await publish()
            except (StatusError, ConnectionError, OSError) as error:
                log.warning("%s is not published yet: %s", what, error)
                await self._world.sleep(1.0)

    async def _publish_dns(self) -> None:
        await ensure(self._admin, SERVICES, dns_service(self._config))
        await ensure(self._admin, ENDPOINT_SLICES, dns_slice(self._config, self._node_ip))


async def ensure(api: Client, resource: Resource, obj: Obj) -> None:
    """The object is there, and says what is given; whatever else it says is left alone."""
    meta = obj["metadata"]
    try:
        await api.patch(resource, meta["name"], obj, meta["namespace"])
    except StatusError as error:
        if error.code != 404:
            raise
        await api.create(resource, obj, meta["namespace"])


DNS_LABELS = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}


def dns_service(config: ClusterConfig) -> Obj:
    """kube-dns, with its well-known address; its endpoint is the node's own server."""
    ports = [{"name": n, "port": 53, "protocol": p, "targetPort": config.dns_port} for n, p in _DNS_PORTS]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": DNS_LABELS},
        "spec": {"clusterIP": config.dns_ip, "ports": ports},
    }


_DNS_PORTS = (("dns", "UDP"), ("dns-tcp", "TCP"))


def dns_slice(config: ClusterConfig, node_ip: str) -> Obj:
    address = ipaddress.ip_address(node_ip)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "navarch"},
        },
        "addressType": f"IPv{address.version}",
        "endpoints": [{"addresses": [node_ip], "conditions": {"ready": True}}],
        "ports": [{"name": n, "port": config.dns_port, "protocol": p} for n, p in _DNS_PORTS],
    }


async def run(config: ClusterConfig, told: asyncio.Event) -> None:
    """Runs a node until told to stop."""

    async def nothing_more() -> None: ...

    await run_agent(told, lambda: (Node(config, RealWorld()), nothing_more))
