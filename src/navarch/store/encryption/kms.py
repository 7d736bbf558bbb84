"""Keys that a key management service keeps: KMS v2, over gRPC on a Unix socket. Source: KEP-3299, kms/apis/v2, kmsv2.

The service encrypts a seed, once for each start and each of its keys; from the seed and random bytes comes a key of its own
for every value. The encrypted seed lies beside each value; seeds once decrypted are remembered.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
import uuid
from typing import Any, NamedTuple

from navarch.machinery.protobuf import Tables
from navarch.store.encryption.transformers import GCM_NONCE, BaseCipher, DecryptionError

log = logging.getLogger(__name__)

MESSAGES = {
    "Status": "version=1:string healthz=2:string key_id=3:string",
    "EncryptRequest": "plaintext=1:bytes uid=2:string",
    "EncryptResponse": "ciphertext=1:bytes key_id=2:string annotations=3:map<string,bytes>",
    "DecryptRequest": "ciphertext=1:bytes uid=2:string key_id=3:string annotations=4:map<string,bytes>",
    "DecryptResponse": "plaintext=1:bytes",
    "Empty": "",
    "EncryptedObject": "data=1:bytes key_id=2:string seed=3:bytes annotations=4:map<string,bytes> type=5:int32",
}
CODEC = Tables(MESSAGES)
SERVICE = "/v2.KeyManagementService/"
PLAIN_KEY, SEED = 0, 1
"""What the service's secret is: the key itself, or a seed of keys."""
INFO, KEY = 32, 32
MAX_ID, MAX_SEED, MAX_ANNOTATIONS = 1024, 1024, 32 * 1024
POLL_SECONDS, RETRY_SECONDS, GOOD_SECONDS = 60.0, 5.0, 180.0


class KmsError(Exception):
    """The key management service does not do its part; the text says how."""


class State(NamedTuple):
    """The seed that is written with."""

    seed: bytes
    sealed: bytes
    key_id: str
    annotations: dict[str, bytes]


