"""Protocol buffers driven by tables of facts: the codec of the Kubernetes API's protobuf form and of the CRI.

A table says of each message `name=number:type` for its fields, separated by spaces. Types: `string`, `bytes`, `bool`,
`int32`, `int64`, `uint32`, `uint64`, `double`, `[]T`, `map<T>` or `map<string,T>`, a message's name. Marks after the type:
`?` an optional field (absent is not zero), `!` none here, `^` an embedded message whose fields belong to the parent's
JSON; `~...` a default, ignored. Words that start with `@` are ignored.

Source: the protocol buffers encoding specification; apimachinery's runtime.Unknown for the envelope.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from navarch.machinery.types import Obj

MAGIC = b"k8s\x00"
"""What a protobuf body of the Kubernetes API starts with."""
MAX_DEPTH = 150

Read: TypeAlias = Callable[[bytes, int, int, int], Any]
"""(data, start, end, depth) -> value."""
Write: TypeAlias = Callable[[Any], bytes]

_STRING, _MESSAGE, _INT, _BOOL, _UINT, _BYTES, _DOUBLE, _MAP = range(8)
_KINDS = {
    "string": _STRING,
    "bytes": _BYTES,
    "bool": _BOOL,
    "int32": _INT,
    "int64": _INT,
    "uint32": _UINT,
    "uint64": _UINT,
    "double": _DOUBLE,
}
_WIRE = {_INT: 0, _UINT: 0, _BOOL: 0, _DOUBLE: 1}
_ZERO: dict[int, Any] = {_STRING: "", _INT: 0, _UINT: 0, _BOOL: False, _DOUBLE: 0.0}
_U64 = 1 << 64
_SIGN = 1 << 63


class Special(NamedTuple):
    """A message whose tree is not its fields (a time, a quantity). `read` gets the message's bytes."""

    read: Callable[[bytes, Read], Any]
    """(payload, the plain reader of this message) -> value; None is as if absent."""
    write: Callable[..., bytes]
    """(value, plain=the plain writer of this message) -> payload."""


class Tables:
    """A codec for the messages that `load` knows.

    `load(message)` gives a message's table line (KeyError: unknown message), `resolve(reference, message)` the full name
    of a type named in it. `write_zeros`: fields that are not optional are written also when zero (Go's generated code
    for proto2), otherwise left out and repeated numbers packed (proto3). `text_bytes`: bytes are base64 text in trees.
    """

    def __init__(
        self,
        load: Callable[[str], str] | Mapping[str, str],
        resolve: Callable[[str, str], str] = lambda reference, message: reference,
        *,
        specials: Mapping[str, Special] | None = None,
        write_zeros: bool = False,
        text_bytes: bool = False,
    ) -> None:
        self._load = load.__getitem__ if isinstance(load, Mapping) else load
        self._resolve = resolve
        self._specials = specials or {}
        self.write_zeros = write_zeros
        self.text_bytes = text_bytes
        self._readers: dict[str, Read] = {}
        self._writers: dict[str, Write] = {}
        self._fields: dict[str, list[_Field]] = {}

    def decode(self, message: str, data: bytes) -> Any:
        """The tree of an encoded message. Raises ValueError for bad or truncated input, KeyError for an unknown message."""
        try:
            return self.reader(message)(data, 0, len(data), 0)
        except (IndexError, RecursionError, struct.error):
            raise ValueError(f"proto: {message}: unexpected EOF or illegal tag") from None

    def encode(self, message: str, tree: Any) -> bytes:
        """The message for a tree, which must have the types of its schema. Raises KeyError for an unknown message."""
        return self.writer(message)(tree)

    def reader(self, message: str) -> Read:
        found = self._readers.get(message)
        if found is None:
            found = _reader_of(self, message, self._specials.get(message))
        return found

    def writer(self, message: str) -> Write:
        found = self._writers.get(message)
        if found is None:
            found = _writer_of(self, message, self._specials.get(message))
        return found

    def fields(self, message: str) -> list[_Field]:
        """The message's fields by ascending number."""
        found = self._fields.get(message)
        if found is None:
            words = [word for word in self._load(message).split() if not word.startswith("@")]
            found = sorted((self._field(word, message) for word in words), key=lambda field: field.number)
            self._fields[message] = found
        return found

    def _field(self, word: str, message: str) -> _Field:
        name, _, rest = word.partition("=")
        number, _, type_ = rest.partition(":")
        type_ = type_.partition("~")[0]
        mark = type_[-1] if type_[-1] in "?!^" else ""
        type_ = type_.removesuffix(mark)
        repeated, mapped = type_.startswith("[]"), type_.startswith("map<")
        type_ = type_.removeprefix("[]")
        if mapped:
            type_ = type_[4:-1].removeprefix("string,")
        kind = _KINDS.get(type_, _MESSAGE)
        type_ = self._resolve(type_, message) if kind == _MESSAGE else type_
        return _Field(name, int(number), kind, type_, repeated, mapped, mark == "^", mark == "?")


