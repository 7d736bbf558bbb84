"""API services: one for every version that the server serves itself, available at once."""

from __future__ import annotations

import pytest
from tests.support.apiserver import api_server
from tests.support.hollow import until

from navarch.client.interface import Resource
from navarch.client.resources import API_SERVICES
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource


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


async def test_custom_resources_have_api_services_while_they_are_served() -> None:
    names = {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": v, "served": True, "storage": v == "v1", "schema": schema} for v in ("v1", "v1beta1")]
    spec = {"group": "a.example", "scope": "Namespaced", "names": names, "versions": versions}
    definition = {"metadata": {"name": "things.a.example"}, "spec": spec}
    definitions = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
    services = GroupResource("apiregistration.k8s.io", "apiservices")
    async with api_server() as server:
        await server.system.create(definitions, definition)
        both = ("v1.a.example", "v1beta1.a.example")
        await until("both are there", lambda: all(server.lookup(services, "", name) for name in both))
        found = server.lookup(services, "", "v1beta1.a.example")
        assert found
        assert found["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
        assert (found["spec"]["groupPriorityMinimum"], found["spec"]["versionPriority"]) == (1000, 100)
        assert found["status"]["conditions"][0]["reason"] == "Local"

        first = found["metadata"]["uid"]
        await server.system.delete(API_SERVICES, "v1beta1.a.example")

        def again() -> bool:
            made = server.lookup(services, "", "v1beta1.a.example")
            return made is not None and made["metadata"]["uid"] != first

        await until("it is made again", again)
        await server.system.delete(definitions, "things.a.example")
        await until("both are gone", lambda: not any(server.lookup(services, "", name) for name in both))
        assert server.lookup(services, "", "v1.apps")
