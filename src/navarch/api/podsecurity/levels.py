"""Levels and versions of the Pod Security Standards, as namespaces' labels choose them, and their verdicts on pods.

Source: pod-security-admission api/helpers.go, policy/registry.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from navarch.api.podsecurity.baseline import BASELINE
from navarch.api.podsecurity.reading import Check, Finding
from navarch.api.podsecurity.restricted import OVERRIDES, RESTRICTED
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

LEVELS = ("privileged", "baseline", "restricted")
"""From the loosest to the strictest."""
PREFIX = "pod-security.kubernetes.io/"
NEWEST = 35
"""The last minor version of 1 in which a check changed."""
LATEST = -1
_version = re.compile(r"v1\.(0|[1-9][0-9]*)", re.ASCII).fullmatch


class Standard(NamedTuple):
    level: str
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"

    @property
    def strictness(self) -> int:
        return LEVELS.index(self.level)


class Modes(NamedTuple):
    """What a namespace asks for."""

    enforce: Standard
    audit: Standard
    warn: Standard

    @property
    def is_privileged(self) -> bool:
        return all(standard.level == LEVELS[0] for standard in self)

    def same(self, other: Modes) -> bool:
        """Whether both come to the same."""
        return all(a == b or a.level == b.level == LEVELS[0] for a, b in zip(self, other, strict=True))


DEFAULT = Modes(*(Standard(LEVELS[0]) for _ in range(3)))


def modes_of(labels: Mapping[str, str], defaults: Modes = DEFAULT) -> tuple[Modes, FieldErrors]:
    """What labels ask for, and what is wrong with them. Enforcement fails closed, the rest open."""
    errs = FieldErrors()
    if not any(label.startswith(PREFIX) for label in labels):
        return defaults, errs
    found: dict[str, Standard] = {}
    valid_enforce = False
    for mode, default in zip(("enforce", "audit", "warn"), defaults, strict=True):
        level, minor = default
        if (text := labels.get(f"{PREFIX}{mode}")) is not None:
            level = text
            if text not in LEVELS:
                _wrong(errs, mode, text, f"must be one of {', '.join(LEVELS)}")
                level = LEVELS[2] if mode == "enforce" else LEVELS[0]
            elif mode == "enforce":
                valid_enforce = True
        if (text := labels.get(f"{PREFIX}{mode}-version")) is not None:
            minor = _minor(text)
            if minor is None:
                _wrong(errs, f"{mode}-version", text, 'must be "latest" or "v1.x"')
                minor = LATEST
        found[mode] = Standard(level, minor)
    enforce, warn = found["enforce"], found["warn"]
    if valid_enforce and f"{PREFIX}warn" not in labels and enforce.strictness > warn.strictness:
        found["warn"] = Standard(enforce.level, warn.minor if f"{PREFIX}warn-version" in labels else enforce.minor)
    return Modes(**found), errs


def _wrong(errs: FieldErrors, label: str, text: str, why: str) -> None:
    errs.invalid(f"metadata.labels[{PREFIX}{label}]", text, why)


def _minor(text: str) -> int | None:
    if text == "latest":
        return LATEST
    match = _version(text)
    return int(match[1]) if match is not None and len(text) < 12 else None


def findings(standard: Standard, metadata: Obj, spec: Obj) -> list[Finding]:
    """Why a standard forbids a pod; empty where it allows it."""
    if standard.level == LEVELS[0]:
        return []
    minor = NEWEST if standard.minor == LATEST else min(standard.minor, NEWEST)
    return [found for check in _checks(standard.level, minor) if (found := check(metadata, spec)) is not None]


@lru_cache(maxsize=2 * (NEWEST + 1))
def _checks(level: str, minor: int) -> list[Check]:
    base, strict = _of(BASELINE, minor), _of(RESTRICTED, minor)
    if level == "baseline":
        return list(base.values())
    overridden = {OVERRIDES[name] for name in strict if name in OVERRIDES}
    return [check for name, check in base.items() if name not in overridden] + list(strict.values())


def _of(checks: Mapping[str, tuple[tuple[int, Check], ...]], minor: int) -> dict[str, Check]:
    found: dict[str, Check] = {}
    for name, versions in checks.items():
        for first, check in versions:
            if first <= minor:
                found[name] = check
    return found


def reasons(found: list[Finding]) -> str:
    return ", ".join(finding.reason for finding in found)


def details(found: list[Finding]) -> str:
    return ", ".join(f"{f.reason} ({f.detail})" if f.detail else f.reason for f in found)