class _Field(NamedTuple):
    name: str
    number: int
    kind: int
    type: str
    repeated: bool
    mapped: bool
    inline: bool
    optional: bool


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (_U64 - 1), at
        shift += 7
        if shift > 63:
            raise ValueError("proto: integer overflow")


def _skip(data: bytes, at: int, wire: int, end: int) -> int:
    """The position after a field of unknown number."""
    if wire == 0:
        at = _varint(data, at)[1]
    elif wire == 1:
        at += 8
    elif wire == 2:
        length, at = _varint(data, at)
        at += length
    elif wire == 5:
        at += 4
    else:
        raise ValueError(f"proto: illegal wireType {wire}")
    if at > end:
        raise ValueError("unexpected EOF")
    return at


def _text_of_bytes(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


# -- reading


def _reader_of(tables: Tables, message: str, special: Special | None) -> Read:
    """The closure that reads a message. `by_tag` is filled after it is known by name: messages recurse."""
    by_tag: dict[int, tuple[int, str, Any, bool]] = {}
    look_up = by_tag.get
    as_text = tables.text_bytes

    def read(data: bytes, at: int, end: int, depth: int) -> Obj:
        if depth > MAX_DEPTH:
            raise ValueError("proto: nested too deep")
        tree: Obj = {}
        while at < end:
            tag = data[at]
            at += 1
            if tag > 127:
                if data[at] < 128:
                    tag = tag & 127 | data[at] << 7
                    at += 1
                else:
                    tag, at = _varint(data, at - 1)
            found = look_up(tag)
            wire = tag & 7
            if found is None:
                if tag < 8:
                    raise ValueError(f"proto: illegal tag {tag >> 3}")
                at = _skip(data, at, wire, end)
                continue
            kind, name, below, repeated = found
            value: Any
            if wire == 2:
                length = data[at]
                at += 1
                if length > 127:
                    if data[at] < 128:
                        length = length & 127 | data[at] << 7
                        at += 1
                    else:
                        length, at = _varint(data, at - 1)
                stop = at + length
                if stop > end:
                    raise ValueError("unexpected EOF")
                if kind == _STRING:
                    value = data[at:stop].decode()
                elif kind == _MESSAGE:
                    value = below(data, at, stop, depth + 1)
                elif kind == _MAP:
                    _read_entry(tree.setdefault(name, {}), below, data, at, stop, depth)
                    at = stop
                    continue
                elif kind == _BYTES:
                    value = _text_of_bytes(data[at:stop]) if as_text else data[at:stop]
                else:
                    tree.setdefault(name, []).extend(_packed(kind, data, at, stop))
                    at = stop
                    continue
                at = stop
            elif wire == 0:
                value = data[at]
                at += 1
                if value > 127:
                    value, at = _varint(data, at - 1)
                if kind == _BOOL:
                    value = value != 0
                elif kind == _INT and value >= _SIGN:
                    value -= _U64
            else:
                value = struct.unpack_from("<d", data, at)[0]
                at += 8
            if repeated:
                tree.setdefault(name, []).append(value)
            elif name:
                if value is not None:
                    tree[name] = value
            else:
                tree.update(value)
        if at > end:
            raise ValueError("unexpected EOF")
        return tree

    whole = read if special is None else _special_reader(special, read)
    tables._readers[message] = whole  # pyright: ignore[reportPrivateUsage]
    for field in tables.fields(message):
        _add_reader(tables, field, by_tag)
    return whole


def _special_reader(special: Special, plain: Read) -> Read:
    def read(data: bytes, at: int, end: int, depth: int) -> Any:
        return special.read(data[at:end], lambda payload, start, stop, _: plain(payload, start, stop, depth))

    return read


def _add_reader(tables: Tables, field: _Field, by_tag: dict[int, tuple[int, str, Any, bool]]) -> None:
    below = tables.reader(field.type) if field.kind == _MESSAGE else None
    base = field.number << 3
    if field.mapped:
        by_tag[base | 2] = (_MAP, field.name, (field.kind, below, tables.text_bytes), False)
        return
    name = "" if field.inline else field.name
    wire = _WIRE.get(field.kind, 2)
    by_tag[base | wire] = (field.kind, name, below, field.repeated)
    if wire != 2 and field.repeated:
        by_tag[base | 2] = (field.kind, name, None, True)


def _read_entry(tree: Obj, below: tuple[int, Any, bool], data: bytes, at: int, end: int, depth: int) -> None:
    """One entry of a map: key 1, value 2."""
    kind, read, as_text = below
    key = ""
    value: Any = read(b"", 0, 0, depth) if read else _ZERO.get(kind, "" if as_text else b"")
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if tag >> 3 not in (1, 2) or wire not in (0, 2):
            at = _skip(data, at, wire, end)
            continue
        number, at = _varint(data, at)
        if wire == 0:
            value = number != 0 if kind == _BOOL else number - _U64 if kind == _INT and number >= _SIGN else number
            continue
        stop = at + number
        if stop > end:
            raise ValueError("unexpected EOF")
        if tag >> 3 == 1:
            key = data[at:stop].decode()
        elif kind == _STRING:
            value = data[at:stop].decode()
        elif read:
            value = read(data, at, stop, depth + 1)
        else:
            value = _text_of_bytes(data[at:stop]) if as_text else data[at:stop]
        at = stop
    tree[key] = value


def _packed(kind: int, data: bytes, at: int, end: int) -> list[Any]:
    """The numbers of a packed field."""
    if kind == _DOUBLE:
        return [number[0] for number in struct.iter_unpack("<d", data[at:end])]
    values: list[Any] = []
    while at < end:
        value, at = _varint(data, at)
        if at > end:
            raise ValueError("unexpected EOF")
        values.append(value != 0 if kind == _BOOL else value - _U64 if kind == _INT and value >= _SIGN else value)
    return values


# -- writing


def varint(value: int) -> bytes:
    """The encoding of an integer; negative ones take ten bytes."""
    if 0 <= value < 128:
        return _SMALL[value]
    value &= _U64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL = [bytes((value,)) for value in range(128)]


def _payload(kind: int, value: Any) -> bytes:
    """A scalar without its tag; text and bytes without their length."""
    if kind == _STRING:
        return value.encode()
    if kind == _BYTES:
        return binascii.a2b_base64(value) if isinstance(value, str) else value
    if kind == _DOUBLE:
        return struct.pack("<d", value)
    return varint(int(value))


def _writer_of(tables: Tables, message: str, special: Special | None) -> Write:
    plan: list[tuple[_Field, bytes, Write | None, Any]] = []
    zeros = tables.write_zeros

    def write(tree: Any) -> bytes:
        parts: list[bytes] = []
        add = parts.append
        for field, tag, below, zero in plan:
            name, kind = field.name, field.kind
            value = tree if field.inline else tree.get(name, zero)
            if value is None or (not zeros and not field.optional and not value and below is None):
                continue
            if field.mapped:
                parts.extend(_entries(field, tag, below, value))
            elif field.repeated:
                parts.extend(_repeated(field, tag, below, value, zeros))
            elif kind in (_STRING, _BYTES) or below is not None:
                payload = below(value) if below is not None else _payload(kind, value)
                add(tag + varint(len(payload)) + payload)
            else:
                add(tag + _payload(kind, value))
        return b"".join(parts)

    whole: Write = write if special is None else partial(special.write, plain=write)
    tables._writers[message] = whole  # pyright: ignore[reportPrivateUsage]
    for field in tables.fields(message):
        below = tables.writer(field.type) if field.kind == _MESSAGE else None
        single = not (field.repeated or field.mapped or field.optional) and zeros
        zero: Any = _ZERO.get(field.kind) if single else None
        if single and field.kind == _MESSAGE:
            zero = {}
        wire = 2 if field.mapped else _WIRE.get(field.kind, 2)
        plan.append((field, varint(field.number << 3 | wire), below, zero))
    return whole


def _entries(field: _Field, tag: bytes, below: Write | None, value: Obj) -> list[bytes]:
    """The entries of a map, keys in order."""
    wire = _WIRE.get(field.kind, 2)
    parts: list[bytes] = []
    for key in sorted(value):
        name = key.encode()
        payload = below(value[key]) if below else _payload(field.kind, value[key])
        length = varint(len(payload)) if wire == 2 else b""
        entry = b"\n" + varint(len(name)) + name + varint(2 << 3 | wire) + length + payload
        parts.append(tag + varint(len(entry)) + entry)
    return parts


def _repeated(field: _Field, tag: bytes, below: Write | None, values: list[Any], zeros: bool) -> list[bytes]:
    if field.kind in _WIRE:
        if zeros:
            return [tag + _payload(field.kind, value) for value in values]
        packed = b"".join(_payload(field.kind, value) for value in values)
        return [varint(field.number << 3 | 2) + varint(len(packed)) + packed] if values else []
    payloads = [below(value) if below else _payload(field.kind, value) for value in values]
    return [tag + varint(len(payload)) + payload for payload in payloads]


# -- the envelope of the Kubernetes API

_UNKNOWN = Tables(
    {
        "Unknown": "typeMeta=1:TypeMeta raw=2:bytes contentEncoding=3:string",
        "TypeMeta": "apiVersion=1:string kind=2:string",
    }
)


def seal(api_version: str, kind: str, payload: bytes) -> bytes:
    """A message of the API in its envelope, as a body of `application/vnd.kubernetes.protobuf`."""
    meta = _UNKNOWN.encode("TypeMeta", {"apiVersion": api_version, "kind": kind})
    head = b"\n" + varint(len(meta)) + meta + b"\x12" + varint(len(payload))
    return b"".join((MAGIC, head, payload, b"\x1a\x00\x22\x00"))


def unseal(body: bytes) -> tuple[str, str, bytes]:
    """(apiVersion, kind, message) of a body. Raises ValueError where it is no envelope."""
    if not body.startswith(MAGIC):
        raise ValueError("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    unknown = _UNKNOWN.decode("Unknown", body[len(MAGIC) :])
    if unknown.get("contentEncoding"):
        raise ValueError(f"unsupported content encoding {unknown['contentEncoding']}")
    meta = unknown.get("typeMeta", {})
    return meta.get("apiVersion", ""), meta.get("kind", ""), unknown.get("raw", b"")
