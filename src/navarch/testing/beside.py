"""A test's cluster as a process of its own: `python -m navarch.testing.beside DIRECTORY NODES [controllers] [scheduler]`.

It says `ready` on standard output, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import uvloop

from navarch.testing.options import Options


async def live(directory: Path, options: Options) -> None:
    from navarch.cluster.controlplane import collect_rarely
    from navarch.testing.inside import served

    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)  # nothing is ever written there
    async with served(directory, options):
        collect_rarely()
        print("ready", flush=True)
        await ended.wait()


def main() -> None:
    gc.disable()  # until it is ready: what a start makes is there to stay
    directory, nodes, *parts = sys.argv[1:]
    options = Options(controllers="controllers" in parts, scheduler="scheduler" in parts, nodes=int(nodes))
    uvloop.run(live(Path(directory), options))


if __name__ == "__main__":
    main()
