"""Reading a kubeconfig: where the server is, and by what it knows us."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import Any, NamedTuple


class Access(NamedTuple):
    """What the current context says."""

    server: str
    ca: Path | None
    certificate: tuple[Path, Path] | None
    token: str
    token_file: Path | None


def load(path: Path) -> Access:
    """Raises ValueError where something is missing, naming it."""
    import yaml  # lazily: who only looks into one has parsed it already

    content: Any = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a kubeconfig")
    context = _named(content, "contexts", content.get("current-context", ""), path)["context"]
    cluster = _named(content, "clusters", context.get("cluster", ""), path)["cluster"]
    user = _named(content, "users", context.get("user", ""), path)["user"]
    certificate = material(user, "client-certificate", path), material(user, "client-key", path)
    token_file = user.get("tokenFile")
    return Access(
        cluster["server"],
        material(cluster, "certificate-authority", path),
        (certificate[0], certificate[1]) if certificate[0] and certificate[1] else None,
        user.get("token", ""),
        Path(token_file) if token_file else None,
    )


def _named(content: dict[str, Any], section: str, name: str, path: Path) -> Any:
    for entry in content.get(section) or []:
        if entry.get("name") == name:
            return entry
    raise ValueError(f"{path}: there is no {name!r} in {section}")


def material(entry: dict[str, Any], name: str, path: Path) -> Path | None:
    """A certificate or key: a file's path, or the text itself written to a private temporary file."""
    if data := entry.get(f"{name}-data"):
        with tempfile.NamedTemporaryFile(prefix="navarch-", suffix=".pem", delete=False) as file:
            file.write(base64.b64decode(data))
        return Path(file.name)
    return path.parent / entry[name] if entry.get(name) else None
