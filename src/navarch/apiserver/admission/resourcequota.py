"""ResourceQuota: what a request takes is charged to its namespace's quotas before it happens; what does not fit is refused.

What is charged is api/quota.py; what goes is given back by the quota controller. Source: apiserver's
admission/plugin/resourcequota. Requests of one namespace are judged one after the other, and all that came meanwhile are
charged by one write, which expects the quotas to be as they were when they were judged: usage never passes a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from navarch.api.podspec.resources import Amounts, amounts
from navarch.api.quota import (
    CLAIMS,
    DEVICE_CLAIMS,
    IGNORED,
    PODS,
    SPECIAL,
    Evaluator,
    add,
    covers,
    evaluator_of,
    is_terminating,
    missing,
    requirements_of,
)
from navarch.apiserver.admission.chain import BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet, Entry
from navarch.machinery import errors, trees
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import GroupResource, Obj
from navarch.store.interface import ConflictError, Write

QUOTAS = GroupResource("", "resourcequotas")
DEVICE_CLASSES = GroupResource("resource.k8s.io", "deviceclasses")
ATTEMPTS = 50
ZERO = Quantity(0)


@dataclass(frozen=True, slots=True)
class Limited:
    """What may only be taken where a quota covers it (a LimitedResource of ResourceQuotaConfiguration)."""

    resource: GroupResource
    contains: tuple[str, ...]
    """Parts of the names of what is taken."""
    scopes: tuple[Obj, ...]

    @staticmethod
    def of(tree: Obj) -> Limited:
        resource = GroupResource(tree.get("apiGroup") or "", tree.get("resource") or "")
        return Limited(resource, tuple(tree.get("matchContains") or ()), tuple(tree.get("matchScopes") or ()))


class _Waiting(NamedTuple):
    request: AdmissionRequest
    evaluator: Evaluator
    done: asyncio.Future[None]

    def settle(self, failure: BaseException | None) -> None:
        if self.done.done():  # whoever waited has gone
            return
        if failure is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(failure)


class ResourceQuota(BasePlugin):
    name = "ResourceQuota"

    def __init__(self, caches: CacheSet, world: World, limited: Sequence[Limited] = ()) -> None:
        self._caches, self._world, self._limited = caches, world, limited
        self._quotas = caches[QUOTAS]
        self._waiting: dict[str, list[_Waiting]] = {}
        self._working: dict[str, asyncio.Task[None]] = {}

    def concerns(self, request: AdmissionRequest) -> bool:
        if not request.kind.namespaced or request.resource in IGNORED or request.body is not None:
            return False
        operation, special = request.operation, request.resource in SPECIAL
        match request.subresource:
            case "":
                return operation == "CREATE" or (operation == "UPDATE" and special)
            case "resize":
                return operation == "UPDATE" and request.resource == PODS
            case "status":
                return operation == "UPDATE" and request.resource == CLAIMS
            case _:
                return False

    def handles(self, request: AdmissionRequest) -> bool:
        return len(self._quotas) > 0 or bool(self._limited)

    async def validate(self, request: AdmissionRequest) -> None:
        evaluator = evaluator_of(request.resource, self)
        if evaluator is None or not _may_cost(request):
            return
        if not self._limited and not self._quotas.range(request.namespace):
            return
        namespace = request.namespace
        waiting = _Waiting(request, evaluator, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(namespace, []).append(waiting)
        if namespace not in self._working:
            self._working[namespace] = asyncio.create_task(self._work(namespace))
        await waiting.done

    # -- what else there is where devices are counted

    def classes(self) -> Iterable[Obj]:
        return (entry.obj for entry in self._caches[DEVICE_CLASSES].range())

    def pod(self, namespace: str, name: str) -> Obj | None:
        entry = self._caches[PODS].get(namespace, name)
        return entry.obj if entry is not None else None

    def claims(self, namespace: str) -> Iterable[Obj]:
        return (entry.obj for entry in self._caches[DEVICE_CLAIMS].range(namespace))

    async def _work(self, namespace: str) -> None:
        try:
            while batch := self._waiting.pop(namespace, []):
                try:
                    await self._settle(namespace, batch)
                except Exception as error:
                    for waiting in batch:
                        waiting.settle(error)
        finally:
            del self._working[namespace]

    async def _settle(self, namespace: str, batch: list[_Waiting]) -> None:
        """Judges a batch in order; charges all that fit by one write."""
        for _ in range(ATTEMPTS):
            quotas = [_Running(entry) for entry in self._quotas.range(namespace)]
            accepted: list[_Waiting] = []
            for waiting in batch:
                try:
                    _charge(quotas, waiting, self._world.now(), self._limited)
                except StatusError as error:
                    waiting.settle(error)
                else:
                    accepted.append(waiting)
            with suppress(ConflictError):
                await self._commit([quota for quota in quotas if quota.changed])
                for waiting in accepted:
                    waiting.settle(None)
                return
            await self._caches.fresh()
            batch = accepted
        for waiting in batch:
            waiting.settle(errors.internal("resource quota evaluation timed out"))

    async def _commit(self, quotas: list[_Running]) -> None:
        """Raises ConflictError where somebody else wrote one of them."""
        if not quotas:
            return
        writes: list[Write] = []
        for quota in quotas:
            obj = quota.written()
            value = self._quotas.encode(obj)
            self._quotas.hint(quota.entry.key, value, obj)
            writes.append(Write(quota.entry.key, value, quota.entry.revision))
        await self._caches.store.commit(tuple(writes))


def _may_cost(request: AdmissionRequest) -> bool:
    """Whether an update changes anything that quotas count."""
    if request.operation != "UPDATE":
        return True
    new, old = request.object, request.old
    assert new is not None and old is not None
    if request.resource == PODS and not request.subresource:
        return is_terminating(new) != is_terminating(old)
    if request.subresource == "status":
        path = ("status", "allocatedResources")
        return trees.get(new, *path, default={}) != trees.get(old, *path, default={})
    return True


class _Running:
    """A quota, with what is charged to it before that is written."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        status = entry.obj.get("status") or {}
        self.hard = amounts(status.get("hard"))
        self.used = amounts(status.get("used"))
        self.changed = False

    def written(self) -> Obj:
        obj = trees.copy(self.entry.obj)
        obj.setdefault("status", {})["used"] = {name: str(value) for name, value in sorted(self.used.items())}
        return obj


