"""What an answer shows of entries: an object, a list or a watch event, as itself, as a Table or as its metadata."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Protocol

import orjson

from navarch.api import wire
from navarch.api.kind import Kind, Version
from navarch.api.schemas import has
from navarch.apiserver import codec
from navarch.apiserver.negotiate import JSON, PROTOBUF, Output, dump, encode
from navarch.apiserver.registry.listing import Page
from navarch.apiserver.watchcache import Entry
from navarch.machinery import tables
from navarch.machinery.normalise import normalise
from navarch.machinery.protobuf import seal, unseal, varint
from navarch.machinery.types import Obj

NO_COLUMNS = b'"columnDefinitions":null'
AT_ONCE = 16
"""Objects of a list that are encoded before a look at the clock: as protobuf a pod takes a third of a millisecond."""
TURN_SECONDS = 0.004
PIECE = 64 * 1024
"""Bytes of a list's items that are put together at once."""
INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}


class Clock(Protocol):
    def now(self) -> float: ...


class View:
    """One kind at one version, as one media type: the encoder of gets, lists and watches."""

    def __init__(self, kind: Kind, version: Version, output: Output, include: str, world: Clock) -> None:
        self._kind = kind
        self._version = version
        self._output = output
        self._include = include or "Metadata"
        self._world = world
        self.media = output.media
        self._plain = output.media == JSON and not output.kind and version is kind.hub
        self.name = f"{output.media};{output.kind};{output.version};{version.gv};{self._include}"
        """Names the encoder for sharing: equal names make equal bytes."""

    # -- one object

    def object(self, entry: Entry, pretty: bool = False) -> bytes:
        if self._plain and not pretty:
            return entry.data
        return self.shown(entry.obj, pretty)

    def shown(self, obj: Obj, pretty: bool = False) -> bytes:
        """An object that is not stored."""
        return self._body(self._shown(obj), pretty)

    def _shown(self, obj: Obj) -> Obj:
        """The object as the client asked for it."""
        match self._output.kind:
            case "Table":
                return self._table([obj], {"resourceVersion": obj["metadata"].get("resourceVersion", "")})
            case "PartialObjectMetadata" | "PartialObjectMetadataList":
                return partial(obj, self._output.version)
            case _:
                return codec.from_hub(self._kind, self._version, obj)

    def _table(self, objs: Iterable[Obj], metadata: Obj, headers: bool = True) -> Obj:
        include: Any = self._include
        table = tables.table(self._kind, objs, self._world.now(), include, metadata, headers)
        if self._output.version != "v1":
            table["apiVersion"] = f"meta.k8s.io/{self._output.version}"
            for row in table["rows"] if self._include == "Metadata" else ():
                row["object"]["apiVersion"] = table["apiVersion"]
        return table

    def _body(self, tree: Obj, pretty: bool) -> bytes:
        definition = self._version.definition if not self._output.kind else f"{_META}.{tree['kind']}"
        return encode(tree, self._output.media, definition, pretty)

    # -- lists

    def takes_turns(self, page: Page, pretty: bool) -> bool:
        """Whether a list is better made by `list_in_turns`."""
        return len(page.entries) > AT_ONCE and (pretty or not self._plain)

    async def list_in_turns(self, page: Page, pretty: bool) -> bytes | Sequence[bytes]:
        """What `list` makes of many objects that must be looked at one by one, with turns of the loop in between."""
        metadata = self._metadata(page)
        if pretty or self.media not in (JSON, PROTOBUF):
            return await asyncio.to_thread(lambda: self.listed([e.seen() for e in page.entries], metadata, pretty))
        empty = self.listed([], metadata)
        if self.media == PROTOBUF:
            api_version, kind, head = unseal(empty)
            items = [unseal(made)[2][len(head) :] async for made in self._parts(page.entries, metadata)]
            return seal(api_version, kind, b"".join((head, *items)))
        begin = empty[: empty.rindex(b":") + 1]  # the items are a list's last field
        parts = [made[len(begin) + 1 : -2] async for made in self._parts(page.entries, metadata)]
        return [begin + b"[", *_separated(parts), b"]}"]

    async def _parts(self, entries: Sequence[Entry], metadata: Obj) -> AsyncIterator[bytes]:
        """The list as several ones."""
        deadline = time.perf_counter() + TURN_SECONDS
        for start in range(0, len(entries), AT_ONCE):
            yield self.listed([entry.seen() for entry in entries[start : start + AT_ONCE]], metadata)
            if time.perf_counter() > deadline:
                await asyncio.sleep(0)
                deadline = time.perf_counter() + TURN_SECONDS

    def list(self, page: Page, pretty: bool = False) -> bytes | Sequence[bytes]:
        metadata = self._metadata(page)
        if self._plain and not pretty:
            head = {"kind": self._kind.list_kind, "apiVersion": self._version.api_version, "metadata": metadata}
            return [orjson.dumps(head)[:-1], b',"items":[', *self._joined(page.entries), b"]}"]
        return self.listed([entry.obj for entry in page.entries], metadata, pretty)

    def _metadata(self, page: Page) -> Obj:
        metadata: Obj = {"resourceVersion": str(page.revision)}
        if self._kind.typed_items and not self._output.kind:
            metadata = {"continue": "", **metadata}
        if page.continue_token:
            metadata["continue"] = page.continue_token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        return metadata

    def listed(self, objs: Sequence[Obj], metadata: Obj, pretty: bool = False) -> bytes:
        """A list of objects that were looked at or made one by one."""
        match self._output.kind:
            case "Table":
                return self._body(self._table(objs, metadata), pretty)
            case "PartialObjectMetadata" | "PartialObjectMetadataList":
                version = self._output.version
                tree: Obj = {
                    "kind": "PartialObjectMetadataList",
                    "apiVersion": f"meta.k8s.io/{version}",
                    "metadata": metadata,
                    "items": [partial(obj, version) for obj in objs] or None,
                }
                return self._body(tree, pretty)
            case _:
                tree = {
                    "kind": self._kind.list_kind,
                    "apiVersion": self._version.api_version,
                    "metadata": metadata,
                    "items": [self._item(codec.from_hub(self._kind, self._version, obj)) for obj in objs],
                }
                definition = self._version.definition + "List"
                return encode(tree, self._output.media, definition, pretty)

    def _joined(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """The entries' bytes as items of a list, in pieces: one large buffer after the other would cost more than all
        the rest."""
        start, begin = 0, b""
        if not self._kind.typed_items:
            start, begin = len(f'{{"apiVersion":"{self._version.gv}","kind":"{self._kind.kind}",'), b"{"
        separator = b"," + begin
        at, count = 0, len(entries)
        while at < count:
            first, size = not at, 0
            piece = [begin if first else b""]
            while at < count and size < PIECE:
                data = entries[at].data
                piece.append(data[start:])
                size += len(data)
                at += 1
            if first:
                piece[:2] = [piece[0] + piece[1]]
            yield separator.join(piece)

    def _item(self, obj: Obj) -> Obj:
        if self._kind.typed_items:
            return obj
        return {name: value for name, value in obj.items() if name not in ("apiVersion", "kind")}

    # -- watches (fanout.Encoder)

    def event(self, type: str, entry: Entry, revision: int) -> bytes:
        if self._plain:
            return b'{"type":"%b","object":%b}\n' % (type.encode(), entry.data_at(revision))
        obj = entry.obj_at(revision)
        if self._output.kind == "Table":
            return self._event(type, self._table([obj], {"resourceVersion": str(revision)}, headers=False))
        return self._event(type, self._shown(obj))

    def first_event(self, chunk: bytes) -> bytes:
        """A watch's first event: of Tables, the only one that tells the columns."""
        if self._output.kind != "Table":
            return chunk
        return chunk.replace(NO_COLUMNS, NO_COLUMNS[:-4] + dump(tables.column_definitions(self._kind)), 1)

    def bookmark(self, revision: int, initial_events_end: bool) -> bytes:
        metadata: Obj = {"resourceVersion": str(revision)}
        if initial_events_end:
            metadata["annotations"] = INITIAL_EVENTS_END
        obj: Obj = {"kind": self._kind.kind, "apiVersion": self._version.api_version, "metadata": metadata}
        match self._output.kind:
            case "Table":
                obj = self._table([self._zero(metadata)], {"resourceVersion": str(revision)}, headers=False)
                for row in obj["rows"] if self._include != "None" else ():
                    del row["object"]["metadata"]["name"]
            case "PartialObjectMetadata" | "PartialObjectMetadataList":
                obj = partial(obj, self._output.version)
            case _:
                pass
        return self._event("BOOKMARK", obj)

    def _zero(self, metadata: Obj) -> Obj:
        """An object that is nothing but its metadata, as the kind's row can print it."""
        hub = self._kind.hub
        obj = normalise(hub.schema, {}) if has(hub.definition) else {}
        return {**obj, "metadata": {"name": "", **metadata}}

    def error(self, status: Obj) -> bytes:
        """The event that ends a watch with a Status."""
        if self._output.media == PROTOBUF:
            return _frame("ERROR", wire.encode_body(f"{_META}.Status", status))
        return dump({"type": "ERROR", "object": status}) + b"\n"

    def _event(self, type: str, obj: Obj) -> bytes:
        if self._output.media == PROTOBUF:
            definition = self._version.definition if not self._output.kind else f"{_META}.{obj['kind']}"
            payload = wire.encode(definition, obj)
            return _frame(type, seal(obj["apiVersion"], obj["kind"], payload))
        return dump({"type": type, "object": obj}) + b"\n"


_META = "io.k8s.apimachinery.pkg.apis.meta.v1"


def _separated(pieces: Sequence[bytes]) -> Iterator[bytes]:
    for number, piece in enumerate(pieces):
        if number:
            yield b","
        yield piece


def partial(obj: Obj, version: str) -> Obj:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj["metadata"],
    }


def _frame(type: str, body: bytes) -> bytes:
    """A WatchEvent message with its length before it, as a protobuf watch sends them."""
    raw = b"\n" + varint(len(body)) + body
    name = type.encode()
    message = b"\n" + varint(len(name)) + name + b"\x12" + varint(len(raw)) + raw
    return len(message).to_bytes(4, "big") + message
