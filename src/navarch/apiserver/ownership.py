"""metadata.managedFields at every write: machinery.apply, bound to a kind's versions and schemas."""

from __future__ import annotations

from typing import Any

import orjson

from navarch.api.kind import Kind, Version
from navarch.api.schemas import schema
from navarch.apiserver import codec
from navarch.apiserver.registry.call import Call
from navarch.machinery import errors
from navarch.machinery.apply import managers, typed, updater
from navarch.machinery.apply.fieldsets import FieldSet, difference, show
from navarch.machinery.apply.managers import APPLY, UPDATE, Managed, Manager
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.schema import Schema
from navarch.machinery.types import Obj

BEFORE_FIRST_APPLY = "before-first-apply"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
MAX_ANNOTATIONS = 256 * 1024
RESET_STATUS: FieldSet = {"f:status": {}}
RESET_ALL_BUT_STATUS: FieldSet = {"f:spec": {}, "f:metadata": {}}


def reset_fields(kind: Kind, subresource: str) -> FieldSet:
    """What a write through this door cannot set."""
    if subresource == "status":
        return RESET_ALL_BUT_STATUS
    return RESET_STATUS if kind.has_subresource("status") and not kind.keeps_status_on_create else {}


class Ownership:
    """Objects come and go in the hub version, with managedFields as the API shows them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def update(self, kind: Kind, call: Call, live: Obj | None, new: Obj) -> Obj:
        """Ownership after a create, update or patch; sets it in `new` and returns it."""
        sent = new["metadata"].pop("managedFields", None)
        managed = self._known(call, live, sent)
        if live is not None and not managed:
            return new  # what nobody applied to is not tracked
        me = managers.identity(call.manager, UPDATE, str(call.version.gv), call.subresource)
        at = _Versions(kind)
        old = _bare(live) if live is not None else at.nothing(call.version)
        now = rfc3339(self._world.now())
        reset = reset_fields(kind, call.subresource)
        try:
            managed = updater.updated(old, new, managed, me, str(call.version.gv), at, reset, now)
        except typed.TypedError:
            pass  # duplicate or incomplete items: validation refuses them in its own words
        _show(new, managed)
        return new

    def _known(self, call: Call, live: Obj | None, sent: Any) -> Managed:
        """The managers so far: those that the client sent back, unless it sent none or nonsense."""
        recorded = live["metadata"].get("managedFields") if live is not None else None
        if sent == [{}]:
            return {}
        if sent and not call.subresource and sent != recorded:
            try:
                return managers.checked(sent)
            except (ValueError, AttributeError, TypeError):
                pass
        return managers.decode(recorded)

    def apply(self, kind: Kind, call: Call, live: Obj | None, applied: Obj, force: bool) -> Obj:
        """What an apply makes of `live`: a new object of the hub version, defaulted, with its managers. Raises 400, 409."""
        if applied.get("metadata", {}).get("managedFields") is not None:
            raise errors.bad_request("metadata.managedFields must be nil")
        version = str(call.version.gv)
        if applied.get("apiVersion") != version:
            raise errors.bad_request(
                "Incorrect version specified in apply patch. "
                f"Specified patch version: {applied.get('apiVersion', '')}, expected: {version}"
            )
        at = _Versions(kind)
        now = rfc3339(self._world.now())
        me = managers.identity(call.manager, APPLY, version, call.subresource)
        reset = reset_fields(kind, call.subresource)
        managed = managers.decode(live["metadata"].get("managedFields")) if live is not None else {}
        base = _bare(live) if live is not None else at.nothing(call.version)
        if live is not None and not managed:
            before = managers.identity(BEFORE_FIRST_APPLY, UPDATE, version)
            managed = updater.updated(at.nothing(call.version), base, {}, before, version, at, {}, now)
        try:
            made, managed = self._applied(base, applied, managed, me, version, at, reset, now, force)
        except typed.TypedError as error:
            meta = applied.get("metadata") or {}
            where = (
                f"{meta.get('namespace') or call.namespace or ''}/{meta.get('name', '')}; {version}, Kind={kind.kind}"
            )
            raise StatusError(500, "", f"failed to create typed patch object ({where}): {error}", {}) from None
        if made is None:
            assert live is not None or base
            result = {**base, "metadata": dict(base["metadata"])}
        else:
            tree = orjson.loads(orjson.dumps(made))
            result = codec.decode_object(kind, call.version, tree, codec.IGNORE, call.warnings)
        self._keep_last_applied(me, live, applied, result)
        _show(result, managed)
        return result

    def _applied(
        self,
        base: Obj,
        applied: Obj,
        managed: Managed,
        me: Manager,
        version: str,
        at: _Versions,
        reset: FieldSet,
        now: str,
        force: bool,
    ) -> tuple[Obj | None, Managed]:
        try:
            return updater.applied(base, applied, managed, me, version, at, reset, now, force)
        except updater.ConflictError as conflict:
            if me.name == KUBECTL and _all_last_applied(base, version, at, conflict):
                return updater.applied(base, applied, managed, me, version, at, reset, now, True)
            count = len(conflict.conflicts)
            raise errors.apply_conflict(
                conflict.causes(), f"Apply failed with {count} conflict{'s' if count > 1 else ''}: {conflict}"
            ) from None

    @staticmethod
    def _keep_last_applied(me: Manager, live: Obj | None, applied: Obj, result: Obj) -> None:
        """kubectl's client-side and server-side applies of one object keep one memory."""
        annotations = (live["metadata"].get("annotations") or {}) if live is not None else {}
        if me.name != KUBECTL or LAST_APPLIED not in annotations:
            return
        text = orjson.dumps(applied).decode() + "\n"
        now = dict(result["metadata"].get("annotations") or {})
        now[LAST_APPLIED] = text if sum(len(k) + len(v) for k, v in now.items()) + len(text) < MAX_ANNOTATIONS else ""
        result["metadata"]["annotations"] = now


def _all_last_applied(base: Obj, version: str, at: _Versions, conflict: updater.ConflictError) -> bool:
    """Whether every conflict is over a field that `kubectl apply` set on the client's side, and that still is so."""
    text = (base["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        last = orjson.loads(text or "null")
        found = at(base, version)
        if not isinstance(last, dict) or last.get("apiVersion") != version or found is None:
            return False
        shape, live = found
        allowed = typed.field_set(shape, last)
        for part in typed.compare(shape, last, live):
            allowed = difference(allowed, part)
    except (ValueError, typed.TypedError):
        return False
    mine = {show(path) for path in updater.paths(allowed)}
    return all(show(path) in mine for _, _, path in conflict.conflicts)


class _Versions:
    """A kind's objects in the versions that managers speak."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._versions = {str(version.gv): version for version in kind.versions}

    def __call__(self, obj: Obj, version: str) -> tuple[Schema, Obj] | None:
        found = self._versions.get(version)
        if found is None:
            return None
        shown = codec.from_hub(self._kind, found, obj) if obj.get("apiVersion") != version else obj
        return schema(found.definition), shown

    def nothing(self, version: Version) -> Obj:
        """The object that a new one is compared with."""
        made = typed.zero(schema(version.definition))
        made.setdefault("metadata", {})
        return {"apiVersion": str(version.gv), "kind": self._kind.kind, **made}


def _bare(obj: Obj) -> Obj:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def _show(obj: Obj, managed: Managed) -> None:
    if managed:
        obj["metadata"]["managedFields"] = managers.encode(managed)
    else:
        obj["metadata"].pop("managedFields", None)
