"""What a container left to say: its termination message, from the file it may write or from the end of its log."""

from __future__ import annotations

import os
from typing import Any

from navarch.kubelet.runtime_state import MESSAGE_PATH, MESSAGE_POLICY

MESSAGE_LIMIT = 4096
LOG_LIMIT = 2048
LOG_LINES = 80


def termination_message(status: dict[str, Any]) -> str:
    """The message of an exited container, from the CRI's ContainerStatus; upstream's limits."""
    annotations = status.get("annotations", {})
    path = annotations.get(MESSAGE_PATH, "")
    host = next((m.get("host_path", "") for m in status.get("mounts", []) if m.get("container_path") == path), "")
    if path and host:
        try:
            if message := tail(host, MESSAGE_LIMIT).decode(errors="replace"):
                return message
        except FileNotFoundError:
            pass
        except OSError as error:
            return f"Error on reading termination log {host}: {error}"
    failed = status.get("exit_code", 0) != 0 and status.get("reason") != "ContainerCannotRun"
    if annotations.get(MESSAGE_POLICY) == "FallbackToLogsOnError" and failed:
        return _log_tail(status.get("log_path", ""))
    return ""


def tail(path: str, limit: int) -> bytes:
    """The last `limit` bytes of a regular file; never follows a link that a container may have put there."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        size = os.fstat(handle).st_size
        file.seek(max(size - limit, 0))
        return file.read(limit)


def _log_tail(path: str) -> str:
    """The last lines of a log in the CRI's format: `time stream F|P text`."""
    try:
        lines = tail(path, 64 << 10).split(b"\n")
    except OSError as error:
        return f"Error on reading termination message from logs: {error}"
    texts: list[bytes] = []
    for line in lines:
        _, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if tag:
            texts.append(text + (b"" if tag.startswith(b"P") else b"\n"))
    return b"".join(texts[-LOG_LINES:])[-LOG_LIMIT:].decode(errors="replace")
