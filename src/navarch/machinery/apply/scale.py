"""Owners of `replicas`, between a workload and its Scale.

To the Scale, whoever owns the workload's replicas owns `spec.replicas` of it; what a write makes of that is carried back.
As upstream does it (managedfields.ScaleHandler): an updater known by the Scale's version is another than the workload's
own, and owners that come from the Scale have the time that the workload knows of them, if any.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from navarch.machinery.apply.fieldset import difference, has, of_paths
from navarch.machinery.apply.managers import Managed, Owned, decode, encode, entry_order
from navarch.machinery.types import Obj

SCALE_VERSION = "autoscaling/v1"
SCALE_PATH = ("f:spec", "f:replicas")


def of_scale(entries: list[Obj], path: Sequence[str], versions: Collection[str]) -> list[Obj]:
    """The Scale's entries. `path`: where the workload has its replicas; `versions`: those that it is served in."""
    found: Managed = {}
    for key, owned in decode(entries).items():
        if owned.version in versions and has(owned.fields, path):
            found[key] = Owned(of_paths(SCALE_PATH), SCALE_VERSION, owned.time)
    return encode(found)


def of_workload(
    entries: list[Obj], scale_entries: list[Obj], path: Sequence[str], versions: Collection[str], version: str
) -> list[Obj]:
    """The workload's entries after a write to its Scale, through `version` of the workload."""
    known, scaled = decode(entries), decode(scale_entries)
    replicas = of_paths(path)
    found: Managed = {}
    for key, owned in known.items():
        if owned.version not in versions:
            continue
        if not has(owned.fields, path) or scaled.pop(key, None) is not None:
            found[key] = owned
        elif left := difference(owned.fields, replicas):
            found[key] = owned._replace(fields=left)
    made = encode(found)
    for key, owned in scaled.items():
        if has(owned.fields, SCALE_PATH):
            time = known[key].time if key in known else ""
            made += encode({key: Owned(replicas, version, time)})
    return sorted(made, key=entry_order)
