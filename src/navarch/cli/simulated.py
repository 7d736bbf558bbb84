"""What `navarch simulate scheduling` reads and prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj
from navarch.machinery.yamltext import parse_yaml
from navarch.scheduler.config import API_VERSION, from_tree
from navarch.scheduler.profiles import Profile
from navarch.sim.scheduling import Outcome, Simulation, Use, read

STRATEGIES = {"spread": "LeastAllocated", "pack": "MostAllocated"}
MAX_SHOWN = 40
"""Nodes that are listed one by one; of more, the fullest."""


def run(files: Sequence[Path], strategy: str, config: Path | None) -> Outcome:
    """Raises StatusError, ValueError or OSError for what cannot be read."""
    objects: list[Obj] = []
    for file in files:
        try:
            objects += read(file.read_bytes())
        except StatusError as error:
            raise ValueError(f"{file}: {error.message}") from None
    return Simulation(objects, _profile(strategy, config)).run()


def _profile(strategy: str, config: Path | None) -> Profile:
    if config is not None:
        return from_tree(parse_yaml(config.read_bytes())).profiles[0]
    scoring = {"scoringStrategy": {"type": STRATEGIES[strategy]}}
    balanced = [{"name": "NodeResourcesBalancedAllocation"}] if strategy == "pack" else []
    profile: Obj = {
        "pluginConfig": [{"name": "NodeResourcesFit", "args": scoring}],
        "plugins": {"score": {"disabled": balanced}},
    }
    tree = {"apiVersion": API_VERSION, "kind": "KubeSchedulerConfiguration", "profiles": [profile]}
    return from_tree(tree).profiles[0]


def as_json(outcome: Outcome) -> str:
    return orjson.dumps({**asdict(outcome), "total": asdict(outcome.total)}, option=orjson.OPT_INDENT_2).decode()


def told(outcome: Outcome) -> Iterator[str]:
    for placed in outcome.placed:
        if placed.node:
            yield f"{placed.pod} -> {placed.node}"
    if outcome.evicted:
        yield f"pushed out by more important pods: {', '.join(outcome.evicted)}"
    yield from _unplaced(outcome)
    yield ""
    yield from _table(outcome)
    used = sum(1 for use in outcome.nodes if use.pods)
    fitting = sum(1 for placed in outcome.placed if placed.node)
    yield f"{fitting} of {len(outcome.placed)} pods fit, on {used} of {len(outcome.nodes)} nodes"


def _unplaced(outcome: Outcome) -> Iterator[str]:
    reasons = Counter((placed.why, placed.change) for placed in outcome.placed if not placed.node)
    for (why, change), number in reasons.items():
        pods = [placed.pod for placed in outcome.placed if (placed.why, placed.change) == (why, change)]
        shown = ", ".join(pods[:5]) + (f" and {number - 5} more" if number > 5 else "")
        yield f"no place for {shown}: {why}"
        if change:
            yield f"  {change}"


def _table(outcome: Outcome) -> Iterator[str]:
    uses = outcome.nodes
    if len(uses) > MAX_SHOWN:
        uses = sorted(uses, key=lambda use: -use.pods)[:MAX_SHOWN]
    resources = [name for name in ("cpu", "memory") if name in outcome.total.amounts]
    resources += sorted(n for n, (used, _) in outcome.total.amounts.items() if used and n not in ("cpu", "memory"))
    width = max([len("NODE"), *(len(use.node) for use in uses)])
    yield "  ".join(["NODE".ljust(width), "PODS".rjust(6), *(name.upper().rjust(10) for name in resources)])
    for use in [*uses, outcome.total]:
        shares = (_share(use, name).rjust(max(10, len(name))) for name in resources)
        yield "  ".join([(use.node or "all").ljust(width), str(use.pods).rjust(6), *shares])


def _share(use: Use, name: str) -> str:
    requested, allocatable = use.amounts.get(name, (0, 0))
    return f"{requested / allocatable:.0%}" if allocatable else "-"
