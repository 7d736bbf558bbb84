"""DNS messages on the wire (RFC 1035, RFC 6891): just what a cluster's server reads and writes. Pure functions."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence
from typing import NamedTuple

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 1, 2, 3, 4, 5
QR, AA, TC, RD, RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
MAX_UDP = 512
MAX_EDNS = 1232
"""The largest answer over UDP (the DNS flag day's figure): larger ones are truncated and asked again over TCP."""


class Question(NamedTuple):
    id: int
    flags: int
    name: str
    """In lower case, without the last dot."""
    type: int
    raw: bytes
    """The question section as it was sent: its case comes back in the answer."""
    size: int
    """How large an answer over UDP may be."""
    edns: bool


class Record(NamedTuple):
    """A resource record. `name` is the owner; `data` is packed by `pack_*`."""

    name: str
    type: int
    ttl: int
    data: bytes


class FormatError(Exception):
    """Not a query that can be read. `id` is the message's, where there was one."""

    def __init__(self, message_id: int | None) -> None:
        super().__init__("malformed query")
        self.id = message_id


def parse_question(message: bytes) -> Question:
    """The one question of a query. Raises FormatError."""
    if len(message) < 12:
        raise FormatError(None)
    message_id, flags, questions, _, _, additional = struct.unpack_from("!6H", message)
    if flags & QR:
        raise FormatError(None)  # an answer: never answered, or two servers could talk for ever
    if questions != 1:
        raise FormatError(message_id)
    labels: list[str] = []
    at = 12
    try:
        while length := message[at]:
            if length > 63 or at > 12 + 255:
                raise FormatError(message_id)
            label = message[at + 1 : at + 1 + length]
            if len(label) != length:
                raise FormatError(message_id)
            labels.append(label.decode("ascii").lower())
            at += 1 + length
        kind, klass = struct.unpack_from("!HH", message, at + 1)
    except (IndexError, struct.error, UnicodeDecodeError):
        raise FormatError(message_id) from None
    if klass != IN:
        raise FormatError(message_id)
    end = at + 5
    edns = bool(additional) and message[end : end + 3] == b"\0\0" + bytes([OPT])
    size = MAX_UDP
    if edns and len(message) >= end + 5:
        size = min(max(struct.unpack_from("!H", message, end + 3)[0], MAX_UDP), MAX_EDNS)
    return Question(message_id, flags, ".".join(labels), kind, message[12:end], size, edns)


def pack_name(name: str) -> bytes:
    if not name:
        return b"\0"
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def pack_a(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def pack_srv(port: int, target: str, priority: int = 0, weight: int = 100) -> bytes:
    return struct.pack("!HHH", priority, weight, port) + pack_name(target)


def pack_txt(text: str) -> bytes:
    data = text.encode()[:255]
    return bytes([len(data)]) + data


def pack_soa(zone: str, serial: int, ttl: int) -> bytes:
    return (
        pack_name(f"ns.dns.{zone}")
        + pack_name(f"hostmaster.{zone}")
        + struct.pack("!5I", serial, 7200, 1800, 86400, ttl)
    )


def pack_sections(question: Question, sections: Sequence[Sequence[Record]]) -> bytes:
    """The records of all sections; the question's own name as a pointer to it."""
    parts: list[bytes] = []
    for section in sections:
        for record in section:
            owner = b"\xc0\x0c" if record.name == question.name else pack_name(record.name)
            header = struct.pack("!HHIH", record.type, IN, record.ttl, len(record.data))
            parts += (owner, header, record.data)
    return b"".join(parts)


def pack_answer(
    question: Question,
    code: int,
    answers: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    additional: Sequence[Record] = (),
    *,
    authoritative: bool = True,
    limit: int = 0,
) -> bytes:
    """The whole answer; with `limit` (bytes) truncated to its header when larger."""
    flags = QR | RA | (question.flags & RD) | (AA if authoritative else 0) | code
    body = pack_sections(question, (answers, authority, additional))
    edns = struct.pack("!BHHIH", 0, OPT, MAX_EDNS, 0, 0) if question.edns else b""
    if limit and 12 + len(question.raw) + len(body) + len(edns) > limit:
        header = struct.pack("!6H", question.id, flags | TC, 1, 0, 0, int(question.edns))
        return header + question.raw + edns
    counts = len(answers), len(authority), len(additional) + int(question.edns)
    return struct.pack("!6H", question.id, flags, 1, *counts) + question.raw + body + edns


def pack_error(message_id: int, code: int) -> bytes:
    return struct.pack("!6H", message_id, QR | code, 0, 0, 0, 0)
