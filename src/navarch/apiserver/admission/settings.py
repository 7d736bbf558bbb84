"""Which plugins run, and how they are configured: AdmissionConfiguration (apiserver.config.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from navarch.api.podsecurity.levels import LEVELS, PREFIX, Modes, modes_of
from navarch.apiserver.admission.podsecurity import Exemptions
from navarch.machinery.decode import parse_yaml
from navarch.machinery.types import Obj


class BadSettings(Exception):
    """The settings cannot be used; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    enabled: frozenset[str] = frozenset()
    """Plugins that run besides the default ones ..."""
    disabled: frozenset[str] = frozenset()
    """... and those of them that do not."""
    configurations: Mapping[str, Obj] = field(default_factory=dict[str, Obj])
    """By plugin."""

    def runs(self, name: str, by_default: bool) -> bool:
        return name in self.enabled or (by_default and name not in self.disabled)

    def check(self, known: Iterable[str]) -> None:
        """Raises BadSettings."""
        names = set(known)
        for flag, listed in (("enable", self.enabled), ("disable", self.disabled)):
            if unknown := sorted(listed - names):
                raise BadSettings(f'{flag}-admission-plugins plugin "{unknown[0]}" is unknown')
        if both := sorted(self.enabled & self.disabled):
            raise BadSettings(
                f"[{' '.join(both)}] in enable-admission-plugins and disable-admission-plugins overlapped"
            )
        if unknown := sorted(self.configurations.keys() - names):
            raise BadSettings(f'the configuration is of an unknown plugin: "{unknown[0]}"')


def configurations_of(text: bytes, directory: Path) -> dict[str, Obj]:
    """What an AdmissionConfiguration says, by plugin; paths are relative to `directory`. Raises BadSettings, OSError."""
    tree = _tree(text)
    if tree.get("kind") != "AdmissionConfiguration":
        raise BadSettings(f"no AdmissionConfiguration, but {tree.get('kind')!r}")
    found: dict[str, Obj] = {}
    for plugin in tree.get("plugins") or ():
        name, path = plugin.get("name", ""), plugin.get("path") or ""
        given: Any = plugin.get("configuration")
        found[name] = given if isinstance(given, dict) else _tree((directory / path).read_bytes()) if path else {}
    return found


def _tree(text: bytes) -> Obj:
    from navarch.machinery.errors import StatusError

    try:
        tree = parse_yaml(text)
    except StatusError as error:
        raise BadSettings(error.message) from None
    if not isinstance(tree, dict):
        raise BadSettings("no object")
    return tree


def pod_security(configuration: Obj) -> tuple[Modes, Exemptions]:
    """A PodSecurityConfiguration. Raises BadSettings."""
    given: Obj = configuration.get("defaults") or {}
    labels = {f"{PREFIX}{name}": str(value) for name, value in given.items()}
    modes, errs = modes_of({f"{PREFIX}warn": LEVELS[0], **labels})
    if errs:
        raise BadSettings(f"PodSecurity defaults: {errs.items[0]}")
    exempt: Obj = configuration.get("exemptions") or {}
    return modes, Exemptions(
        namespaces=frozenset(exempt.get("namespaces") or ()),
        usernames=frozenset(exempt.get("usernames") or ()),
        runtime_classes=frozenset(exempt.get("runtimeClasses") or ()),
    )
