"""API services: one for every version that the server serves itself, available at once."""

from __future__ import annotations

import pytest
from tests.support.apiserver import api_server

from navarch.client.resources import API_SERVICES
from navarch.machinery.errors import StatusError


async def test_what_is_served_here_is_registered_and_available() -> None:
    async with api_server() as server:
        found = {s["metadata"]["name"]: s for s in (await server.system.list(API_SERVICES)).items}
        assert {"v1.", "v1.apps", "v1.networking.k8s.io", "v1.resource.k8s.io"} <= found.keys()
        assert [name for name in found if "beta" in name] == ["v1beta1.metrics.k8s.io"]
        (condition,) = found["v1.apps"]["status"]["conditions"]
        assert (condition["type"], condition["status"], condition["reason"]) == ("Available", "True", "Local")


async def test_a_service_is_not_available_because_it_says_so() -> None:
    async with api_server() as server:
        spec = {
            "group": "g.example",
            "version": "v1",
            "groupPriorityMinimum": 1,
            "versionPriority": 1,
            "service": {"name": "s", "namespace": "n"},
        }
        claimed = {"conditions": [{"type": "Available", "status": "True"}]}
        wanted = {"metadata": {"name": "v1.g.example"}, "spec": spec, "status": claimed}
        made = await server.system.create(API_SERVICES, wanted)
        assert made["status"] == {} and made["spec"]["service"]["port"] == 443
        with pytest.raises(StatusError) as refused:
            await server.system.create(API_SERVICES, {"metadata": {"name": "v2.g.example"}, "spec": spec})
        assert [cause["field"] for cause in refused.value.details["causes"]] == ["metadata.name"]
