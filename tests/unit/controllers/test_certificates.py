"""Certificate requests: who is approved, what is signed, and what is cleaned up."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.apiserver import api_server
from tests.support.hollow import until

from navarch.apiserver.inprocess import InProcessClient
from navarch.apiserver.request import User
from navarch.client.interface import Resource
from navarch.client.resources import CERTIFICATE_REQUESTS
from navarch.controllers.certificates.approving import rights_of
from navarch.controllers.certificates.authority import CertificateAuthority
from navarch.controllers.certificates.cleaning import CleaningController, deadlines
from navarch.controllers.certificates.signing import SigningController, lifetime
from navarch.controlloop.plan import Delete, Update
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import GroupResource, Obj
from navarch.testing.inside import control_plane
from navarch.testing.options import Options

NOW = 1_790_000_000.0
KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"
CLIENT = "kubernetes.io/kube-apiserver-client"
NODE_USAGES = ["digital signature", "client auth"]
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)


def csr(name: str = "system:node:a", organization: str = "system:nodes", names: tuple[Any, ...] = ()) -> str:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def authority(ends: float = NOW + 10 * 365 * 86400) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(ends, datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(encoding), plain


CA = authority()


def request(*conditions: str, age: float = 0, certificate: bytes = b"", **spec: Any) -> Obj:
    wanted = {"signerName": KUBELET, "usages": NODE_USAGES, "username": "system:node:a", "request": csr(), **spec}
    stamp = rfc3339(NOW - age)
    status: Obj = {}
    if conditions:
        status["conditions"] = [{"type": kind, "status": "True", "lastUpdateTime": stamp} for kind in conditions]
    if certificate:
        status["certificate"] = base64.b64encode(certificate).decode()
    return {"metadata": {"name": "r", "uid": "r", "creationTimestamp": stamp}, "spec": wanted, "status": status}


@pytest.mark.parametrize(
    ("spec", "rights"),
    [
        ({}, ("selfnodeclient", "nodeclient")),
        ({"username": "system:bootstrap:abcdef"}, ("nodeclient",)),
        ({"usages": [*NODE_USAGES, "key encipherment"]}, ("selfnodeclient", "nodeclient")),
        ({"usages": [*NODE_USAGES, "server auth"]}, ()),
        ({"signerName": SERVING}, ()),
        ({"request": csr(organization="people")}, ()),
        ({"request": csr(name="a")}, ()),
        ({"request": csr(names=(x509.DNSName("a"),))}, ()),
        ({"request": "bm9uZQ=="}, ()),
    ],
)
def test_which_requests_are_a_kubelets(spec: Obj, rights: tuple[str, ...]) -> None:
    assert tuple(rights_of(request(**spec))) == rights


def signed(asked: Obj) -> tuple[Obj, x509.Certificate | None]:
    """The status that a signer writes, and the certificate in it."""
    (write,) = SigningController(CertificateAuthority(*CA)).reconcile(asked, NOW).actions
    assert isinstance(write, Update) and write.subresource == "status"
    status = write.object["status"]
    text = base64.b64decode(status.get("certificate", ""))
    return status, x509.load_pem_x509_certificate(text) if text else None


def test_a_certificate_says_what_was_asked_for_and_no_more() -> None:
    names = (x509.DNSName("a"), x509.IPAddress(__import__("ipaddress").ip_address("10.0.0.1")))
    usages = ["digital signature", "key encipherment", "server auth"]
    _, made = signed(request("Approved", signerName=SERVING, usages=usages, request=csr(names=names)))
    assert made is not None
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(CA[0]))
    assert made.subject.rfc4514_string() == "CN=system:node:a,O=system:nodes"
    assert list(made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value) == list(names)
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [x509.OID_SERVER_AUTH]
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and usage.value.key_encipherment
    assert not usage.value.key_cert_sign
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lived = made.not_valid_after_utc - made.not_valid_before_utc
    assert made.not_valid_before_utc.timestamp() == NOW - 300
    assert lived == datetime.timedelta(days=365)


@pytest.mark.parametrize(("asked", "lives"), [(None, 365 * 86400), (600, 600), (1, 600), (2**31 - 1, 365 * 86400)])
def test_lifetimes_are_as_asked_in_bounds(asked: int | None, lives: int) -> None:
    assert lifetime({"expirationSeconds": asked} if asked else {}) == lives


def test_short_certificates_are_not_shortened_and_none_outlives_its_authority() -> None:
    _, made = signed(request("Approved", expirationSeconds=3600))
    assert made is not None and made.not_valid_after_utc.timestamp() == NOW + 3600
    soon = CertificateAuthority(*authority(NOW + 60))
    text = base64.b64decode(csr())
    ends = x509.load_pem_x509_certificate(soon.sign(text, NODE_USAGES, 3600, NOW)).not_valid_after_utc
    assert ends.timestamp() == NOW + 60
    with pytest.raises(ValueError, match="expired"):
        CertificateAuthority(*authority(NOW - 60)).sign(text, NODE_USAGES, 3600, NOW)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"signerName": CLIENT, "usages": ["server auth"]}, "invalid usage for client certificate: server auth"),
        (
            {"signerName": CLIENT, "usages": ["key encipherment"]},
            "missing required usage for client certificate: client auth",
        ),
        ({"usages": ["client auth"]}, "usages did not match [client auth digital signature key encipherment]"),
        ({"signerName": SERVING}, "DNS or IP subjectAltName is required"),
        ({"request": csr(organization="people")}, "subject organization is not system:nodes"),
    ],
)
def test_signers_refuse_what_they_are_not_for(spec: Obj, message: str) -> None:
    status, made = signed(request("Approved", **spec))
    assert made is None
    failed = status["conditions"][-1]
    assert (failed["type"], failed["reason"], failed["message"]) == ("Failed", "SignerValidationFailure", message)


ISSUED = CertificateAuthority(*CA).sign(base64.b64decode(csr()), NODE_USAGES, 1800, NOW - 1700)
"""Runs out in 100 seconds."""


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (request(age=100), 86300),
        (request("Denied", age=100), 3500),
        (request("Approved", "Failed", age=100), 3500),
        (request("Approved", age=100), 86300),
        (request("Approved", age=3400, certificate=ISSUED), 100),
        (request("Approved", age=3550, certificate=ISSUED), 50),
        (request("Other", age=9999999), None),
    ],
)
def test_when_requests_are_cleaned_up(found: Obj, left: float | None) -> None:
    due = min(deadlines(found), default=None)
    assert (due - NOW if due is not None else None) == left
    if due is not None:
        cleaner = CleaningController()
        assert cleaner.reconcile(found, due).requeue_after == 1
        (gone,) = cleaner.reconcile(found, due + 1).actions
        assert isinstance(gone, Delete)


async def test_a_kubelet_gets_its_certificate_and_others_do_not() -> None:
    only = Options(controllers=True)
    async with api_server() as server, control_plane(server, only, signing=CA):
        who = User("system:bootstrap:abcdef", groups=("system:bootstrappers", "system:authenticated"))
        for name, role in (
            ("make", "system:node-bootstrapper"),
            ("approve", "system:certificates.k8s.io:certificatesigningrequests:nodeclient"),
        ):
            subject = {"kind": "Group", "name": "system:bootstrappers", "apiGroup": BINDINGS.group}
            reference = {"kind": "ClusterRole", "name": role, "apiGroup": BINDINGS.group}
            body = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
            await server.system.create(BINDINGS, body)
        kubelet = InProcessClient(server, who)
        for name, wanted in (("mine", csr()), ("odd", csr(organization="people"))):
            spec = {"request": wanted, "signerName": KUBELET, "usages": NODE_USAGES}
            await kubelet.create(CERTIFICATE_REQUESTS, {"metadata": {"name": name}, "spec": spec})
        resource = GroupResource("certificates.k8s.io", "certificatesigningrequests")

        def status(name: str) -> Obj:
            return (server.lookup(resource, "", name) or {}).get("status") or {}

        text = await until("it is signed", lambda: status("mine").get("certificate"))
        made = x509.load_pem_x509_certificate(base64.b64decode(text))
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(CA[0]))
        approved = status("mine")["conditions"][0]
        assert (approved["type"], approved["reason"]) == ("Approved", "AutoApproved")
        assert not status("odd")
