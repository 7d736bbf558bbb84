"""kill -9 while writing: nothing acknowledged is lost, and nothing comes back that was refused."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from navarch.machinery.clock import RealWorld
from navarch.store.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from pathlib import Path
from navarch.machinery.clock import RealWorld
from navarch.store.interface import Write
from navarch.store.sqlite import SqliteStore

async def client(store, number):
    for count in range(100_000):
        await store.commit([Write(f"/c/{number}", str(count).encode())])
        sys.stdout.write(f"{number} {count} {store.revision}\\n")
        sys.stdout.flush()

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), RealWorld())
    await asyncio.gather(*(client(store, n) for n in range(16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(4))
async def test_no_acknowledged_write_is_lost(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "s.db"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    first = process.stdout.readline()
    time.sleep(random.Random(seed).uniform(0.05, 0.4))
    os.kill(process.pid, signal.SIGKILL)
    acknowledged: dict[str, int] = {}
    for line in [first, *process.stdout]:
        if line.endswith("\n"):
            number, count, _ = line.split()
            acknowledged[number] = int(count)
    process.wait()
    store = await SqliteStore.open(path, RealWorld())
    for number, count in acknowledged.items():
        kv = await store.get(f"/c/{number}")
        assert kv and int(kv.value) >= count
    await store.close()
    await asyncio.sleep(0)
