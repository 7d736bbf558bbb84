"""The host's own logs by HTTP: GET /logs/ lists /var/log, and shows the files in it. No link leads out of it."""

from __future__ import annotations

import asyncio
import html
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

FOLDER = Path("/var/log")
CHUNK = 64 * 1024


def place(parts: Sequence[str], folder: Path = FOLDER) -> Path | None:
    """What the segments of a path name in the folder; None where that is nothing, or elsewhere."""
    root = Path(os.path.realpath(folder))
    found = Path(os.path.realpath(root.joinpath(*parts)))
    inside = found == root or root in found.parents
    return found if inside and (found.is_dir() or found.is_file()) else None


def listing(folder: Path) -> bytes:
    entries = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in os.scandir(folder))
    lines = "".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>\n' for name in entries)
    return f"<!doctype html>\n<pre>\n{lines}</pre>\n".encode()


async def pieces(path: Path) -> AsyncIterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(CHUNK):
            yield piece
            await asyncio.sleep(0)
