"""Encryption of stored values, in upstream's formats: `k8s:enc:PROVIDER:v1:KEY:` and what the provider makes of the value.

Source: apiserver/pkg/storage/value/encrypt. Where a cipher can bind a value to its place, the store's key is bound.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

BLOCK, GCM_NONCE, BOX_NONCE = 16, 12, 24


class DecryptionError(Exception):
    """A stored value cannot be read with the keys at hand; the text says which and why."""


class BaseCipher:
    """One key of one provider. Its methods may be called without `prepare` unless they say so."""

    prefix: bytes
    """How values begin that it has written."""

    async def prepare(self) -> None:
        """Fetches what writing takes. Called once, before anything else."""

    async def learn(self, data: bytes) -> None:
        """Fetches what reading this value (without the prefix) takes. Raises DecryptionError."""

    async def close(self) -> None: ...

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        raise NotImplementedError

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        """`data` without the prefix. Raises DecryptionError."""
        raise NotImplementedError

    def is_current(self, data: bytes) -> bool:
        """Whether it would write the value with the same key again."""
        return True


class AesGcm(BaseCipher):
    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = f"k8s:enc:aesgcm:v1:{name}:".encode()
        self._key = key
        self._made: Any = None

    @property
    def _cipher(self) -> Any:
        if self._made is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._made = AESGCM(self._key)
        return self._made

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        nonce = os.urandom(GCM_NONCE)
        return self.prefix + nonce + self._cipher.encrypt(nonce, value, place)

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(data[:GCM_NONCE], data[GCM_NONCE:], place)
        except (InvalidTag, ValueError):
            raise DecryptionError("message authentication failed") from None


class AesCbc(BaseCipher):
    """Does not notice changed values: for what such a configuration has written."""

    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = f"k8s:enc:aescbc:v1:{name}:".encode()
        self._key = key

    def _cipher(self, iv: bytes) -> Any:
        from cryptography.hazmat.primitives.ciphers import Cipher as Mode
        from cryptography.hazmat.primitives.ciphers.algorithms import AES
        from cryptography.hazmat.primitives.ciphers.modes import CBC

        return Mode(AES(self._key), CBC(iv))

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        iv, padding = os.urandom(BLOCK), BLOCK - len(value) % BLOCK
        sealer = self._cipher(iv).encryptor()
        return self.prefix + iv + sealer.update(value + bytes([padding]) * padding) + sealer.finalize()

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        if len(data) < 2 * BLOCK or len(data) % BLOCK:
            raise DecryptionError("the stored data is not a multiple of the block size")
        opener = self._cipher(data[:BLOCK]).decryptor()
        value = opener.update(data[BLOCK:]) + opener.finalize()
        padding = value[-1]
        if not 0 < padding <= BLOCK or value[-padding:] != bytes([padding]) * padding:
            raise DecryptionError("invalid padding on input")
        return value[:-padding]


class Secretbox(BaseCipher):
    def __init__(self, name: str, key: bytes) -> None:
        self.prefix = f"k8s:enc:secretbox:v1:{name}:".encode()
        self._key = key
        self._made: Any = None

    @property
    def _box(self) -> Any:
        if self._made is None:
            from nacl.secret import SecretBox

            self._made = SecretBox(self._key)
        return self._made

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        return self.prefix + bytes(self._box.encrypt(value, os.urandom(BOX_NONCE)))

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        from nacl.exceptions import CryptoError

        try:
            return bytes(self._box.decrypt(data))
        except (CryptoError, ValueError):
            raise DecryptionError("message authentication failed") from None


class Identity(BaseCipher):
    """No encryption."""

    prefix = b""

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        return value

    def decrypt(self, data: bytes, place: bytes) -> bytes:
        if data.startswith(b"k8s:enc:"):
            raise DecryptionError("identity transformer tried to read encrypted data")
        return data


class Read(NamedTuple):
    value: bytes
    stale: bool
    """Written with another key than the one that is written with now."""


class Transformer:
    """All keys for a kind of values: the first writes, every one reads."""

    def __init__(self, ciphers: Sequence[BaseCipher]) -> None:
        self._ciphers = tuple(ciphers)
        self.asks = any(type(cipher).learn is not BaseCipher.learn for cipher in ciphers)
        """Whether keys are asked for elsewhere."""

    async def prepare(self) -> None:
        for cipher in self._ciphers:
            await cipher.prepare()

    async def learn(self, data: bytes) -> None:
        """Before `decrypt`, where `asks`. Raises DecryptionError."""
        for cipher in self._ciphers:
            if data.startswith(cipher.prefix):
                await cipher.learn(data[len(cipher.prefix) :])

    async def close(self) -> None:
        for cipher in self._ciphers:
            await cipher.close()

    def encrypt(self, value: bytes, place: bytes) -> bytes:
        return self._ciphers[0].encrypt(value, place)

    def decrypt(self, data: bytes, place: bytes) -> Read:
        """Raises DecryptionError. Keys of one name are tried in turn."""
        why = "no matching prefix found"
        for number, cipher in enumerate(self._ciphers):
            if data.startswith(cipher.prefix):
                sealed = data[len(cipher.prefix) :]
                try:
                    return Read(cipher.decrypt(sealed, place), number > 0 or not cipher.is_current(sealed))
                except DecryptionError as err:
                    why = str(err)
        raise DecryptionError(f"{place.decode()}: {why}")
