"""python -m tests.differential.report [--messages] [GLOB...]: what differs here from what was recorded, by step."""

from __future__ import annotations

import argparse
from collections import Counter
from fnmatch import fnmatchcase

from tests.differential import recording
from tests.differential.compare import Expected, differences, messages_differ
from tests.differential.here import our_server
from tests.differential.play import Player
from tests.differential.script import areas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("globs", nargs="*", default=["*"], help="which steps are shown")
    parser.add_argument("--messages", action="store_true", help="also failures that are worded differently")
    parser.add_argument("--count", action="store_true", help="only how many, by area and by step")
    options = parser.parse_args()
    recorded, expected = recording.read(recording.DIRECTORY), Expected.load()
    with our_server() as endpoint:
        player = Player(endpoint, "here")
        for steps in areas().values():
            player.play(steps)
    counted: Counter[str] = Counter()
    for step, answer in player.answers.items():
        if step not in recorded or not any(fnmatchcase(step, glob) for glob in options.globs):
            continue
        found = [d for d in differences(recorded[step], answer) if not expected.covers(step, d)]
        if found:
            counted[step.partition("/")[0]] += 1
            counted["*/" + step.partition("/")[2]] += 1
            counted["all"] += 1
        if found and not options.count:
            print(f"{step}", *found, sep="\n  ")
        if options.messages and not found and messages_differ(recorded[step]["body"], answer["body"]):
            words = [
                body.get("message", "") if isinstance(body, dict) else body
                for body in (recorded[step]["body"], answer["body"])
            ]
            print(step, *(f"    {word}" for word in words), sep="\n")
    print(*(f"{count:5} {name}" for name, count in counted.most_common(60)), sep="\n")
    if options.globs == ["*"]:
        for entry in expected.unused():
            print(f"expected, and not there: {entry}")


if __name__ == "__main__":
    main()
