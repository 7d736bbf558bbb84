"""Who may do what: some 15,000 cells, each as a kube-apiserver 1.36 answered it (see record.py)."""

from __future__ import annotations

import inspect
import json
from typing import Any

from tests.access.cells import MATRIX, RECORDED, Matrix
from tests.support.apiserver import api_server
from tests.support.requests import Connection

from navarch.apiserver.request import Request, User
from navarch.apiserver.server import ApiServer, ApiServerConfig

ADMIN = "Bearer admin"


def sender(server: ApiServer) -> Any:
    async def send(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        where, _, query = path.partition("?")
        groups = [value for name, value in headers.items() if name.strip() == "impersonate-group"]
        sent = {name: value for name, value in headers.items() if name.strip() != "impersonate-group"}
        if groups:
            sent["impersonate-group"] = ", ".join(groups)
        answer = server.handle(Request(method, where, query, {"authorization": ADMIN, **sent}, body, Connection()))
        answer = await answer if inspect.isawaitable(answer) else answer
        content = answer.body if isinstance(answer.body, bytes) else b"".join(answer.body)
        return answer.status, json.loads(content) if answer.content_type.startswith(
            "application/json"
        ) and content else None

    return send


async def test_every_cell_is_as_recorded() -> None:
    recorded = json.loads(RECORDED.read_text())
    admin = User("admin", groups=("system:masters",))
    async with api_server(config=ApiServerConfig(fixed_tokens={"admin": admin})) as server:
        matrix = Matrix(sender(server))
        await matrix.furnish()
        requests = matrix.requests()
        assert len(requests) == recorded["requests"], "the matrix has changed: record it anew"
        wrong: list[str] = []
        cells = 0
        for identity in MATRIX["identities"]:
            name = " ".join(identity)
            found = await matrix.row(identity, requests)
            cells += len(found)
            for asked, ours, theirs in zip(requests, found, recorded["rows"][name], strict=True):
                if ours != theirs:
                    wrong.append(f"{'wrongly allowed' if ours == '+' else 'wrongly denied'}: {name}: {asked.name}")
        assert not wrong, f"{len(wrong)} of {cells} cells:\n" + "\n".join(sorted(wrong))
        assert cells > 10_000
