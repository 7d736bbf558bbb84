"""Histories of concurrent operations on keys, and whether one order of them explains every answer.

A key is a register that may be absent. Every write carries a value that no other write has, so that what a read shows names
the write that made it. An operation whose answer never came may have happened at any time after it began, or never. Keys are
judged one by one (linearizability is local), with the search of Wing and Gong, and Lowe's memory of what was tried. That
one order holds for all keys together is then checked by revisions: they order all writes, and a list shows one of them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from operator import or_
from typing import Literal

Kind = Literal["create", "update", "delete", "get"]
ABSENT, UNSEEN = "", "?"
NEVER = math.inf
MAX_STEPS = 1_000_000


@dataclass(slots=True)
class Operation:
    """What a client asked of one key and what it was answered."""

    kind: Kind
    key: str
    began: float
    ended: float = NEVER
    """When the answer came; NEVER: it did not."""
    value: str = ABSENT
    """Of a create or update, what it writes; of a get, what it showed."""
    expects: str | None = None
    """Of an update or delete: the value that must be there (None: any)."""
    done: bool = False
    """The answer said that it was done; else that it was refused, because of what was there."""
    revision: int = 0
    """What the answer said it is now, where it said so."""

    def effects(self, state: str) -> list[str]:
        """What may be there afterwards where `state` was before; nothing where the answer contradicts it."""
        if self.kind == "get":
            return [state] if state == self.value else []
        applies = state == ABSENT if self.kind == "create" else state != ABSENT and self.expects in (None, state)
        after = ABSENT if self.kind == "delete" else self.value
        if self.ended == NEVER:
            return [after] if applies else []
        if self.done:
            return [after] if applies else []
        return [] if applies else [state]


@dataclass(slots=True)
class Listed:
    """What a list showed: of every key there, its value and revision."""

    began: float
    ended: float
    revision: int
    values: dict[str, tuple[str, int]] = field(default_factory=dict)


def unexplained(operations: Sequence[Operation], lists: Sequence[Listed] = ()) -> list[str]:
    """Keys, and what is wrong with them; nothing where the history is linearizable."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        by_key[operation.key].append(operation)
    for listed in lists:
        for key in by_key:
            value, revision = listed.values.get(key, (ABSENT, 0))
            by_key[key].append(Operation("get", key, listed.began, listed.ended, value, done=True, revision=revision))
    found = [
        f"{key}: no order of its operations explains the answers" for key, ops in by_key.items() if not _explained(ops)
    ]
    return found + _disordered(operations, lists)


def _explained(operations: list[Operation]) -> bool:
    """Depth first: next comes any operation that began before the first answer among those that are left."""
    answered = sorted((o for o in operations if o.ended != NEVER), key=lambda o: o.ended)
    unanswered = _unanswered(operations)
    begins = sorted(range(len(answered)), key=lambda i: answered[i].began)
    times = [answered[i].began for i in begins]
    begun = [0, *accumulate((1 << i for i in begins), or_)]
    everything = begun[-1]
    tried: set[tuple[int, str, int]] = set()
    stack: list[tuple[int, str, int]] = [(0, ABSENT, 0)]
    for _ in range(MAX_STEPS):
        if not stack:
            return False
        taken, state, revision = stack.pop()
        if taken & everything == everything:
            return True
        horizon = answered[(~taken & (taken + 1)).bit_length() - 1].ended
        following: list[tuple[int, str, int]] = []
        left = begun[bisect_right(times, horizon)] & ~taken
        while left:
            bit = left & -left
            left ^= bit
            operation = answered[bit.bit_length() - 1]
            for after in operation.effects(state):
                _step(operation, taken | bit, after, revision, following)
        for number, operation in enumerate(unanswered):
            bit = 1 << len(answered) + number if operation.kind == "delete" and operation.expects is None else 0
            if operation.began <= horizon and not taken & bit:
                for after in operation.effects(state):
                    _step(operation, taken | bit, after, revision, following)
        fresh = [entry for entry in following if entry not in tried]
        tried.update(fresh)
        stack.extend(reversed(fresh))
    raise RuntimeError(f"{operations[0].key}: too many orders to try")


def _step(operation: Operation, taken: int, after: str, revision: int, following: list[tuple[int, str, int]]) -> None:
    """Adds where the operation leads, if revisions go forward."""
    if operation.revision:
        if operation.revision < revision or (operation.kind != "get" and operation.revision == revision):
            return
        revision = operation.revision
    following.append((taken, after, revision))


def _unanswered(operations: list[Operation]) -> list[Operation]:
    """Operations without an answer, as few as explain as much. What nobody ever saw is all the same value: of those that
    do the same, the first is enough. They need not be kept from happening twice, as what they expect never comes back
    (values are unique), and revisions that were seen go forward; only deletions of anything are counted."""
    seen = {o.expects: 0 for o in operations if o.expects}
    seen |= {o.value: o.revision for o in operations if o.done and o.value != ABSENT}
    found: dict[object, Operation] = {}
    for operation in sorted((o for o in operations if o.ended == NEVER), key=lambda o: o.began):
        if operation.kind in ("create", "update"):
            known = operation.value in seen
            value, revision = (operation.value, seen[operation.value]) if known else (UNSEEN, 0)
            operation = replace(operation, value=value, revision=revision)
            found.setdefault((operation.kind, value, operation.expects), operation)
        elif operation.kind == "delete":
            found.setdefault(operation.expects or id(operation), operation)
    return list(found.values())


def _disordered(operations: Sequence[Operation], lists: Sequence[Listed]) -> list[str]:
    """One value has one revision; revisions follow time over all keys; a list shows the newest as of its revision."""
    found: list[str] = []
    revisions: dict[str, int] = {}
    writes: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for operation in operations:
        if operation.done and operation.revision and operation.value:
            if revisions.setdefault(operation.value, operation.revision) != operation.revision:
                found.append(f"{operation.key}: {operation.value} has two revisions")
            if operation.kind != "get":
                writes[operation.key].append((operation.revision, operation.value))
    answered = sorted((o for o in operations if o.done and o.revision and o.kind != "get"), key=lambda o: o.began)
    by_end = sorted(answered, key=lambda o: o.ended)
    newest = index = 0
    for operation in answered:
        while by_end[index].ended < operation.began:
            newest = max(newest, by_end[index].revision)
            index += 1
        if operation.revision <= newest:
            found.append(f"{operation.key}: revision {operation.revision} after {newest} was acknowledged")
    for listed in lists:
        for key, (value, revision) in listed.values.items():
            if revisions.setdefault(value, revision) != revision:
                found.append(f"{key}: {value} has two revisions")
            missed = [r for r, _ in writes[key] if revision < r <= listed.revision]
            if missed or revision > listed.revision:
                found.append(f"{key}: a list at {listed.revision} shows {revision}, and not {missed}")
    return found
