"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, each under a number.

Source of the rules: upstream's pkg/controller/history. All pure: what to write comes back as actions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from navarch.client.interface import Resource
from navarch.controllers import objects
from navarch.controlloop.plan import Action, Create, Delete, Patch
from navarch.machinery import trees
from navarch.machinery.clock import safe_encoded
from navarch.machinery.types import Key, Obj, key_of

REVISIONS = Resource("apps", "v1", "controllerrevisions")
HASH = "controller.kubernetes.io/hash"
POD_HASH = "controller-revision-hash"
"""On pods; and on the revisions of DaemonSets."""
NAME_MAX = 223
"""Of the owner's name in a revision's."""


class History(NamedTuple):
    """What is known of an owner's revisions after a look at its template."""

    current: Obj
    """The revision of the template as it is now (it may be about to be made)."""
    actions: Sequence[Action]
    """What makes it so."""
    collisions: int
    """The owner's collision count: a name was taken by another revision."""


def by_number(revisions: Iterable[Obj]) -> list[Obj]:
    """Oldest first."""
    return sorted(revisions, key=lambda r: (r.get("revision", 0), objects.created_at(r), r["metadata"]["name"]))


def changed(old: Obj | None, new: Obj | None, kind: str, owners: Iterable[Obj]) -> set[Key]:
    """The keys of the owners that a change of a revision is of interest to. A new one with an owner is not: it is the owner's
    own work, or somebody else's that is looked at with the owner's next round. `owners`: all of that kind in its namespace."""
    if new is not None and old is None and objects.controller_of(new) is not None:
        return set()
    keys = objects.owner_keys(old, new, kind)
    if new is not None and objects.controller_of(new) is None and not objects.is_deleting(new):
        labels = objects.labels_of(new)
        keys.update(key_of(owner) for owner in owners if objects.selects(owner["spec"].get("selector"), labels))
    return keys


class Claimed(NamedTuple):
    mine: list[Obj]
    """Oldest first."""
    actions: list[Action]
    """Adoptions and releases."""


def claim(owner: Obj, kind: str, candidates: Iterable[Obj]) -> Claimed:
    """The owner's revisions among its own and the orphans of its namespace: those that its selector matches. An owner
    that is being deleted takes and leaves nothing."""
    selector, uid, dying = owner["spec"].get("selector"), objects.uid_of(owner), objects.is_deleting(owner)
    claimed = Claimed([], [])
    for revision in candidates:
        fits, controller = objects.selects(selector, objects.labels_of(revision)), objects.controller_uid(revision)
        if controller == uid:
            if fits or dying:
                claimed.mine.append(revision)
            else:
                claimed.actions.append(objects.release(REVISIONS, revision, owner))
        elif not controller and fits and not dying and not objects.is_deleting(revision):
            claimed.actions.append(objects.adopt(REVISIONS, revision, owner, "apps/v1", kind))
            claimed.mine.append(revision)
    return Claimed(by_number(claimed.mine), claimed.actions)


def template_data(owner: Obj) -> Obj:
    """The data of a revision: a patch that puts the template back. Clients that compare it with a template of theirs do so
    byte by byte: it is written as Go writes a map of it."""
    template: Obj = {**trees.copy(owner["spec"]["template"]), "$patch": "replace"}
    spec = template.get("spec") or {}
    for field in ("containers", "initContainers"):
        for container in spec.get(field) or ():
            container.setdefault("resources", {})
    return _sorted({"spec": {"template": template}})


def _sorted(value: Any) -> Any:
    """Keys in order, at every depth."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def restored(owner: Obj, revision: Obj) -> Obj:
    """The owner with the template of that revision."""
    template = {k: v for k, v in revision["data"]["spec"]["template"].items() if k != "$patch"}
    return {**owner, "spec": {**owner["spec"], "template": template}}


def hash_of(data: Obj, collisions: int) -> str:
    digest = hashlib.blake2b(orjson.dumps(data, option=orjson.OPT_SORT_KEYS), digest_size=4)
    if collisions:
        digest.update(str(collisions).encode())
    return safe_encoded(str(int.from_bytes(digest.digest(), "big")))


def new_revision(owner: Obj, kind: str, number: int, collisions: int) -> Obj:
    data = template_data(owner)
    hashed = hash_of(data, collisions)
    label = POD_HASH if kind == "DaemonSet" else HASH
    labels = {**((owner["spec"]["template"].get("metadata") or {}).get("labels") or {}), label: hashed}
    meta = {
        "name": f"{owner['metadata']['name'][:NAME_MAX]}-{hashed}",
        "namespace": owner["metadata"]["namespace"],
        "labels": labels,
        "annotations": dict(objects.annotations_of(owner)),
        "ownerReferences": [objects.controller_reference(owner, "apps/v1", kind)],
    }
    return {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta, "data": data, "revision": number}


def look(owner: Obj, kind: str, revisions: Sequence[Obj], collisions: int) -> History:
    """The revision of the owner's template: found, found again (a rollback, which gets the newest number), or made.
    `revisions` are the owner's, oldest first."""
    data = template_data(owner)
    number = revisions[-1].get("revision", 0) + 1 if revisions else 1
    equal = [revision for revision in revisions if revision.get("data") == data]
    if equal:
        newest = equal[-1]
        if newest is revisions[-1]:
            return History(newest, (), collisions)
        patch = Patch(REVISIONS, key_of(newest), {"revision": number, "metadata": {"uid": objects.uid_of(newest)}})
        return History({**newest, "revision": number}, (patch,), collisions)
    made = new_revision(owner, kind, number, collisions)
    taken = {revision["metadata"]["name"] for revision in revisions}
    while made["metadata"]["name"] in taken:
        collisions += 1
        made = new_revision(owner, kind, number, collisions)
    return History(made, (Create(REVISIONS, made, exists_ok=True),), collisions)


def truncated(revisions: Sequence[Obj], live: Iterable[str], limit: int) -> list[Action]:
    """Deletes the oldest revisions that no pod and no status names, beyond the limit."""
    used = set(live)
    unused = [revision for revision in revisions if revision["metadata"]["name"] not in used]
    excess = len(unused) - max(limit, 0)
    return [Delete(REVISIONS, key_of(r), objects.uid_of(r)) for r in unused[:excess]] if excess > 0 else []
