"""The files that say who is believed, what is logged and what is encrypted, read for an API server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from pathlib import Path

from navarch.apiserver.admission.plugins import check
from navarch.apiserver.admission.settings import BadSettings, Settings, configurations_of
from navarch.apiserver.audit.log import LogFile
from navarch.apiserver.audit.policy import DEFAULT, BadPolicy
from navarch.apiserver.audit.policy import parse as parse_policy
from navarch.apiserver.auth.configuration import Anonymous, Authentication, BadConfiguration
from navarch.apiserver.auth.configuration import parse as parse_authentication
from navarch.apiserver.auth.tokenfile import parse_tokens
from navarch.apiserver.server import ApiServerConfig
from navarch.cluster import pki
from navarch.store.encryption import configuration as encryption


class BadFile(Exception):
    """A file cannot be used; the text names it and says why."""


def with_front_proxy(config: ApiServerConfig, places: pki.Paths) -> ApiServerConfig:
    """The server as a front proxy before extension servers; what it believes of proxies, it believes of itself."""
    settings = config.authentication
    authorities = settings.front_proxy_ca_pem + places.front_proxy_ca.cert.read_bytes()
    names = settings.front_proxy_names | {pki.FRONT_PROXY} if settings.front_proxy_names else settings.front_proxy_names
    authentication = replace(settings, front_proxy_ca_pem=authorities, front_proxy_names=names)
    own = (places.front_proxy.cert, places.front_proxy.key)
    return replace(config, authentication=authentication, proxy_client=config.proxy_client or own)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFiles:
    """None: the part is left at its default, or off."""

    authentication: Path | None = None
    """AuthenticationConfiguration."""
    anonymous: bool = True
    tokens: Path | None = None
    """The static token file."""
    token_webhook: Path | None = None
    front_proxy_ca: Path | None = None
    front_proxy_names: tuple[str, ...] = ("front-proxy-client",)
    proxy_client: tuple[Path, Path] | None = None
    """Certificate and key by which extension servers know this server, instead of its own."""
    audit_policy: Path | None = None
    audit_log: Path | None = None
    encryption: Path | None = None
    """EncryptionConfiguration; made where it does not exist."""
    admission: Path | None = None
    """AdmissionConfiguration."""
    enabled_plugins: frozenset[str] = frozenset()
    disabled_plugins: frozenset[str] = frozenset()

    @staticmethod
    def at(home: Path, logs: Path) -> AccessFiles:
        """The files of a server whose things are in `home`: those that an administrator has put there count."""

        def given(name: str) -> Path | None:
            return path if (path := home / name).exists() else None

        return AccessFiles(
            authentication=given("authentication.yaml"),
            tokens=given("tokens.csv"),
            token_webhook=given("token-webhook.kubeconfig"),
            front_proxy_ca=given("front-proxy-ca.crt"),
            audit_policy=given("audit-policy.yaml"),
            audit_log=logs / "audit.log",
            encryption=home / "encryption.yaml",
            admission=given("admission.yaml"),
        )

    def applied(self, config: ApiServerConfig) -> ApiServerConfig:
        """The configuration with what the files say. Raises BadFile."""
        at: Path | None = None
        try:
            anonymous, issuers = Anonymous(), ()
            if at := self.authentication:
                anonymous, issuers = parse_authentication(at.read_bytes())
            if at := self.tokens:
                config = replace(config, fixed_tokens={**config.fixed_tokens, **parse_tokens(at.read_text())})
            if at := self.encryption:
                config = replace(config, encryption=encryption.ensure(at))
            if self.audit_log is not None:
                at = self.audit_policy
                policy = parse_policy(at.read_bytes() if at else DEFAULT)
                self.audit_log.parent.mkdir(parents=True, exist_ok=True)
                config = replace(config, audit=(policy, LogFile(path=self.audit_log)))
            at = self.admission
            config = replace(config, admission=self._admission())
            if self.proxy_client:
                at = self.proxy_client[0]
                ssl.create_default_context().load_cert_chain(*self.proxy_client)
                config = replace(config, proxy_client=self.proxy_client)
            at = self.front_proxy_ca
            authentication = Authentication(
                anonymous=anonymous if self.anonymous else Anonymous(False),
                issuers=issuers,
                front_proxy_ca_pem=at.read_bytes() if at else b"",
                front_proxy_names=frozenset(self.front_proxy_names),
                webhook_kubeconfig=str(self.token_webhook) if self.token_webhook else "",
            )
        except (BadConfiguration, BadPolicy, encryption.BadEncryption, BadSettings, ValueError, OSError) as err:
            raise BadFile(f"{at}: {err}" if at else str(err)) from None
        return replace(config, authentication=authentication)

    def _admission(self) -> Settings:
        """Raises BadSettings and OSError."""
        at = self.admission
        found = Settings(
            enabled=self.enabled_plugins,
            disabled=self.disabled_plugins,
            configurations=configurations_of(at.read_bytes(), at.parent) if at else {},
        )
        check(found)
        return found
