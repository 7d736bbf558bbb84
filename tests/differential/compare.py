"""What differs between two normalised answers, path by path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml
from tests.differential.normalise import without_numbers

EXPECTED = Path(__file__).parent / "expected.yaml"
MISSING = "(nothing)"
SHOWN = 300
NAMES = ("name", "resource", "subresource", "version")


@dataclass(frozen=True, slots=True)
class Difference:
    path: str
    recorded: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.path}\n    upstream: {_short(self.recorded)}\n    here:     {_short(self.ours)}"


def _short(value: Any) -> str:
    text = value if value is MISSING else repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def differences(recorded: Any, ours: Any, path: str = "") -> Iterator[Difference]:
    """In the order of the recorded answer. The keys of objects are compared without order, lists with it."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        status = recorded.get("kind") == "Status"
        for key in (*recorded, *(key for key in ours if key not in recorded)):
            at = f"{path}.{key}" if path else key
            if (status and key == "message") or (key == "description" and "columnDef" in path):
                continue
            yield from differences(recorded.get(key, MISSING), ours.get(key, MISSING), at)
    elif isinstance(recorded, list) and isinstance(ours, list):
        if path.endswith(".causes"):
            recorded, ours = (sorted(set(map(_cause, causes))) for causes in (recorded, ours))
        elif path.endswith("managedFields"):
            recorded, ours = (sorted(entries, key=_manager) for entries in (recorded, ours))
        if (named := _by_name(recorded, ours)) and named[0].keys() != named[1].keys():
            yield from differences(*named, path)
            return
        for number in range(max(len(recorded), len(ours))):
            pair = (side[number] if number < len(side) else MISSING for side in (recorded, ours))
            yield from differences(*pair, f"{path}.{number}")
    elif type(recorded) is not type(ours) or recorded != ours:
        yield Difference(path, recorded, ours)


def _manager(entry: dict[str, Any]) -> tuple[str, ...]:
    """Orders managers by what they are: their own order goes by the second."""
    return tuple(str(entry.get(key, "")) for key in ("manager", "operation", "subresource", "apiVersion"))


def _by_name(recorded: list[Any], ours: list[Any]) -> list[dict[str, Any]]:
    """Two lists of named things as objects, where every name is there once; else empty."""
    for key in NAMES:
        found: list[dict[str, Any]] = []
        for side in (recorded, ours):
            named = {name: item for item in side if (name := _name_of(item, key))}
            if len(named) == len(side):
                found.append(named)
        if len(found) == 2:
            return found
    return []


def _name_of(item: Any, key: str) -> str:
    if not isinstance(item, dict):
        return ""
    name = item.get(key) or (item.get("metadata") or {}).get(key)
    return name if isinstance(name, str) else ""


def _cause(cause: dict[str, Any]) -> str:
    """Of a failure's cause: field and reason. Its message is prose."""
    return f"{cause.get('field', '')}: {cause.get('reason', '')}"


def messages_differ(recorded: Any, ours: Any) -> bool:
    """Whether two failures are worded differently (revisions and the like aside)."""
    texts = [body.get("message", "") if isinstance(body, dict) else "" for body in (recorded, ours)]
    return without_numbers(texts[0]) != without_numbers(texts[1])


def _matches(text: str, globs: str | list[str]) -> bool:
    return any(fnmatchcase(text, glob) for glob in ([globs] if isinstance(globs, str) else globs))


class Expected:
    """Differences that are wanted, each with its reason (expected.yaml)."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._entries = entries
        self.used: set[int] = set()

    @classmethod
    def load(cls, path: Path = EXPECTED) -> Expected:
        return cls(yaml.safe_load(path.read_text()) or [])

    def covers(self, step: str, difference: Difference) -> bool:
        for number, entry in enumerate(self._entries):
            if _matches(step, entry["step"]) and _matches(difference.path, entry["path"]):
                self.used.add(number)
                return True
        return False

    def unused(self) -> list[dict[str, Any]]:
        return [entry for number, entry in enumerate(self._entries) if number not in self.used]
