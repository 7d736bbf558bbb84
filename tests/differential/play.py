"""Plays steps against a server and keeps what it answered, normalised."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from tests.differential.normalise import Normaliser
from tests.differential.steps import Step, body_bytes, fill

HEADERS = ("Content-Type", "Warning", "Retry-After", "Location", "WWW-Authenticate", "Allow", "Cache-Control", "Vary")
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and how to be its administrator."""

    connect: Callable[[], http.client.HTTPConnection]
    headers: Mapping[str, str]


def from_kubeconfig(path: Path) -> Endpoint:
    """The current context's server; users by client certificate or by token."""
    config = yaml.safe_load(path.read_text())
    context = _named(config["contexts"], config["current-context"])["context"]
    cluster = _named(config["clusters"], context["cluster"])["cluster"]
    user = _named(config["users"], context["user"])["user"]
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    if "client-certificate-data" in user:
        with tempfile.TemporaryDirectory() as directory:
            pem = Path(directory, "pem")
            pem.touch(0o600)
            pem.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
            tls.load_cert_chain(pem)
    at = urlsplit(cluster["server"])
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return Endpoint(
        lambda: http.client.HTTPSConnection(at.hostname or "", at.port or 443, context=tls, timeout=TIMEOUT), headers
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


class Player:
    """One run of a script. `answers` has every step's normalised answer."""

    def __init__(self, endpoint: Endpoint, run: str, pause: float = 0.0) -> None:
        """`pause` seconds before each step let a server's caches follow."""
        self._pause = pause
        self._endpoint = endpoint
        self._names = {"ns": f"diff-{run}", "other": f"diff-{run}-other"}
        self._normaliser = Normaliser(self._names)
        self._raw: dict[str, Any] = {}
        self._connection: http.client.HTTPConnection | None = None
        self.answers: dict[str, dict[str, Any]] = {}

    def play(self, steps: Iterable[Step]) -> None:
        for step in steps:
            time.sleep(self._pause)
            self.answers[step.id] = self._step(step)
        if self._connection:
            self._connection.close()

    def _step(self, step: Step) -> dict[str, Any]:
        path = quote(fill(step.path, self._names, self.answered), safe="/?&=%:,;()!~*+'.")
        headers = {"User-Agent": "differential", "Accept": "application/json", **self._endpoint.headers}
        headers |= {name: fill(value, self._names, self.answered) for name, value in step.headers.items()}
        body = body_bytes(step.body, self._names, self.answered)
        connection = self._connection or self._endpoint.connect()
        self._connection = None
        try:
            connection.request(step.method, path, body or None, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as err:
            return {"status": 0, "headers": {}, "body": f"{type(err).__name__}"}
        if step.events and response.status == 200:
            content: Any = _frames(response, step.events)
            connection.close()
        else:
            try:
                data = response.read()
                self._connection = connection
            except TimeoutError:
                data = b"~silence"
            content = _decoded(data, response.headers.get("Content-Type", ""))
        self._raw[step.id] = content
        answer: dict[str, Any] = {"status": response.status}
        sent = {name: response.headers.get_all(name, []) for name in HEADERS}
        answer["headers"] = {name: self._normaliser.tree(sorted(values)) for name, values in sent.items() if values}
        answer["body"] = self._normaliser.body(content)
        return answer

    def answered(self, step: str) -> Any:
        return self._raw.get(step)


def _frames(response: http.client.HTTPResponse, count: int) -> list[Any]:
    """The first events of a watch; fewer where it ends, or says nothing more for a while."""
    frames: list[Any] = []
    try:
        while len(frames) < count and (line := response.readline()):
            frames.append(json.loads(line) if line.startswith(b"{") else line.decode("utf-8", "replace"))
    except TimeoutError:
        frames.append("~silence")
    return frames


def _lines(data: bytes) -> Any:
    """A watch that ended; text where it is not that."""
    try:
        return [json.loads(line) for line in data.splitlines()]
    except ValueError:
        return data.decode("utf-8", "replace")


def _decoded(data: bytes, media: str) -> Any:
    """JSON and YAML as trees, text as text; of protobuf, only whether it is the envelope."""
    if media.startswith("application/json") and data:
        try:
            return json.loads(data)
        except ValueError:
            return _lines(data)
    if media.startswith("application/yaml"):
        return yaml.load(data, yaml.BaseLoader)
    if data.startswith(b"k8s\0"):
        return {"protobuf": True}
    return data.decode("utf-8", "replace")
