"""Pages of a list go on as of its revision while that is kept, and then, if the client wants, with what is current."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.resources import CONFIG_MAPS, SECRETS
from navarch.machinery.errors import StatusError

NS = "default"


async def make(server: Any, *names: str) -> None:
    for name in names:
        await server.system.create(CONFIG_MAPS, {"metadata": {"name": name}}, NS)


async def test_a_list_is_of_one_revision() -> None:
    async with api_server() as server:
        await make(server, "a", "b", "d")
        first = await server.system.list(CONFIG_MAPS, NS, limit=2)
        await make(server, "c")
        rest = await server.system.list(CONFIG_MAPS, NS, limit=2, continue_token=first.continue_token)
        assert [item["metadata"]["name"] for item in [*first.items, *rest.items]] == ["a", "b", "d"]


@pytest.mark.parametrize("changed", [False, True])
async def test_a_token_runs_out_with_its_revision(changed: bool) -> None:
    """Whether or not anything of the kind has changed since."""
    async with api_server() as server:
        await make(server, "a", "b", "d")
        first = await server.system.list(CONFIG_MAPS, NS, limit=2)
        if changed:
            await make(server, "c")
        await server.system.create(SECRETS, {"metadata": {"name": "other"}}, NS)
        await server.store.compact(server.store.revision)
        with pytest.raises(StatusError) as raised:
            await server.system.list(CONFIG_MAPS, NS, limit=2, continue_token=first.continue_token)
        status = raised.value.to_status()
        assert (status["code"], status["reason"]) == (410, "Expired")
        rest = await server.system.list(CONFIG_MAPS, NS, continue_token=status["metadata"]["continue"])
        assert [item["metadata"]["name"] for item in rest.items] == (["c", "d"] if changed else ["d"])
