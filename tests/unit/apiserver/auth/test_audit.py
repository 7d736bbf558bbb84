"""The audit log, seen as its lines."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.apiserver import api_server
from tests.support.requests import exchange, send

from navarch.apiserver.audit.log import LogFile
from navarch.apiserver.audit.policy import DEFAULT, BadPolicy, parse
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServerConfig
from navarch.client.resources import CONFIG_MAPS
from navarch.machinery.errors import StatusError

MAPS, SECRETS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets"
EVERYTHING = b"""
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  users: [quiet, system:apiserver]
- level: Request
  namespaces: [default]
  resources: [{group: "", resources: [configmaps], resourceNames: [modest]}]
- level: RequestResponse
"""


@asynccontextmanager
async def audited(path: Path, policy: bytes) -> AsyncIterator[Any]:
    tokens = {name: User(name, groups=("system:masters",)) for name in ("root", "quiet")} | {"pat": User("pat")}
    config = ApiServerConfig(fixed_tokens=tokens, audit=(parse(policy), LogFile(path=path)))
    async with api_server(config=config) as server:
        yield server


def lines(path: Path) -> list[Any]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


async def test_by_default_every_change_is_logged_and_reads_are_not(tmp_path: Path):
    path = tmp_path / "audit.log"
    async with audited(path, DEFAULT) as server:
        await send(server, "GET", MAPS, token="root")
        agent = {"user-agent": "test/1", "x-forwarded-for": "10.0.0.9"}
        made = {"metadata": {"name": "a"}, "data": {"k": "v"}}
        await send(server, "POST", MAPS + "?fieldManager=x", made, token="root", headers=agent)
        await send(server, "DELETE", MAPS + "/a", token="pat")
    created, refused = lines(path)
    times = [created.pop(key) for key in ("requestReceivedTimestamp", "stageTimestamp")]
    assert times[0] <= times[1]
    assert created.pop("auditID")
    assert created == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "stage": "ResponseComplete",
        "requestURI": MAPS + "?fieldManager=x",
        "verb": "create",
        "user": {"username": "root", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["10.0.0.9", "127.0.0.1"],
        "userAgent": "test/1",
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
    }
    assert refused["user"]["username"] == "pat" and refused["objectRef"]["name"] == "a"
    assert refused["responseStatus"]["code"] == 403 and refused["responseStatus"]["reason"] == "Forbidden"
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_secrets_and_tokens_are_logged_without_their_bodies_whatever_the_policy_says(tmp_path: Path):
    path = tmp_path / "audit.log"
    treasure = base64.b64encode(b"treasure").decode()
    async with audited(path, EVERYTHING) as server:
        await send(server, "POST", SECRETS, {"metadata": {"name": "s"}, "data": {"k": treasure}}, token="root")
        await send(server, "GET", SECRETS + "/s", token="root")
        await send(server, "GET", SECRETS, token="root")
        review = {"spec": {"token": "root-password"}}
        await send(server, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", review, token="root")
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        await send(server, "POST", accounts, {"metadata": {"name": "r"}}, token="root")
        _, answer = await send(server, "POST", accounts + "/r/token", {"spec": {}}, token="root")
    text = path.read_text()
    assert treasure not in text and "root-password" not in text and answer["status"]["token"] not in text
    assert {event["objectRef"]["resource"] for event in lines(path)} >= {"secrets", "tokenreviews", "serviceaccounts"}


async def test_levels_stages_and_managed_fields(tmp_path: Path):
    path = tmp_path / "audit.log"
    async with audited(path, EVERYTHING) as server:
        await send(server, "POST", MAPS, {"metadata": {"name": "loud"}, "data": {"k": "v"}}, token="root")
        await send(server, "GET", MAPS + "/modest", token="root")
        patch = {"content-type": "application/merge-patch+json"}
        await send(server, "PATCH", MAPS + "/loud", {"data": {"k": "w"}}, token="root", headers=patch)
        await send(server, "GET", MAPS, token="quiet")
        await send(server, "GET", "/version", token="root")
    events = lines(path)
    assert [e["stage"] for e in events] == ["RequestReceived", "ResponseComplete"] * 4
    created, modest, patched, version = events[1::2]
    assert created["requestObject"]["data"] == {"k": "v"} and created["responseObject"]["data"] == {"k": "v"}
    assert "managedFields" not in created["responseObject"]["metadata"]
    assert modest["level"] == "Request" and "responseObject" not in modest and modest["responseStatus"]["code"] == 404
    assert patched["requestObject"] == {"data": {"k": "w"}} and patched["responseObject"]["data"] == {"k": "w"}
    assert "objectRef" not in version and version["verb"] == "get"
    assert created["auditID"] == events[0]["auditID"] != modest["auditID"]


async def test_failed_authentication_and_impersonation_are_told(tmp_path: Path):
    path = tmp_path / "audit.log"
    async with audited(path, EVERYTHING) as server:
        await send(server, "GET", MAPS, token="wrong")
        await send(server, "GET", MAPS)
        await send(server, "GET", MAPS, token="root", headers={"impersonate-user": "pat", "impersonate-group": "x"})
    wrong, nobody, received, complete = lines(path)
    for event, message in ((wrong, "attempted: bearer"), (nobody, "no credentials provided")):
        assert event["stage"] == "ResponseStarted" and event["user"] == {}
        assert event["responseStatus"]["code"] == 401 and message in event["responseStatus"]["message"]
    assert received["user"]["username"] == complete["user"]["username"] == "root"
    assert complete["impersonatedUser"] == {"username": "pat", "groups": ["x", "system:authenticated"]}
    assert complete["responseStatus"]["code"] == 403


async def test_a_watch_has_a_beginning_and_an_end(tmp_path: Path):
    path = tmp_path / "audit.log"

    class Writer:
        buffered = 0

        def write(self, chunks: Any) -> None: ...
        def finish(self) -> None: ...

    async with audited(path, EVERYTHING) as server:
        response = await exchange(server, "GET", MAPS + "?watch=1", token="root")
        assert response.stream is not None
        gone = response.stream(Writer())
        assert gone is not None
        gone()
    assert [e["stage"] for e in lines(path)] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


def test_the_file_is_rotated_and_old_ones_go(tmp_path: Path):
    file = LogFile(path=tmp_path / "audit.log", max_bytes=100, backups=2)
    for number in range(8):
        file.append(b"%d" % number * 60 + b"\n")
    found = sorted(tmp_path.iterdir())
    assert len(found) == 3 and (tmp_path / "audit.log").read_bytes().startswith(b"7")
    assert [one.read_bytes()[:1] for one in found if one.name != "audit.log"] == [b"5", b"6"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("rules: []", "0 rules"),
        ("rules: [{level: Loud}]", "level"),
        ("rules: [{level: None, omitStages: [Later]}]", "stages"),
        ("rules: [{level: None, nonResourceURLs: ['/a*b']}]", "nonResourceURLs"),
        ("rules: [{level: None, nonResourceURLs: ['/a'], namespaces: [x]}]", "both"),
        ("rules: [{level: None, resources: [{group: 'apps/v1'}]}]", "group"),
        ("rules: [{level: None, resources: [{resourceNames: [x]}]}]", "at least one resource"),
        ("rules: 7", "shape"),
    ],
)
def test_a_bad_policy_says_what_is_bad(change: str, why: str):
    with pytest.raises(BadPolicy, match=why):
        parse(f"apiVersion: audit.k8s.io/v1\nkind: Policy\n{change}\n".encode())


async def test_parts_of_the_process_are_logged_like_others(tmp_path: Path):
    path = tmp_path / "audit.log"
    async with audited(path, DEFAULT) as server:
        controller = server.client(User("system:serviceaccount:kube-system:x", groups=("system:masters",)))
        await controller.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
        await controller.get(CONFIG_MAPS, "a", "default")
        with pytest.raises(StatusError):
            await server.client(User("pat")).delete(CONFIG_MAPS, "a", "default")
    created, refused = lines(path)
    assert created["requestURI"] == MAPS and created["objectRef"]["name"] == "a" and created["verb"] == "create"
    assert created["user"]["username"] == "system:serviceaccount:kube-system:x"
    assert created["responseStatus"]["code"] == 201
    assert refused["verb"] == "delete" and refused["responseStatus"]["code"] == 403
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
