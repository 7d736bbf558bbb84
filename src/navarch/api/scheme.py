"""The list of every built-in kind, and look-ups in it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from types import ModuleType

import navarch.api as api_package
from navarch.api.kind import Kind, Version
from navarch.machinery.types import GroupKind, GroupResource


def _modules() -> Iterator[ModuleType]:
    for package in pkgutil.iter_modules(api_package.__path__):
        if package.ispkg and not package.name.startswith("_"):
            group = importlib.import_module(f"navarch.api.{package.name}")
            for module in pkgutil.iter_modules(group.__path__):
                yield importlib.import_module(f"navarch.api.{package.name}.{module.name}")


@cache
def kinds() -> tuple[Kind, ...]:
    """Every built-in kind: each module `api/<group>/<kind>.py` with a `KIND` (or a tuple `KINDS`)."""
    found: list[Kind] = []
    for module in _modules():
        if isinstance(kind := getattr(module, "KIND", None), Kind):
            found.append(kind)
        found.extend(getattr(module, "KINDS", ()))
    return tuple(found)


@cache
def by_resource() -> dict[GroupResource, Kind]:
    """By hub group and plural."""
    return {kind.group_resource: kind for kind in kinds()}


@cache
def by_kind() -> dict[GroupKind, tuple[Kind, Version]]:
    """By every served (group, kind): the newest version of that group."""
    found: dict[GroupKind, tuple[Kind, Version]] = {}
    for kind in kinds():
        for version in kind.versions:
            found.setdefault(GroupKind(version.group, kind.kind), (kind, version))
    return found
