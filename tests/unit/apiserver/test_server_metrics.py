"""/metrics and /metrics/slis: what dashboards and clients look for."""

from __future__ import annotations

from tests.support.apiserver import api_server
from tests.support.hollow import cluster
from tests.support.requests import exchange, send

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.machinery.clock import RealWorld
from navarch.store.memory import MemoryStore

ROOT = ApiServerConfig(fixed_tokens={"root": User("root", groups=("system:masters", "system:authenticated"))})


async def samples(server: ApiServer, path: str = "/metrics") -> dict[str, float]:
    answer = await exchange(server, "GET", path, token="root")
    assert (answer.status, answer.content_type.split(";")[0]) == (200, "text/plain")
    assert isinstance(answer.body, bytes)
    lines = [line for line in answer.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_objects_build_and_deprecated_versions() -> None:
    async with api_server(config=ROOT) as server:
        await send(server, "GET", "/apis/policy/v1beta1/poddisruptionbudgets", token="root")
        await send(server, "GET", "/apis/policy/v1/poddisruptionbudgets", token="root")
        found = await samples(server)
        assert found['apiserver_storage_objects{resource="namespaces"}'] == 4
        assert found['apiserver_resource_objects{group="apps",resource="deployments"}'] == 0
        assert found['apiserver_storage_objects{resource="clusterroles.rbac.authorization.k8s.io"}'] > 50
        build = next(name for name in found if name.startswith("kubernetes_build_info{"))
        assert 'major="1",minor="36"' in build
        assert [name for name in found if name.startswith("apiserver_requested_deprecated_apis")] == [
            'apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="poddisruptionbudgets",'
            'subresource="",version="v1beta1"}'
        ]


async def test_extension_servers_that_are_not_available() -> None:
    async with api_server(config=ROOT) as server:
        spec = {"group": "a.example", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
        spec |= {"service": {"namespace": "default", "name": "none"}, "insecureSkipTLSVerify": True}
        body = {"metadata": {"name": "v1.a.example"}, "spec": spec}
        code, _ = await send(server, "POST", "/apis/apiregistration.k8s.io/v1/apiservices", body, token="root")
        assert code == 201
        assert (await samples(server))['aggregator_unavailable_apiservice{name="v1.a.example"}'] == 1


async def test_outcomes_of_health_checks() -> None:
    async with api_server(config=ROOT) as server:
        found = await samples(server, "/metrics/slis")
        assert found['kubernetes_healthcheck{name="etcd",type="readyz"}'] == 1
        server.started = False
        assert (await samples(server, "/metrics/slis"))['kubernetes_healthcheck{name="etcd",type="readyz"}'] == 0


async def test_work_queues_of_controllers() -> None:
    async with cluster(1) as (server, _):
        text = server.metrics.text()
        assert 'workqueue_adds_total{name="deployment-controller"}' in text
        assert 'workqueue_depth{name="namespace-controller"}' in text


async def test_a_server_is_ready_when_all_is_done_and_until_it_stops() -> None:
    server = ApiServer(MemoryStore(), RealWorld(seed=1), ROOT)

    async def health(path: str) -> tuple[int, str]:
        answer = await exchange(server, "GET", path, token="root")
        assert isinstance(answer.body, bytes)
        return answer.status, answer.body.decode()

    code, text = await health("/readyz")
    assert (code, "[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n" in text) == (500, True)
    await server.start()
    code, text = await health("/readyz?verbose")
    assert (code, text.splitlines()[-1]) == (200, "readyz check passed")
    assert {"[+]informer-sync ok", "[+]shutdown ok", "[+]poststarthook/crd-informer-synced ok"} <= set(
        text.splitlines()
    )
    assert "[+]informer-sync ok" not in (await health("/livez?verbose"))[1].splitlines()
    assert (await health("/livez/shutdown"))[0] == 404
    server.stopping = True
    assert [(await health(path))[0] for path in ("/readyz", "/readyz/shutdown", "/livez")] == [500, 500, 200]
    await server.stop()
