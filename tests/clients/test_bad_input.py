"""What no client should send, over real TLS: each gets the answer Kubernetes gives (kube-apiserver 1.36 was asked the same),
in bounded memory, while another client goes on being served."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml
from tests.support.processes import Processes
from tests.support.requests import Authority

MIB = 1024 * 1024
DEEP = 20_000
MAPS = "/api/v1/namespaces/default/configmaps"
HEAD = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"bad"},"data":'
YAML = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndata: "
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{own}: &{own} [{','.join([f'*{before}'] * 9)}]\n" for before, own in zip("abcdefgh", "bcdefghi", strict=True)
)
SECONDS = 20.0
"""How long any answer may take."""


def request(method: str, path: str, body: str | bytes = b"", media: str = "application/json", **headers: str) -> bytes:
    content = body.encode() if isinstance(body, str) else body
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(content)}"]
    if media:
        lines.append(f"Content-Type: {media}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode() + content


def chunked(path: str, piece: bytes, times: int) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + (f"{len(piece):x}\r\n".encode() + piece + b"\r\n") * times + b"0\r\n\r\n"


def post(body: str | bytes, media: str = "application/json", query: str = "") -> bytes:
    return request("POST", MAPS + query, body, media)


def patch(body: str, kind: str, query: str = "") -> bytes:
    return request("PATCH", f"{MAPS}/there{query}", body, f"application/{kind}")


class Case(NamedTuple):
    sent: bytes
    code: int
    reason: str
    message: str
    """A part of the Status's message."""


