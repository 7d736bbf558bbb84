"""The EncryptionConfiguration file (apiserver.config.k8s.io/v1): which resources are encrypted, and with which keys.

Source: apiserver/pkg/apis/apiserver (types and validation). `secrets`, `configmaps.`, `deployments.apps`, `*.apps`, `*.`
(the core group) and `*.*` name resources; the first entry that names one counts.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from navarch.machinery.decode import parse_yaml
from navarch.store.encryption.transformers import AesCbc, AesGcm, BaseCipher, Identity, Secretbox, Transformer

ROOT = "/registry/"
AES_SIZES, BOX_SIZES = (16, 24, 32), (32,)
PROVIDERS = ("aesgcm", "aescbc", "secretbox", "identity", "kms")
Rules = Sequence[tuple[str, Transformer]]
"""(prefix of the store's keys, how their values are kept), the first that fits."""


class BadEncryption(Exception):
    """The configuration cannot be used; the text says why."""


def parse(text: bytes) -> Rules:
    """Raises BadEncryption."""
    try:
        tree: Any = parse_yaml(text)
    except Exception as err:
        raise BadEncryption(f"the file is no YAML: {err}") from None
    if not isinstance(tree, dict) or tree.get("kind") != "EncryptionConfiguration":
        raise BadEncryption("kind: must be EncryptionConfiguration")
    if tree.get("apiVersion") != "apiserver.config.k8s.io/v1":
        raise BadEncryption("apiVersion: must be apiserver.config.k8s.io/v1")
    if not tree.get("resources"):
        raise BadEncryption("resources: at least one resources is required")
    try:
        return [rule for i, one in enumerate(tree["resources"]) for rule in _entry(one, f"resources[{i}]")]
    except (AttributeError, TypeError, KeyError) as err:
        raise BadEncryption(f"the file has another shape than it should: {err}") from None


def _entry(tree: Any, at: str) -> Rules:
    resources, providers = list(tree.get("resources") or ()), list(tree.get("providers") or ())
    if not resources:
        raise BadEncryption(f"{at}.resources: at least one {at}.resources is required")
    if not providers:
        raise BadEncryption(f"{at}.providers: at least one {at}.providers is required")
    if len(set(resources)) != len(resources):
        raise BadEncryption(f"{at}.resources: the same resource cannot be specified multiple times")
    prefixes = [_prefix(str(resource), f"{at}.resources") for resource in resources]
    if any(a != b and b.startswith(a) for a in prefixes for b in prefixes):
        raise BadEncryption(f"{at}.resources: overlapping resources in the same list are masked")
    ciphers = [cipher for i, one in enumerate(providers) for cipher in _provider(one, f"{at}.providers[{i}]")]
    transformer = Transformer(ciphers)
    return [(prefix, transformer) for prefix in prefixes]


def _prefix(resource: str, at: str) -> str:
    """The store's keys of a resource."""
    plural, dot, group = resource.partition(".")
    if resource != resource.lower() or not plural:
        raise BadEncryption(f"{at}: {resource!r} is no resource's name")
    if resource == "*":
        raise BadEncryption(f"{at}: use '*.' to encrypt all the resources from core API group or *.* for all resources")
    if group in ("events.k8s.io", "extensions"):
        raise BadEncryption(f"{at}: objects of {group} are stored in another group")
    if group == "*":
        if plural != "*":
            raise BadEncryption(f"{at}: encrypting the same resource across groups is not supported")
        return ROOT
    home = f"{ROOT}{group or 'core'}/"
    return home if plural == "*" and dot else f"{home}{plural}/"


def _provider(tree: Any, at: str) -> list[BaseCipher]:
    kinds = [kind for kind in PROVIDERS if kind in tree]
    if len(kinds) != 1 or len(tree) != 1:
        raise BadEncryption(f"{at}: must have exactly one of {', '.join(PROVIDERS)}")
    match kinds[0]:
        case "identity":
            return [Identity()]
        case "aesgcm":
            return [AesGcm(*key) for key in _keys(tree["aesgcm"], AES_SIZES, f"{at}.aesgcm.keys")]
        case "aescbc":
            return [AesCbc(*key) for key in _keys(tree["aescbc"], AES_SIZES, f"{at}.aescbc.keys")]
        case "secretbox":
            return [Secretbox(*key) for key in _keys(tree["secretbox"], BOX_SIZES, f"{at}.secretbox.keys")]
        case _:
            return [_kms(tree["kms"], f"{at}.kms")]


def _kms(tree: Any, at: str) -> BaseCipher:
    from navarch.store.encryption.kms import Kms

    name, endpoint, timeout = str(tree.get("name", "")), str(tree.get("endpoint", "")), str(tree.get("timeout") or "3s")
    if tree.get("apiVersion") != "v2":
        raise BadEncryption(f"{at}.apiVersion: only v2 is supported")
    if not name or ":" in name:
        raise BadEncryption(f"{at}.name: invalid KMS provider name {name}, must be given and not contain ':'")
    if not endpoint.startswith("unix:///"):
        raise BadEncryption(f"{at}.endpoint: only unix is supported, as in unix:///run/kms.sock")
    seconds = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", timeout, re.ASCII)
    if not seconds or not float(seconds[1]):
        raise BadEncryption(f"{at}.timeout: {timeout!r} should be a positive duration")
    return Kms(name, endpoint, float(seconds[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0}[seconds[2]])


def _keys(tree: Any, sizes: Sequence[int], at: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for index, one in enumerate(tree.get("keys") or ()):
        name, secret = str(one.get("name", "")), str(one.get("secret", ""))
        if not name:
            raise BadEncryption(f"{at}[{index}].name: key.name is a mandatory field for a key")
        try:
            key = base64.b64decode(secret, validate=True)
        except binascii.Error:
            raise BadEncryption(f"{at}[{index}].secret: secrets must be base64 encoded") from None
        if len(key) not in sizes:
            raise BadEncryption(
                f"{at}[{index}].secret: secret is not of the expected length, got {len(key)}, expected one of {list(sizes)}"
            )
        found.append((name, key))
    if not found:
        raise BadEncryption(f"{at}: at least one keys is required")
    return found


def ensure(path: Path) -> Rules:
    """The configuration at `path`; a new one, with a key of its own, where there is none: secrets are encrypted with it,
    and what was written before it can still be read. Raises BadEncryption and OSError."""
    if not path.exists():
        secret = base64.b64encode(os.urandom(32)).decode()
        text = TEMPLATE.format(secret=secret).encode()
        descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".new").rename(path)
    return parse(path.read_bytes())


TEMPLATE = """\
# How secrets are kept in the store. To change the key, put a new one before the old one and start the API server again: it
# then writes every secret anew, and the old key can go.
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - aesgcm:
      keys:
      - {{name: key1, secret: {secret}}}
  - identity: {{}}
"""