class Kms(BaseCipher):
    def __init__(self, name: str, endpoint: str, timeout: float) -> None:
        self.prefix = f"k8s:enc:kms:v2:{name}:".encode()
        self._name = name
        self._endpoint = endpoint
        self._timeout = timeout
        self._channel: Any = None
        self._state: State | None = None
        self._good_until = 0.0
        self._seeds: dict[bytes, bytes] = {}
        self._polling: asyncio.Task[None] | None = None

    # -- the service

    async def _call(self, method: str, request: str, response: str, tree: dict[str, Any]) -> dict[str, Any]:
        import grpc
        import grpc.aio

        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._endpoint)
        call = self._channel.unary_unary(
            SERVICE + method,
            request_serializer=lambda tree: CODEC.encode(request, tree),
            response_deserializer=lambda data: CODEC.decode(response, data),
        )
        try:
            return await call(tree, timeout=self._timeout)
        except grpc.aio.AioRpcError as err:
            raise KmsError(f"kms provider {self._name}: {err.code().name}: {err.details()}") from None

    async def prepare(self) -> None:
        """Asks for a seed to write with, and keeps watch over the service's key. Raises KmsError."""
        if self._polling is None:
            await self._renew()
            self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        pause = POLL_SECONDS
        while True:
            await asyncio.sleep(pause)
            try:
                await self._renew()
                pause = POLL_SECONDS
            except KmsError as err:
                log.warning("%s", err)
                pause = RETRY_SECONDS

    async def _renew(self) -> None:
        status = await self._call("Status", "Empty", "Status", {})
        if status.get("version") not in ("v2", "v2beta1"):
            raise KmsError(f"kms provider {self._name}: expected KMS version v2, got {status.get('version')!r}")
        if status.get("healthz") != "ok":
            raise KmsError(f"kms provider {self._name}: expected healthz ok, got {status.get('healthz')!r}")
        key_id = _key_id(status, self._name)
        if self._state is None or self._state.key_id != key_id:
            self._state = await self._new_state()
        self._good_until = time.monotonic() + GOOD_SECONDS

    async def _new_state(self) -> State:
        seed = os.urandom(KEY)
        answer = await self._call(
            "Encrypt", "EncryptRequest", "EncryptResponse", {"plaintext": seed, "uid": str(uuid.uuid4())}
        )
        sealed, annotations = answer.get("ciphertext") or b"", answer.get("annotations") or {}
        if not 0 < len(sealed) <= MAX_SEED or sum(len(k) + len(v) for k, v in annotations.items()) > MAX_ANNOTATIONS:
            raise KmsError(f"kms provider {self._name}: what it has encrypted is empty or too long")
        state = State(seed, sealed, _key_id(answer, self._name), annotations)
        self._seeds[_place(SEED, state.sealed, state.key_id, annotations)] = seed
        return state

    async def learn(self, data: bytes) -> None:
        found = _decoded(data)
        place = _place_of(found)
        if place in self._seeds:
            return
        request = {
            "ciphertext": found.get("seed") or b"",
            "uid": str(uuid.uuid4()),
            "key_id": found.get("key_id", ""),
            "annotations": found.get("annotations") or {},
        }
        try:
            answer = await self._call("Decrypt", "DecryptRequest", "DecryptResponse", request)
        except KmsError as err:
            raise DecryptionError(f"failed to decrypt DEK, error: {err}") from None
        self._seeds[place] = answer.get("plaintext") or b""

    async def close(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    # -- values

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        state = self._state
        if state is None or time.monotonic() > self._good_until:
            raise KmsError(f"kms provider {self._name}: it has not been healthy for {GOOD_SECONDS:.0f} seconds")
        info, nonce = os.urandom(INFO), os.urandom(GCM_NONCE)
        sealed = info + nonce + _cipher(state.seed, info).encrypt(nonce, value, place)
        found = {
            "data": sealed,
            "key_id": state.key_id,
            "seed": state.sealed,
            "annotations": state.annotations,
            "type": SEED,
        }
        return self.prefix + CODEC.encode("EncryptedObject", found)

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        found = _decoded(data)
        seed, sealed = self._seeds.get(_place_of(found)), found.get("data") or b""
        if seed is None:
            raise DecryptionError("its key has not been asked for")
        try:
            if found.get("type", PLAIN_KEY) == SEED:
                cipher, sealed = _cipher(seed, sealed[:INFO]), sealed[INFO:]
            else:
                cipher = AESGCM(seed)
            return cipher.decrypt(sealed[:GCM_NONCE], sealed[GCM_NONCE:], place)
        except (InvalidTag, ValueError):
            raise DecryptionError("message authentication failed") from None

    def is_current(self, data: bytes) -> bool:
        found = _decoded(data)
        return self._state is None or (found.get("key_id"), found.get("type")) == (self._state.key_id, SEED)


def _cipher(seed: bytes, info: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

    return AESGCM(HKDFExpand(SHA256(), KEY, info).derive(seed))


def _key_id(answer: dict[str, Any], name: str) -> str:
    key_id = answer.get("key_id") or ""
    if not 0 < len(key_id) <= MAX_ID:
        raise KmsError(f"kms provider {name}: its key's id is empty or too long")
    return key_id


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        return CODEC.decode("EncryptedObject", data)
    except ValueError as err:
        raise DecryptionError(str(err)) from None


def _place_of(found: dict[str, Any]) -> bytes:
    kind = found.get("type", PLAIN_KEY)
    return _place(kind, found.get("seed") or b"", found.get("key_id", ""), found.get("annotations") or {})


def _place(kind: int, sealed: bytes, key_id: str, annotations: dict[str, bytes]) -> bytes:
    """Under what a decrypted seed is remembered."""
    digest = hashlib.sha256()
    for part in (
        str(kind).encode(),
        sealed,
        key_id.encode(),
        *(p for k in sorted(annotations) for p in (k.encode(), annotations[k])),
    ):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
