"""Steps: requests as data, for any server.

A step's path, body and headers may contain `{ns}` (the run's first namespace; also the prefix of every cluster-scoped
name) and `{other}` (its second), and `{STEP:a.b.0.c}`: that field of what the step named STEP was answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIALS = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"

_HOLE = re.compile(r"\{(ns|other)\}|\{([a-z0-9./_-]+):([A-Za-z0-9.]+)\}")


@dataclass(frozen=True, slots=True)
class Step:
    """One request."""

    id: str
    method: str
    path: str
    body: Any = None
    """A tree (sent as JSON), text or bytes."""
    headers: Mapping[str, str] = field(default_factory=dict)
    events: int = 0
    """Of a watch: after how many events the client goes away."""


class Script:
    """Collects steps; `area` prefixes their ids."""

    def __init__(self, area: str) -> None:
        self.area = area
        self.steps: list[Step] = []

    def __call__(
        self,
        id: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        type: str = "",
        accept: str = "",
        events: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Adds a step; returns its full id, for later holes."""
        sent = dict(headers or {})
        if type:
            sent["Content-Type"] = type
        elif body is not None and "Content-Type" not in sent:
            sent["Content-Type"] = JSON
        if accept:
            sent["Accept"] = accept
        full = f"{self.area}/{id}"
        self.steps.append(Step(full, method, path, body, sent, events))
        return full


def fill(text: str, names: Mapping[str, str], answer: Callable[[str], Any]) -> str:
    """`text` without its holes. A hole in what was never answered is filled with "missing"."""

    def value(match: re.Match[str]) -> str:
        if match[1]:
            return names[match[1]]
        found = answer(match[2])
        for part in match[3].split("."):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, TypeError, ValueError):
                return "missing"
        return found if isinstance(found, str) else json.dumps(found)

    return _HOLE.sub(value, text)


def body_bytes(body: Any, names: Mapping[str, str], answer: Callable[[str], Any]) -> bytes:
    if isinstance(body, bytes):
        return body
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":")) if body is not None else ""
    return fill(text, names, answer).encode()