BAD, LARGE = "BadRequest", "RequestEntityTooLarge"
UNREAD = "the object provided is unrecognized (must be of type ConfigMap)"
CASES: dict[str, Case] = {
    "3 MB": Case(post(HEAD + '{"a":"' + "x" * 3 * MIB + '"}}'), 413, LARGE, "limit is 3145728"),
    "3 MB in chunks": Case(chunked(MAPS, b"x" * MIB, 4), 413, LARGE, "limit is 3145728"),
    "1 MB of data": Case(post(HEAD + '{"a":"' + "x" * (MIB + 1) + '"}}'), 422, "Invalid", "may not be more than 1048576"),
    "deep list": Case(post(HEAD + "[" * DEEP + "]" * DEEP + "}"), 400, BAD, "exceeded max depth"),
    "deep map": Case(post(HEAD + '{"a":' * DEEP + "1" + "}" * DEEP + "}"), 400, BAD, "exceeded max depth"),
    "deep and open": Case(post("[" * DEEP), 400, BAD, "exceeded max depth"),
    "deep YAML": Case(post(YAML + "[" * DEEP + "]" * DEEP, "application/yaml"), 400, BAD, "exceeded max"),
    "deep open YAML": Case(post("[" * DEEP, "application/yaml"), 400, BAD, "exceeded max"),
    "deep YAML by lines": Case(
        post("\n".join(" " * i + "a:" for i in range(2000)), "application/yaml"), 400, BAD, "exceeded max"
    ),
    "YAML bomb": Case(post(BOMB, "application/yaml"), 400, BAD, "yaml: document contains excessive aliasing"),
    "broken YAML": Case(post("a: [", "application/yaml"), 400, BAD, "did not find expected node content"),
    "NaN": Case(post(HEAD + '{"a":NaN}}'), 400, BAD, UNREAD),
    "Infinity": Case(post(HEAD + '{"a":-Infinity}}'), 400, BAD, UNREAD),
    "a long number": Case(post('{"metadata":{"generation":' + "9" * 5000 + "}}"), 400, BAD, ""),
    "key twice, strict": Case(
        post(HEAD + '{"a":"1","a":"2"}}', query="?fieldValidation=Strict"), 400, BAD,
        'strict decoding error: duplicate field "data.a"',
    ),
    "unknown field, strict": Case(
        post(HEAD + '{},"dota":{}}', query="?fieldValidation=Strict"), 400, BAD, 'unknown field "dota"'
    ),
    "wrong type": Case(
        post(HEAD + '{"a":1}}'), 400, BAD,
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
    ),
    "long name": Case(
        post('{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"' + "a" * 254 + '"}}'), 422, "Invalid",
        "must be no more than 253 characters",
    ),
    "empty": Case(post(""), 400, BAD, "unexpected end of JSON input"),
    "half of JSON": Case(post("{"), 400, BAD, "unexpected end of JSON input"),
    "a number": Case(post("1"), 400, BAD, UNREAD),
    "compressed": Case(post(b"\x1f\x8b\x08\x00"), 400, BAD, UNREAD),
    "other media type": Case(
        post("<a/>", "text/xml"), 415, "UnsupportedMediaType", "the body of the request was in an unknown format"
    ),
    "patch without its type": Case(patch("{}", "json"), 415, "UnsupportedMediaType", ""),
    "broken protobuf": Case(post(b"k8s\x00\xff\xff\xff\xff", "application/vnd.kubernetes.protobuf"), 400, BAD, ""),
    "no protobuf": Case(
        post(b"{}", "application/vnd.kubernetes.protobuf"), 400, BAD, "does not appear to be a protobuf message"
    ),
    "many patches": Case(
        patch(json.dumps([{"op": "test", "path": "/kind", "value": "x"}] * 10_001), "json-patch+json"), 413, LARGE,
        "The allowed maximum operations in a JSON patch is 10000, got 10001",
    ),
    "deep patch": Case(patch('{"a":' * DEEP + "1" + "}" * DEEP, "merge-patch+json"), 400, BAD, ""),
    "deep apply": Case(
        patch('{"a":' * DEEP + "1" + "}" * DEEP, "apply-patch+yaml", "?fieldManager=x"), 400, BAD,
        "error decoding YAML: error converting YAML to JSON: yaml: exceeded max depth",
    ),
    "long headers": Case(request("GET", "/api", media="", X_A="a" * 2 * MIB), 431, "", ""),
    "no HTTP": Case(b"HELLO\r\n\r\n", 400, BAD, ""),
    "two lengths": Case(
        b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 400, BAD, ""
    ),
    "length and chunks": Case(
        b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, BAD, ""
    ),
    "negative length": Case(b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400, BAD, ""),
    "broken escape": Case(request("GET", "/api/v1/namespaces/%zz", media=""), 400, BAD, ""),
    "no number": Case(
        request("GET", MAPS + "?limit=x", media=""), 400, BAD, 'strconv.ParseInt: parsing "x": invalid syntax'
    ),
    "no selector": Case(
        request("GET", MAPS + "?labelSelector=a%3D%3D%3Db%2C%2C", media=""), 400, BAD, "unable to parse requirement"
    ),
    "method": Case(
        request("TRACE", MAPS, media=""), 405, "MethodNotAllowed", "the server does not allow this method"
    ),
}  # fmt: skip


