"""python -m tests.differential.record --kubeconfig FILE --out DIRECTORY

Plays the script against a server, a real kube-apiserver say, and keeps its answers as facts to be compared with.
The server should have no controllers and no objects of former runs (each run has names of its own; --run).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tests.differential import recording
from tests.differential.play import Player, from_kubeconfig
from tests.differential.script import areas

PAUSE = 0.015
"""Between steps: a kube-apiserver judges by caches of its own, roles say."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="whose server is recorded, as its administrator")
    parser.add_argument("--out", type=Path, default=recording.DIRECTORY, help="directory of the recordings")
    parser.add_argument("--run", default=format(int(time.time()), "x")[-5:], help="what makes this run's names its own")
    parser.add_argument("areas", nargs="*", help="which areas are recorded anew (default: all)")
    options = parser.parse_args()
    player = Player(from_kubeconfig(options.kubeconfig), options.run, PAUSE)
    options.out.mkdir(parents=True, exist_ok=True)
    for area, steps in areas().items():
        wanted = not options.areas or area in options.areas
        if wanted or area == "setup":
            player.play(steps)
        if not wanted:
            continue
        recording.write(options.out, area, {step.id: player.answers[step.id] for step in steps})
        print(f"{area}: {len(steps)} requests")


if __name__ == "__main__":
    main()
