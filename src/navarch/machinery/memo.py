"""Answers that are remembered by the encoding of what they are about."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import orjson

T = TypeVar("T")

LARGEST = 16 * 1024
"""Bytes of a key: what is larger is not remembered."""


class Memo(Generic[T]):
    """What a pure function found for JSON trees that come again and again, as the specs of one template's pods do:
    encoding a tree costs a fiftieth of judging it. Holds the newest `limit` answers, which nobody may change."""

    __slots__ = ("_known", "_limit")

    def __init__(self, limit: int) -> None:
        self._known: dict[bytes, T] = {}
        self._limit = limit

    @staticmethod
    def key(tree: Any) -> bytes:
        return orjson.dumps(tree)

    def get(self, key: bytes) -> T | None:
        return self._known.get(key)

    def put(self, key: bytes, answer: T) -> None:
        known = self._known
        if len(key) > LARGEST:
            return
        if len(known) >= self._limit:
            del known[next(iter(known))]
        known[key] = answer
