"""What a test's cluster keeps in its directory."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from navarch.cluster.pki import kubeconfig_with


def write(path: Path, content: bytes) -> None:
    """For the owner's eyes only; not made durable, for nothing outlives the test."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def keep_pair(directory: Path, name: str, pair: tuple[bytes, bytes]) -> tuple[Path, Path]:
    """A certificate and its key."""
    places = directory / f"{name}.crt", directory / f"{name}.key"
    for path, pem in zip(places, pair, strict=True):
        write(path, pem)
    return places


def write_kubeconfig(path: Path, address: str, ca: bytes, identity: tuple[bytes, bytes]) -> None:
    """As JSON, which is YAML too, and takes a hundredth of the time."""
    write(path, orjson.dumps(kubeconfig_with(ca, identity, address)))
