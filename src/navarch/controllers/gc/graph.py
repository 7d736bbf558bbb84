"""Who depends on whom: a state machine over object changes. Pure: `step` returns what is to be looked at.

Only objects that have owners or are being deleted cost memory; of all others the uid is known. Source of the rules:
upstream's pkg/controller/garbagecollector/graph_builder.go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from navarch.client.interface import Resource
from navarch.controllers import objects
from navarch.machinery.types import Obj

ORPHAN_FINALIZER = "orphan"
FOREGROUND_FINALIZER = "foregroundDeletion"
ABSENT_KEPT = 500


class Item(NamedTuple):
    """An object, wherever it is."""

    resource: Resource
    namespace: str
    name: str
    uid: str

    @staticmethod
    def of(resource: Resource, obj: Obj) -> Item:
        meta = obj["metadata"]
        return Item(resource, meta.get("namespace", ""), meta["name"], meta.get("uid", ""))


class Work(NamedTuple):
    """`check`: may it be deleted, as its owners are gone; `orphan`: set its dependents free."""

    what: Literal["check", "orphan"]
    item: Item


class Dependent(NamedTuple):
    item: Item
    blocks: bool
    """Whether a foreground deletion of the owner waits for it."""


def owners_of(obj: Obj | None) -> dict[str, Obj]:
    """Owner references by uid."""
    return {reference["uid"]: reference for reference in _references(obj)} if obj is not None else {}


def _references(obj: Obj) -> Sequence[Obj]:
    return obj["metadata"].get("ownerReferences") or ()


def has_finalizer(obj: Obj, finalizer: str) -> bool:
    return finalizer in (obj["metadata"].get("finalizers") or ())


def is_foreground(obj: Obj) -> bool:
    return objects.is_deleting(obj) and has_finalizer(obj, FOREGROUND_FINALIZER)


class Graph:
    def __init__(self) -> None:
        self.known: set[str] = set()
        """uids of every object that exists, as far as the caches know."""
        self.foreground: dict[str, Item] = {}
        """Owners that wait for their dependents."""
        self._dependents: dict[str, dict[str, Dependent]] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()

    def dependents(self, uid: str) -> list[Dependent]:
        return list(self._dependents.get(uid, {}).values())

    def is_absent(self, uid: str) -> bool:
        """Known to be gone for good (uids never come back)."""
        return uid in self._absent

    def set_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > ABSENT_KEPT:
            self._absent.popitem(last=False)

    def step(self, resource: Resource, old: Obj | None, new: Obj | None) -> list[Work]:
        """Takes one change in; what follows from it, in order."""
        if old is not None and new is not None and objects.uid_of(old) != objects.uid_of(new):
            return self.step(resource, old, None) + self.step(resource, None, new)
        if new is None:
            return self._removed(Item.of(resource, old), old) if old is not None else []
        if old is not None and not objects.is_deleting(new) and _references(old) == _references(new):
            return []
        item = Item.of(resource, new)
        self.known.add(item.uid)
        work = self._owners_changed(item, owners_of(old), owners_of(new))
        if objects.is_deleting(new):
            work += self._deleting(item, old, new)
        return work

    def _removed(self, item: Item, old: Obj) -> list[Work]:
        self.known.discard(item.uid)
        self.foreground.pop(item.uid, None)
        work = [Work("check", dependent.item) for dependent in self.dependents(item.uid)]
        if work:
            self.set_absent(item.uid)
        return work + self._unlink(item, owners_of(old))

    def _unlink(self, item: Item, owners: Iterable[str]) -> list[Work]:
        work: list[Work] = []
        for uid in owners:
            siblings = self._dependents.get(uid)
            if siblings is not None:
                siblings.pop(item.uid, None)
                if not siblings:
                    del self._dependents[uid]
            if uid in self.foreground:
                work.append(Work("check", self.foreground[uid]))
        return work

    def _owners_changed(self, item: Item, before: dict[str, Obj], after: dict[str, Obj]) -> list[Work]:
        if before == after:
            return []
        work = self._unlink(item, [uid for uid in before if uid not in after])
        check = False
        for uid, reference in after.items():
            blocks = bool(reference.get("blockOwnerDeletion"))
            self._dependents.setdefault(uid, {})[item.uid] = Dependent(item, blocks)
            if uid in self.foreground:
                work.append(Work("check", self.foreground[uid]))
            check = check or uid not in self.known or uid in self.foreground
        return [*work, Work("check", item)] if check else work

    def _deleting(self, item: Item, old: Obj | None, new: Obj) -> list[Work]:
        was = old if old is not None and objects.is_deleting(old) else None
        work: list[Work] = []
        if has_finalizer(new, ORPHAN_FINALIZER) and (was is None or not has_finalizer(was, ORPHAN_FINALIZER)):
            work.append(Work("orphan", item))
        if has_finalizer(new, FOREGROUND_FINALIZER):
            if item.uid not in self.foreground:
                self.foreground[item.uid] = item
                work += [Work("check", dependent.item) for dependent in self.dependents(item.uid)]
                work.append(Work("check", item))
        else:
            self.foreground.pop(item.uid, None)
        return work
