"""Runs plans: the one place where a controller's decisions meet the API.

It also knows when the caches have caught up with what it wrote (`settle`), so that no decision is ever made on a cache
older than the controller's own writes. Upstream needs expectations for that; resourceVersions that compare do it for
every resource at once.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from navarch.client.informer import Informer, revision_of
from navarch.client.interface import Client, Resource
from navarch.controlloop.plan import Action, Call, Create, Delete, Emit, Patch, Plan, Report, Update
from navarch.controlloop.recorder import Recorder
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Key, Obj, key_of

SETTLE_SECONDS = 10.0
"""How long caches may lag behind a write before they are distrusted and listed anew."""
log = logging.getLogger(__name__)


class Written(NamedTuple):
    """A write that the caches are to show. `gone` is the uid of a deleted object ("" any), None for other writes."""

    resource: Resource
    key: Key
    revision: int
    gone: str | None = None


@dataclass(slots=True)
class Outcome:
    error: Exception | None = None
    quiet: bool = False
    """The plan ended early and there is no use in trying again."""
    writes: list[Written] = field(default_factory=list)
    requeue_after: float | None = None
    """What a Call asked for."""
    gather: float = 0.0
    """The plan's."""
    reasons: list[str] = field(default_factory=list[str])
    """Those of plans that a Call made."""
    rebased: dict[tuple[Resource, Key, str], str] = field(default_factory=dict)
    """resourceVersion after our write, by object and the one before: a plan may write one object several times."""


def is_conflict(error: Exception) -> bool:
    return isinstance(error, StatusError) and error.code == 409 and error.reason == "Conflict"


