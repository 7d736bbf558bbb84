"""Variables from a file that another container of the pod has written (KEP-3721). Source: pkg/kubelet/util/env.

The file is what a container made of it: it is read without following any link, and no further than it may be long.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

LONGEST = 1 << 20


def parse(text: str, key: str) -> str:
    """The value of a variable in NAME='value' lines; "" where it is not there. Raises ValueError, saying where it is wrong."""
    wrong = "invalid environment variable format"
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        number, line = at + 1, lines[at].lstrip(" \t")
        at += 1
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{wrong} at line {number}: missing '='")
        if not name.strip():
            raise ValueError(f"{wrong} at line {number}: empty variable name")
        if name.rstrip(" \t") != name:
            raise ValueError(f"{wrong} at line {number}: whitespace before '=' is not allowed")
        if value[:1] in (" ", "\t"):  # as the shell has it: the variable is empty
            if name == key:
                return ""
            continue
        if not value.startswith("'"):
            raise ValueError(f"{wrong} at line {number}: value must be enclosed in single quotes")
        found, at = _quoted(lines, at, value[1:], f"{wrong} starting at line {number}: unclosed single quote")
        inside, rest = found
        if rest and not rest.startswith("#"):
            raise ValueError(f"{wrong} at line {at}: unexpected content after closing quote")
        if name == key:
            return inside
    return ""


def _quoted(lines: list[str], at: int, rest: str, unclosed: str) -> tuple[tuple[str, str], int]:
    """((what is within the quotes, what comes after), the next line)"""
    parts: list[str] = []
    while True:
        inside, quote, after = rest.partition("'")
        parts.append(inside)
        if quote:
            return ("\n".join(parts), after.lstrip(" \t")), at
        if at >= len(lines):
            raise ValueError(unclosed)
        rest, at = lines[at], at + 1


def read(root: Path, path: str) -> str:
    """A file below a folder. Raises OSError and ValueError."""
    handle = os.open(root, os.O_PATH)
    try:
        for part in Path(path).parts:
            if part in ("..", "/"):
                raise ValueError(f"{path} leads out of its volume")
            following = os.open(part, os.O_PATH | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = following
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise ValueError(f"{path} is no file")
        with open(f"/proc/self/fd/{handle}", "rb") as file:
            data = file.read(LONGEST + 1)
    finally:
        os.close(handle)
    if len(data) > LONGEST:
        raise ValueError(f"{path} is too long")
    return data.decode()
