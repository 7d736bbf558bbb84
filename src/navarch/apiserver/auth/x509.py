"""Users by client certificate: the common name is the user, the organizations are its groups.

TLS takes any certificate whose key the client holds; here it is judged (upstream's request/x509 authenticator).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from navarch.apiserver.request import Request, User
from navarch.machinery import errors
from navarch.machinery.clock import World

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

AUTHENTICATED = "system:authenticated"
CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
UID_OID = "1.3.6.1.4.1.57683.2"
CACHE_KEY = "x509.verdict"
JUDGED = 1024
"""Good certificates whose verdicts are remembered."""


class BadCertificate(Exception):
    """The certificate proves nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a connection's certificate says, good from `start` until `end` (seconds since the epoch)."""

    user: User | None
    start: float
    end: float


class ClientCertificates:
    """The authenticator of certificates that one of the authorities in `ca_pem` has signed."""

    def __init__(self, ca_pem: bytes, world: World, cache_key: str = CACHE_KEY) -> None:
        self._world = world
        self._cache_key = cache_key
        self._authorities = _authorities(ca_pem)
        self._judged: dict[bytes, Verdict] = {}
        """By certificate (DER), newest last: clients open many connections with the same one."""

    def authenticate(self, request: Request) -> User | None:
        """Judges once for each connection; only the clock is looked at again. Raises 401."""
        connection = request.connection
        if connection.peer_certificate is None:
            return None
        verdict = connection.cache.get(self._cache_key)
        if verdict is None:
            verdict = connection.cache[self._cache_key] = self._verdict(connection.peer_certificate)
        if not verdict.start <= self._world.now() <= verdict.end:
            raise errors.unauthorized()
        return verdict.user

    def _verdict(self, der: bytes) -> Verdict:
        known = self._judged.get(der)
        if known is None:
            try:
                known = self._judge(der)
            except BadCertificate:
                return Verdict(None, 0.0, -1.0)
            if len(self._judged) >= JUDGED:
                del self._judged[next(iter(self._judged))]
            self._judged[der] = known
        return known

    def _judge(self, der: bytes) -> Verdict:
        from cryptography import x509

        try:
            leaf = x509.load_der_x509_certificate(der)
            _check_purpose(leaf)
            authority = self._issuer(leaf)
            names = [str(a.value) for a in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
            groups = [str(a.value) for a in leaf.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
            uids = [str(a.value) for a in leaf.subject.get_attributes_for_oid(x509.ObjectIdentifier(UID_OID))]
        except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as err:
            raise BadCertificate(f"the certificate cannot be read: {err}") from None
        if len(uids) > 1 or uids == [""]:
            raise BadCertificate("expected one UID in the subject")
        start = max(leaf.not_valid_before_utc, authority.not_valid_before_utc).timestamp()
        end = min(leaf.not_valid_after_utc, authority.not_valid_after_utc).timestamp()
        if not names or not names[-1]:
            return Verdict(None, start, end)
        if AUTHENTICATED not in groups:
            groups.append(AUTHENTICATED)
        identity = (f"X509SHA256={hashlib.sha256(der).hexdigest()}",)
        return Verdict(
            User(names[-1], uids[0] if uids else "", tuple(groups), ((CREDENTIAL_ID, identity),)), start, end
        )

    def _issuer(self, leaf: Certificate) -> Certificate:
        from cryptography.exceptions import InvalidSignature

        for authority in self._authorities:
            if authority.subject == leaf.issuer:
                try:
                    leaf.verify_directly_issued_by(authority)
                except (InvalidSignature, ValueError, TypeError):
                    continue
                return authority
        raise BadCertificate("certificate signed by unknown authority")


def _authorities(pem: bytes) -> list[Certificate]:
    """The certificates of a bundle that may sign others. Raises ValueError for what is no bundle."""
    from cryptography import x509

    found: list[Certificate] = []
    for certificate in x509.load_pem_x509_certificates(pem):
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except x509.ExtensionNotFound:
            continue
        if constraints.ca:
            found.append(certificate)
    return found


def _check_purpose(leaf: Certificate) -> None:
    """Made for clients (or for anything), and nothing critical in it that is not understood."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    for extension in leaf.extensions:
        value = extension.value
        if extension.critical and isinstance(value, x509.UnrecognizedExtension):
            raise BadCertificate(f"unhandled critical extension {extension.oid.dotted_string}")
        if isinstance(value, x509.ExtendedKeyUsage):
            usages = set(value)
            if not usages & {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}:
                raise BadCertificate("the certificate is not for clients")
