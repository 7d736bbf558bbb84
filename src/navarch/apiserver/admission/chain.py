"""The admission chain: plugins in upstream's order, asked only when they care."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from navarch.api.kind import Kind
from navarch.apiserver.admission.interface import AdmissionRequest, Plugin
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource

REMEMBERED = 50_000


class BasePlugin:
    """A plugin that lets everything pass; subclasses override the phase they have."""

    name = ""

    def attach(self, changed: Callable[[], None]) -> None:
        return None

    def concerns(self, request: AdmissionRequest) -> bool:
        return True

    def handles(self, request: AdmissionRequest) -> bool:
        return True

    async def admit(self, request: AdmissionRequest) -> None:
        return None

    async def validate(self, request: AdmissionRequest) -> None:
        return None


T = TypeVar("T")


class Memo(Generic[T]):
    """What was found out about requests of one kind, subresource and operation."""

    def __init__(self, make: Callable[[AdmissionRequest], T]) -> None:
        self._make = make
        self._known: dict[tuple[GroupResource, str, str, str], tuple[Kind, T]] = {}
        self.clear = self._known.clear

    def get(self, request: AdmissionRequest) -> T:
        key = (request.resource, request.version.version, request.subresource, request.operation)
        known = self._known.get(key)
        if known is None or known[0] is not request.kind:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[key] = (request.kind, self._make(request))
        return known[1]


class _Plan(NamedTuple):
    """Who is asked."""

    admit: tuple[Plugin, ...]
    validate: tuple[Plugin, ...]


class Chain:
    """Runs the plugins in order; the first that refuses ends the request."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self.plugins = tuple(plugins)
        self._plans = Memo(self._plan)
        for plugin in self.plugins:
            plugin.attach(self._plans.clear)

    async def admit(self, request: AdmissionRequest) -> None:
        """The mutating phase; a second round where the first leaves the object unsettled."""
        plugins = self._plans.get(request).admit
        for plugin in plugins:
            if plugin.handles(request):
                await plugin.admit(request)
        if request.unsettled:
            request.again = True
            for plugin in plugins:
                if plugin.handles(request):
                    await plugin.admit(request)

    async def validate(self, request: AdmissionRequest) -> None:
        for plugin in self._plans.get(request).validate:
            if plugin.handles(request):
                await plugin.validate(request)

    async def review(self, request: AdmissionRequest) -> None:
        """Both phases, for requests whose object is not stored."""
        await self.admit(request)
        await self.validate(request)

    def _plan(self, request: AdmissionRequest) -> _Plan:
        concerned = [plugin for plugin in self.plugins if plugin.concerns(request)]
        return _Plan(
            tuple(p for p in concerned if getattr(type(p), "admit", None) is not BasePlugin.admit),
            tuple(p for p in concerned if getattr(type(p), "validate", None) is not BasePlugin.validate),
        )


def refuse(request: AdmissionRequest, why: str) -> StatusError:
    """The 403 of a plugin that says no (admission.NewForbidden)."""
    name = request.name
    if not name and request.object is not None:
        metadata = request.object.get("metadata") or {}
        name = metadata.get("name") or metadata.get("generateName", "")
    return errors.forbidden(request.resource, name or "Unknown", why)


def aggregated(texts: Iterable[str]) -> str:
    """Several messages as one; each is said once (utilerrors.Aggregate)."""
    found = list(dict.fromkeys(texts))
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


PODS = GroupResource("", "pods")


def creates_pod(request: AdmissionRequest) -> bool:
    return request.resource == PODS and request.operation == "CREATE" and not request.subresource
