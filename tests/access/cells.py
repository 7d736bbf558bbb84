"""The cells of the matrix: every identity of `matrix.yaml` with every request, against any server.

A cell is allowed unless the answer is 401 or 403, whoever says it: authorization, or admission (NodeRestriction, escalation).
Writes are dry runs, so that no cell changes what the next one meets.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

MATRIX: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("matrix.yaml").read_text())
RECORDED = Path(__file__).with_name("recorded.json")
RBAC = "rbac.authorization.k8s.io"
JSON, MERGE = "application/json", "application/merge-patch+json"
Send = Callable[[str, str, bytes, dict[str, str]], Awaitable[tuple[int, Any]]]
"""(method, path with query, body, headers) -> (status, tree). Who sends it without more is an administrator."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    method: str
    path: str
    body: Any = None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}" + (
            f" {json.dumps(self.body, sort_keys=True)}" if self.body is not None else ""
        )


@dataclass
class Matrix:
    """All names filled in. `names` must have `a`, `b` and `x`; the setup adds uids."""

    send: Send
    names: dict[str, str] = field(default_factory=lambda: {"a": "mx-a", "b": "mx-b", "x": "mx"})

    def filled(self, tree: Any) -> Any:
        text = json.dumps(tree)
        for name, value in self.names.items():
            text = text.replace("{" + name + "}", value)
        return json.loads(text)

    # -- what is there before

    async def furnish(self) -> None:
        self.names |= {"csr": _request("someone"), "masters-csr": _request("someone", "system:masters")}
        self.names["node-csr"] = _request(self.filled("system:node:{x}-n1"), "system:nodes")
        await self._aggregate()
        for obj in MATRIX["setup"]:
            await self._create(self.filled(obj))
        for role, where, subject in MATRIX["bindings"]:
            await self._create(_binding(self.filled(role), self.filled(where), self.filled(subject)))
        for name, path in (
            ("p1", "namespaces/{a}/pods/p1"),
            ("p2", "namespaces/{a}/pods/p2"),
            ("p3", "namespaces/{a}/pods/p3"),
            ("n1", "nodes/{x}-n1"),
            ("n2", "nodes/{x}-n2"),
        ):
            _, found = await self.send("GET", "/api/v1/" + self.filled(path), b"", {})
            self.names[name] = found["metadata"]["uid"]

    async def _create(self, obj: Any) -> None:
        path = collection(obj)
        status, answer = await self.send("POST", path, json.dumps(obj).encode(), {"content-type": JSON})
        if status not in (201, 409):
            raise RuntimeError(f"POST {path}: {status} {answer}")

    async def _aggregate(self) -> None:
        """The rules of aggregated roles: no controller is needed."""
        for _ in range(2):
            _, listed = await self.send("GET", f"/apis/{RBAC}/v1/clusterroles", b"", {})
            for role in [r for r in listed["items"] if "aggregationRule" in r]:
                rules = list(_collected(role, listed["items"]))
                path = f"/apis/{RBAC}/v1/clusterroles/{role['metadata']['name']}"
                await self.send("PATCH", path, json.dumps({"rules": rules}).encode(), {"content-type": MERGE})

    # -- the cells

    def requests(self) -> list[Asked]:
        """In their order, with their holes: what is recorded must not depend on uids."""
        found = [each for path, name in MATRIX["every"] for each in _verbs(path, name)]
        return found + [Asked(*row) for row in MATRIX["single"]]

    async def row(self, identity: list[str], requests: list[Asked]) -> str:
        """Of one identity: `+` for what is allowed, `-` for what is not."""
        user, *groups = (self.filled(word) for word in identity)
        headers = {"authorization": ""} if user == "-" else {"impersonate-user": user}
        for number, group in enumerate(groups):
            headers[f"impersonate-group{' ' * number}"] = group
        return "".join([await self._cell(headers, each) for each in requests])

    async def _cell(self, headers: dict[str, str], asked: Asked) -> str:
        path, body = self.filled(asked.path), b""
        if asked.method != "GET" and "dryRun" not in path:
            path += ("&" if "?" in path else "?") + "dryRun=All"
        sent = dict(headers)
        if asked.body is not None:
            body = json.dumps(self.filled(asked.body)).encode()
            sent["content-type"] = MERGE if asked.method == "PATCH" else JSON
        status, _ = await self.send(asked.method, path, body, sent)
        return "-" if status in (401, 403) else "+"


def _verbs(path: str, name: str) -> Iterator[Asked]:
    """All verbs on a collection and on one of its objects. A watch that may be opened is refused for its revision."""
    where = f"/{path}"
    yield Asked("GET", f"{where}/{name}")
    yield Asked("GET", f"{where}?limit=1")
    yield Asked("GET", f"{where}?watch=1&resourceVersion=x")
    yield Asked("POST", where, {"metadata": {"name": "new"}})
    yield Asked("PUT", f"{where}/{name}", {"metadata": {"name": name}})
    yield Asked("PATCH", f"{where}/{name}", {"metadata": {"annotations": {"a": "b"}}})
    yield Asked("DELETE", f"{where}/{name}")
    if path not in ("api/v1/namespaces",):
        yield Asked("DELETE", f"{where}?labelSelector=none%3Dsuch")


def collection(obj: Any) -> str:
    gv, kind, namespace = obj["apiVersion"], obj["kind"].lower(), obj["metadata"].get("namespace")
    plural = {"networkpolicy": "networkpolicies"}.get(kind, kind + ("es" if kind.endswith("ss") else "s"))
    root = f"/apis/{gv}" if "/" in gv else f"/api/{gv}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def _binding(role: str, namespace: str, subject: str) -> Any:
    kind, name = role.split(" ")
    to, who = subject.split(" ")
    made: Any = {"kind": to, "name": who}
    if to == "ServiceAccount":
        made["namespace"], _, made["name"] = made["name"].partition("/")
    else:
        made["apiGroup"] = RBAC
    metadata = {"name": f"mx-{name}-{made['name']}".replace(":", "-")} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": name},
        "subjects": [made],
    }


def _collected(role: Any, roles: list[Any]) -> Iterator[Any]:
    wanted = [s["matchLabels"] for s in role["aggregationRule"]["clusterRoleSelectors"]]
    for other in roles:
        labels = (other["metadata"].get("labels") or {}).items()
        if other is not role and any(each.items() <= labels for each in wanted):
            yield from other.get("rules") or ()


def _request(name: str, *organizations: str) -> str:
    words = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
    words += [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, each) for each in organizations]
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(words))
    signed = made.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()
