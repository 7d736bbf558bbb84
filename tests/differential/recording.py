"""Recorded answers on disk: one compressed file of JSON lines an area, the same bytes for the same answers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "recorded"


def write(directory: Path, area: str, answers: dict[str, dict[str, Any]]) -> None:
    lines = (json.dumps({"id": id, **answer}, sort_keys=True, separators=(",", ":")) for id, answer in answers.items())
    text = "\n".join(lines) + "\n"
    (directory / f"{area}.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read(directory: Path) -> dict[str, dict[str, Any]]:
    """Every recorded answer by its step's id."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.glob("*.jsonl.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            answer = json.loads(line)
            found[answer.pop("id")] = answer
    return found
