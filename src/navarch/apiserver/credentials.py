"""What webhooks are told of who asks: the users of a kubeconfig, chosen by the webhook's address.

Source: apiserver's util/webhook/authentication.go (AuthenticationInfoResolver) and its WebhookAdmissionConfiguration.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from navarch.client.kubeconfig import material
from navarch.machinery.decode import parse_yaml
from navarch.machinery.types import Obj

GROUP = "apiserver.config.k8s.io/v1"
OLD_GROUP = "apiserver.config.k8s.io/v1alpha1"
KINDS = {(GROUP, "WebhookAdmissionConfiguration"), (OLD_GROUP, "WebhookAdmission")}


class BadCredentials(ValueError):
    """A file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Credential:
    """A user of a kubeconfig."""

    token: str = ""
    token_file: Path | None = None
    """Read at each use: tokens in files are renewed."""
    headers: tuple[tuple[str, str | Sequence[str]], ...] = ()
    certificate: tuple[Path, Path] | None = None

    def sent(self) -> dict[str, str | Sequence[str]]:
        """The headers of a request. Raises OSError where the token's file cannot be read."""
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return dict(self.headers) | ({"Authorization": f"Bearer {token}"} if token else {})


NOBODY = Credential()


class Credentials:
    """By name of a kubeconfig's users: addresses, `*.` and the rest of one, or `*`."""

    def __init__(self, users: Mapping[str, Credential], current: str = "") -> None:
        """`current`: who it is where no name fits."""
        self._users = users
        self._current = current

    def of(self, host: str, port: int) -> Credential:
        """Whom the server at an address is to be told that it talks to."""
        for name in (*_names(f"{host}:{port}"), *(_names(host) if port == 443 else ()), "*", self._current):
            if name in self._users:
                return self._users[name]
        return NOBODY

    @staticmethod
    def read(path: Path) -> Credentials:
        """Raises BadCredentials and OSError."""
        content: Any = parse_yaml(path.read_bytes())
        if not isinstance(content, dict):
            raise BadCredentials(f"{path} is not a kubeconfig")
        try:
            users = {entry["name"]: _credential(entry.get("user") or {}, path) for entry in content.get("users") or ()}
            contexts = {entry["name"]: entry.get("context") or {} for entry in content.get("contexts") or ()}
        except (KeyError, TypeError, AttributeError):
            raise BadCredentials(f"{path} is not a kubeconfig") from None
        return Credentials(users, contexts.get(content.get("current-context", ""), {}).get("user", ""))


def _names(target: str) -> Iterator[str]:
    yield target
    steps = target.split(".")
    for first in range(1, len(steps)):
        yield f"*.{'.'.join(steps[first:])}"


def _credential(user: Obj, path: Path) -> Credential:
    for unsupported in ("exec", "auth-provider"):
        if user.get(unsupported):
            raise BadCredentials(f"{path}: {unsupported} is not supported")
    headers: list[tuple[str, str | Sequence[str]]] = []
    if user.get("username") or user.get("password"):
        pair = f"{user.get('username', '')}:{user.get('password', '')}"
        headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    if user.get("as"):
        headers.append(("Impersonate-User", user["as"]))
        headers += [("Impersonate-Uid", user["as-uid"])] if user.get("as-uid") else []
        headers += [("Impersonate-Group", tuple(user["as-groups"]))] if user.get("as-groups") else []
        extra: Mapping[str, Sequence[str]] = user.get("as-user-extra") or {}
        headers += [(f"Impersonate-Extra-{key}", tuple(values)) for key, values in extra.items()]
    certificate, key = material(user, "client-certificate", path), material(user, "client-key", path)
    file = user.get("tokenFile")
    return Credential(
        user.get("token") or "",
        path.parent / file if file else None,
        tuple(headers),
        (certificate, key) if certificate and key else None,
    )


def of_webhooks(configuration: Obj) -> Credentials | None:
    """A WebhookAdmissionConfiguration's credentials; None where it names none. Raises BadCredentials and OSError."""
    if not configuration:
        return None
    found = (configuration.get("apiVersion", ""), configuration.get("kind", ""))
    if found not in KINDS:
        raise BadCredentials(f"no WebhookAdmissionConfiguration, but {found[1]!r} of {found[0]!r}")
    if configuration.get("staticManifestsDir"):
        raise BadCredentials("staticManifestsDir: manifests of webhooks are not read from files")
    file: str = configuration.get("kubeConfigFile") or ""
    if not file:
        return None
    if not Path(file).is_absolute():
        raise BadCredentials(f'kubeConfigFile: Invalid value: "{file}": must be an absolute file path')
    return Credentials.read(Path(file))
