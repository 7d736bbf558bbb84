"""The cluster's certificates: one CA, and what it signs. Made once, renewed when they run out or addresses change."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from navarch.cluster import machine
from navarch.cluster.config import ClusterConfig
from navarch.cluster.files import write_atomically
from navarch.machinery.types import Obj

CA_YEARS, YEARS = 10, 1
LOCAL_VOLUMES = "navarch:local-volumes"
RENEW_BEFORE = datetime.timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files."""

    cert: Path
    key: Path


class Paths:
    """Where each certificate is."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca_cert = directory / "ca.crt"
        self.ca_key = directory / "ca.key"
        self.sa_key = directory / "sa.key"
        """Signs service account tokens."""

    def pair(self, name: str) -> Pair:
        return Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    @cached_property
    def apiserver(self) -> Pair:
        return self.pair("apiserver")

    @cached_property
    def admin(self) -> Pair:
        return self.pair("admin")

    @cached_property
    def node(self) -> Pair:
        """The kubelet's (and the node's proxy's and DNS's) client certificate."""
        return self.pair("node")

    @cached_property
    def kubelet(self) -> Pair:
        """The kubelet's serving certificate."""
        return self.pair("kubelet")

    @cached_property
    def kubelet_client(self) -> Pair:
        """The API server's client certificate for kubelets."""
        return self.pair("apiserver-kubelet-client")

    @cached_property
    def proxy(self) -> Pair:
        return self.pair("kube-proxy")

    @cached_property
    def volumes(self) -> Pair:
        """Of whoever makes the node's volumes."""
        return self.pair("local-volumes")


def paths(config: ClusterConfig) -> Paths:
    return Paths(config.pki)


def ensure(config: ClusterConfig) -> Paths:
    """Makes what is missing, runs out soon, or names other addresses than the machine now has."""
    places = paths(config)
    authority = _Authority(places)
    name = machine.node_name()
    own = machine.addresses()
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", name]
    names.append(f"kubernetes.default.svc.{config.dns_domain}")
    authority.server(places.apiserver, "kube-apiserver", names, ["127.0.0.1", config.api_service_ip, *own])
    authority.server(places.kubelet, f"system:node:{name}", [name], ["127.0.0.1", *own])
    authority.client(places.admin, "kubernetes-admin", "system:masters")
    authority.client(places.node, f"system:node:{name}", "system:nodes")
    authority.client(places.kubelet_client, "kube-apiserver-kubelet-client", "system:masters")
    authority.client(places.proxy, "system:kube-proxy", "")
    authority.client(places.volumes, LOCAL_VOLUMES, "")
    if not places.sa_key.exists():
        write_atomically(places.sa_key, _new_key_pem())
    return places


def ensure_alone(directory: Path) -> Paths:
    """The same for an API server by itself: its own certificate, an administrator's, and the key of tokens."""
    places = Paths(directory)
    authority = _Authority(places)
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    authority.server(places.apiserver, "kube-apiserver", names, ["127.0.0.1", "::1", *machine.addresses()])
    authority.client(places.admin, "kubernetes-admin", "system:masters")
    if not places.sa_key.exists():
        write_atomically(places.sa_key, _new_key_pem())
    return places


def kubeconfig(config: ClusterConfig, pair: Pair, server: str = "") -> Obj:
    """A kubeconfig with everything in it, for the holder of a certificate."""
    return kubeconfig_of(paths(config).ca_cert, pair, server or f"https://127.0.0.1:{config.api_port}")


def kubeconfig_of(ca: Path, pair: Pair, address: str) -> Obj:
    encoded = {p: base64.b64encode(p.read_bytes()).decode() for p in (ca, pair.cert, pair.key)}
    cluster = {"server": address, "certificate-authority-data": encoded[ca]}
    user = {"client-certificate-data": encoded[pair.cert], "client-key-data": encoded[pair.key]}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "clusters": [{"name": "navarch", "cluster": cluster}],
        "users": [{"name": "navarch", "user": user}],
        "contexts": [{"name": "navarch", "context": {"cluster": "navarch", "user": "navarch"}}],
        "current-context": "navarch",
    }


def admin_kubeconfig(config: ClusterConfig) -> Obj:
    return kubeconfig(config, paths(config).admin)


class _Authority:
    """The CA, loaded or made; cryptography is imported with it, for nothing else in the command needs it."""

    def __init__(self, places: Paths) -> None:
        self._places = places
        if not (places.ca_cert.exists() and places.ca_key.exists()):
            self._make()

    @cached_property
    def _ca(self) -> tuple[Any, Any]:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        certificate = x509.load_pem_x509_certificate(self._places.ca_cert.read_bytes())
        return certificate, load_pem_private_key(self._places.ca_key.read_bytes(), None)

    def _make(self) -> None:
        from cryptography import x509

        key, pem = _new_key()
        name = _name("kubernetes", "")
        builder = _builder(name, name, key.public_key(), CA_YEARS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        write_atomically(self._places.ca_key, pem)
        write_atomically(self._places.ca_cert, _sign(builder, key), 0o644)

    def server(self, pair: Pair, common_name: str, names: Sequence[str], addresses: Sequence[str]) -> None:
        from cryptography import x509

        wanted = {*names, *addresses}
        if self._good(pair, wanted):
            return
        alternatives: list[Any] = [x509.DNSName(name) for name in dict.fromkeys(names)]
        alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in dict.fromkeys(addresses)]
        self._issue(pair, _name(common_name, "system:nodes"), x509.OID_SERVER_AUTH, alternatives)

    def client(self, pair: Pair, common_name: str, organization: str) -> None:
        from cryptography import x509

        if not self._good(pair, set()):
            self._issue(pair, _name(common_name, organization), x509.OID_CLIENT_AUTH, [])

    def _good(self, pair: Pair, wanted: set[str]) -> bool:
        from cryptography import x509

        if not (pair.cert.exists() and pair.key.exists()):
            return False
        certificate = x509.load_pem_x509_certificate(pair.cert.read_bytes())
        if certificate.not_valid_after_utc - RENEW_BEFORE < datetime.datetime.now(datetime.UTC):
            return False
        if not wanted:
            return True
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return wanted <= {str(n.value) for n in names}

    def _issue(self, pair: Pair, subject: Any, purpose: Any, alternatives: Sequence[Any]) -> None:
        from cryptography import x509

        authority, authority_key = self._ca
        key, pem = _new_key()
        builder = _builder(subject, authority.subject, key.public_key(), YEARS)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        write_atomically(pair.key, pem)
        write_atomically(pair.cert, _sign(builder, authority_key), 0o644)


def _new_key() -> tuple[Any, bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, pem


def _new_key_pem() -> bytes:
    return _new_key()[1]


def _name(common_name: str, organization: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(subject: Any, issuer: Any, key: Any, years: int) -> Any:
    from cryptography import x509

    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=365 * years))
    )


def _usage(*, sign: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not sign,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: Any, key: Any) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