def _charge(quotas: list[_Running], waiting: _Waiting, now: float, limited: Sequence[Limited]) -> None:
    """Raises 403, and then changes nothing."""
    request, evaluator = waiting.request, waiting.evaluator
    obj = request.object
    assert obj is not None
    interested = [quota for quota in quotas if _concerns(quota, evaluator, obj)]
    for quota in interested:
        _check_known(request, quota, evaluator, obj)
    if not interested and not limited:
        return
    usage = evaluator.usage(obj, now)
    if negative := sorted(name for name, value in usage.items() if value.nano < 0):
        raise refuse(request, f"quota usage is negative for resource(s): {','.join(negative)}")
    grown = _grown(usage, evaluator.usage(request.old, now)) if request.old is not None else usage
    if limited and any(value.nano for value in grown.values()):
        _check_covered(waiting, limited, usage, quotas, interested)
    charges: list[tuple[_Running, Amounts]] = []
    for quota in interested:
        was_there = request.old is not None and _concerns(quota, evaluator, request.old)
        delta = grown if was_there else usage
        charge = {name: value for name, value in delta.items() if value.nano and name in quota.hard}
        if charge:
            if request.subresource != "status":
                _check_fits(request, quota, charge)
            charges.append((quota, charge))
    if request.dry_run:
        return
    for quota, charge in charges:
        add(quota.used, charge)
        quota.changed = True


def _concerns(quota: _Running, evaluator: Evaluator, obj: Obj) -> bool:
    return bool(evaluator.names(quota.hard)) and covers(quota.entry.obj, evaluator, obj)


def _check_known(request: AdmissionRequest, quota: _Running, evaluator: Evaluator, obj: Obj) -> None:
    names = evaluator.names(quota.hard)
    if request.resource == PODS and (lacking := missing(obj, names)):
        raise refuse(request, f"failed quota: {quota.entry.name}: {lacking}")
    if any(name not in quota.used for name in names):
        raise refuse(request, f"status unknown for quota: {quota.entry.name}, resources: {','.join(sorted(names))}")


def _check_covered(
    waiting: _Waiting, limited: Sequence[Limited], usage: Amounts, quotas: list[_Running], interested: list[_Running]
) -> None:
    request, evaluator = waiting.request, waiting.evaluator
    obj = request.object
    assert obj is not None
    parts = [part for one in limited if one.resource == request.resource for part in one.contains]
    taken = {name for name, value in usage.items() if value.nano and any(part in name for part in parts)}
    covered = {name for quota in interested for name in evaluator.names(quota.hard)}
    if uncovered := sorted(taken - covered):
        raise refuse(request, f"insufficient quota to consume: {','.join(uncovered)}")
    scopes = [scope for one in limited for scope in one.scopes if evaluator.in_scope(scope, obj)]
    known = {
        requirement["scopeName"]
        for quota in quotas
        for requirement in requirements_of(quota.entry.obj)
        if evaluator.in_scope(requirement, obj)
    }
    if missed := [scope for scope in scopes if scope["scopeName"] not in known]:
        shown = " ".join(f"{{{s['scopeName']} {s['operator']} [{' '.join(s.get('values') or ())}]}}" for s in missed)
        raise refuse(request, f"insufficient quota to match these scopes: [{shown}]")


def _grown(new: Amounts, old: Amounts) -> Amounts:
    """What is taken more than before. What is taken less is given back by the controller."""
    return {name: max(value - old[name], ZERO) if name in old else value for name, value in new.items()}


def _check_fits(request: AdmissionRequest, quota: _Running, charge: Amounts) -> None:
    exceeded = [name for name, value in charge.items() if quota.used[name] + value > quota.hard[name]]
    if exceeded:
        raise refuse(
            request,
            f"exceeded quota: {quota.entry.name}, requested: {_text(charge, exceeded)}, "
            f"used: {_text(quota.used, exceeded)}, limited: {_text(quota.hard, exceeded)}",
        )


def _text(found: Amounts, names: Iterable[str]) -> str:
    return ",".join(f"{name}={found[name]}" for name in sorted(names))
