"""Reading containers' logs: the CRI's lines, from the end or a time on, and on as they come. And keeping them short.

A line is `TIME STREAM P|F TEXT`; P marks a part of a longer line. Source: pkg/kubelet/kuberuntime/logs.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from navarch.machinery.types import Obj

CHUNK = 64 * 1024
FOLLOW_SECONDS = 0.05
"""How often a followed log is looked at when nothing came."""
MAX_BYTES, MAX_FILES = 10 * 1024 * 1024, 5
"""A log longer than this is rotated; so many files of one container are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    tail: int | None = None
    """Only the last lines."""
    since: str = ""
    """RFC 3339: only lines from then on."""
    limit: int | None = None
    """Bytes in all."""
    timestamps: bool = False
    follow: bool = False
    stream: str = ""
    """Only `stdout` or `stderr`."""


def shown(line: bytes, options: LogOptions) -> bytes | None:
    """A CRI line as the reader wants it; None where it is left out."""
    time, _, rest = line.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    if options.stream and stream.decode() != options.stream:
        return None
    if options.since and _moment(time.decode(errors="replace")) < _moment(options.since):
        return None
    if tag.partition(b":")[0] == b"P":
        text = text.removesuffix(b"\n")
    return time + b" " + text if options.timestamps else text


def _moment(text: str) -> str:
    """A UTC time as text that compares as its moment does (nanoseconds, which datetime has not)."""
    whole, dot, part = text.removesuffix("Z").partition(".")
    if "+" in part or (not dot and len(whole) > 19):
        from datetime import UTC, datetime

        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
            return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000")
        except ValueError:
            return text
    return f"{whole}.{part:0<9}"


def start_of_tail(file: BinaryIO, lines: int) -> int:
    """The offset of the last `lines` lines."""
    end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    position, found = end, 0
    while position > 0:
        size = min(CHUNK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        at = len(block)
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            if position + at == end - 1:
                continue
            found += 1
            if found == lines:
                return position + at + 1
    return 0


async def read(path: Path, options: LogOptions, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log's text in pieces. With `follow` it goes on until `ended()` and everything is read. Raises FileNotFoundError."""
    file = open(path, "rb")  # noqa: SIM115 - closed below, and replaced when the log is rotated
    left = options.limit if options.limit is not None else -1
    pending, newer = b"", None
    try:
        file.seek(start_of_tail(file, options.tail) if options.tail is not None else 0)
        while left:
            over = ended()
            block = file.read(CHUNK)
            if not block:
                if newer is not None:  # whatever was written before the new file was begun has been read by now
                    file.close()
                    file, newer = newer, None
                    continue
                if (newer := _rotated(file, path)) is not None:
                    continue
                if not options.follow or over:
                    break
                await asyncio.sleep(FOLLOW_SECONDS)
                continue
            *lines, pending = (pending + block).split(b"\n")
            piece = b"".join(text for line in lines if (text := shown(line + b"\n", options)) is not None)
            if left > 0:
                piece = piece[:left]
                left -= len(piece)
            if piece:
                yield piece
            await asyncio.sleep(0)
    finally:
        file.close()
        if newer is not None:
            newer.close()


def _rotated(file: BinaryIO, path: Path) -> BinaryIO | None:
    """The new file at the path, where it is another than the open one."""
    with suppress(FileNotFoundError):
        if os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
            return open(path, "rb")
    return None


# -- which run

PULLING = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class NoLog(Exception):
    """There is no log to show; the message says why, as upstream does."""


def logged_run(pod: Obj, container: str, previous: bool) -> str:
    """The id of the run whose log is meant, by the pod's status: what runs, or else what ran last. Raises NoLog."""
    called, status = pod["metadata"]["name"], pod.get("status") or {}
    fields = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    found = next((s for field in fields for s in status.get(field) or [] if s["name"] == container), None)
    if found is None:
        raise NoLog(f'container "{container}" in pod "{called}" is not available')
    state = found.get("state") or {}
    last = ((found.get("lastState") or {}).get("terminated") or {}).get("containerID", "")
    if previous:
        if not last:
            raise NoLog(f'previous terminated container "{container}" in pod "{called}" not found')
        chosen = last
    elif "running" in state:
        chosen = found.get("containerID", "")
    elif "terminated" in state:
        chosen = state["terminated"].get("containerID", "") or last
    elif last:
        chosen = last
    else:
        reason = (state.get("waiting") or {}).get("reason", "")
        raise NoLog(f'container "{container}" in pod "{called}" is waiting to start: {PULLING.get(reason, reason)}')
    if not chosen:
        raise NoLog(f'container "{container}" in pod "{called}" is terminated')
    return chosen.rpartition("/")[2]


# -- rotation


def rotate(path: Path, stamp: str) -> bool:
    """Moves a log that has grown too long aside, packs older ones and drops the oldest; True where the runtime must open
    a new file."""
    try:
        if path.stat().st_size < MAX_BYTES:
            return False
    except FileNotFoundError:
        return False
    os.replace(path, path.with_name(f"{path.name}.{stamp}"))
    kept = sorted(p for p in path.parent.glob(f"{path.name}.*") if not p.name.endswith(".tmp"))
    for old in kept[: max(len(kept) - (MAX_FILES - 1), 0)]:
        old.unlink()
    for old in kept[max(len(kept) - (MAX_FILES - 1), 0) : -1]:
        if old.suffix != ".gz":
            _pack(old)
    return True


def _pack(path: Path) -> None:
    packed = path.with_name(f"{path.name}.tmp")
    with open(path, "rb") as plain, gzip.open(packed, "wb") as out:
        shutil.copyfileobj(plain, out)
    os.replace(packed, path.with_name(f"{path.name}.gz"))
    path.unlink()
