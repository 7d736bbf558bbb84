"""What is in a certificate request (PKCS#10), and whose it is. Source: apis/certificates helpers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from navarch.machinery import pem

if TYPE_CHECKING:
    from cryptography.x509 import CertificateSigningRequest

SIGNER = "kubernetes.io/"
CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN = (
    SIGNER + name
    for name in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
)
NODES, NODE_PREFIX = "system:nodes", "system:node:"
ENCIPHER = "key encipherment"
KUBELET_CLIENT_USAGES = frozenset(("digital signature", ENCIPHER, "client auth"))
KUBELET_SERVING_USAGES = frozenset(("digital signature", ENCIPHER, "server auth"))


def parse(text: bytes) -> CertificateSigningRequest:
    """The request of the first PEM block. Raises ValueError."""
    from cryptography.x509 import load_der_x509_csr  # lazily: slow to import

    found = pem.blocks(text)
    if not found or found[0].label != "CERTIFICATE REQUEST":
        raise ValueError("PEM block type must be CERTIFICATE REQUEST")
    return load_der_x509_csr(found[0].data)


def verify(request: CertificateSigningRequest) -> None:
    """Raises ValueError unless the request is signed with its own key."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        if request.is_signature_valid:
            return
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError) as error:
        raise ValueError(f"x509: cannot verify signature: {error}") from None
    raise ValueError("x509: signature verification failed")


def organizations(request: CertificateSigningRequest) -> list[str]:
    from cryptography.x509.oid import NameOID

    return [str(item.value) for item in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def common_name(request: CertificateSigningRequest) -> str:
    from cryptography.x509.oid import NameOID

    found = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[-1].value) if found else ""


def alternative_names(request: CertificateSigningRequest) -> frozenset[str]:
    """Which kinds of subject alternative names it has: `DNS`, `Email`, `IP`, `URI`."""
    from cryptography import x509

    kinds: dict[type[x509.GeneralName], str] = {
        x509.DNSName: "DNS",
        x509.RFC822Name: "Email",
        x509.IPAddress: "IP",
        x509.UniformResourceIdentifier: "URI",
    }
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(kinds[type(name)] for name in names if type(name) in kinds)


def kubelet_client_problem(request: CertificateSigningRequest, usages: Collection[str]) -> str:
    """Why it is no request for a kubelet's client certificate; empty where it is one."""
    if organizations(request) != [NODES]:
        return "subject organization is not system:nodes"
    names = alternative_names(request)
    for kind in ("DNS", "Email", "IP", "URI"):
        if kind in names:
            return f"{kind} subjectAltNames are not allowed"
    if not common_name(request).startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return _usage_problem(KUBELET_CLIENT_USAGES, usages)


def kubelet_serving_problem(request: CertificateSigningRequest, usages: Collection[str]) -> str:
    """Why it is no request for a kubelet's serving certificate; empty where it is one."""
    if organizations(request) != [NODES]:
        return "subject organization is not system:nodes"
    names = alternative_names(request)
    if not names & {"DNS", "IP"}:
        return "DNS or IP subjectAltName is required"
    for kind in ("Email", "URI"):
        if kind in names:
            return f"{kind} subjectAltNames are not allowed"
    if problem := _usage_problem(KUBELET_SERVING_USAGES, usages):
        return problem
    if not common_name(request).startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return ""


def _usage_problem(wanted: frozenset[str], usages: Collection[str]) -> str:
    if frozenset(usages) in (wanted, wanted - {ENCIPHER}):
        return ""
    return f"usages did not match [{' '.join(sorted(wanted))}]"
