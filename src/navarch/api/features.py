"""Upstream's alpha features that are here, off unless asked for, and the alpha versions of groups that a server serves.

A server, the controllers and the scheduler are each told (`--feature-gates`, `--runtime-config`); all others of upstream's
gates stand where the release has them. Source: pkg/features, the generic API server's ResourceConfig. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from navarch.api.kind import Kind
from navarch.machinery.types import Obj

WORKLOADS: Final = "GenericWorkload"
GANGS: Final = "GangScheduling"
TOPOLOGY: Final = "TopologyAwareWorkloadScheduling"
PREEMPTION: Final = "WorkloadAwarePreemption"
JOBS: Final = "WorkloadWithJob"
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    WORKLOADS: (),
    GANGS: (WORKLOADS,),
    TOPOLOGY: (WORKLOADS,),
    PREEMPTION: (GANGS,),
    JOBS: (WORKLOADS,),
}
"""What a feature cannot do without."""
ALL_ALPHA: Final = "AllAlpha"
ALPHA_VERSIONS: Final = frozenset(("scheduling.k8s.io/v1alpha2",))
EVERY_ALPHA: Final = ("api/all", "api/alpha")


@dataclass(frozen=True, slots=True)
class Features:
    """`versions`: alpha versions that are served, as `group/version`."""

    on: frozenset[str] = frozenset()
    versions: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        return name in self.on

    def serves(self, kind: Kind) -> bool:
        return not kind.feature or (kind.feature in self.on and f"{kind.hub.group}/{kind.hub.version}" in self.versions)

    def served(self, kinds: Iterable[Kind]) -> tuple[Kind, ...]:
        return tuple(kind for kind in kinds if self.serves(kind))


NONE: Final = Features()


def parse(gates: str, versions: str = "") -> Features:
    """From the values of `--feature-gates` and `--runtime-config`: `name=true,...`. Raises ValueError."""
    on: set[str] = set()
    for name, value in _pairs(gates):
        if name == ALL_ALPHA:
            on = set(NEEDS) if value else set()
        elif name not in NEEDS:
            raise ValueError(f"unrecognized feature gate: {name} (there are: {', '.join(NEEDS)})")
        else:
            (on.add if value else on.discard)(name)
    for name in sorted(on):
        if missing := [needed for needed in NEEDS[name] if needed not in on]:
            raise ValueError(f"{name} is enabled, but depends on features that are disabled: [{' '.join(missing)}]")
    return Features(frozenset(on), _versions(versions))


def _versions(text: str) -> frozenset[str]:
    found: set[str] = set()
    for name, value in _pairs(text):
        if name in EVERY_ALPHA:
            found = set(ALPHA_VERSIONS) if value else set()
        elif name in ALPHA_VERSIONS:
            (found.add if value else found.discard)(name)
        elif not value:
            raise ValueError(
                f"{name} cannot be switched off; only alpha versions can: {', '.join(sorted(ALPHA_VERSIONS))}"
            )
        elif name not in ("api/ga", "api/beta", "api/legacy"):
            raise ValueError(f"{name} is no alpha version that is here; there are: {', '.join(sorted(ALPHA_VERSIONS))}")
    return frozenset(found)


def _pairs(text: str) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if value.lower() not in ("", "true", "false", "1", "0", "t", "f"):
            raise ValueError(f"invalid value of {name}={value}, must be true or false")
        found.append((name, value.lower() in ("", "true", "1", "t")))
    return found


# -- fields of features that are off

Disable = Callable[["Obj", "Obj | None", Features], None]
"""(new, old or None on create, features): drops the fields of features that are off, unless the old object has them."""


def without_group(*path: str) -> Disable:
    """Of kinds whose pod spec is at `path`."""

    def disable(new: Obj, old: Obj | None, features: Features) -> None:
        if WORKLOADS in features.on:
            return
        spec = _at(new, path)
        if spec is not None and "schedulingGroup" in spec and "schedulingGroup" not in (_at(old, path) or {}):
            del spec["schedulingGroup"]

    return disable


def _at(tree: Obj | None, path: Iterable[str]) -> Obj | None:
    for name in path:
        tree = (tree or {}).get(name)
    return tree
