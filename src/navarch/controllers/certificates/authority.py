"""A certificate authority that signs requests as they are. Source: pkg/controller/certificates/authority.

Everything of `cryptography` is imported when the first certificate is made: it is slow to import.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from typing import Any

from navarch.api.certificates import requests

BACKDATE_SECONDS = 300
SHORT_SECONDS = 8 * 3600
"""Certificates that live shorter end when they ought to, not by the backdating earlier."""
KEY_USAGES: Mapping[str, str] = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
PURPOSES: Mapping[str, str] = {
    "any": "2.5.29.37.0",
    "server auth": "1.3.6.1.5.5.7.3.1",
    "client auth": "1.3.6.1.5.5.7.3.2",
    "code signing": "1.3.6.1.5.5.7.3.3",
    "email protection": "1.3.6.1.5.5.7.3.4",
    "s/mime": "1.3.6.1.5.5.7.3.4",
    "ipsec end system": "1.3.6.1.5.5.7.3.5",
    "ipsec tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp signing": "1.3.6.1.5.5.7.3.9",
    "microsoft sgc": "1.3.6.1.4.1.311.10.3.3",
    "netscape sgc": "2.16.840.1.113730.4.1",
}
"""Extended key usages, in the order in which they are put into a certificate."""


class CertificateAuthority:
    """A certificate with its key, both PEM."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self._pem = certificate, key
        self._loaded: tuple[Any, Any] | None = None

    @property
    def _own(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from cryptography import x509
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            certificate, key = self._pem
            self._loaded = x509.load_pem_x509_certificate(certificate), load_pem_private_key(key, None)
        return self._loaded

    def sign(self, request: bytes, usages: Collection[str], seconds: float, now: float) -> bytes:
        """The certificate (PEM) that a request (PEM) asks for: its subject, names and key; nothing else of it. Raises
        ValueError where the request is none, or the authority has expired."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        wanted = requests.parse(request)
        requests.verify(wanted)
        own, key = self._own
        begins, ends = _lifetime(seconds, now, own.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(wanted.subject)
            .issuer_name(own.subject)
            .public_key(wanted.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )
        for extension, critical in _extensions(wanted, usages, own):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(key, _digest(key)).public_bytes(Encoding.PEM)


def _lifetime(seconds: float, now: float, last: datetime.datetime) -> tuple[datetime.datetime, datetime.datetime]:
    moment = datetime.datetime.fromtimestamp(int(now), datetime.UTC)
    begins = moment - datetime.timedelta(seconds=BACKDATE_SECONDS)
    ends = moment + datetime.timedelta(seconds=seconds - (0 if seconds < SHORT_SECONDS else BACKDATE_SECONDS))
    if begins >= last:
        raise ValueError(f"the signer has expired: NotAfter={last}")
    if moment >= last:
        raise ValueError(f"refusing to sign a certificate that expired in the past: NotAfter={last}")
    return begins, min(ends, last)


def _extensions(wanted: Any, usages: Collection[str], own: Any) -> list[tuple[Any, bool]]:
    """(extension, critical) of the certificate."""
    from cryptography import x509

    found: list[tuple[Any, bool]] = []
    bits = {KEY_USAGES[usage] for usage in usages if usage in KEY_USAGES}
    if bits:
        if "key_agreement" not in bits:  # the two mean nothing without it
            bits -= {"encipher_only", "decipher_only"}
        found.append((x509.KeyUsage(**{name: name in bits for name in set(KEY_USAGES.values())}), True))
    purposes = dict.fromkeys(oid for usage, oid in PURPOSES.items() if usage in usages)
    if purposes:
        found.append((x509.ExtendedKeyUsage([x509.ObjectIdentifier(oid) for oid in purposes]), False))
    found.append((x509.BasicConstraints(ca=False, path_length=None), True))
    try:
        identifier = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        found.append((x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False))
    except x509.ExtensionNotFound:
        pass
    try:
        names = wanted.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kinds = (x509.DNSName, x509.RFC822Name, x509.IPAddress, x509.UniformResourceIdentifier)
        kept = [name for name in names if isinstance(name, kinds)]
        if kept:
            found.append((x509.SubjectAlternativeName(kept), not list(wanted.subject)))
    except x509.ExtensionNotFound:
        pass
    return found


def _digest(key: Any) -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519

    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()


def ends_at(certificate: bytes) -> float | None:
    """When the first certificate of a PEM text runs out; None where it cannot be read."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError:
        return None
