"""Watches in the server's process end when the server ends them, whatever their reader is doing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.resources import CONFIG_MAPS


@pytest.mark.parametrize("more", [False, True])
async def test_a_watch_ends_while_its_last_batch_is_used(more: bool) -> None:
    """Also where events have come between that batch and the end."""
    async with api_server() as server:
        client = server.system
        version = (await client.list(CONFIG_MAPS, "default")).resource_version
        watch: Any = client.watch(CONFIG_MAPS, "default", resource_version=version)
        first = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
        seen = [event.object["metadata"]["name"] for event in await first]
        if more:
            await client.create(CONFIG_MAPS, {"metadata": {"name": "b"}}, "default")
            await asyncio.sleep(0)
        server.caches.stop()
        async with asyncio.timeout(5):
            seen += [event.object["metadata"]["name"] async for batch in watch for event in batch]
        assert seen == (["a", "b"] if more else ["a"])
