"""What a patch that fits nothing is answered, and the leniencies of upstream's JSON patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.resources import CONFIG_MAPS
from navarch.machinery.errors import StatusError
from navarch.machinery.patch.json_patch import apply as apply_json_patch
from navarch.store.interface import Committed, Write
from navarch.store.memory import MemoryStore

NS = "default"


@pytest.mark.parametrize(
    ("operations", "outcome"),
    [
        ([{"op": "replace", "path": "/none", "value": 1}], {"a": 1, "none": 1}),
        ([{"op": "copy", "from": "/none", "path": "/b"}], {"a": 1, "b": None}),
        ([{"op": "add", "path": "/b"}], {"a": 1, "b": None}),
        ([{"op": "test", "path": "/none", "value": None}], {"a": 1}),
    ],
)
def test_keys_and_values_may_be_missing(operations: list[Any], outcome: Any) -> None:
    assert apply_json_patch({"a": 1}, operations) == outcome


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "move", "from": "/none", "path": "/b"},
        {"op": "remove", "path": "/none"},
        {"op": "add", "path": "a", "value": 1},
        {"op": "copy", "from": "", "path": "/b"},
        {"op": "replace", "path": "/a/b", "value": 1},
    ],
)
def test_what_is_not_there_is_not_moved(operation: Any) -> None:
    with pytest.raises(StatusError) as caught:
        apply_json_patch({"a": 1}, [operation])
    assert caught.value.code == 422


@pytest.mark.parametrize(
    ("type", "patch", "code", "reason"),
    [
        ("merge", {"data": {"a": 1}}, 422, "Invalid"),
        ("strategic", {"data": [1]}, 422, "Invalid"),
        ("json", [{"op": "add", "path": "/data", "value": [1]}], 422, "Invalid"),
        ("merge", {"kind": "Secret"}, 422, "Invalid"),
        ("merge", [1], 400, "BadRequest"),
        ("merge", {"metadata": {"name": None}}, 400, "BadRequest"),
        ("strategic", {"$patch": "delete"}, 400, "BadRequest"),
    ],
)
async def test_an_outcome_that_is_no_object_of_the_kind(type: Any, patch: Any, code: int, reason: str) -> None:
    async with api_server() as server:
        await server.system.create(CONFIG_MAPS, {"metadata": {"name": "m"}, "data": {"a": "1"}}, NS)
        with pytest.raises(StatusError) as caught:
            await server.system.patch(CONFIG_MAPS, "m", patch, NS, type=type)
        assert (caught.value.code, caught.value.reason) == (code, reason)
        if code == 422:
            assert [cause["field"] for cause in caught.value.to_status()["details"]["causes"]] == ["patch"]


class Contended(MemoryStore):
    """Somebody else writes an object just before it would go, once."""

    def __init__(self) -> None:
        super().__init__()
        self.disturbed = False

    async def commit(self, writes: Sequence[Write]) -> Committed:
        first = writes[0]
        if first.value is None and "/configmaps/" in first.key and not self.disturbed:
            self.disturbed = True
            found = await self.get(first.key)
            assert found
            await super().commit([Write(first.key, found.value, found.mod_revision)])
        return await super().commit(writes)


@pytest.mark.parametrize("whole", [False, True])
async def test_the_last_finalizer_goes_though_another_write_comes_between(whole: bool) -> None:
    store = Contended()
    async with api_server(store=store) as server:
        held = {"metadata": {"name": "m", "finalizers": ["a.b/c"]}}
        await server.system.create(CONFIG_MAPS, held, NS)
        await server.system.delete(CONFIG_MAPS, "m", NS)
        if whole:
            await server.system.update(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS)
        else:
            await server.system.patch(CONFIG_MAPS, "m", {"metadata": {"finalizers": None}}, NS)
        assert store.disturbed
        with pytest.raises(StatusError) as caught:
            await server.system.get(CONFIG_MAPS, "m", NS)
        assert caught.value.code == 404
