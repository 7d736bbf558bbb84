"""What a controller decides: a Plan of Actions, with its reasons.

A controller is two functions. `observe` gathers what the decision reads from the caches, by key; `reconcile` is pure:
the same observation and time give the same plan. The executor (`controlloop/execute.py`) is the one place where
actions meet the API: it retries conflicts, waits until the caches have seen its own writes before the key is observed
again, and backs off. Level-triggered always: a plan never depends on which event woke it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

from navarch.client.interface import PatchType, Resource
from navarch.machinery.types import Key, Obj


@dataclass(frozen=True, slots=True)
class Report:
    """Events about how an action went, each (reason, message). `{name}` stands for the object's name as the server
    made it, `{error}` for what failed; an empty reason says nothing."""

    regarding: Obj
    done: tuple[str, str] = ("", "")
    failed: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Create:
    resource: Resource
    object: Obj
    exists_ok: bool = False
    """AlreadyExists is success (the name says all: a token, a default service account)."""
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """A PUT; `object` carries the resourceVersion it was decided on. A conflict re-observes the key."""

    resource: Resource
    object: Obj
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    resource: Resource
    key: Key
    patch: Any
    type: PatchType = "merge"
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """NotFound is success. `uid` is a precondition."""

    resource: Resource
    key: Key
    uid: str = ""
    resource_version: str = ""
    grace_period_seconds: int | None = None
    propagation: Literal["", "Background", "Foreground", "Orphan"] = ""
    report: Report | None = None


@dataclass(frozen=True, slots=True)
class Emit:
    """An Event about `regarding`; equal ones are counted, not repeated (client-go's correlator)."""

    regarding: Obj
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Call:
    """Anything else with an outside effect (a cloud call, reads that no cache serves); `run` is awaited by the executor.
    It returns None, the seconds until the key is to be looked at again, or the Plan that follows from what it read."""

    what: str
    run: Callable[[], Any]


Action: TypeAlias = "Create | Update | Patch | Delete | Emit | Call"


@dataclass(slots=True)
class Plan:
    """Actions run in order; the first that fails ends the plan and the key is retried with back-off (actions before it
    stand). `parallel` lets neighbouring actions of one type on one resource run in slow-start batches (1, 2, 4 ...), as
    upstream's controllers create pods. A Create refused because its namespace is terminating ends the plan quietly."""

    actions: list[Action] = field(default_factory=list)
    requeue_after: float | None = None
    """Seconds until the key is to be looked at again though nothing changed."""
    reasons: list[str] = field(default_factory=list)
    """Why this, and nothing else, is done: sentences for `navarch why`, also when actions is empty."""
    parallel: bool = False
    gather: float = 0.0
    """Seconds for which what happens is gathered before the key is looked at again: of a key with many pods every round
    is long, and each of its pods brings events."""
    on_error: Callable[[Exception], Plan] | None = None
    """What to write about a failed action (a condition) before the key is retried. Pure, like the plan itself."""


T = TypeVar("T")


class Lister(Protocol):
    """A cache of one resource, kept by an informer. Objects are shared: never change them."""

    def get(self, namespace: str, name: str) -> Obj | None: ...

    def list(self, namespace: str = "") -> Iterable[Obj]:
        """All, or those of a namespace."""
        ...

    def by_index(self, index: str, value: str) -> Sequence[Obj]: ...


class Caches(Protocol):
    def __getitem__(self, resource: Resource) -> Lister: ...


@dataclass(frozen=True, slots=True)
class Watch:
    """A resource the controller reads. `keys` maps a changed object (old and new states; None when there is none) to
    the keys to reconcile; `indexes` name further look-ups: index name -> function from object to values."""

    resource: Resource
    keys: Callable[[Obj | None, Obj | None, Caches], Iterable[Key]]
    indexes: dict[str, Callable[[Obj], Iterable[str]]] = field(default_factory=dict)
    label_selector: str = ""
    field_selector: str = ""


class Controller(Protocol, Generic[T]):
    """One controller: what it watches, what it observes, and its pure decision."""

    name: str
    """`deployment-controller`: its identity, user agent and metrics label, and its events' source unless `event_source`
    says otherwise."""
    watches: Sequence[Watch]

    def observe(self, key: Key, caches: Caches) -> T | None:
        """What the decision for `key` reads; None where there is nothing to decide."""
        ...

    def reconcile(self, observed: T, now: float) -> Plan: ...