def is_terminating_namespace(error: Exception) -> bool:
    causes = ((isinstance(error, StatusError) and error.details) or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


class Executor:
    def __init__(
        self, client: Client, world: World, recorder: Recorder, informers: Mapping[Resource, Informer]
    ) -> None:
        self._client = client
        self._world = world
        self._recorder = recorder
        self._informers = informers
        """Unfiltered caches only: a filtered one need not ever show a write."""

    async def run(self, plan: Plan) -> Outcome:
        outcome = Outcome(gather=plan.gather)
        for _, group in itertools.groupby(plan.actions, _kin):
            actions = list(group)
            batches = _slow_start(actions) if plan.parallel else ([action] for action in actions)
            for batch in batches:
                await self._batch(batch, outcome)
                if outcome.error is not None or outcome.quiet:
                    break
            if outcome.error is not None or outcome.quiet:
                break
        if outcome.error is not None and plan.on_error is not None and not is_conflict(outcome.error):
            last = await self.run(plan.on_error(outcome.error))
            outcome.writes.extend(last.writes)
        return outcome

    async def _batch(self, batch: list[Action], outcome: Outcome) -> None:
        if len(batch) == 1:
            results: list[BaseException | None] = [await self._guarded(batch[0], outcome)]
        else:
            results = await asyncio.gather(*(self._guarded(action, outcome) for action in batch))
        for error in results:
            if isinstance(error, Exception) and outcome.error is None:
                if is_terminating_namespace(error):
                    outcome.quiet = True
                else:
                    outcome.error = error

    async def _guarded(self, action: Action, outcome: Outcome) -> Exception | None:
        report = action.report if isinstance(action, Create | Delete) else None
        try:
            name = await self._act(action, outcome)
        except Exception as error:
            if report is not None and not is_terminating_namespace(error):
                self._tell(report, "Warning", report.failed, error=str(error))
            return error
        if report is not None and name:
            self._tell(report, "Normal", report.done, name=name)
        return None

    def _tell(self, report: Report, kind: str, event: tuple[str, str], name: str = "", error: str = "") -> None:
        reason, message = event
        if reason:
            message = message.replace("{name}", name).replace("{error}", error)
            self._recorder.emit(report.regarding, kind, reason, message)

    async def _act(self, action: Action, outcome: Outcome) -> str:
        """Does one action; returns the name of the object it touched, "" where it touched none."""
        match action:
            case Create():
                return await self._create(action, outcome)
            case Update(resource, obj, subresource):
                key = key_of(obj)
                body = _rebase(outcome, resource, key, obj)
                written = await self._client.update(resource, body, key.namespace, subresource=subresource)
                self._note(outcome, resource, written, obj)
                return key.name
            case Patch(resource, key, patch, kind, subresource):
                body = _rebase(outcome, resource, key, patch)
                written = await self._client.patch(
                    resource, key.name, body, key.namespace, type=kind, subresource=subresource
                )
                self._note(outcome, resource, written, patch)
                return key.name
            case Delete():
                await self._delete(action)
                outcome.writes.append(Written(action.resource, action.key, 0, action.uid))
                return action.key.name
            case Emit(regarding, kind, reason, message):
                self._recorder.emit(regarding, kind, reason, message)
                return ""
            case Call(_, run):
                result = run()
                if inspect.isawaitable(result):
                    result = await result
                if isinstance(result, float):
                    outcome.requeue_after = result
                elif isinstance(result, Plan):
                    await self._follow(result, outcome)
                return ""

    async def _follow(self, plan: Plan, outcome: Outcome) -> None:
        """Runs what a Call decided, as part of the plan that the Call is of."""
        made = await self.run(plan)
        outcome.writes.extend(made.writes)
        outcome.reasons.extend([*plan.reasons, *made.reasons])
        waits = [wait for wait in (plan.requeue_after, made.requeue_after) if wait is not None]
        if waits:
            outcome.requeue_after = min(waits)
        if made.error is not None:
            raise made.error

    async def _create(self, action: Create, outcome: Outcome) -> str:
        meta = action.object["metadata"]
        try:
            made = await self._client.create(action.resource, action.object, meta.get("namespace", ""))
        except StatusError as error:
            if action.exists_ok and error.reason == "AlreadyExists":
                return ""
            raise
        self._note(outcome, action.resource, made)
        return made["metadata"]["name"]

    async def _delete(self, action: Delete) -> None:
        try:
            await self._client.delete(
                action.resource,
                action.key.name,
                action.key.namespace,
                uid=action.uid,
                resource_version=action.resource_version,
                grace_period_seconds=action.grace_period_seconds,
                propagation=action.propagation,
            )
        except StatusError as error:
            if error.code != 404:
                raise

    def _note(self, outcome: Outcome, resource: Resource, written: Obj, sent: Obj | None = None) -> None:
        key = key_of(written)
        outcome.writes.append(Written(resource, key, revision_of(written)))
        if isinstance(sent, dict) and (version := sent.get("metadata", {}).get("resourceVersion")):
            outcome.rebased[resource, key, version] = written["metadata"]["resourceVersion"]

    def settle(self, writes: Iterable[Written], then: Callable[[], None]) -> None:
        """Calls `then` once every cache shows the writes, or after SETTLE_SECONDS (the caches that lag list anew)."""
        waiting: dict[int, Informer] = {}
        numbers = itertools.count()

        def shown(number: int) -> Callable[[], None]:
            def callback() -> None:
                if waiting.pop(number, None) is not None and not waiting:
                    timer.cancel()
                    then()

            return callback

        for write in writes:
            informer = self._informers.get(write.resource)
            if informer is None:
                continue
            number = next(numbers)
            waiting[number] = informer
            if write.gone is None:
                there = informer.when_seen(write.revision, shown(number))
            else:
                there = informer.when_gone(write.key, write.gone, shown(number))
            if there:
                del waiting[number]
        if not waiting:
            then()
            return

        def late() -> None:
            lagging = set(waiting.values())
            waiting.clear()
            for informer in lagging:
                log.warning("the cache of %s lags behind a write: listing anew", informer.resource.plural)
                informer.relist()
            then()

        timer = self._world.call_later(SETTLE_SECONDS, late)


def _rebase(outcome: Outcome, resource: Resource, key: Key, body: Any) -> Any:
    """Lets a second write of one plan follow the first: between them only we changed the object."""
    meta: Obj = (body.get("metadata") or {}) if isinstance(body, dict) else {}
    newer = outcome.rebased.get((resource, key, meta.get("resourceVersion", "")))
    return body if newer is None else {**body, "metadata": {**meta, "resourceVersion": newer}}


def _kin(action: Action) -> object:
    """Neighbours of one kin may run in parallel."""
    match action:
        case Create(resource) | Delete(resource):
            return type(action), resource
        case Patch(resource=resource, subresource=subresource):
            return Patch, resource, subresource
        case _:
            return id(action)


def _slow_start(actions: list[Action]) -> Iterable[list[Action]]:
    """1, 2, 4, ... at a time, so that many that would all fail alike stop early."""
    start, size = 0, 1
    while start < len(actions):
        yield actions[start : start + size]
        start += size
        size *= 2
