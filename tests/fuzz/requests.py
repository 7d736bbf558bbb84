"""Whole requests, changed at random, through all of a server's filters: the answer is one, and no failure of the server."""

from __future__ import annotations

import asyncio
import inspect
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from tests.differential.script import AREAS
from tests.differential.steps import Step, body_bytes, fill
from tests.fuzz.mutate import ODD, changed, mutated
from tests.support.requests import Connection

from navarch.apiserver.request import Request, Response
from navarch.apiserver.server import ApiServer

NAMES = {"ns": "fuzz", "other": "fuzz-other"}
CARRIED = ("/proxy", "/exec", "/attach", "/portforward", "/log")
"""These would connect to nodes, pods and services."""
CALLED = (
    "webhookconfigurations",
    "apiservices",
    "customresourcedefinitions",
    "mutatingadmission",
    "validatingadmission",
)
"""Objects that change what the server does with later requests, or that it calls: written only in dry runs."""
SECONDS = 10.0
TYPES = (
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/merge-patch+json",
    "application/json-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml", "text/plain", "",
)  # fmt: skip
ACCEPTS = (
    "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*", "", "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", ";;q=x", "a/b;q=nan,*/*;q=inf",
)  # fmt: skip
PARAMETERS = (
    "dryRun", "fieldManager", "fieldValidation", "force", "labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch",
    "limit", "continue", "timeoutSeconds", "watch", "allowWatchBookmarks", "sendInitialEvents", "pretty", "gracePeriodSeconds",
    "propagationPolicy", "orphanDependents", "includeObject",
)  # fmt: skip
VALUES = (
    "All", "true", "false", "0", "1", "-1", "500", "99999999999999999999", "a", "a=b", "a in (b,c)", "!a", "metadata.name=x", "Exact",
    "NotOlderThan", "Strict", "Warn", "Ignore", "Foreground", "Orphan", "Background", "Metadata", "%00", "%ff", "%f0%9f%98%80", "=", ",",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0", "x" * 300, "metadata.namespace!=%5C", "a%20notin%20(", "(",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it is sent."""

    method: str
    path: str
    query: str
    body: bytes
    headers: dict[str, str]

    def shown(self) -> str:
        where = self.path + ("?" + self.query if self.query else "")
        return f"{self.method} {where} {self.headers} {self.body[:2000]!r}"


def seeds(areas: Iterable[str] = AREAS) -> list[Sent]:
    """The requests of the differential script, as far as they need no answers before them."""
    found = [_seed(step) for area in areas for step in AREAS[area].steps()]
    return [sent for sent in found if sent is not None]


def _seed(step: Step) -> Sent | None:
    if step.path.startswith(("http:", "//")) or any(word in step.path for word in CARRIED):
        return None
    path = quote(fill(step.path, NAMES, lambda _: None), safe="/?&=%:,;()!~*+'.")
    where, _, query = path.partition("?")
    headers = {name.lower(): fill(value, NAMES, lambda _: None) for name, value in step.headers.items()}
    return Sent(step.method, where, query, body_bytes(step.body, NAMES, lambda _: None), headers)


class Mutator:
    """Makes requests out of others; the same seed makes the same ones."""

    def __init__(self, seeds: list[Sent], rng: random.Random) -> None:
        self.seeds, self.rng = seeds, rng
        self.bodies = [sent.body for sent in seeds if sent.body]
        self.trees = [tree for body in self.bodies if isinstance(tree := _tree(body), dict | list)]

    def make(self) -> Sent:
        rng = self.rng
        sent = rng.choice(self.seeds)
        for _ in range(rng.choice((1, 1, 1, 2))):
            sent = self._changed(sent)
        return _harmless(sent)

    def _changed(self, sent: Sent) -> Sent:
        rng = self.rng
        roll = rng.random()
        if sent.body and roll < 0.6:
            tree = _tree(sent.body)
            if tree is None or rng.random() < 0.08:
                return replace(sent, body=mutated(rng, sent.body, self.bodies))
            return replace(sent, body=json.dumps(changed(rng, tree, self.trees)).encode())
        if roll < 0.7:
            return replace(sent, query=self._query(sent.query))
        if roll < 0.78:
            return replace(sent, headers={**sent.headers, "content-type": rng.choice(TYPES)})
        if roll < 0.86:
            return replace(sent, headers={**sent.headers, "accept": rng.choice(ACCEPTS)})
        if roll < 0.93:
            return replace(sent, path=self._path(sent.path))
        return replace(sent, method=rng.choice(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW")))

    def _query(self, query: str) -> str:
        rng = self.rng
        parts = query.split("&") if query else []
        if parts and rng.random() < 0.3:
            parts.pop(rng.randrange(len(parts)))
        for _ in range(rng.choice((1, 2))):
            parts.append(f"{rng.choice(PARAMETERS)}={rng.choice(VALUES)}")
        return "&".join(parts)

    def _path(self, path: str) -> str:
        rng = self.rng
        parts = path.split("/")
        index = rng.randrange(len(parts))
        other = rng.choice(self.seeds).path.split("/")
        odd = (str(value) for value in ODD if isinstance(value, str) and "/" not in value)
        parts[index] = rng.choice((rng.choice(other), rng.choice(list(odd)), "status", "scale", "fuzz", "watch"))
        return "/".join(parts)


def _tree(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _harmless(sent: Sent) -> Sent:
    """Nothing connects anywhere, and the server stays as it is."""
    path = sent.path
    if any(word in path for word in CARRIED) or (
        sent.method != "GET" and path.startswith(("/api/v1/namespaces/kube-", "/api/v1/proxy"))
    ):
        return replace(sent, path="/api")
    if sent.method not in ("GET", "HEAD") and any(word in path.lower() for word in CALLED):
        return replace(sent, query="dryRun=All")
    return sent


async def answered(server: ApiServer, sent: Sent) -> Response:
    """Raises AssertionError, and TimeoutError, for what no client may ever see."""
    headers = {"authorization": "Bearer fuzz", **sent.headers}
    request = Request(sent.method, sent.path, sent.query, headers, sent.body, Connection())
    answer = server.handle(request)
    if inspect.isawaitable(answer):
        answer = await asyncio.wait_for(answer, SECONDS)
    return answer


def judge(response: Response) -> str:
    """What is wrong with an answer; empty: nothing."""
    if response.status >= 500 and response.status not in (503, 504):
        return f"HTTP {response.status}"
    if response.status < 400 or not response.content_type.startswith("application/json") or response.stream:
        return ""
    content = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    try:
        status = json.loads(content)
    except ValueError:
        return f"HTTP {response.status} without JSON"
    if status.get("kind") != "Status":
        return "" if status.get("kind") or "paths" in status else f"HTTP {response.status} without a Status"
    if status.get("code") != response.status or status.get("status") != "Failure" or not status.get("message"):
        return f"HTTP {response.status} with {status}"
    return ""
