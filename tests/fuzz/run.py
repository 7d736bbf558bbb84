"""script/fuzz: one target for as long as wanted, guided by coverage (atheris).

script/fuzz TARGET [--seconds 60] [--seed 1] [libFuzzer options]; without a target it names them. `requests` are whole
requests to an API server, which coverage does not guide. What fails is kept in the directory that is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path


def _coverage(name: str, seconds: int, seed: int, further: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["navarch.machinery", "navarch.api", "navarch.apiserver"]):
        from tests.fuzz import corpus, targets

    target = targets.TARGETS[name]
    directory = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    corpus.write(directory / "seeds")
    (directory / "corpus").mkdir()
    print(f"corpus and findings: {directory}")
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=10", "-max_len=8192", "-rss_limit_mb=2048"]
    folders = [str(directory / "corpus"), str(directory / "seeds" / name)]
    findings = f"-artifact_prefix={directory}/"
    atheris.Setup([sys.argv[0], *options, findings, *further, *folders], lambda data: targets.call(target, data))
    atheris.Fuzz()


async def _requests(seconds: int, seed: int) -> int:
    from tests.fuzz.requests import Mutator, answered, judge, seeds
    from tests.support.apiserver import api_server

    from navarch.apiserver.request import User
    from navarch.apiserver.server import ApiServerConfig

    mutator = Mutator(seeds(), random.Random(seed))
    config = ApiServerConfig(fixed_tokens={"fuzz": User("admin", groups=("system:masters",))})
    end, count, found = time.monotonic() + seconds, 0, set[str]()
    async with api_server(config=config) as server:
        while time.monotonic() < end:
            sent = mutator.make()
            count += 1
            if (wrong := judge(await answered(server, sent))) and wrong not in found:
                found.add(wrong)
                print(f"{wrong}: {sent.shown()}", flush=True)
    print(f"{count} requests")
    return bool(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options, further = parser.parse_known_args()
    if options.target == "requests":
        raise SystemExit(asyncio.run(_requests(options.seconds, options.seed)))
    if not options.target:
        from tests.fuzz.targets import TARGETS

        raise SystemExit("targets: requests " + " ".join(TARGETS))
    _coverage(options.target, options.seconds, options.seed, further)


if __name__ == "__main__":
    main()
