"""Keys kept by a key management service: a real gRPC server on a Unix socket."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support.apiserver import api_server

from navarch.apiserver.server import ApiServerConfig
from navarch.client.resources import SECRETS
from navarch.store.encryption.configuration import BadEncryption, Rules, parse
from navarch.store.encryption.kms import CODEC
from navarch.store.encryption.store import EncryptedStore
from navarch.store.encryption.transformers import DecryptionError
from navarch.store.memory import MemoryStore

PLACE = "/registry/core/secrets/default/s"


class Service:
    """Encrypts with the newest of its keys."""

    def __init__(self) -> None:
        self.keys = {"k1": AESGCM(os.urandom(32))}
        self.current = "k1"
        self.asked: list[str] = []

    def answer(self, method: str, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        self.asked.append(method)
        if method == "Status":
            return "Status", {"version": "v2", "healthz": "ok", "key_id": self.current}
        if method == "Encrypt":
            nonce = os.urandom(12)
            sealed = nonce + self.keys[self.current].encrypt(nonce, request["plaintext"], None)
            return "EncryptResponse", {
                "ciphertext": sealed,
                "key_id": self.current,
                "annotations": {"v.example.com": b"1"},
            }
        assert request["annotations"] == {"v.example.com": b"1"}
        sealed = request["ciphertext"]
        return "DecryptResponse", {"plaintext": self.keys[request["key_id"]].decrypt(sealed[:12], sealed[12:], None)}


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, service: Service) -> None:
        self._service = service

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        message = "Empty" if method == "Status" else f"{method}Request"

        async def run(data: bytes, context: Any) -> bytes:
            try:
                return CODEC.encode(*self._service.answer(method, CODEC.decode(message, data)))
            except KeyError as err:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"no key {err}")
                raise

        return grpc.unary_unary_rpc_method_handler(run)


@asynccontextmanager
async def kms(directory: Path) -> AsyncIterator[tuple[Service, Rules]]:
    service, socket = Service(), f"unix://{directory}/kms.sock"
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handlers(service),))
    server.add_insecure_port(socket)
    await server.start()
    try:
        yield service, rules(socket)
    finally:
        await server.stop(None)


def rules(endpoint: str, **more: Any) -> Rules:
    provider = {"apiVersion": "v2", "name": "vault", "endpoint": endpoint, "timeout": "2s", **more}
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"kms": provider}, {"identity": {}}]}],
    }
    return parse(orjson.dumps(document))


async def test_secrets_are_sealed_with_a_seed_that_the_service_keeps(tmp_path: Path):
    inner = MemoryStore()
    async with kms(tmp_path) as (service, first):
        async with api_server(store=inner, config=ApiServerConfig(encryption=first)) as server:
            for name in ("s", "t"):
                await server.system.create(SECRETS, {"metadata": {"name": name}, "data": {"k": "c2VjcmV0"}}, "default")
        assert service.asked == ["Status", "Encrypt"]
        kv = await inner.get(PLACE)
        assert kv is not None and kv.value.startswith(b"k8s:enc:kms:v2:vault:") and b"c2VjcmV0" not in kv.value
        again = rules(f"unix://{tmp_path}/kms.sock")
        async with api_server(store=inner, config=ApiServerConfig(encryption=again)) as server:
            assert (await server.system.get(SECRETS, "s", "default"))["data"] == {"k": "c2VjcmV0"}
        assert service.asked.count("Decrypt") == 1


async def test_a_new_key_of_the_service_makes_values_stale(tmp_path: Path):
    inner = MemoryStore()
    async with kms(tmp_path) as (service, first):
        async with api_server(store=inner, config=ApiServerConfig(encryption=first)) as server:
            await server.system.create(SECRETS, {"metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}}, "default")
        service.keys["k2"] = AESGCM(os.urandom(32))
        service.current = "k2"
        store = EncryptedStore(inner, rules(f"unix://{tmp_path}/kms.sock"))
        assert await store.rewrite() == 1 and await store.rewrite() == 0
        await store.release()
        del service.keys["k1"]
        store = EncryptedStore(inner, rules(f"unix://{tmp_path}/kms.sock"))
        kv = await store.get(PLACE)
        assert kv is not None and b"c2VjcmV0" in kv.value
        await store.release()
        del service.keys["k2"]
        service.keys["k3"], service.current = AESGCM(os.urandom(32)), "k3"
        store = EncryptedStore(inner, rules(f"unix://{tmp_path}/kms.sock"))
        with pytest.raises(DecryptionError, match="NOT_FOUND"):
            await store.get(PLACE)
        await store.release()


@pytest.mark.parametrize(
    ("endpoint", "more", "why"),
    [
        ("tcp://x", {}, "unix"),
        ("unix:///x", {"apiVersion": "v1"}, "v2"),
        ("unix:///x", {"name": "a:b"}, "':'"),
        ("unix:///x", {"timeout": "soon"}, "positive"),
    ],
)
def test_a_bad_configuration_says_what_is_bad(endpoint: str, more: dict[str, Any], why: str):
    with pytest.raises(BadEncryption, match=why):
        rules(endpoint, **more)
