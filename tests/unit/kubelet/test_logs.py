"""Logs are shown as asked for, followed over rotation, and kept short."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from navarch.kubelet import host_logs, logs
from navarch.kubelet.logs import LogOptions, NoLog, logged_run

LINES = (
    b"2026-01-01T00:00:01.000000001Z stdout F one\n"
    b"2026-01-01T00:00:02.5Z stderr F two\n"
    b"2026-01-01T00:00:03Z stdout P thr\n"
    b"2026-01-01T00:00:03.1Z stdout F ee\n"
)


async def text(path: Path, ended: Callable[[], bool] = lambda: True, **options: Any) -> bytes:
    return b"".join([piece async for piece in logs.read(path, LogOptions(**options), ended)])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, b"one\ntwo\nthree\n"),
        ({"tail": 0}, b""),
        ({"tail": 3}, b"two\nthree\n"),
        ({"tail": 100}, b"one\ntwo\nthree\n"),
        ({"since": "2026-01-01T00:00:02.5Z"}, b"two\nthree\n"),
        ({"since": "2026-01-01T01:00:03+01:00"}, b"three\n"),
        ({"limit": 5}, b"one\nt"),
        ({"stream": "stderr"}, b"two\n"),
        ({"timestamps": True, "tail": 4, "stream": "stderr"}, b"2026-01-01T00:00:02.5Z two\n"),
    ],
)
async def test_what_is_asked_for(tmp_path: Path, options: dict[str, Any], expected: bytes) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(LINES)
    assert await text(path, **options) == expected


async def test_a_log_is_followed_until_its_container_ends_rotation_included(tmp_path: Path) -> None:
    path, over = tmp_path / "0.log", asyncio.Event()
    path.write_bytes(b"2026-01-01T00:00:01Z stdout F one\n")
    seen: list[bytes] = []

    async def follow() -> None:
        async for piece in logs.read(path, LogOptions(follow=True), over.is_set):
            seen.append(piece)  # noqa: PERF401 - others look meanwhile

    async def until(count: int) -> None:
        async with asyncio.timeout(10):
            while len(seen) < count:
                await asyncio.sleep(0.01)

    task = asyncio.create_task(follow())
    await until(1)
    os.replace(path, tmp_path / "0.log.1")
    with open(tmp_path / "0.log.1", "ab") as old:  # the runtime goes on with it until it opens the new one
        old.write(b"2026-01-01T00:00:02Z stdout F two\n")
    path.write_bytes(b"2026-01-01T00:00:03Z stdout F three\n")
    await until(3)
    with open(path, "ab") as file:
        file.write(b"2026-01-01T00:00:04Z stdout F four\n")
    over.set()
    await asyncio.wait_for(task, 10)
    assert b"".join(seen) == b"one\ntwo\nthree\nfour\n"


def test_a_long_log_makes_room_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 10)
    path = tmp_path / "0.log"
    for number in range(7):
        path.write_text(f"run {number} is long enough")
        assert logs.rotate(path, f"2026010{number}-000000")
        assert not path.exists()
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == [f"0.log.2026010{n}-000000{'' if n == 6 else '.gz'}" for n in range(3, 7)]
    assert gzip.decompress((tmp_path / found[0]).read_bytes()) == b"run 3 is long enough"
    path.write_text("short")
    assert not logs.rotate(path, "x") and path.exists()


# -- which run


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "c", **status}]}}


ENDED = {"terminated": {"containerID": "containerd://old"}}
BACKOFF = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("status", "previous", "expected"),
    [
        ({"state": {"running": {}}, "containerID": "containerd://new", "lastState": ENDED}, False, "new"),
        ({"state": {"running": {}}, "containerID": "containerd://new", "lastState": ENDED}, True, "old"),
        ({"state": ENDED}, False, "old"),
        ({"state": BACKOFF, "lastState": ENDED}, False, "old"),
        ({"state": BACKOFF, "lastState": ENDED}, True, "old"),
    ],
)
def test_the_run_that_is_meant(status: dict[str, Any], previous: bool, expected: str) -> None:
    assert logged_run(pod(**status), "c", previous) == expected


@pytest.mark.parametrize(
    ("status", "previous", "message"),
    [
        (
            {"state": {"running": {}}, "containerID": "x"},
            True,
            'previous terminated container "c" in pod "p" not found',
        ),
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, False, "is waiting to start: ContainerCreating"),
        ({"state": {"waiting": {"reason": "ErrImagePull"}}}, False, "is waiting to start: image can't be pulled"),
        ({"state": {"terminated": {}}}, False, 'container "c" in pod "p" is terminated'),
    ],
)
def test_why_there_is_no_log(status: dict[str, Any], previous: bool, message: str) -> None:
    with pytest.raises(NoLog, match=message):
        logged_run(pod(**status), "c", previous)


def test_a_container_that_the_status_does_not_know_has_no_log() -> None:
    with pytest.raises(NoLog, match='container "other" in pod "p" is not available'):
        logged_run(pod(), "other", False)


# -- the host's


def test_the_hosts_logs_are_shown_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    (folder / "pods").mkdir(parents=True)
    (folder / "syslog").write_text("x")
    (tmp_path / "secret").write_text("s")
    (folder / "away").symlink_to(tmp_path / "secret")
    assert host_logs.place([], folder) == folder and host_logs.place(["syslog"], folder) == folder / "syslog"
    assert b'<a href="pods/">pods/</a>' in host_logs.listing(folder)
    for parts in (["away"], ["..", "secret"], ["none"], ["/etc/passwd"]):
        assert host_logs.place(parts, folder) is None
