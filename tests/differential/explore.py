"""python -m tests.differential.explore --kubeconfig FILE [--kinds GLOB...] [--verbs ...] [--limit N] [--messages]

Sends mutations of an ordinary object of each kind to a real kube-apiserver and to ours, all but the first as dry runs, and
prints where the answers differ, alike ones together. What is found belongs into the script once it is mended.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from tests.differential.compare import differences
from tests.differential.here import our_server
from tests.differential.mutations import Mutation, Mutator
from tests.differential.normalise import without_numbers
from tests.differential.play import Player, from_kubeconfig
from tests.differential.script import setup
from tests.differential.script.kinds import KINDS, Example
from tests.differential.steps import APPLY, JSON, JSON_PATCH, MERGE, STRATEGIC, Step

WRAPPING = tuple(f"={number}" for number in (2**31, 2**63))
"""Too large for their fields: upstream lets them wrap round in some patches."""
VERBS = ("create", "update", "status", "patch")
PATCHES = (MERGE, STRATEGIC, JSON_PATCH, APPLY)
_NUMBERS = re.compile(r"\.\d+\b")
_CAUSE = re.compile(r"^(upstream|here)( only)?: (?:\S*\.)?(\w+)\S* ((?:FieldValue|Internal)\w+): .*")
_VALUES = re.compile(r"\"[^\"]*\"|'[^']*'|(?<=:) [^|]* \| here .*")
_LONG = re.compile(r"x{20,}")
SERVERS_OWN = ("managedFields", "creationTimestamp", "generation")


@dataclass(frozen=True, slots=True)
class Options:
    verbs: tuple[str, ...]
    fields: str
    limit: int
    seed: int

    def chosen(self, mutations: list[Mutation]) -> list[Mutation]:
        found = [m for m in mutations if fnmatchcase(m.label, self.fields)]
        if len(found) <= self.limit:
            return found
        picked = set(random.Random(self.seed).sample(range(len(found)), self.limit))
        return [m for number, m in enumerate(found) if number in picked]


class Explorer:
    """One kind on one server: every answer by what was asked."""

    def __init__(self, player: Player, example: Example, schemas: Any, options: Options) -> None:
        self._player, self._example, self._options = player, example, options
        self._mutator = Mutator(schemas)
        group, _, version = example.type["apiVersion"].rpartition("/")
        self._schema = self._mutator.named(group, version, example.type["kind"])
        self._area = example.script.area

    def explore(self) -> None:
        example, verbs = self._example, self._options.verbs
        self._remove()
        if "create" in verbs:
            self._send(
                Step(
                    f"create {self._area}", "POST", example.path + "?dryRun=All", example.object, {"Content-Type": JSON}
                )
            )
            self._send(self._creates())
        if set(verbs) == {"create"}:
            return
        made = f"made {self._area}"
        self._send(Step(made, "POST", example.path, example.object, {"Content-Type": JSON}))
        self._send(Step(f"read {self._area}", "GET", example.named))
        base = self._player.answered(f"read {self._area}")
        if isinstance(base, dict) and base.get("kind") == example.type["kind"]:
            self._send(self._updates(_own(base)))
            self._remove()

    def _send(self, steps: Step | Iterable[Step]) -> None:
        self._player.play([steps] if isinstance(steps, Step) else steps)

    def _creates(self) -> Iterator[Step]:
        for m in self._options.chosen(self._mutator.mutations(self._example.object, self._schema, skip=("status",))):
            yield Step(
                f"create {self._area} {m.label}",
                "POST",
                self._example.path + "?dryRun=All",
                m.tree,
                {"Content-Type": JSON},
            )

    def _updates(self, base: dict[str, Any]) -> Iterator[Step]:
        chosen, named = self._options.chosen, self._example.named + "?dryRun=All"
        main = chosen(self._mutator.mutations(base, self._schema, skip=("status",)))
        if "update" in self._options.verbs:
            for m in main:
                yield Step(f"update {self._area} {m.label}", "PUT", named, m.tree, {"Content-Type": JSON})
        if "patch" in self._options.verbs:
            for number, m in enumerate(main):
                type = PATCHES[number % len(PATCHES)]
                if m.label.endswith(WRAPPING) and type in (STRATEGIC, APPLY):
                    continue
                where = named + ("&fieldManager=e&force=true" if type == APPLY else "")
                short = type.partition("/")[2].partition("-")[0]
                yield Step(
                    f"patch-{short} {self._area} {m.label}",
                    "PATCH",
                    where,
                    _patch(type, base, m.tree),
                    {"Content-Type": type},
                )
        if "status" in self._options.verbs and self._example.status is not None:
            path = self._example.named + "/status?dryRun=All"
            for m in chosen(
                self._mutator.mutations({**base, "status": self._example.status}, self._schema, below=("status",))
            ):
                yield Step(f"status {self._area} {m.label}", "PUT", path, m.tree, {"Content-Type": JSON})

    def _remove(self) -> None:
        named, id = self._example.named, f"remove {self._area}"
        free = {"metadata": {"finalizers": None}}
        self._send(Step(id, "PATCH", named, free, {"Content-Type": MERGE}))
        self._send(Step(id, "DELETE", named + "?gracePeriodSeconds=0&propagationPolicy=Background"))
        if self._example.type["kind"] == "Namespace":
            empty = {**self._example.type, "metadata": {"name": self._example.name}, "spec": {"finalizers": []}}
            self._send(Step(id, "PUT", named + "/finalize", empty, {"Content-Type": JSON}))
        del self._player.answers[id]


def _own(base: dict[str, Any]) -> dict[str, Any]:
    """Of an object as it was read, what a client would send back."""
    kept = copy.deepcopy(base)
    for key in SERVERS_OWN:
        kept["metadata"].pop(key, None)
    kept.pop("status", None)
    return kept


def _patch(type: str, base: Any, tree: Any) -> Any:
    if type == APPLY:
        return (
            {**tree, "metadata": _without(tree.get("metadata"), "resourceVersion")} if isinstance(tree, dict) else tree
        )
    if type == JSON_PATCH and not isinstance(tree, dict):
        return [{"op": "replace", "path": "", "value": tree}]
    if type == JSON_PATCH:
        gone = [{"op": "remove", "path": f"/{key}"} for key in base if key not in tree]
        return gone + [
            {"op": "add", "path": f"/{k}", "value": v} for k, v in tree.items() if k not in base or base[k] != v
        ]
    return _merge(base, tree)


def _without(value: Any, key: str) -> Any:
    return {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value


def _merge(base: Any, tree: Any) -> Any:
    """The merge patch from one tree to another."""
    if not (isinstance(base, dict) and isinstance(tree, dict)):
        return tree
    gone = {key: None for key in base if key not in tree}
    return gone | {k: _merge(base.get(k), v) for k, v in tree.items() if k not in base or base[k] != v}


def differing(upstream: dict[str, Any], ours: dict[str, Any], messages: bool, managed: bool) -> list[str]:
    """What differs between two answers, a line each."""
    if upstream["status"] >= 500 > ours["status"] >= 400:
        return []  # bad input is never a 500 here
    if (upstream["status"] < 300) != (ours["status"] < 300):
        sides = (("upstream", upstream), ("here", ours))
        return [f"{side}: {line}" for side, answer in sides for line in _told(answer)]
    wanted = (d for d in differences(upstream, ours) if managed or ".managedFields" not in d.path)
    lines = [f"{_NUMBERS.sub('[]', d.path)}: {_text(d.recorded)} | here {_text(d.ours)}" for d in wanted]
    told, here = _told(upstream), _told(ours)
    if (lines or messages) and upstream["status"] >= 400:
        bare = [{without_numbers(line) for line in side} for side in (told, here)]
        lines = [f"upstream only: {line}" for line in told if without_numbers(line) not in bare[1]]
        lines += [f"here only: {line}" for line in here if without_numbers(line) not in bare[0]]
    return lines[:8]


def _told(answer: dict[str, Any]) -> list[str]:
    """Code and reason, and causes; of a failure without causes, its message."""
    body = answer["body"] if isinstance(answer["body"], dict) else {}
    if answer["status"] < 300 or body.get("kind") != "Status":
        return [str(answer["status"])]
    causes = (body.get("details") or {}).get("causes") or ()
    told = sorted({_short(f"{c.get('field', '')} {c.get('reason', '')}: {c.get('message', '')}") for c in causes})
    return [f"{answer['status']} {body.get('reason', '')}", *(told or [_short(str(body.get("message")))])]


def _text(value: Any) -> str:
    return _short(value if isinstance(value, str) else repr(value))


def _short(text: str) -> str:
    text = _LONG.sub("xxx", text)
    return text if len(text) < 200 else text[:200] + "..."


def report(upstream: Player, ours: Player, messages: bool, managed: bool) -> int:
    """Prints differences, alike ones together; how many answers differ."""
    groups: dict[str, list[str]] = defaultdict(list)
    texts: dict[str, str] = {}
    for id, answer in upstream.answers.items():
        here = ours.answers.get(id)
        lines = differing(answer, here, messages, managed) if here else ["(not asked here: the object itself differs)"]
        if lines:
            alike = "\n".join(sorted({_VALUES.sub("", _CAUSE.sub(r"\1 \3 \4", line)) for line in lines}))
            groups[alike].append(id)
            texts.setdefault(alike, "\n    ".join(lines))
    for alike, ids in groups.items():
        print(f"{len(ids)} x {', '.join(ids[:2])}\n    {texts[alike]}")
    return sum(map(len, groups.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="a real kube-apiserver's, as its administrator")
    parser.add_argument("--kinds", nargs="*", default=["*"], help="globs of resources (areas of kinds.yaml)")
    parser.add_argument("--verbs", nargs="*", default=VERBS, choices=VERBS)
    parser.add_argument("--fields", default="*", help="glob of mutations: 'spec.ports*'")
    parser.add_argument("--limit", type=int, default=3000, help="mutations a kind and verb; more are sampled")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--run", default="explore", help="the namespace's and the objects' names: one's own, on a shared server"
    )
    parser.add_argument("--messages", action="store_true", help="also failures that are worded differently")
    parser.add_argument("--managed", action="store_true", help="also who owns fields")
    parser.add_argument("--objects", type=Path, help="entries as in script/kinds.yaml, instead of its own")
    given = parser.parse_args()
    options = Options(tuple(given.verbs), given.fields, given.limit, given.seed)
    entries = yaml.safe_load((given.objects or KINDS).read_text())
    sent = differ = 0
    with our_server() as here:
        for entry in entries:
            example = Example(json.loads(json.dumps(entry)))
            if not any(fnmatchcase(example.script.area, glob) for glob in given.kinds):
                continue
            players = [Player(endpoint, given.run) for endpoint in (from_kubeconfig(given.kubeconfig), here)]
            for player in players:
                player.play(setup.steps())
                player.answers.clear()
            schemas = _schemas(players[0], example)
            for player in players:
                Explorer(player, example, schemas, options).explore()
            sent += len(players[0].answers)
            differ += report(players[0], players[1], given.messages, given.managed)
    print(f"{differ} of {sent} answers differ")


def _schemas(player: Player, example: Example) -> Any:
    api = example.type["apiVersion"]
    player.play([Step("schemas", "GET", "/openapi/v3/" + (f"apis/{api}" if "/" in api else f"api/{api}"))])
    player.answers.clear()
    return player.answered("schemas")["components"]["schemas"]


if __name__ == "__main__":
    main()
