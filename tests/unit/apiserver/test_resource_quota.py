"""ResourceQuota admission: charges, refusals, and that no limit is ever passed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig

Obj = dict[str, Any]
CONFIG = ApiServerConfig(fixed_tokens={"t": User("admin", groups=("system:masters",))})
BASE = "/api/v1/namespaces/default"


class Rig:
    def __init__(self, server: ApiServer) -> None:
        self.server = server

    async def ask(self, method: str, url: str, body: Any = None) -> tuple[int, Any]:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return await send(self.server, method, url, body, token="t", headers={"content-type": kind})

    async def quota(self, hard: Obj, name: str = "q", used: Obj | None = None, **spec: Any) -> None:
        """A quota as the controller leaves it: its limits published, its use counted."""
        made = {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}
        status, answer = await self.ask("POST", f"{BASE}/resourcequotas", made)
        assert status == 201, answer
        answer["status"] = {"hard": hard, "used": dict.fromkeys(hard, "0") | (used or {})}
        assert (await self.ask("PUT", f"{BASE}/resourcequotas/{name}/status", answer))[0] == 200

    async def used(self, name: str = "q") -> Obj:
        return (await self.ask("GET", f"{BASE}/resourcequotas/{name}"))[1]["status"]["used"]

    async def pod(self, name: str, requests: Obj | None = None, query: str = "", **spec: Any) -> tuple[int, Any]:
        container = {"name": "c", "image": "i", "resources": {"requests": requests or {}}}
        body = {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}
        return await self.ask("POST", f"{BASE}/pods{query}", body)


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    async with api_server(config=CONFIG) as server:
        r = Rig(server)
        await r.ask("POST", f"{BASE}/serviceaccounts", {"metadata": {"name": "default"}})
        yield r


async def test_pods_are_charged_until_nothing_is_left() -> None:
    async with rig() as r:
        await r.quota({"pods": "2", "requests.cpu": "1500m"})
        assert (await r.pod("a", {"cpu": "1"}))[0] == 201
        assert await r.used() == {"pods": "1", "requests.cpu": "1"}
        status, answer = await r.pod("b", {"cpu": "600m"})
        assert (status, answer["reason"]) == (403, "Forbidden")
        assert answer["message"] == (
            'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=1, '
            "limited: requests.cpu=1500m"
        )
        assert (await r.pod("b", {"cpu": "500m"}))[0] == 201
        assert await r.used() == {"pods": "2", "requests.cpu": "1500m"}


async def test_dry_runs_are_judged_and_not_charged() -> None:
    async with rig() as r:
        await r.quota({"pods": "1"})
        assert (await r.pod("a", query="?dryRun=All"))[0] == 201
        assert await r.used() == {"pods": "0"}


async def test_what_a_quota_bounds_must_be_named() -> None:
    async with rig() as r:
        await r.quota({"limits.cpu": "1", "requests.memory": "1Gi"})
        status, answer = await r.pod("a")
        assert status == 403
        assert answer["message"].endswith("failed quota: q: must specify limits.cpu for: c; requests.memory for: c")


async def test_a_quota_not_yet_counted_refuses_and_one_not_yet_published_does_not() -> None:
    async with rig() as r:
        body = {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}}
        _, made = await r.ask("POST", f"{BASE}/resourcequotas", body)
        assert (await r.pod("a"))[0] == 201
        made["status"] = {"hard": {"pods": "1"}}
        await r.ask("PUT", f"{BASE}/resourcequotas/q/status", made)
        status, answer = await r.pod("b")
        assert status == 403 and answer["message"].endswith("status unknown for quota: q, resources: pods")


@pytest.mark.parametrize(
    "spec, pod, charged",
    [
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, True),
        ({"scopes": ["Terminating"]}, {}, False),
        ({"scopes": ["NotTerminating"]}, {}, True),
        ({"scopes": ["BestEffort"]}, {}, True),
        ({"scopes": ["NotBestEffort"]}, {}, False),
        (
            {
                "scopeSelector": {
                    "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]
                }
            },
            {"priorityClassName": "high"},
            True,
        ),
        (
            {
                "scopeSelector": {
                    "matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]
                }
            },
            {},
            False,
        ),
    ],
)
async def test_scopes(spec: Obj, pod: Obj, charged: bool) -> None:
    async with rig() as r:
        high = {"metadata": {"name": "high"}, "value": 5}
        await r.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", high)
        await r.quota({"pods": "1"}, **spec)
        assert (await r.pod("a", **pod))[0] == 201
        assert await r.used() == {"pods": "1" if charged else "0"}


async def test_objects_are_counted_by_their_resource() -> None:
    async with rig() as r:
        await r.quota({"count/configmaps": "1", "secrets": "1", "count/deployments.apps": "0"})
        for status in (201, 403):
            assert (await r.ask("POST", f"{BASE}/configmaps", {"metadata": {"generateName": "a"}}))[0] == status
            assert (await r.ask("POST", f"{BASE}/secrets", {"metadata": {"generateName": "a"}}))[0] == status
        assert await r.used() == {"count/configmaps": "1", "secrets": "1", "count/deployments.apps": "0"}
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        url = "/apis/apps/v1/namespaces/default/deployments"
        assert (await r.ask("POST", url, {"metadata": {"name": "d"}, "spec": spec}))[0] == 403


async def test_services_are_charged_when_they_change_their_type() -> None:
    async with rig() as r:
        await r.quota({"services": "5", "services.nodeports": "2", "services.loadbalancers": "1"})
        spec = {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "b"}]}
        assert (await r.ask("POST", f"{BASE}/services", {"metadata": {"name": "s"}, "spec": spec}))[0] == 201
        assert await r.used() == {"services": "1", "services.nodeports": "0", "services.loadbalancers": "0"}
        assert (await r.ask("PATCH", f"{BASE}/services/s", {"spec": {"type": "NodePort"}}))[0] == 200
        assert await r.used() == {"services": "1", "services.nodeports": "2", "services.loadbalancers": "0"}
        status, _ = await r.ask(
            "POST", f"{BASE}/services", {"metadata": {"name": "t"}, "spec": {**spec, "type": "NodePort"}}
        )
        assert status == 403


async def test_claims_are_charged_for_their_size_and_class() -> None:
    async with rig() as r:
        gold = "gold.storageclass.storage.k8s.io/requests.storage"
        await r.quota({"persistentvolumeclaims": "2", "requests.storage": "3Gi", gold: "1Gi"})
        base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        made = [
            (
                await r.ask(
                    "POST", f"{BASE}/persistentvolumeclaims", {"metadata": {"name": n}, "spec": {**base, **more}}
                )
            )[0]
            for n, more in (("a", {"storageClassName": "gold"}), ("b", {"storageClassName": "gold"}), ("c", {}))
        ]
        assert made == [201, 403, 201]
        assert await r.used() == {"persistentvolumeclaims": "2", "requests.storage": "2Gi", gold: "1Gi"}


async def test_every_quota_must_have_room_and_none_is_charged_in_vain() -> None:
    async with rig() as r:
        await r.quota({"pods": "5"}, "wide")
        await r.quota({"pods": "0"}, "narrow")
        assert (await r.pod("a"))[0] == 403
        assert await r.used("wide") == {"pods": "0"}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.integers(0, 12))
def test_no_limit_is_passed_however_many_come_at_once(sizes: list[int], limit: int) -> None:
    async def scene() -> None:
        async with rig() as r:
            await r.quota({"requests.cpu": str(limit), "pods": "8"})
            asked = [r.pod(f"p{i}", {"cpu": str(size)}) for i, size in enumerate(sizes)]

            async def disturb() -> None:  # somebody else writes the quota meanwhile
                for turn in range(3):
                    labels = {"metadata": {"labels": {"turn": str(turn)}}}
                    assert (await r.ask("PATCH", f"{BASE}/resourcequotas/q", labels))[0] == 200

            answers = (await asyncio.gather(*asked, disturb()))[:-1]
            accepted = [size for size, answer in zip(sizes, answers, strict=True) if answer and answer[0] == 201]
            used = await r.used()
            assert int(used["requests.cpu"]) == sum(accepted) <= limit
            assert int(used["pods"]) == len(accepted) <= 8
            refused = [size for size, answer in zip(sizes, answers, strict=True) if answer and answer[0] != 201]
            assert all(size + sum(accepted) > limit or len(accepted) == 8 for size in refused)

    asyncio.run(scene())
