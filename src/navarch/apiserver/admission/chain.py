"""The admission chain: plugins in upstream's order, asked only when they care."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.apiserver.admission.interface import AdmissionRequest, Plugin
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource


class Chain:
    """Runs the plugins in order; the first that refuses ends the request."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self.plugins = tuple(plugins)

    async def admit(self, request: AdmissionRequest) -> None:
        for plugin in self.plugins:
            if plugin.handles(request):
                await plugin.admit(request)

    async def validate(self, request: AdmissionRequest) -> None:
        for plugin in self.plugins:
            if plugin.handles(request):
                await plugin.validate(request)


class BasePlugin:
    """A plugin that lets everything pass; subclasses override the phase they have."""

    name = ""

    def handles(self, request: AdmissionRequest) -> bool:
        return True

    async def admit(self, request: AdmissionRequest) -> None:
        return None

    async def validate(self, request: AdmissionRequest) -> None:
        return None


def refuse(request: AdmissionRequest, why: str) -> StatusError:
    """The 403 of a plugin that says no (admission.NewForbidden)."""
    name = request.name
    if not name and request.object is not None:
        name = request.object["metadata"].get("name") or request.object["metadata"].get("generateName", "")
    return errors.forbidden(request.resource, name or "Unknown", why)


PODS = GroupResource("", "pods")


def creates_pod(request: AdmissionRequest) -> bool:
    return request.resource == PODS and request.operation == "CREATE" and not request.subresource
