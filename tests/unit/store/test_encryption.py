"""Secrets at rest: unreadable on disk, plain above the store, and readable through every change of keys."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.apiserver.server import ApiServerConfig
from navarch.client.resources import CONFIG_MAPS, SECRETS
from navarch.machinery.clock import RealWorld
from navarch.store.encryption.configuration import BadEncryption, Rules, ensure, parse
from navarch.store.encryption.store import EncryptedStore
from navarch.store.encryption.transformers import DecryptionError
from navarch.store.interface import Write
from navarch.store.memory import MemoryStore
from navarch.store.sqlite import SqliteStore

PLACE = "/registry/core/secrets/default/s"
TREASURE = base64.b64encode(b"the treasure's place").decode()
SECRET = {"metadata": {"name": "s"}, "data": {"map": TREASURE}}


def key(letter: str, size: int = 32) -> str:
    return base64.b64encode(letter.encode() * size).decode()


def rules(*providers: str, resources: str = "secrets") -> Rules:
    """Providers as `aesgcm:a:b` (letters name keys) or `identity`."""
    listed: list[Any] = []
    for provider in providers:
        kind, *letters = provider.split(":")
        listed.append({kind: {"keys": [{"name": f"key-{x}", "secret": key(x)} for x in letters]} if letters else {}})
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": resources.split(), "providers": listed}],
    }
    import orjson

    return parse(orjson.dumps(document))


async def stored(store: Any) -> bytes:
    kv = await store.get(PLACE)
    assert kv is not None
    return kv.value


@pytest.mark.parametrize("provider", ["aesgcm", "aescbc", "secretbox"])
async def test_secrets_are_unreadable_below_and_plain_above(provider: str):
    inner = MemoryStore()
    config = ApiServerConfig(encryption=rules(f"{provider}:a"))
    async with api_server(store=inner, config=config) as server:
        made = await server.system.create(SECRETS, SECRET, "default")
        await server.system.create(CONFIG_MAPS, {"metadata": {"name": "m"}, "data": {"k": "v"}}, "default")
        assert (await server.system.get(SECRETS, "s", "default"))["data"] == {"map": TREASURE}
        changed = await server.system.patch(SECRETS, "s", {"data": {"x": TREASURE}}, "default")
        assert set(changed["data"]) == {"map", "x"} and changed["metadata"]["uid"] == made["metadata"]["uid"]
        data = await stored(inner)
        assert data.startswith(f"k8s:enc:{provider}:v1:key-a:".encode()) and TREASURE.encode() not in data
        plain = await inner.get("/registry/core/configmaps/default/m")
        assert plain is not None and b'"k":"v"' in plain.value
    async with api_server(store=inner, config=config) as server:
        assert (await server.system.get(SECRETS, "s", "default"))["data"]["x"] == TREASURE


async def test_nothing_of_a_secret_is_in_the_database_file(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "s.db", RealWorld())
    async with api_server(
        store=store, config=ApiServerConfig(encryption=ensure(tmp_path / "encryption.yaml"))
    ) as server:
        await server.system.create(SECRETS, SECRET, "default")
        await server.system.delete(SECRETS, "s", "default")
    await store.close()
    assert (tmp_path / "s.db").stat().st_mode & 0o777 == 0o600
    for file in tmp_path.glob("s.db*"):
        assert TREASURE.encode() not in file.read_bytes()
    assert (tmp_path / "encryption.yaml").stat().st_mode & 0o777 == 0o600


async def test_keys_rotate_and_old_values_are_written_anew():
    inner = MemoryStore()
    async with api_server(store=inner) as server:
        await server.system.create(SECRETS, SECRET, "default")
    assert TREASURE.encode() in await stored(inner)
    for providers, prefix in (
        (("aesgcm:a", "identity"), b"k8s:enc:aesgcm:v1:key-a:"),
        (("aesgcm:b:a",), b"k8s:enc:aesgcm:v1:key-b:"),
        (("secretbox:c", "aesgcm:b"), b"k8s:enc:secretbox:v1:key-c:"),
        (("identity", "secretbox:c"), b'{"apiVersion"'),
    ):
        before = inner.revision
        store = EncryptedStore(inner, rules(*providers))
        assert await store.rewrite() == 1
        assert (await stored(inner)).startswith(prefix)
        assert await store.rewrite() == 0 and inner.revision == before + 1
        async with api_server(store=inner, config=ApiServerConfig(encryption=rules(*providers))) as server:
            assert (await server.system.get(SECRETS, "s", "default"))["data"] == {"map": TREASURE}


async def test_a_value_moved_to_another_place_or_changed_is_refused():
    store = EncryptedStore(inner := MemoryStore(), rules("aesgcm:a"))
    await store.commit((Write(PLACE, b"value"),))
    data = await stored(inner)
    await inner.commit((Write(PLACE + "2", data), Write(PLACE + "3", data[:-1] + b"?")))
    for place in (PLACE + "2", PLACE + "3"):
        with pytest.raises(DecryptionError, match=place):
            await store.get(place)
    with pytest.raises(DecryptionError, match="no matching prefix"):
        await EncryptedStore(inner, rules("aesgcm:b")).get(PLACE)


def test_resources_are_named_as_upstream_names_them():
    def prefixes(resources: str) -> list[str]:
        return [prefix for prefix, _ in rules("identity", resources=resources)]

    assert prefixes("secrets configmaps. deployments.apps") == [
        "/registry/core/secrets/", "/registry/core/configmaps/", "/registry/apps/deployments/",
    ]  # fmt: skip
    assert prefixes("*.apps *.") == ["/registry/apps/", "/registry/core/"]
    assert prefixes("*.*") == ["/registry/"]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"resources": [], "providers": [{"identity": {}}]}, "at least one"),
        ({"resources": ["secrets"], "providers": []}, "at least one"),
        ({"resources": ["*"], "providers": [{"identity": {}}]}, "core API group"),
        ({"resources": ["secrets", "*."], "providers": [{"identity": {}}]}, "masked"),
        ({"resources": ["Secrets"], "providers": [{"identity": {}}]}, "no resource"),
        ({"resources": ["secrets.*"], "providers": [{"identity": {}}]}, "across groups"),
        ({"resources": ["secrets"], "providers": [{"identity": {}, "aesgcm": {}}]}, "exactly one"),
        ({"resources": ["secrets"], "providers": [{"aesgcm": {"keys": []}}]}, "at least one keys"),
        ({"resources": ["secrets"], "providers": [{"aesgcm": {"keys": [{"name": "a", "secret": "?"}]}}]}, "base64"),
        ({"resources": ["secrets"], "providers": [{"aesgcm": {"keys": [{"name": "a", "secret": key("a", 5)}]}}]}, "length"),
        ({"resources": ["secrets"], "providers": [{"secretbox": {"keys": [{"secret": key("a")}]}}]}, "name"),
        ([], "shape"),
    ],
)  # fmt: skip
def test_a_bad_configuration_says_what_is_bad(entry: Any, why: str):
    import orjson

    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [entry],
    }
    with pytest.raises(BadEncryption, match=why):
        parse(orjson.dumps(document))
