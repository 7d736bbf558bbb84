"""PEM blocks (RFC 7468), read as leniently as Go's encoding/pem does."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

_BEGIN = re.compile(rb"^-----BEGIN ([^\n]*?)-----[ \t\r]*\n", re.MULTILINE)


class Block(NamedTuple):
    label: str
    """`CERTIFICATE`, ..."""
    headers: dict[str, str]
    data: bytes


def blocks(text: bytes) -> list[Block]:
    """The well-formed blocks of a text; all else is passed over."""
    found: list[Block] = []
    position = 0
    while (begin := _BEGIN.search(text, position)) is not None:
        end_line = b"\n-----END " + begin[1] + b"-----"
        end = text.find(end_line, begin.end() - 1)
        if end < 0:
            position = begin.end()
            continue
        block = _block(begin[1], text[begin.end() : end + 1])
        position = end + len(end_line) if block is not None else begin.end()
        if block is not None:
            found.append(block)
    return found


def _block(label: bytes, body: bytes) -> Block | None:
    headers: dict[str, str] = {}
    while (line := body.partition(b"\n"))[1] and b":" in line[0]:
        key, _, value = line[0].decode(errors="replace").partition(":")
        headers[key.strip()] = value.strip()
        body = line[2]
    try:
        data = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        return None
    return Block(label.decode(errors="replace"), headers, data)
