"""From a token's claims to a user, as an issuer's configuration says: claims, or CEL expressions over them."""

from __future__ import annotations

from typing import Any

from navarch.apiserver.auth.authenticators import BadToken
from navarch.apiserver.auth.configuration import BadConfiguration, ClaimSource, JwtIssuer
from navarch.apiserver.auth.x509 import CREDENTIAL_ID
from navarch.apiserver.request import User


class Identity:
    """Compiles the expressions once. Raises BadConfiguration where one does not compile."""

    def __init__(self, config: JwtIssuer) -> None:
        self._config = config
        self._username = _compiled(config.username.expression, "claims")
        self._groups = _compiled(config.groups.expression, "claims")
        self._uid = _compiled(config.uid.expression, "claims")
        self._extra = [(key, _compiled(text, "claims")) for key, text in config.extra]
        self._claim_checks = [(check, _compiled(check.expression, "claims")) for check in config.claim_checks]
        self._user_checks = [(check, _compiled(check.expression, "user")) for check in config.user_checks]

    def of(self, claims: dict[str, Any]) -> User:
        """Raises BadToken."""
        name = self._name(claims)
        groups = self._listed(claims)
        uid = self._text(self._config.uid, self._uid, claims, "uid")
        extra = self._extras(claims)
        user = User(name, uid, groups, tuple(sorted(extra.items())))
        for check, program in self._claim_checks:
            if program is not None:
                _hold(program, {"claims": claims}, check.message or check.expression, "claim")
            elif check.claim not in claims:
                raise BadToken(f"oidc: required claim {check.claim} not present in ID token")
            elif claims[check.claim] != check.value:
                raise BadToken(
                    f"oidc: required claim {check.claim} value does not match. Got = {claims[check.claim]}, want = "
                    f"{check.value}"
                )
        if self._user_checks:
            shown = {
                "username": name,
                "uid": uid,
                "groups": list(groups),
                "extra": {k: list(v) for k, v in extra.items()},
            }
            for check, program in self._user_checks:
                _hold(program, {"user": shown}, check.message or check.expression, "user info")
        return user

    def _name(self, claims: dict[str, Any]) -> str:
        source = self._config.username
        if self._username is not None:
            name = _run(self._username, {"claims": claims}, "username claim")
            if not isinstance(name, str):
                raise BadToken("oidc: error evaluating username claim expression: it must return a string")
            if not name:
                raise BadToken("oidc: empty username via CEL expression is not allowed")
            return name
        name = claims.get(source.claim)
        if not isinstance(name, str):
            raise BadToken(f'oidc: parse username claims "{source.claim}": claim not present')
        if source.claim == "email" and claims.get("email_verified", True) is not True:
            raise BadToken("oidc: email not verified")
        return source.prefix + name

    def _listed(self, claims: dict[str, Any]) -> tuple[str, ...]:
        source = self._config.groups
        if self._groups is not None:
            return _words(_run(self._groups, {"claims": claims}, "group claim"), "group claim")
        found = claims.get(source.claim) if source.claim else None
        if found is None:
            return ()
        words = [found] if isinstance(found, str) else found
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise BadToken(f'oidc: parse groups claim "{source.claim}": neither a string nor a list of strings')
        return tuple(source.prefix + word for word in words)

    @staticmethod
    def _text(source: ClaimSource, program: Any, claims: dict[str, Any], what: str) -> str:
        if program is None and not source.claim:
            return ""
        value = claims.get(source.claim) if program is None else _run(program, {"claims": claims}, f"{what} claim")
        if not isinstance(value, str):
            raise BadToken(f"oidc: parse {what} claim: not a string")
        return value

    def _extras(self, claims: dict[str, Any]) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        if isinstance(jti := claims.get("jti"), str) and jti:
            found[CREDENTIAL_ID] = (f"JTI={jti}",)
        for key, program in self._extra:
            if words := _words(_run(program, {"claims": claims}, "extra claim"), "extra claim"):
                found[key] = words
        return found


def _compiled(text: str, variable: str) -> Any:
    if not text:
        return None
    from navarch.machinery.cel.environment import compile_expression
    from navarch.machinery.cel.syntax import CompileError
    from navarch.machinery.cel.types import DYN, STRING, map_of

    try:
        return compile_expression(text, {variable: map_of(STRING, DYN)})
    except CompileError as err:
        raise BadConfiguration(f"the expression {text!r} does not compile: {err}") from None


def _run(program: Any, bindings: dict[str, Any], what: str) -> Any:
    from navarch.machinery.cel.values import CelError, CostExceeded, to_plain

    try:
        return to_plain(program.run(bindings))
    except (CelError, CostExceeded) as err:
        raise BadToken(f"oidc: error evaluating {what} expression: {err}") from None


def _words(value: Any, what: str) -> tuple[str, ...]:
    """A string or a list of strings; empty ones count for nothing."""
    words = [value] if isinstance(value, str) else value
    if words is None:
        return ()
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise BadToken(f"oidc: error evaluating {what} expression: it must return a string or a list of strings")
    return tuple(word for word in words if word)


def _hold(program: Any, bindings: dict[str, Any], message: str, what: str) -> None:
    if _run(program, bindings, f"{what} validation") is not True:
        raise BadToken(f"oidc: error evaluating {what} validation expression: validation expression failed: {message}")
