"""The AuthenticationConfiguration file (apiserver.config.k8s.io): which issuers are believed, and what anonymous users see.

Source: apiserver/pkg/apis/apiserver, its validation. v1, v1beta1 and v1alpha1 are alike in what is read here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from navarch.machinery import names
from navarch.machinery.decode import parse_yaml

GROUP = "apiserver.config.k8s.io"


class BadConfiguration(Exception):
    """The configuration cannot be used; the text says why."""


class Anonymous(NamedTuple):
    """What may be asked without saying who one is."""

    enabled: bool = True
    paths: frozenset[str] | None = frozenset(("/healthz", "/livez", "/readyz", "/version"))
    """None: every path (authorization still has its say)."""

    def admits(self, path: str) -> bool:
        return self.enabled and (self.paths is None or path in self.paths)


class ClaimSource(NamedTuple):
    """Where a part of a user comes from: a claim and its prefix, or a CEL expression over `claims`."""

    claim: str = ""
    prefix: str = ""
    expression: str = ""


class Check(NamedTuple):
    """A claim that must have a value, or an expression that must be true."""

    claim: str = ""
    value: str = ""
    expression: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtIssuer:
    """One issuer of tokens, and how its claims become a user."""

    url: str
    discovery_url: str = ""
    ca_pem: str = ""
    audiences: frozenset[str]
    username: ClaimSource
    groups: ClaimSource = field(default_factory=ClaimSource)
    uid: ClaimSource = field(default_factory=ClaimSource)
    extra: Sequence[tuple[str, str]] = ()
    """(key, CEL expression)."""
    claim_checks: Sequence[Check] = ()
    user_checks: Sequence[Check] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """Who is believed, beyond the server's own certificates and tokens."""

    anonymous: Anonymous = field(default_factory=Anonymous)
    issuers: Sequence[JwtIssuer] = ()
    front_proxy_ca_pem: bytes = b""
    """PEM bundle of the authorities of front proxies; empty: X-Remote-* headers say nothing."""
    front_proxy_names: frozenset[str] = field(default_factory=lambda: frozenset(("front-proxy-client",)))
    """Common names of their certificates; empty: any."""
    webhook_kubeconfig: str = ""
    """The kubeconfig file of a server that is asked about tokens nobody else knows."""


def parse(text: bytes) -> tuple[Anonymous, tuple[JwtIssuer, ...]]:
    """Raises BadConfiguration."""
    try:
        tree: Any = parse_yaml(text)
    except Exception as err:
        raise BadConfiguration(f"the file is no YAML: {err}") from None
    if not isinstance(tree, dict) or tree.get("kind") != "AuthenticationConfiguration":
        raise BadConfiguration("kind: must be AuthenticationConfiguration")
    if not str(tree.get("apiVersion", "")).startswith(f"{GROUP}/v1"):
        raise BadConfiguration(f"apiVersion: must be {GROUP}/v1")
    try:
        issuers = tuple(_issuer(one, f"jwt[{i}]") for i, one in enumerate(tree.get("jwt") or ()))
        urls = [issuer.url for issuer in issuers]
        if len(set(urls)) != len(urls):
            raise BadConfiguration("jwt: every issuer.url must be there once only")
        return _anonymous(tree.get("anonymous")), issuers
    except (AttributeError, TypeError, KeyError) as err:
        raise BadConfiguration(f"the file has another shape than it should: {err}") from None


def _anonymous(tree: Any) -> Anonymous:
    if tree is None:
        return Anonymous()
    conditions = [str(c["path"]) for c in tree.get("conditions") or ()]
    return Anonymous(bool(tree.get("enabled", False)), frozenset(conditions) if conditions else None)


def _issuer(tree: Any, at: str) -> JwtIssuer:
    issuer, mappings = tree["issuer"], tree.get("claimMappings") or {}
    url = str(issuer.get("url", ""))
    _check_url(url, f"{at}.issuer.url")
    if discovery := str(issuer.get("discoveryURL", "")):
        _check_url(discovery, f"{at}.issuer.discoveryURL")
        if discovery.rstrip("/") == url.rstrip("/"):
            raise BadConfiguration(f"{at}.issuer.discoveryURL: must be different from url")
    audiences = frozenset(map(str, issuer.get("audiences") or ()))
    if not audiences:
        raise BadConfiguration(f"{at}.issuer.audiences: at least one jwt[].issuer.audiences is required")
    made = JwtIssuer(
        url=url,
        discovery_url=discovery,
        ca_pem=str(issuer.get("certificateAuthority", "")),
        audiences=audiences,
        username=_mapping(mappings.get("username"), f"{at}.claimMappings.username", True),
        groups=_mapping(mappings.get("groups"), f"{at}.claimMappings.groups", True),
        uid=_mapping(mappings.get("uid"), f"{at}.claimMappings.uid", False),
        extra=tuple(_extra(one, f"{at}.claimMappings.extra[{i}]") for i, one in enumerate(mappings.get("extra") or ())),
        claim_checks=tuple(
            Check(
                str(one.get("claim", "")),
                str(one.get("requiredValue", "")),
                str(one.get("expression", "")),
                str(one.get("message", "")),
            )
            for one in tree.get("claimValidationRules") or ()
        ),
        user_checks=tuple(
            Check(expression=str(one["expression"]), message=str(one.get("message", "")))
            for one in tree.get("userValidationRules") or ()
        ),
    )
    if not made.username.claim and not made.username.expression:
        raise BadConfiguration(f"{at}.claimMappings.username: claim or expression is required")
    _check_email(made, at)
    return made


def _check_url(url: str, at: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise BadConfiguration(f"{at}: must be an https URL without user, query and fragment")


def _mapping(tree: Any, at: str, prefixed: bool) -> ClaimSource:
    tree = tree or {}
    claim, expression, prefix = str(tree.get("claim", "")), str(tree.get("expression", "")), tree.get("prefix")
    if claim and expression:
        raise BadConfiguration(f"{at}: claim and expression can't both be set")
    if expression and prefix:
        raise BadConfiguration(f"{at}.prefix: prefix can't be set when expression is set")
    if claim and prefixed and prefix is None:
        raise BadConfiguration(f"{at}.prefix: prefix is required when claim is set. It can be set to an empty string")
    return ClaimSource(claim, str(prefix or ""), expression)


def _extra(tree: Any, at: str) -> tuple[str, str]:
    key, expression = str(tree.get("key", "")), str(tree.get("valueExpression", ""))
    domain, _, path = key.partition("/")
    if not path or names.dns1123_subdomain(domain) or key != key.lower():
        raise BadConfiguration(f"{at}.key: must be a domain-prefixed path in lower case")
    if re.fullmatch(r"(.*\.)?(kubernetes|k8s)\.io", domain):
        raise BadConfiguration(f"{at}.key: k8s.io and kubernetes.io are reserved")
    if not expression:
        raise BadConfiguration(f"{at}.valueExpression: is required")
    return key, expression


def _check_email(issuer: JwtIssuer, at: str) -> None:
    """An e-mail address that names a user must have been verified by the provider."""
    if "claims.email" not in issuer.username.expression:
        return
    texts = [
        issuer.username.expression,
        *(text for _, text in issuer.extra),
        *(c.expression for c in issuer.claim_checks),
    ]
    if not any("claims.email_verified" in text for text in texts):
        raise BadConfiguration(
            f"{at}.claimMappings.username.expression: claims.email_verified must be used where claims.email is"
        )
