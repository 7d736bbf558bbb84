"""Search paths of pods: which the API server takes, and what becomes of them in resolv.conf."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.resources import PODS, SERVICE_ACCOUNTS
from navarch.kubelet.dns_config import NodeDns, dns_config
from navarch.machinery.errors import StatusError

NODE = NodeDns(("192.0.2.53",), ("corp.example",), (), "10.96.0.10", "cluster.local")


def pod(*searches: str) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "i"}], "dnsConfig": {"searches": list(searches)}}
    return {"metadata": {"name": "p", "namespace": "default"}, "spec": spec}


async def test_a_search_path_may_have_underscores_or_be_the_root() -> None:
    async with api_server() as server:
        await server.system.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        await server.system.create(PODS, pod(".", "_sip._tcp.abc_d.example.com", "example.com."), "default")
        await server.system.delete(PODS, "p", "default", grace_period_seconds=0)
        for bad in ("a_.example", "__a", "A.example", "", ".."):
            with pytest.raises(StatusError) as caught:
                await server.system.create(PODS, pod(bad), "default")
            assert "spec.dnsConfig.searches[0]" in caught.value.message


def test_a_pods_own_paths_come_last() -> None:
    found = dns_config(pod("own.example"), NODE)["searches"]
    assert found == ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example", "own.example"]


@pytest.mark.parametrize(("own", "count"), [([f"s{i}" for i in range(32)], 32), ([f"{i:0240}" for i in range(20)], 12)])
def test_what_resolv_conf_cannot_hold_is_left_out(own: list[str], count: int) -> None:
    found = dns_config(pod(*own), NODE)["searches"]
    assert len(found) == count and len(" ".join(found)) <= 2048
