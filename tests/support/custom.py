"""Custom resources in a test: a server, definitions of widgets, and requests that must be good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.store.interface import Store

Obj = dict[str, Any]
CONFIG = ApiServerConfig(fixed_tokens={"t": User("admin", groups=("system:masters",))})
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "example.com"
WIDGETS = f"/apis/{GROUP}/v1/namespaces/default/widgets"
SPEC: Obj = {
    "type": "object",
    "properties": {
        "size": {"type": "integer", "minimum": 1, "default": 3},
        "colour": {"type": "string", "enum": ["red", "blue"]},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
            },
        },
    },
}


def version(name: str = "v1", spec: Obj = SPEC, *, storage: bool = True, served: bool = True, **more: Any) -> Obj:
    status = {"type": "object", "properties": {"ready": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    return {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(*versions: Obj, kind: str = "Widget", group: str = GROUP, **names: Any) -> Obj:
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": list(versions) or [version()],
        },
    }


def widget(name: str, spec: Obj | None = None, api: str = "v1", **more: Any) -> Obj:
    return {"apiVersion": f"{GROUP}/{api}", "kind": "Widget", "metadata": {"name": name}, "spec": spec or {}, **more}


class Rig:
    def __init__(self, server: ApiServer) -> None:
        self.server = server

    async def ask(self, method: str, url: str, body: Any = None, kind: str = "", **headers: str) -> tuple[int, Any]:
        media = kind or ("application/merge-patch+json" if method == "PATCH" else "application/json")
        return await send(self.server, method, url, body, token="t", headers={"content-type": media, **headers})

    async def good(self, method: str, url: str, body: Any = None, kind: str = "", **headers: str) -> Any:
        status, answer = await self.ask(method, url, body, kind, **headers)
        assert status < 300, answer
        return answer

    async def define(self, crd: Obj) -> Obj:
        await self.good("POST", DEFINITIONS, crd)
        return await self.has(crd["metadata"]["name"], "Established")

    async def has(self, name: str, condition: str, status: str = "True") -> Obj:
        """Waits until a definition has a condition."""

        def told(crd: Obj) -> bool:
            conditions = crd["status"].get("conditions") or ()
            return any(c["type"] == condition and c["status"] == status for c in conditions)

        return await self.until(f"{DEFINITIONS}/{name}", told)

    async def until(self, url: str, good: Callable[[Any], bool]) -> Any:
        for _ in range(500):
            status, answer = await self.ask("GET", url)
            if status == 200 and good(answer):
                return answer
            await asyncio.sleep(0.01)
        raise AssertionError(answer)

    async def gone(self, url: str) -> None:
        for _ in range(500):
            if (await self.ask("GET", url))[0] == 404:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{url} is still there")


@asynccontextmanager
async def rig(store: Store | None = None) -> AsyncIterator[Rig]:
    async with api_server(store=store, config=CONFIG) as server:
        yield Rig(server)


def causes(answer: Obj) -> list[tuple[str, str]]:
    return [(c["field"], c["reason"]) for c in answer["details"]["causes"]]
