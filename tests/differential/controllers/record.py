"""python -m tests.differential.controllers.record --binaries DIRECTORY [SCENARIO...]

Plays the scenarios on a real control plane of its own (etcd, kube-apiserver, kube-controller-manager, kube-scheduler in that
directory) and keeps what was there. Names of scenarios may be glob patterns; those that are not named keep their recordings.
"""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from pathlib import Path

from tests.differential import recording
from tests.differential.controllers import real
from tests.differential.controllers.scenario import scenarios

RECORDED = Path(__file__).parent / "recorded"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, required=True, help="where the real programs are")
    parser.add_argument("--out", type=Path, default=RECORDED)
    parser.add_argument("scenarios", nargs="*", default=["*"])
    options = parser.parse_args()
    all_of_them = scenarios()
    wanted = [s for s in all_of_them if any(fnmatchcase(s.name, glob) for glob in options.scenarios)]
    known = recording.read(options.out) | real.play(options.binaries.resolve(), wanted)
    areas = {scenario.area for scenario in wanted}
    for area in sorted(areas):
        names = [s.name for s in all_of_them if s.area == area and s.name in known]
        recording.write(options.out, area, {name: known[name] for name in names})
        print(f"{area}: {len(names)} scenarios")
    for name in (s.name for s in wanted):
        if any("never" in seen for seen in known[name].values()):
            print(f"{name} never got there: {known[name]}"[:300])


if __name__ == "__main__":
    main()
