"""TLS over memory buffers, on pyOpenSSL.

The standard library's ssl can ask for a client certificate only together with refusing unknown ones in the handshake.
Kubernetes answers such a client with HTTP 401 and a Status, so the certificate must come through unjudged: pyOpenSSL's
verify callback lets it, and whoever authenticates requests judges it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL

RECORD = 16384
"""Plain text in a record, at most."""
OVERHEAD = 128
"""More than a record adds to its plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """A server's certificate chain and key (PEM files), and whether it asks clients for theirs.

    `authorities` (PEM) are named to clients, which may choose a certificate by them (Go's, and openssl's, show them).
    """

    certificate: Path
    key: Path
    ask_client: bool = True
    authorities: bytes = b""


class TlsError(Exception):
    """The peer does not speak TLS, or broke it off."""


def server_context(config: TlsConfig) -> Any:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256")
    context.use_certificate_chain_file(str(config.certificate))
    context.use_privatekey_file(str(config.key))
    context.check_privatekey()
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_select_callback(_choose_protocol)
    if config.ask_client:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        for authority in _authorities(config.authorities):
            context.add_client_ca(authority)
    return context


def _authorities(pem: bytes) -> list[x509.Certificate]:
    """Each once, by its name: only that is told."""
    found = x509.load_pem_x509_certificates(pem) if pem else []
    return list({certificate.subject: certificate for certificate in found}.values())


def _record_size(data: bytes) -> int:
    """With its header."""
    return 5 + (data[3] << 8 | data[4]) if len(data) >= 5 else 5


def _ends_with_record(data: bytes) -> bool:
    """Whether data that begins with a record ends with one."""
    at, end = 0, len(data)
    while at + 5 <= end:
        at += 5 + (data[at + 3] << 8 | data[at + 4])
    return at == end


def _choose_protocol(_: Any, offered: Sequence[bytes]) -> Any:
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class ServerTls:
    """One connection's TLS state: bytes from the peer in, plain text out, and the other way round."""

    __slots__ = ("_aligned", "_connection", "established")

    def __init__(self, context: Any) -> None:
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._aligned = True
        """Everything received so far was whole records."""
        self.established = False

    def receive(self, data: bytes) -> list[bytes]:
        """The plain text in what the peer sent (handshake records give none). Raises TlsError; EOF is an empty last
        item."""
        connection = self._connection
        self._aligned = self._aligned and _ends_with_record(data)
        plain: list[bytes] = []
        try:
            connection.bio_write(data)
            if not self.established:
                connection.do_handshake()
                self.established = True
            elif self._aligned and _record_size(data) == len(data):
                plain.append(connection.recv(RECORD))
                return plain  # asking for more would raise, which costs as much as reading
            while True:
                plain.append(connection.recv(RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            plain.append(b"")
        except SSL.Error as error:
            raise TlsError(str(error)) from None
        return plain

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """What is to be sent to the peer for `data` (and for anything before it). Raises TlsError."""
        size = len(data)
        if size > RECORD:
            return self.encrypt_all((data,), size)
        try:
            self._connection.send(data)
            sealed = self._connection.bio_read(size + OVERHEAD)
        except SSL.Error as error:
            raise TlsError(str(error)) from None
        return sealed if len(sealed) < size + OVERHEAD else sealed + self.outgoing()

    def encrypt_all(self, pieces: Sequence[bytes | memoryview], size: int) -> bytes:
        """What is to be sent for pieces of `size` bytes in all. Raises TlsError."""
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[self._connection.send(view[: 1 << 20]) :]
        except SSL.Error as error:
            raise TlsError(str(error)) from None
        return self.outgoing(size)

    def shut_down(self) -> None:
        try:
            self._connection.shutdown()
        except SSL.Error:
            pass

    def outgoing(self, about: int = 0) -> bytes:
        """What is to be sent to the peer now; `about` how much is expected."""
        found: list[bytes] = []
        size = about + about // 64 + 4096
        try:
            while not found or len(found[-1]) == size:  # a short read has emptied the buffer
                found.append(self._connection.bio_read(size))
        except SSL.WantReadError:
            pass
        return found[0] if len(found) == 1 else b"".join(found)

    def peer_certificate(self) -> bytes | None:
        """DER."""
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        from cryptography.hazmat.primitives.serialization import Encoding

        return certificate.public_bytes(Encoding.DER)
