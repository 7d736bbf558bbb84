"""The cluster's certificates: one CA, and what it signs. Made once, renewed when they run out or addresses change."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from navarch.cluster import machine
from navarch.cluster.certificates import Authority, new_key_pem
from navarch.cluster.config import ClusterConfig
from navarch.cluster.files import write_atomically
from navarch.machinery.types import Obj

FRONT_PROXY = "front-proxy-client"
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

    @property
    def front_proxy_ca(self) -> Pair:
        """The authority of those who may speak for others: of this server, before extension servers."""
        return self.pair("front-proxy-ca")

    @property
    def front_proxy(self) -> Pair:
        return self.pair("front-proxy-client")

    def pair(self, name: str) -> Pair:
        return Pair(self.directory / f"{name}.crt", self.directory / f"{name}.key")

    def authority(self) -> tuple[bytes, bytes]:
        """The certificate and the key of the CA."""
        return self.ca_cert.read_bytes(), self.ca_key.read_bytes()

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
    signer = _Signer(places.ca_cert, places.ca_key, "kubernetes")
    name = machine.node_name()
    own = machine.addresses()
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", name]
    names.append(f"kubernetes.default.svc.{config.dns_domain}")
    signer.server(places.apiserver, "kube-apiserver", names, ["127.0.0.1", config.api_service_ip, *own])
    signer.server(places.kubelet, f"system:node:{name}", [name], ["127.0.0.1", *own])
    signer.client(places.admin, "kubernetes-admin", "system:masters")
    signer.client(places.node, f"system:node:{name}", "system:nodes")
    signer.client(places.kubelet_client, "kube-apiserver-kubelet-client", "system:masters")
    signer.client(places.proxy, "system:kube-proxy")
    signer.client(places.volumes, LOCAL_VOLUMES)
    _common(places)
    return places


def ensure_alone(directory: Path) -> Paths:
    """The same for an API server by itself: its own certificate, an administrator's, and the key of tokens."""
    places = Paths(directory)
    signer = _Signer(places.ca_cert, places.ca_key, "kubernetes")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
    signer.server(places.apiserver, "kube-apiserver", names, ["127.0.0.1", "::1", *machine.addresses()])
    signer.client(places.admin, "kubernetes-admin", "system:masters")
    _common(places)
    return places


def _common(places: Paths) -> None:
    """What every API server needs besides: the front proxy's, and the key of tokens."""
    authority = places.front_proxy_ca
    _Signer(authority.cert, authority.key, "front-proxy-ca").client(places.front_proxy, FRONT_PROXY)
    if not places.sa_key.exists():
        write_atomically(places.sa_key, new_key_pem())


def kubeconfig(config: ClusterConfig, pair: Pair, server: str = "") -> Obj:
    """A kubeconfig with everything in it, for the holder of a certificate."""
    return kubeconfig_of(paths(config).ca_cert, pair, server or f"https://127.0.0.1:{config.api_port}")


def kubeconfig_of(ca: Path, pair: Pair, address: str) -> Obj:
    return kubeconfig_with(ca.read_bytes(), (pair.cert.read_bytes(), pair.key.read_bytes()), address)


def kubeconfig_with(ca: bytes, identity: tuple[bytes, bytes], address: str) -> Obj:
    """A kubeconfig of PEM: the authority, and a user's certificate and key."""
    encoded, certificate, key = (base64.b64encode(pem).decode() for pem in (ca, *identity))
    cluster = {"server": address, "certificate-authority-data": encoded}
    user = {"client-certificate-data": certificate, "client-key-data": key}
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


class _Signer:
    """A CA in a cluster's files, loaded or made when something is to be signed; keeps what is good still."""

    def __init__(self, certificate: Path, key: Path, name: str) -> None:
        self._certificate, self._key = certificate, key
        if not (certificate.exists() and key.exists()):
            made = Authority.new(name)
            write_atomically(key, made.key_pem)
            write_atomically(certificate, made.pem, 0o644)

    @cached_property
    def _authority(self) -> Authority:
        return Authority(self._certificate.read_bytes(), self._key.read_bytes())

    def server(self, pair: Pair, common_name: str, names: Sequence[str], addresses: Sequence[str]) -> None:
        if not _good(pair, {*names, *addresses}):
            _keep(pair, self._authority.server(common_name, names, addresses, "system:nodes"))

    def client(self, pair: Pair, common_name: str, *groups: str) -> None:
        if not _good(pair, set()):
            _keep(pair, self._authority.client(common_name, *groups))


def _keep(pair: Pair, made: tuple[bytes, bytes]) -> None:
    certificate, key = made
    write_atomically(pair.key, key)
    write_atomically(pair.cert, certificate, 0o644)


def _good(pair: Pair, wanted: set[str]) -> bool:
    """Whether the certificate is there, holds for a while, and names all of these."""
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
