"""Being told of changes in a folder by the kernel."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

IN_CREATE, IN_DELETE, IN_CLOSE_WRITE, IN_MOVED = 0x100, 0x200, 0x8, 0xC0
IN_NONBLOCK, IN_CLOEXEC = 0x800, 0x80000


class FolderWatch:
    """Calls back when files of a folder come, change or go; never where the kernel has no watch to give."""

    def __init__(
        self, folder: Path, changed: Callable[[], None], mask: int = IN_DELETE | IN_CLOSE_WRITE | IN_MOVED
    ) -> None:
        self._changed = changed
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle: int = libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        if self._handle >= 0:
            libc.inotify_add_watch(self._handle, os.fsencode(folder), mask)
            asyncio.get_running_loop().add_reader(self._handle, self._notified)

    def _notified(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._handle, 65536)
        self._changed()

    def close(self) -> None:
        if self._handle >= 0:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = -1
