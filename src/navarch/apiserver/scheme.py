"""Every kind that one server serves: the built-in ones for good, custom ones as they come and go.

Requests do not pass here: `Rest` has a table of its own, which `ApiServer.serve` keeps. What is made of all kinds (discovery,
OpenAPI) is remade when `revision` has changed.
"""

from __future__ import annotations

from collections.abc import Iterable

from navarch.api.kind import Kind
from navarch.machinery.types import GroupResource


class Scheme:
    def __init__(self, builtin: Iterable[Kind]) -> None:
        self._builtin = tuple(builtin)
        self.builtin = frozenset(kind.group_resource for kind in self._builtin)
        self._custom: dict[GroupResource, Kind] = {}
        self._all = self._builtin
        self.revision = 0
        """Counts the changes."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        if self._all is None:
            self._all = (*self._builtin, *self._custom.values())
        return self._all

    def put(self, kind: Kind) -> None:
        self._custom[kind.group_resource] = kind
        self._changed()

    def drop(self, kind: Kind) -> None:
        self._custom.pop(kind.group_resource, None)
        self._changed()

    def _changed(self) -> None:
        self._all: tuple[Kind, ...] | None = None
        self.revision += 1
