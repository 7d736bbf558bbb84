"""What the mutating phase shares: an object of some version changed by a user's webhook or policy, and second rounds."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import orjson

from navarch.api.kind import Version
from navarch.api.schemas import has, schema
from navarch.apiserver import codec
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.admission.matching import api_version
from navarch.machinery import errors, trees
from navarch.machinery.apply import managers
from navarch.machinery.decode import normalise
from navarch.machinery.errors import StatusError
from navarch.machinery.patch import json_patch
from navarch.machinery.types import Obj

MANAGED = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating "
    "admission controller; please fix your requests: "
)


class Inapplicable(Exception):
    """A JSON patch does not fit the object."""

    def __init__(self, operation: str, why: str) -> None:
        super().__init__(why)
        self.operation = operation


@dataclass(slots=True)
class Rounds:
    """What one plugin remembers of a request between the rounds of the mutating phase."""

    invoked: set[Hashable] = field(default_factory=set[Hashable])
    """Who has been asked, and would be asked again if the object changed afterwards."""
    due: set[Hashable] = field(default_factory=set[Hashable])
    """Who is to be asked in the second round."""
    last: bytes = b""
    """The object as the plugin left it."""

    @staticmethod
    def of(request: AdmissionRequest, plugin: str) -> Rounds:
        """At the start of a round."""
        if request.memory is None:
            request.memory = {}
        rounds: Rounds = request.memory.setdefault(plugin, Rounds())
        if request.again and rounds.last != orjson.dumps(request.object):
            rounds.changed()
        return rounds

    def changed(self) -> None:
        self.due |= self.invoked
        self.invoked = set()

    def skips(self, request: AdmissionRequest, who: Hashable) -> bool:
        """Nobody is asked for the first time in the second round."""
        return request.again and who not in self.due

    def end(self, request: AdmissionRequest) -> None:
        self.last = orjson.dumps(request.object)


def put(request: AdmissionRequest, version: Version, tree: Any, validation: str = codec.IGNORE) -> bool:
    """Puts a changed tree of that version in the object's place, defaulted. Returns whether anything changed. Raises
    StatusError 500 for a tree that is no such object."""
    assert request.object is not None
    before = orjson.dumps(request.object, option=orjson.OPT_SORT_KEYS)
    fields = (request.object.get("metadata") or {}).get("managedFields")
    body = request.body
    if body is None:
        try:
            obj = codec.decode_object(request.kind, version, tree, validation, request.warnings)
        except StatusError as error:
            message = error.message
            why = message.partition(" cannot be handled as a ")[2].partition(": ")[2] or message
            raise errors.internal(why) from None
    else:
        definition = _definition(body.group, body.version, body.kind)
        obj = normalise(schema(definition), tree) if definition else tree
        obj |= {"apiVersion": api_version(body), "kind": body.kind}
    _check_managers(request, obj, fields)
    request.replace(obj)
    return before != orjson.dumps(request.object, option=orjson.OPT_SORT_KEYS)


def patched(tree: Obj, operations: list[Any]) -> Obj:
    """The tree with a JSON patch applied. Raises Inapplicable."""
    try:
        return json_patch.apply(tree, operations)
    except StatusError as error:
        operation, why = json_patch.explain(tree, operations)
        raise Inapplicable(operation, why or error.message) from None


def _definition(group: str, version: str, kind: str) -> str:
    """The schema's name of a kind that is not stored; empty: there is none."""
    package = group.removesuffix(".k8s.io").partition(".")[0] if group else "core"
    name = f"io.k8s.api.{package}.{version}.{kind}"
    return name if has(name) else ""


def _check_managers(request: AdmissionRequest, obj: Obj, before: list[Obj] | None) -> None:
    """Managed fields that became invalid go back to what they were."""
    after = trees.get(obj, "metadata", "managedFields")
    if after == before or after is None:
        return
    if managers.canonical_entries(after) is None:
        obj["metadata"].pop("managedFields")
        if before is not None:
            obj["metadata"]["managedFields"] = before
        request.warnings.append(MANAGED + _wrong_manager(after))


def _wrong_manager(entries: Any) -> str:
    for entry in entries if isinstance(entries, list) else ():
        if entry.get("operation") not in (managers.APPLY, managers.UPDATE):
            return "operation must be `Apply` or `Update`"
        if entry.get("fieldsType") != "FieldsV1":
            return "fieldsType must be `FieldsV1`"
    return "an entry's apiVersion or fieldsV1 is not valid"
