"""A certificate authority in memory: it makes itself, and certificates for servers and clients, all on P-256 keys.

cryptography is imported when the first is made: most commands need none.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Any

CA_YEARS, YEARS = 10, 1


class Authority:
    """A certificate authority: its certificate and its key, both also as PEM."""

    def __init__(self, pem: bytes, key_pem: bytes) -> None:
        """From what was kept of it. Raises ValueError for what is neither certificate nor key."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        self.pem = pem
        self.key_pem = key_pem
        self._certificate: Any = x509.load_pem_x509_certificate(pem)
        self._key: Any = load_pem_private_key(key_pem, None)

    @classmethod
    def new(cls, common_name: str) -> Authority:
        from cryptography import x509

        key, key_pem = _new_key()
        name = _name(common_name, ())
        builder = _builder(name, name, key.public_key(), CA_YEARS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=True), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        return cls(_sign(builder, key), key_pem)

    def server(
        self, common_name: str, names: Sequence[str], addresses: Sequence[str], organization: str = ""
    ) -> tuple[bytes, bytes]:
        """PEM of a server's certificate for these names and addresses, and of its key."""
        from cryptography import x509

        alternatives: list[Any] = [x509.DNSName(name) for name in dict.fromkeys(names)]
        alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in dict.fromkeys(addresses)]
        subject = _name(common_name, (organization,) if organization else ())
        return self._issue(subject, x509.OID_SERVER_AUTH, alternatives)

    def client(self, name: str, *groups: str) -> tuple[bytes, bytes]:
        """PEM of a user's certificate (common name and organizations, as Kubernetes reads them), and of its key."""
        from cryptography import x509

        return self._issue(_name(name, groups), x509.OID_CLIENT_AUTH, [])

    def _issue(self, subject: Any, purpose: Any, alternatives: Sequence[Any]) -> tuple[bytes, bytes]:
        from cryptography import x509

        key, pem = _new_key()
        builder = _builder(subject, self._certificate.subject, key.public_key(), YEARS)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(sign=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return _sign(builder, self._key), pem


def new_key_pem() -> bytes:
    """PEM of a new private key."""
    return _new_key()[1]


def _new_key() -> tuple[Any, bytes]:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return key, pem


def _name(common_name: str, organizations: Sequence[str]) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
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
