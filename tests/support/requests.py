"""Requests to a server in the test's own process, through all its filters; and certificates to send them with."""

from __future__ import annotations

import datetime
import inspect
import ipaddress
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from navarch.apiserver.request import Request, Response


class Connection:
    def __init__(self, certificate: bytes | None = None) -> None:
        self.peer_certificate = certificate
        self.peer_address = ("127.0.0.1", 1)
        self.cache: dict[str, Any] = {}


async def send(
    server: Any,
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str = "",
    certificate: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """(status, body): the body's tree where it is JSON."""
    response = await exchange(server, method, url, body, token=token, certificate=certificate, headers=headers)
    content = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    return response.status, orjson.loads(content) if response.content_type.startswith("application/json") else content


async def exchange(
    server: Any,
    method: str,
    url: str,
    body: Any = None,
    *,
    token: str = "",
    certificate: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    path, _, query = url.partition("?")
    sent = {"authorization": f"Bearer {token}"} if token else {}
    sent |= headers or {}
    request = Request(
        method, path, query, sent, orjson.dumps(body) if body is not None else b"", Connection(certificate)
    )
    answer = server.handle(request)
    return await answer if inspect.isawaitable(answer) else answer


def _pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """A certificate authority."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key.public_key(), ca=True)
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)

    def client(self, name: str, *groups: str) -> bytes:
        """DER of a client's certificate."""
        return self._client(name, groups)[0].public_bytes(serialization.Encoding.DER)

    def client_files(self, name: str, *groups: str) -> tuple[bytes, bytes]:
        """PEM of a client's certificate and key."""
        certificate, key = self._client(name, groups)
        return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)

    def _client(self, name: str, groups: tuple[str, ...]) -> tuple[Any, Any]:
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        key = ec.generate_private_key(ec.SECP256R1())
        return self._sign(x509.Name(attributes), key.public_key(), usage=ExtendedKeyUsageOID.CLIENT_AUTH), key

    def server(self, address: str = "127.0.0.1") -> tuple[bytes, bytes]:
        """PEM of a server's certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
        made = self._sign(name, key.public_key(), usage=ExtendedKeyUsageOID.SERVER_AUTH, address=address)
        return made.public_bytes(serialization.Encoding.PEM), _pem(key)

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool = False, usage: Any = None, address: str = "") -> Any:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if address:
            names = [x509.IPAddress(ipaddress.ip_address(address))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())
