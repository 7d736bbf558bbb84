"""Requests that our own OpenAPI documents allow (schemathesis), sent over TLS: no 5xx, no hang, and every refusal is a Status.

A share of the operations, the same at every run; all of them with NAVARCH_FUZZ_ALL=1.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings

from navarch.api import scheme
from navarch.machinery.types import GroupKind
from navarch.testing import Cluster

EVERY = 1 if os.environ.get("NAVARCH_FUZZ_ALL") else 12
"""Every how many-th operation is tried."""
EXAMPLES = 3
SECONDS = 20.0
KNOWN = Path(__file__).parents[1] / "unit/api/kinds.yaml"
LEFT_OUT = ("/proxy", "/exec", "/attach", "/portforward", "/log", "/watch/")
"""What connects to nodes and pods, and the old form of watches."""
CALLED = ("webhookconfigurations", "apiservices", "customresourcedefinitions", "/namespaces/{name}")
"""Objects that the server calls or acts upon: dry runs only."""


class Caller:
    """One connection of the administrator's to a cluster, in which an object of every known kind is."""

    def __init__(self, cluster: Cluster) -> None:
        self.host, self.port = cluster.url.removeprefix("https://").split(":")
        self.tls = ssl.create_default_context(cafile=str(cluster.ca))
        self.tls.load_cert_chain(cluster.directory / "admin.crt", cluster.directory / "admin.key")
        self.connection = self._connect()
        self.objects: dict[str, Any] = {}
        """Path of a collection -> an object that was created there."""

    def _connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self.host, int(self.port), context=self.tls, timeout=SECONDS)

    def send(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, str, bytes]:
        """(status, media type, body); of a watch that is accepted, nothing is read."""
        try:
            self.connection.request(method, path, body, headers or {})
        except (OSError, http.client.HTTPException):
            self.connection = self._connect()
            self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        media = answer.getheader("content-type") or ""
        if answer.chunked and answer.status == 200:
            self.connection.close()
            return 200, media, b""
        return answer.status, media, answer.read()

    def furnish(self) -> None:
        for name in ("n", "default"):
            self.create("/api/v1/namespaces", {"metadata": {"name": name}})
        for case in yaml.safe_load(KNOWN.read_text()):
            group, _, name = case["kind"].rpartition("/")
            kind = scheme.by_kind()[GroupKind(group, name)][0]
            gv, namespace = str(kind.hub.gv), case["good"]["metadata"].get("namespace")
            root = f"/apis/{gv}" if "/" in gv else f"/api/{gv}"
            where = f"{root}/namespaces/{namespace}/{kind.plural}" if namespace else f"{root}/{kind.plural}"
            if not any(word in where for word in CALLED):
                self.create(where, {"apiVersion": gv, "kind": kind.kind, **case["good"]})

    def create(self, where: str, obj: Any) -> None:
        status, _, body = self.send("POST", where, json.dumps(obj), {"content-type": "application/json"})
        if status == 201:
            self.objects[where] = json.loads(body)


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with Cluster() as cluster:
        made = Caller(cluster)
        made.furnish()
        yield made
        made.connection.close()


def operations(caller: Caller) -> list[Any]:
    """Of all documents that the server lists, in their order."""
    index = json.loads(caller.send("GET", "/openapi/v3")[2])
    found: list[Any] = []
    for path in sorted(index["paths"]):
        document = json.loads(caller.send("GET", index["paths"][path]["serverRelativeURL"])[2])
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = result.ok()
            if not any(word in operation.path for word in LEFT_OUT):
                found.append(operation)
    return found


def aimed(case: Any, caller: Caller, rng: random.Random) -> None:
    """Points a generated request at what exists, mostly, and lays its body over a good one, often."""
    parameters, template = case.path_parameters or {}, case.operation.path
    if "namespace" in parameters and rng.random() < 0.9:
        parameters["namespace"] = "n"
    collection, _, rest = template.replace("{namespace}", str(parameters.get("namespace", ""))).partition("/{name}")
    good = caller.objects.get(collection)
    if good and rest is not None and "name" in parameters and rng.random() < 0.9:
        parameters["name"] = good["metadata"]["name"]
    if good and isinstance(case.body, dict) and rng.random() < 0.7:
        case.body = _laid_over(good, case.body, rng)
        if case.method.upper() == "POST" and isinstance(case.body.get("metadata"), dict):
            metadata = {k: v for k, v in case.body["metadata"].items() if k not in ("resourceVersion", "name")}
            case.body["metadata"] = {**metadata, "name": f"made-{rng.randrange(10**6)}"}
    if case.query:
        for name in ("watch", "follow", "timeoutSeconds"):
            case.query.pop(name, None)
    if any(word in template for word in CALLED) and case.method.upper() != "GET":
        case.query = {**(case.query or {}), "dryRun": "All"}


def _laid_over(good: Any, made: Any, rng: random.Random) -> Any:
    """`good` with some of `made` in it."""
    if not isinstance(good, dict) or not isinstance(made, dict):
        return made if rng.random() < 0.5 else good
    return {**made, **{k: _laid_over(v, made[k], rng) if k in made else v for k, v in good.items()}}


def wrong(status: int, media: str, body: bytes) -> str:
    if status >= 500 and status not in (503, 504):
        return f"HTTP {status}: {body[:500]!r}"
    if status < 400 or not media.startswith("application/json"):
        return ""
    tree = json.loads(body)
    if tree.get("kind") == "Status" and (
        tree["code"] != status or tree["status"] != "Failure" or not tree.get("message")
    ):
        return f"HTTP {status}: {body[:500]!r}"
    return ""


def test_what_the_documents_allow_is_answered_or_refused(caller: Caller) -> None:
    statuses: dict[int, int] = {}
    failures: list[str] = []
    chosen = operations(caller)[::EVERY]
    for operation in chosen:
        _try(operation, caller, statuses, failures)
    assert not failures, "\n".join(failures)
    assert sum(statuses.values()) >= len(chosen)
    assert {200, 201, 404, 422} <= statuses.keys(), "requests of all sorts"


def _try(operation: Any, caller: Caller, statuses: dict[int, int], failures: list[str]) -> None:
    rng = random.Random(operation.label)

    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def one(case: Any) -> None:
        aimed(case, caller, rng)
        words = case.as_transport_kwargs(base_url="https://server")
        prepared = requests.Request(
            **{k: v for k, v in words.items() if k in ("method", "url", "headers", "params", "json", "data")}
        ).prepare()
        body = prepared.body
        status, media, answer = caller.send(prepared.method or "", prepared.path_url, body, dict(prepared.headers))
        statuses[status] = statuses.get(status, 0) + 1
        if found := wrong(status, media, answer):
            failures.append(f"{found}\n{prepared.method} {prepared.path_url} {str(body)[:2000]}")

    one()
