"""Kinds of the core group that are never stored: component statuses are found out, bindings are done."""

from __future__ import annotations

import inspect
from typing import Any

import orjson
import pytest
from tests.support.apiserver import api_server
from tests.support.requests import Connection

from navarch.apiserver.request import Request, Response, User
from navarch.client.interface import Resource

STATUSES = "/api/v1/componentstatuses"
LEASES = Resource("coordination.k8s.io", "v1", "leases")
PODS = Resource("", "v1", "pods")
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
FAR, PAST = "2126-01-01T00:00:00.000000Z", "2020-01-01T00:00:00.000000Z"


async def send(
    server: Any,
    method: str,
    url: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    warned: list[str] | None = None,
) -> Response:
    path, _, query = url.partition("?")
    payload = b"" if body is None else orjson.dumps(body)
    request = Request(method, path, query, headers or {}, payload, Connection())
    request.user = User("admin", groups=("system:masters",))
    answer = server.handle_as(request)
    response = await answer if inspect.isawaitable(answer) else answer
    if warned is not None:
        warned.extend(request.warnings)
    return response


def tree(response: Response) -> Any:
    return orjson.loads(response.body if isinstance(response.body, bytes) else b"".join(response.body))


async def cells(server: Any) -> list[list[str]]:
    return [row["cells"][:2] for row in tree(await send(server, "GET", STATUSES, headers=TABLE))["rows"]]


@pytest.mark.parametrize(
    ("renewed", "holder", "expected"),
    [(FAR, "me", "Healthy"), (PAST, "me", "Unhealthy"), (FAR, "", "Unhealthy"), (None, "", "Unhealthy")],
)
async def test_a_part_elsewhere_works_while_it_keeps_its_lease(renewed: str | None, holder: str, expected: str) -> None:
    async with api_server() as server:
        if renewed:
            spec = {"renewTime": renewed, "leaseDurationSeconds": 15, **({"holderIdentity": holder} if holder else {})}
            await server.system.create(LEASES, {"metadata": {"name": "kube-scheduler"}, "spec": spec}, "kube-system")
        shown = await cells(server)
        assert shown == [["controller-manager", "Unhealthy"], ["etcd-0", "Healthy"], ["scheduler", expected]]


async def test_a_part_in_this_process_works_without_a_lease() -> None:
    async with api_server() as server:
        server.components.add("scheduler")
        found = tree(await send(server, "GET", f"{STATUSES}/scheduler"))
        assert found["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]


@pytest.mark.parametrize(
    ("method", "url", "code"),
    [
        ("GET", f"{STATUSES}/other", 404),
        ("POST", STATUSES, 405),
        ("DELETE", f"{STATUSES}/scheduler", 405),
        ("GET", f"{STATUSES}?watch=1", 405),
        ("GET", f"{STATUSES}?fieldSelector=spec.x%3D1", 400),
        ("GET", f"{STATUSES}?labelSelector=((", 400),
        ("GET", "/api/v1/namespaces/default/bindings", 405),
        ("POST", "/api/v1/bindings", 404),
    ],
)
async def test_what_cannot_be_done_is_refused(method: str, url: str, code: int) -> None:
    async with api_server() as server:
        assert tree(await send(server, method, url, {} if method == "POST" else None))["code"] == code


async def test_statuses_are_selected_and_warned_about() -> None:
    async with api_server() as server:
        warned: list[str] = []
        by_name = await send(server, "GET", f"{STATUSES}?fieldSelector=metadata.name%3Detcd-0", warned=warned)
        assert [item["metadata"]["name"] for item in tree(by_name)["items"]] == ["etcd-0"]
        assert warned == ["v1 ComponentStatus is deprecated in v1.19+"]
        assert tree(await send(server, "GET", f"{STATUSES}?labelSelector=a"))["items"] == []


async def test_a_binding_binds_the_pod_it_is_named_for() -> None:
    async with api_server() as server:
        await server.system.create(Resource("", "v1", "serviceaccounts"), {"metadata": {"name": "default"}}, "default")
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await server.system.create(PODS, pod, "default")
        said = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
        answer = await send(server, "POST", "/api/v1/namespaces/default/bindings", said)
        assert (answer.status, tree(answer)["status"]) == (201, "Success")
        assert (await server.system.get(PODS, "p", "default"))["spec"]["nodeName"] == "n"
