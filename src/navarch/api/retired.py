"""Versions that upstream has removed and that are served still: clients of old find what they knew."""

from __future__ import annotations

from typing import Any

from navarch.api.kind import Version


def retired(group: str, version: str, kind: str, since: str, until: str, use: str, **hooks: Any) -> Version:
    """A version deprecated in release `since` and gone in `until` (`1.19`); `use` is the group and version in its place,
    `hooks` are Version's further fields."""
    return Version(
        group=group,
        version=version,
        definition=f"io.k8s.api.{group.partition('.')[0]}.{version}.{kind}",
        deprecation=f"{group}/{version} {kind} is deprecated in v{since}+, unavailable in v{until}+; use {use} {kind}",
        **hooks,
    )