class Wire:
    """Connections to the server as its administrator, or as nobody yet."""

    def __init__(self, server: Processes) -> None:
        loaded: Any = yaml.safe_load(server.kubeconfig.read_text())
        self.port = int(loaded["clusters"][0]["cluster"]["server"].rpartition(":")[2])
        self.pki = server.directory / "pki"

    def context(self, certificate: Path | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        if certificate:
            made.load_cert_chain(certificate, certificate.with_suffix(".key"))
        return made

    def open(self, certificate: Path | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)
        return self.context(certificate).wrap_socket(plain, server_hostname="127.0.0.1")

    def ask(self, sent: bytes, certificate: Path | None = None) -> tuple[int, Any]:
        """(code, Status)."""
        with self.open(certificate) as connection:
            try:
                connection.sendall(sent)
            except OSError:
                pass  # it was refused before it was sent whole; the answer has come
            return answer(connection)

    @property
    def admin(self) -> Path:
        return self.pki / "admin.crt"


def answer(connection: ssl.SSLSocket) -> tuple[int, Any]:
    with connection.makefile("rb") as file:
        code = int(file.readline().split()[1])
        length = 0
        while (line := file.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return code, json.loads(file.read(length) or b"null")


class Other(threading.Thread):
    """Another client, which asks all the time."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(daemon=True)
        self.wire = wire
        self.served = 0
        self.trouble: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        try:
            with self.wire.open(self.wire.admin) as connection:
                while not self.ended.is_set():
                    connection.sendall(request("GET", "/api/v1/namespaces/default", media=""))
                    code, _ = answer(connection)
                    if code != 200:
                        self.trouble.append(str(code))
                    self.served += 1
        except OSError as error:
            self.trouble.append(repr(error))


@pytest.fixture(scope="module")
def wire(server: Processes) -> Generator[Wire]:
    """All tests here run while another client is served, and leave the server about as large as it was."""
    server.kubectl("create", "configmap", "there")
    found = Wire(server)
    process = psutil.Process(server.running[0].pid)
    before = process.memory_info().rss
    other = Other(found)
    other.start()
    yield found
    other.ended.set()
    other.join(SECONDS)
    assert not other.trouble
    assert other.served > 100
    assert process.memory_info().rss - before < 200 * MIB


@pytest.mark.parametrize("name", CASES)
def test_bad_requests_get_kubernetes_own_status(wire: Wire, name: str) -> None:
    case = CASES[name]
    code, status = wire.ask(case.sent, wire.admin)
    assert (code, status["kind"], status["status"]) == (case.code, "Status", "Failure")
    assert status.get("reason", "") == case.reason
    assert case.message in status["message"]


def test_a_half_sent_request_holds_up_nobody(wire: Wire) -> None:
    whole = post(HEAD + '{"a":"b"}}')
    halves = [wire.open(wire.admin) for _ in range(50)]
    for number, connection in enumerate(halves):
        connection.sendall(whole[: number * len(whole) // len(halves)])
    assert wire.ask(request("GET", MAPS + "/there", media=""), wire.admin)[0] == 200
    halves[-1].sendall(whole[49 * len(whole) // 50 :])
    assert answer(halves[-1])[0] == 201
    for connection in halves:
        connection.close()
    assert wire.ask(request("DELETE", MAPS + "/bad", media=""), wire.admin)[0] == 200


def test_credentials_that_prove_nothing(wire: Wire, tmp_path: Path) -> None:
    from joserfc import jwt
    from joserfc.jwk import ECKey

    key = ECKey.import_key((wire.pki / "sa.key").read_bytes())
    key.ensure_kid()
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": "https://kubernetes.default.svc.cluster.local",
        "aud": ["https://kubernetes.default.svc.cluster.local"],
        "sub": "system:serviceaccount:default:default",
        "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "default", "uid": "x"}},
        "iat": now - 7200, "nbf": now - 7200, "exp": now - 3600,
    }  # fmt: skip
    tokens = {
        "expired": jwt.encode({"alg": "ES256", "kid": key.kid}, claims, key),
        "another's key": jwt.encode({"alg": "ES256", "kid": key.kid}, claims, ECKey.generate_key("P-256")),
        "no signature": "eyJhbGciOiJub25lIn0.e30.",
        "no token": "abc",
        "long": "a" * 100_000,
    }
    for name, token in tokens.items():
        code, status = wire.ask(request("GET", MAPS, media="", Authorization=f"Bearer {token}"))
        assert (code, status["reason"], status["message"]) == (401, "Unauthorized", "Unauthorized"), name

    stranger = tmp_path / "stranger.crt"
    certificate, private = Authority("kubernetes").client_files("kubernetes-admin", "system:masters")
    stranger.write_bytes(certificate)
    stranger.with_suffix(".key").write_bytes(private)
    code, status = wire.ask(request("GET", MAPS, media=""), stranger)
    assert (code, status["reason"]) == (401, "Unauthorized")
    code, status = wire.ask(request("GET", MAPS, media=""))
    assert (code, status["reason"]) == (401, "Unauthorized")
