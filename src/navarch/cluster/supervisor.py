"""One small process per cluster that keeps the others running.

It lives in the node's mount namespace (its children inherit it, and the mounts of all containers vanish with it), starts
containerd, the control plane and the node agent, and starts again what dies. Children are sessions of their own: they
outlive the supervisor, and a new supervisor finds them by their pid files. Nothing here polls: every child is watched
through a pidfd.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from navarch.cluster.files import write_atomically

FIRST_BACKOFF, MAX_BACKOFF = 0.2, 10.0
STABLE_SECONDS = 10.0
"""A child that ran this long starts again at once when it dies."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by pid and start time, so that a reused pid is never taken for it."""

    pid: int
    start_time: str

    @staticmethod
    def of(pid: int) -> Process | None:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        state, *rest = stat.rpartition(")")[2].split()
        return None if state in "ZX" else Process(pid, rest[18])

    @staticmethod
    def read(pid_file: Path) -> Process | None:
        """The process a pid file names, if it still runs."""
        try:
            pid, start_time = pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        process = Process.of(int(pid))
        return process if process and process.start_time == start_time else None

    def write(self, pid_file: Path) -> None:
        write_atomically(pid_file, f"{self.pid} {self.start_time}", 0o644)

    def stop(self, grace: float) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds. Returns when the process is gone."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if Process.of(self.pid) != self:
                return
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, number)
                if _wait(pidfd, grace):
                    return
        finally:
            os.close(pidfd)


def _wait(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


class Child:
    """One supervised process."""

    def __init__(
        self, name: str, command: Sequence[str], run: Path, logs: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.pid_file = run / f"{name}.pid"
        self.log = logs / f"{name}.log"
        self.environment = environment
        self.pidfd = -1
        self.started = 0.0
        self.backoff = 0.0
        self.next_start = 0.0

    def adopt_or_start(self) -> None:
        process = Process.read(self.pid_file) or self._start()
        self.pidfd = os.pidfd_open(process.pid)
        self.started = time.monotonic()

    def died(self) -> None:
        """Schedules the next start."""
        os.close(self.pidfd)
        self.pidfd = -1
        lived = time.monotonic() - self.started
        self.backoff = 0.0 if lived > STABLE_SECONDS else min(max(self.backoff * 2, FIRST_BACKOFF), MAX_BACKOFF)
        self.next_start = time.monotonic() + self.backoff

    def stop(self, grace: float) -> None:
        if process := Process.read(self.pid_file):
            process.stop(grace)
        self.pid_file.unlink(missing_ok=True)

    def _start(self) -> Process:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            popen = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self.environment,
            )
        process = Process.of(popen.pid)
        if process is None:  # gone already: a stand-in that is never alive, so that it is started again
            process = Process(popen.pid, "")
        process.write(self.pid_file)
        return process


def supervise(children: Sequence[Child], own_pid_file: Path) -> None:
    """Runs until SIGTERM, then stops the children in reverse order."""
    me = Process.of(os.getpid())
    assert me
    me.write(own_pid_file)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGINT, lambda number, _: stopping.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while not stopping:
        _step(children, wake_read)
    for child in reversed(children):
        child.stop(10.0)
    own_pid_file.unlink(missing_ok=True)


def _step(children: Sequence[Child], wake: int) -> None:
    """Starts what is due, then sleeps until a child dies, a start is due, or a signal arrives."""
    now = time.monotonic()
    due: list[float] = []
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    watched: dict[int, Child] = {}
    for child in children:
        if child.pidfd < 0 and child.next_start <= now:
            with contextlib.suppress(ProcessLookupError):
                child.adopt_or_start()
            if child.pidfd < 0:
                child.next_start = now + FIRST_BACKOFF
        if child.pidfd < 0:
            due.append(child.next_start)
        else:
            poll.register(child.pidfd, select.POLLIN)
            watched[child.pidfd] = child
    timeout = max(min(due) - now, 0.0) * 1000 if due else None
    for descriptor, _ in poll.poll(timeout):
        if descriptor == wake:
            os.read(wake, 512)
        elif descriptor in watched:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            watched[descriptor].died()
