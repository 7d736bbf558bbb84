"""A hollow node has an address that is nobody's: what would be asked of its kubelet is refused, and no packet goes there."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.hollow import cluster, until

from navarch.client.resources import PODS
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource

POD: dict[str, Any] = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a"}]}}


@pytest.mark.parametrize("path", ["/api/v1/namespaces/default/pods/p/log", "/api/v1/nodes/{node}/proxy/healthz"])
async def test_its_kubelet_is_not_asked(path: str) -> None:
    async with cluster(1) as (server, _):
        await server.system.create(PODS, POD, "default")

        def placed() -> str:
            entry = server.lookup(GroupResource("", "pods"), "default", "p")
            return (entry or {"spec": {}})["spec"].get("nodeName", "")

        await until("it has a node", lambda: bool(placed()))
        with pytest.raises(StatusError, match="is hollow") as caught:
            await server.system.raw("GET", path.format(node=placed()))
        assert caught.value.code == 503
