"""python -m tests.differential.controllers.report [SCENARIO...]: how our controllers differ from what was recorded."""

from __future__ import annotations

import argparse
import logging
import time
from fnmatch import fnmatchcase

from tests.differential import recording
from tests.differential.compare import Expected, differences
from tests.differential.controllers import ours
from tests.differential.controllers.record import RECORDED
from tests.differential.controllers.scenario import scenarios
from tests.differential.controllers.test_controllers import EXPECTED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", default=["*"])
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    recorded, expected = recording.read(RECORDED), Expected.load(EXPECTED)
    wanted = [s for s in scenarios() if any(fnmatchcase(s.name, glob) for glob in options.scenarios)]
    started = time.process_time()
    results = ours.play(wanted)
    spent = time.process_time() - started
    differing = 0
    for name, result in results.items():
        found = [d for d in differences(recorded.get(name, {}), result) if not expected.covers(name, d)]
        differing += bool(found)
        if found:
            print(name, *found, sep="\n  ")
    print(f"{differing} of {len(results)} scenarios differ ({spent:.1f} s)")
    if options.scenarios == ["*"]:
        for entry in expected.unused():
            print(f"expected, and not there: {entry}")


if __name__ == "__main__":
    main()
