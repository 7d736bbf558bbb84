"""The node's own server, over TLS, with the real API server to say who may what."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import orjson
import pytest
from tests.support.apiserver import api_server

from navarch.apiserver.request import Request
from navarch.apiserver.server import ApiServerConfig
from navarch.client.http import HttpClient
from navarch.client.interface import Client, Resource
from navarch.client.resources import SERVICE_ACCOUNTS
from navarch.cluster import pki
from navarch.http.client import Pool
from navarch.http.server import serve
from navarch.http.tls import TlsConfig
from navarch.kubelet.access import Access
from navarch.kubelet.configuration import configuration
from navarch.kubelet.context import KubeletConfig
from navarch.kubelet.cri import Cri
from navarch.kubelet.runtime_state import Container, PodRuntime
from navarch.kubelet.server import KubeletServer
from navarch.kubelet.stats import CgroupReader, Stats
from navarch.machinery.clock import RealWorld

BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)
NS = "kube-system"
POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
    "spec": {"containers": [{"name": "c"}]},
    "status": {"containerStatuses": [{"name": "c", "state": {"running": {}}, "containerID": "containerd://1"}]},
}


class Node:
    name = "n"
    terminations: ClassVar = {("container", "139", "Error"): 1}

    def pods(self) -> Sequence[dict[str, Any]]:
        return [POD]

    def runtime(self, uid: str) -> PodRuntime:
        return PodRuntime(containers={"c": (Container("1", "c", 0, 1, started=1.0),)})


class Extras:
    def probe_counts(self) -> list[tuple[tuple[str, ...], float]]:
        return [(("c", "ns", "p", "u", "Liveness", "successful"), 4)]

    def claims(self) -> list[tuple[str, str, str]]:
        return []

    def configuration(self) -> dict[str, Any]:
        settings = KubeletConfig(
            node_name="n", node_ip="", root=Path("/r"), log_root=Path("/l"), cgroup="", cluster_dns="d"
        )
        return configuration(settings, Path("/run/containerd.sock"))


class Commands:
    """The runtime, as far as /run needs it."""

    async def exec_sync(self, container: str, command: list[str], seconds: int) -> tuple[int, bytes, bytes]:
        return (0, " ".join(command).encode(), b"") if command[0] == "echo" else (1, b"", b"no")


class Visit:
    """A running server and ways to it."""

    def __init__(self, port: int, places: pki.Paths, client: Client) -> None:
        self.port, self.places, self.client = port, places, client

    async def __call__(
        self, path: str, token: str = "", certificate: bool = False, method: str = "GET"
    ) -> tuple[int, str]:
        context = ssl.create_default_context(cafile=str(self.places.ca_cert))
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(self.places.admin.cert, self.places.admin.key)
        pool = Pool("127.0.0.1", self.port, context)
        try:
            answer = await pool.request(method, path, {"authorization": f"Bearer {token}"} if token else {})
        finally:
            pool.close()
        return answer.status, answer.body.decode()

    async def account(self, name: str, role: str = "") -> str:
        """A service account's token; with a role where one is named."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        await self.client.create(SERVICE_ACCOUNTS, account, NS)
        if role:
            binding = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NS}],
            }
            await self.client.create(BINDINGS, binding)
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        made = await self.client.create(SERVICE_ACCOUNTS, request, NS, name=name, subresource="token")
        return made["status"]["token"]


@pytest.fixture
async def visit(tmp_path: Path) -> AsyncIterator[Visit]:
    places, world = pki.ensure_alone(tmp_path / "pki"), RealWorld()
    log = tmp_path / "0.log"
    log.write_bytes(b"2026-01-01T00:00:01Z stdout F hello\n2026-01-01T00:00:02Z stdout F world\n")
    tls = TlsConfig(certificate=places.apiserver.cert, key=places.apiserver.key)
    authority = places.ca_cert.read_bytes()
    async with api_server(config=ApiServerConfig(client_ca_pem=authority)) as api:
        reviews = await serve(api.handle, "127.0.0.1", 0, tls, request_type=Request)
        admin = (places.admin.cert, places.admin.key)
        client = HttpClient(f"https://127.0.0.1:{reviews.port}", ca=places.ca_cert, certificate=admin)
        access = Access("n", authority, client, world)
        stats = Stats("navarch", CgroupReader(tmp_path))
        server = KubeletServer(
            Node(), cast(Cri, Commands()), access, stats, world, lambda *_: log, str(tmp_path), Extras()
        )
        await server.start("127.0.0.1", 0, tls)
        try:
            yield Visit(server.port, places, api.system)
        finally:
            await server.stop()
            await client.close()
            await reviews.close()


async def test_strangers_learn_nothing(visit: Visit) -> None:
    assert (await visit("/pods"))[0] == 401
    assert (await visit("/pods", token="made.up.token"))[0] == 401
    status, text = await visit("/pods", token=await visit.account("nobody"))
    assert status == 403 and text.startswith("Forbidden (user=system:serviceaccount:kube-system:nobody, verb=get")


async def test_a_token_may_what_its_role_says(visit: Visit) -> None:
    token = await visit.account("friend", "system:kubelet-api-admin")
    status, text = await visit("/pods", token=token)
    assert status == 200 and [p["metadata"]["name"] for p in orjson.loads(text)["items"]] == ["p"]


async def test_the_configuration_in_force_is_shown(visit: Visit) -> None:
    status, text = await visit("/configz", certificate=True)
    shown = orjson.loads(text)["kubeletconfig"]
    assert status == 200 and shown["maxPods"] == 110 and shown["evictionHard"]["memory.available"] == "100Mi"
    assert (shown["clusterDNS"], shown["containerRuntimeEndpoint"]) == (["d"], "unix:///run/containerd.sock")
    assert (await visit("/configz", token=await visit.account("nobody")))[0] == 403


async def test_logs_are_shown(visit: Visit) -> None:
    assert await visit("/containerLogs/ns/p/c", certificate=True) == (200, "hello\nworld\n")
    assert await visit("/containerLogs/ns/p/c?tailLines=1", certificate=True) == (200, "world\n")
    status, text = await visit("/containerLogs/ns/p/c?previous=true", certificate=True)
    assert (status, text) == (400, 'previous terminated container "c" in pod "p" not found')
    assert (await visit("/containerLogs/ns/p/other", certificate=True))[0] == 404
    assert (await visit("/containerLogs/ns/other/c", certificate=True))[0] == 404


async def test_commands_answer_what_they_print(visit: Visit) -> None:
    assert await visit("/run/ns/p/c?cmd=echo+hi", certificate=True, method="POST") == (200, "echo hi")
    assert (await visit("/run/ns/p/c?cmd=false", certificate=True, method="POST"))[0] == 500
    assert (await visit("/run/ns/p/c?cmd=echo", certificate=True))[0] == 405


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/healthz", "ok"),
        ("/metrics", "kubelet_running_containers"),
        ("/metrics/resource", "node_memory_working_set_bytes"),
        ("/metrics/cadvisor", "machine_memory_bytes"),
        ("/metrics/probes", 'probe_type="Liveness"'),
        ("/stats/summary", '"nodeName":"n"'),
        ("/runningpods/", '"name":"p"'),
    ],
)
async def test_what_there_is_to_see(visit: Visit, path: str, part: str) -> None:
    status, text = await visit(path, certificate=True)
    assert status == 200 and part in text


async def test_nothing_else_is_there(visit: Visit) -> None:
    for path in ("/", "/metrics/other", "/logs/../../etc/passwd", "/stats"):
        assert (await visit(path, certificate=True))[0] == 404
