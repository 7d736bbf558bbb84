"""Deleting an object: preconditions, grace, finalizers, and what becomes of dependents.

Sources: genericregistry.Store.Delete, rest.BeforeDelete and the garbage collector's two finalizers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from navarch.apiserver.registry.call import Call, DeleteOptions
from navarch.apiserver.watchcache import Entry
from navarch.machinery import errors, trees
from navarch.machinery.clock import parse_time, rfc3339
from navarch.machinery.types import GroupResource, Obj
from navarch.store.interface import ConflictError

if TYPE_CHECKING:
    from navarch.apiserver.registry.generic import Registry

ATTEMPTS = 50
ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
EVICTION = "eviction"


async def delete(registry: Registry, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
    """Deletes `call.name`, or marks it for deletion. Returns its last state, and whether it is gone."""
    key = registry.cache.key(call.namespace, call.name)
    for _ in range(ATTEMPTS):
        entry = registry.cache.by_key(key)
        if entry is None:
            raise errors.not_found(registry.resource, call.name)
        try:
            return await _delete(registry, call, options, entry)
        except ConflictError:
            continue
    raise errors.conflict(registry.resource, call.name)


async def _delete(registry: Registry, call: Call, options: DeleteOptions, entry: Entry) -> tuple[Entry, bool]:
    check_preconditions(registry, options, entry)
    if call.subresource != EVICTION:  # which was admitted as such
        await registry.env.admission.review(registry.admission_request(call, "DELETE", None, entry.obj))
    now = registry.env.world.now()
    obj = {**entry.obj, "metadata": {**entry.obj["metadata"]}}
    metadata = obj["metadata"]
    graceful, pending, options = _begin_grace(registry, obj, options, now)
    if pending:
        return entry, False
    finalizers = _finalizers(registry, metadata, options)
    changed = sorted(finalizers) != sorted(metadata.get("finalizers", ()))
    if changed:
        metadata["finalizers"] = finalizers
        if not finalizers:
            del metadata["finalizers"]
    if not graceful and finalizers:
        _mark_deleting(metadata, now)
    if finalizers or (graceful and options.grace_period_seconds):
        if obj == entry.obj:
            return entry, False
        return await registry.rewrite(call, entry, obj), False
    return await registry.remove(entry, entry.obj if not graceful else obj, call), True


def check_preconditions(
    registry: Registry, options: DeleteOptions, entry: Entry, named: GroupResource | None = None
) -> None:
    """`named` is what a conflict says the object is: its kind, unless given."""
    metadata = entry.obj["metadata"]
    gone = named or GroupResource(registry.resource.group, registry.kind.kind)
    if options.uid is not None and options.uid != metadata.get("uid", ""):
        raise errors.conflict(
            gone,
            entry.name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record "
            f"({metadata.get('uid', '')}). The object might have been deleted and then recreated",
        )
    if options.resource_version is not None and options.resource_version != str(entry.revision):
        raise errors.conflict(
            gone,
            entry.name,
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({entry.revision}). The object might have been modified",
        )


def _begin_grace(registry: Registry, obj: Obj, options: DeleteOptions, now: float) -> tuple[bool, bool, DeleteOptions]:
    """Whether the object lingers for its grace period (its metadata then says so), and whether it already does."""
    decide = registry.kind.graceful_seconds
    if decide is None:
        return False, False, options
    metadata = obj["metadata"]
    wanted = options.grace_period_seconds
    if wanted is not None and wanted < 0:
        wanted = 1
    if "deletionTimestamp" in metadata:
        return _shorten_grace(metadata, replace(options, grace_period_seconds=wanted), now)
    natural = decide(obj) if wanted is None else wanted
    wanted = _pod_grace(obj, natural)
    if wanted is None:
        return False, False, options
    metadata["deletionTimestamp"] = rfc3339(now + wanted)
    metadata["deletionGracePeriodSeconds"] = wanted
    if metadata.get("generation"):
        metadata["generation"] += 1
    return True, False, replace(options, grace_period_seconds=wanted)


def _pod_grace(obj: Obj, wanted: int | None) -> int | None:
    """A pod that no node runs, or that is over, goes at once (podStrategy.CheckGracefulDelete)."""
    if wanted is None:
        return None
    if not trees.get(obj, "spec", "nodeName"):
        return 0
    if trees.get(obj, "status", "phase") in ("Failed", "Succeeded"):
        return 0
    return 1 if wanted < 0 else wanted


def _shorten_grace(metadata: Obj, options: DeleteOptions, now: float) -> tuple[bool, bool, DeleteOptions]:
    current = metadata.get("deletionGracePeriodSeconds") or 0
    if current == 0:
        return False, False, options
    wanted = options.grace_period_seconds
    if wanted is None or wanted >= current:
        return False, True, options
    due = parse_time(metadata["deletionTimestamp"]) - current + wanted
    if due < now:
        due = now
        wanted = 1 if wanted else 0
    metadata["deletionTimestamp"] = rfc3339(due)
    metadata["deletionGracePeriodSeconds"] = wanted
    return True, False, replace(options, grace_period_seconds=wanted)


def _finalizers(registry: Registry, metadata: Obj, options: DeleteOptions) -> list[str]:
    """The finalizers that the object is to have while it is deleted."""
    present: list[str] = metadata.get("finalizers", [])
    kept = [f for f in present if f not in (ORPHAN, FOREGROUND)]
    if registry.kind.default_propagation == "unsupported":
        return kept
    wanted = _propagation(registry, present, options)
    if wanted == "Orphan":
        kept.append(ORPHAN)
    elif wanted == "Foreground":
        kept.append(FOREGROUND)
    return kept


def _propagation(registry: Registry, present: list[str], options: DeleteOptions) -> str:
    if options.orphan_dependents is not None:
        return "Orphan" if options.orphan_dependents else "Background"
    if options.propagation:
        return options.propagation
    for finalizer in present:
        if finalizer == ORPHAN:
            return "Orphan"
        if finalizer == FOREGROUND:
            return "Foreground"
    return "Orphan" if registry.kind.default_propagation == "orphan" else "Background"


def _mark_deleting(metadata: Obj, now: float) -> None:
    if "deletionTimestamp" not in metadata:
        if metadata.get("generation"):
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = rfc3339(now)
    elif parse_time(metadata["deletionTimestamp"]) > now:
        metadata["deletionTimestamp"] = rfc3339(now)
    metadata["deletionGracePeriodSeconds"] = 0
