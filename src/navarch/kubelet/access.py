"""Who may talk to the node: client certificates of the cluster's authority and service accounts' tokens, and what the API
server says of them. Source: pkg/kubelet/server/auth.go, KEP 2862 (fine-grained authorization)."""

from __future__ import annotations

from typing import Any, NamedTuple

from navarch.client.interface import Client, Resource
from navarch.http.messages import Request
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError

ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False)
TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
ALLOWED_SECONDS, DENIED_SECONDS, TOKEN_SECONDS = 300.0, 30.0, 120.0
REMEMBERED = 4096
VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
OF_PATHS = (
    ("/stats", "stats"), ("/metrics", "metrics"), ("/logs", "log"), ("/checkpoint", "checkpoint"),
    ("/configz", "configz"), ("/healthz", "healthz"), ("/pods", "pods"), ("/runningpods", "pods"),
)  # fmt: skip
"""Paths -> the subresource of nodes that covers them; everything else is `proxy`, which covers all."""
MASTERS = "system:masters"


class Visitor(NamedTuple):
    name: str
    groups: tuple[str, ...]


class Access:
    def __init__(self, node: str, ca_pem: bytes, client: Client, world: World) -> None:
        self._node = node
        self._pem = ca_pem
        self._client = client
        self._world = world
        self._authority: Any = None
        self._decisions: dict[tuple[Visitor, str, str], tuple[bool, float]] = {}
        self._tokens: dict[str, tuple[Visitor | None, float]] = {}

    async def check(self, request: Request) -> tuple[int, str]:
        """(0, "") where the request may go on; else a status code and why."""
        visitor = self._by_certificate(request) or await self._by_token(request)
        if visitor is None:
            return 401, "Unauthorized"
        if MASTERS in visitor.groups:
            return 0, ""
        verb = VERBS.get(request.method, "")
        wanted = next(
            (s for prefix, s in OF_PATHS if request.path == prefix or request.path.startswith(f"{prefix}/")), ""
        )
        for subresource in (wanted, "proxy") if wanted else ("proxy",):
            if await self._may(visitor, verb, subresource):
                return 0, ""
        shown = wanted or "proxy"
        return 403, f"Forbidden (user={visitor.name}, verb={verb}, resource=nodes, subresource(s)=[{shown}])\n"

    # -- who

    def _by_certificate(self, request: Request) -> Visitor | None:
        connection = request.connection
        if "visitor" not in connection.cache:
            connection.cache["visitor"] = self._judge(connection.peer_certificate)
        return connection.cache["visitor"]

    def _judge(self, der: bytes | None) -> Visitor | None:
        if der is None:
            return None
        from datetime import UTC, datetime

        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        if self._authority is None:
            self._authority = x509.load_pem_x509_certificate(self._pem)
        try:
            certificate = x509.load_der_x509_certificate(der)
            certificate.verify_directly_issued_by(self._authority)
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return None
        now = datetime.now(UTC)
        current = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
        if not current or ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
            return None
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        groups = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return Visitor(str(names[0].value), tuple(str(g.value) for g in groups)) if names else None

    async def _by_token(self, request: Request) -> Visitor | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return None
        now = self._world.now()
        known = self._tokens.get(token)
        if known is not None and known[1] > now:
            return known[0]
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        try:
            status = (await self._client.create(TOKEN_REVIEWS, review)).get("status") or {}
        except (StatusError, ConnectionError):
            return None
        user = status.get("user") or {}
        visitor = (
            Visitor(user.get("username", ""), tuple(user.get("groups") or ())) if status.get("authenticated") else None
        )
        _remember(self._tokens, token, (visitor, now + TOKEN_SECONDS))
        return visitor

    # -- whether

    async def _may(self, visitor: Visitor, verb: str, subresource: str) -> bool:
        key, now = (visitor, verb, subresource), self._world.now()
        known = self._decisions.get(key)
        if known is not None and known[1] > now:
            return known[0]
        attributes = {
            "verb": verb,
            "version": "v1",
            "resource": "nodes",
            "subresource": subresource,
            "name": self._node,
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": visitor.name, "groups": list(visitor.groups), "resourceAttributes": attributes},
        }
        try:
            status = (await self._client.create(ACCESS_REVIEWS, review)).get("status") or {}
        except (StatusError, ConnectionError):
            return False
        allowed = bool(status.get("allowed"))
        _remember(self._decisions, key, (allowed, now + (ALLOWED_SECONDS if allowed else DENIED_SECONDS)))
        return allowed


def _remember(cache: dict[Any, Any], key: Any, value: Any) -> None:
    if len(cache) >= REMEMBERED:
        cache.clear()
    cache[key] = value
