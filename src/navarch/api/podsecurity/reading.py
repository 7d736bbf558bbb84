"""How the checks read pods and word what they find. Source: pod-security-admission policy/helpers.go, visitor.go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from navarch.machinery.types import Obj


class Finding(NamedTuple):
    """Why a pod is not allowed. `detail` names what in it is wrong."""

    reason: str
    detail: str


Check = Callable[[Obj, Obj], "Finding | None"]
"""(a pod's metadata, its spec) -> None where it is allowed."""


def containers(spec: Obj) -> Iterator[Obj]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def security(holder: Obj) -> Obj:
    return holder.get("securityContext") or {}


def quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def named(bad: list[str]) -> str:
    """`containers "a", "b"`."""
    return f"{plural('container', 'containers', len(bad))} {quoted(bad)}"


def setters(pod: bool, bad: list[str]) -> str:
    """`pod and container "a"`; empty where nothing sets it."""
    return " and ".join([*(["pod"] if pod else []), *([named(bad)] if bad else [])])


def names_where(spec: Obj, wrong: Callable[[Obj], object]) -> list[str]:
    """The names of containers that something is wrong with."""
    return [container.get("name", "") for container in containers(spec) if wrong(container)]


def is_windows(spec: Obj) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def in_user_namespace(spec: Obj) -> bool:
    return spec.get("hostUsers") is False
