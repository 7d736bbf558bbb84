"""metadata.managedFields at every write: machinery.apply, bound to a kind's versions and schemas.

Upstream: apimachinery's util/managedfields (a chain of managers there; here one pass), and the reset fields of each
resource's strategy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from navarch.api.kind import Kind, Version
from navarch.api.schemas import schema
from navarch.apiserver import codec
from navarch.apiserver.registry.call import Call
from navarch.machinery import errors, trees
from navarch.machinery.apply import check, managers, scale, typed, updater
from navarch.machinery.apply.elements import ElementError
from navarch.machinery.apply.fieldset import FieldSet, difference, of_names, path_text
from navarch.machinery.apply.managers import APPLY, UPDATE, Managed
from navarch.machinery.apply.updater import Applied, Conflicts, Versions
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.errors import StatusError
from navarch.machinery.schema import Schema
from navarch.machinery.types import Obj

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL = "kubectl"
MAX_ANNOTATIONS = 256 * 1024
SCALE_SCHEMA = "io.k8s.api.autoscaling.v1.Scale"

_NOTHING: FieldSet = {}
_STATUS, _SPEC, _SPEC_AND_METADATA = of_names("status"), of_names("spec"), of_names("spec", "metadata")
_RESET: Mapping[tuple[str, str, str], FieldSet] = {
    ("", "pods", "status"): of_names("spec", "metadata.deletionTimestamp", "metadata.ownerReferences"),
    ("", "namespaces", "finalize"): _STATUS,
    ("apps", "deployments", "status"): of_names("spec", "metadata.labels"),
    ("certificates.k8s.io", "certificatesigningrequests", ""): of_names("spec", "status"),
    ("certificates.k8s.io", "certificatesigningrequests", "status"): of_names("spec", "status.conditions"),
    ("certificates.k8s.io", "certificatesigningrequests", "approval"): of_names("spec", "status.certificate"),
    **{
        (group, resource, "status"): _SPEC_AND_METADATA
        for group, resource in (
            ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
            ("apiextensions.k8s.io", "customresourcedefinitions"),
            ("flowcontrol.apiserver.k8s.io", "flowschemas"),
            ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
            ("networking.k8s.io", "servicecidrs"),
            ("resource.k8s.io", "devicetaintrules"),
            ("resource.k8s.io", "resourceclaims"),
            ("storage.k8s.io", "volumeattachments"),
            ("storagemigration.k8s.io", "storageversionmigrations"),
        )
    },
}
"""(group, resource, subresource) where it is not the usual: a status write resets `spec`, any other `status`."""


@lru_cache(maxsize=4096)
def _reset(group: str, resource: str, subresource: str, has_status: bool, custom: bool) -> FieldSet:
    found = _RESET.get((group, resource, subresource))
    if found is not None:
        return found
    if subresource == "status":
        return _SPEC_AND_METADATA if custom else _SPEC
    return _STATUS if has_status and not subresource else _NOTHING


def reset_fields(kind: Kind, subresource: str) -> FieldSet:
    """What a write through this endpoint does not set: nobody gets to own it there."""
    hub = kind.hub
    return _reset(hub.group, kind.plural, subresource, kind.has_subresource("status"), kind.typed_items)


class Ownership:
    """Objects come and go in the hub version, with managedFields as the API shows them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def update(self, kind: Kind, call: Call, live: Obj | None, new: Obj) -> Obj:
        """Ownership after a create, update or patch; sets it in `new` and returns it."""
        served = _Served(kind, call.version.group)
        if live is None:
            live = served.nothing(call.version)
        return self._update(served, call, reset_fields(kind, call.subresource), live, new)

    def _update(self, versions: Versions, call: Call, reset: FieldSet, live: Obj, new: Obj) -> Obj:
        metadata = new["metadata"]
        entries = _known(call, live["metadata"].get("managedFields"), metadata.pop("managedFields", None))
        if not entries and live["metadata"].get("uid"):
            return new  # what nobody applied to is not tracked
        version = call.version.api_version
        by = managers.manager(call.manager, UPDATE, version, call.subresource)
        managed = managers.decode(entries)
        try:
            change_in = updater.changes(versions, live, new, reset)
            after = updater.update(managed, by, version, change_in, rfc3339(self._world.now()))
        except ElementError:
            return new  # an item that nothing addresses: upstream gives up here, too
        if after is not managed:
            entries = managers.encode(managers.capped(after))
        if entries:
            metadata["managedFields"] = entries
        return new

    def apply(self, kind: Kind, call: Call, live: Obj | None, applied: Obj, force: bool) -> Obj:
        """What an apply makes of `live`: a new object of the hub version, defaulted, with its managers. Raises
        StatusError 400 for what cannot be applied, 409 for conflicts."""
        served = _Served(kind, call.version.group)
        base = served.convert(live, call.version.api_version) if live is not None else served.nothing(call.version)
        reset = reset_fields(kind, call.subresource)
        made, entries = self._apply(served, call, kind.kind, reset, base, applied, force)
        if made is None:
            result = orjson.loads(orjson.dumps(_bare(live if live is not None else base)))
        else:
            tree = orjson.loads(orjson.dumps(made))
            result = codec.decode_applied(kind, call.version, tree, call.warnings)
        _keep_last_applied(call.manager, applied, result)
        _show(result, entries)
        return result

    def _apply(
        self, versions: Versions, call: Call, kind: str, reset: FieldSet, live: Obj, applied: Obj, force: bool
    ) -> tuple[Obj | None, list[Obj]]:
        """What is made of `live` (None: it stays), and who owns what of it. Both trees are of the call's version."""
        now = rfc3339(self._world.now())
        _check(versions, call, kind, applied)
        entries: list[Obj] = live["metadata"].get("managedFields") or []
        bare = _bare(live)
        try:
            managed = managers.decode(entries) if entries else self._before(versions, call, reset, bare, now)
            done = _forced(versions, call, bare, applied, managed, reset, force, now)
        except ElementError as err:
            raise _not_typed(call, kind, applied, str(err)) from None
        return done.tree if done.changed else None, managers.encode(done.managed)

    @staticmethod
    def _before(versions: Versions, call: Call, reset: FieldSet, live: Obj, now: str) -> Managed:
        """Who owns what was there before the first apply."""
        version = call.version.api_version
        nothing: Obj = {"apiVersion": version, "kind": live["kind"], "metadata": {}}
        by = managers.manager(managers.BEFORE_FIRST_APPLY, UPDATE, version, call.subresource)
        return updater.update({}, by, version, updater.changes(versions, nothing, live, reset), now)

    # -- the scale subresource

    def update_scale(self, kind: Kind, call: Call, entries: list[Obj], old: Obj, new: Obj) -> list[Obj]:
        """The workload's entries after `new` took the place of `old`, its Scale."""
        path, served = _replicas_path(kind), _Served(kind, call.version.group)
        scaled = scale.of_scale(entries, path, served.names())
        before = {**old, "metadata": {**old["metadata"], "managedFields": scaled}}
        after = self._update(_SCALE, _scale_call(call), _NOTHING, before, {**new, "metadata": dict(new["metadata"])})
        made = after["metadata"].get("managedFields") or []
        return scale.of_workload(entries, made, path, served.names(), call.version.api_version)

    def apply_scale(
        self, kind: Kind, call: Call, entries: list[Obj], old: Obj, applied: Obj, force: bool
    ) -> tuple[Obj, list[Obj]]:
        """What an apply makes of a Scale, and the workload's entries after it. Raises as `apply` does."""
        path, served = _replicas_path(kind), _Served(kind, call.version.group)
        scaled = scale.of_scale(entries, path, served.names())
        before = {**old, "metadata": {**old["metadata"], "managedFields": scaled}}
        made, after = self._apply(_SCALE, _scale_call(call), "Scale", _NOTHING, before, applied, force)
        return made or old, scale.of_workload(entries, after, path, served.names(), call.version.api_version)


def _replicas_path(kind: Kind) -> list[str]:
    path: str = kind.extra.get("scale", {}).get("spec") or "spec.replicas"
    return [f"f:{name}" for name in path.strip(".").split(".")]


_SCALE_VERSION = Version(group="autoscaling", version="v1", definition=SCALE_SCHEMA)


def _scale_call(call: Call) -> Call:
    return Call(
        user=call.user,
        version=_SCALE_VERSION,
        namespace=call.namespace,
        name=call.name,
        subresource=call.subresource,
        manager=call.manager,
    )


def _known(call: Call, recorded: list[Obj] | None, sent: Any) -> list[Obj]:
    """The entries so far: those that the client sent, unless it sent none or nonsense; `[{}]` starts anew. Through a
    subresource nobody writes them."""
    recorded = recorded or []
    if sent is None or call.subresource:
        return recorded
    if sent == [{}]:
        return []
    if sent == recorded:
        return recorded
    return managers.canonical_entries(sent) or recorded


def _bare(obj: Obj) -> Obj:
    return {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}


def _show(obj: Obj, entries: list[Obj]) -> None:
    if entries:
        obj["metadata"]["managedFields"] = entries
    else:
        obj["metadata"].pop("managedFields", None)


def _check(versions: Versions, call: Call, kind: str, applied: Obj) -> None:
    """Whether this may be applied at all."""
    version, metadata = call.version.api_version, applied.get("metadata")
    if applied.get("apiVersion") != version or applied.get("kind") != kind:
        raise errors.bad_request(f"invalid object type: {_type_text(applied)}")
    if isinstance(metadata, dict) and isinstance(metadata.get("managedFields"), list):
        raise errors.bad_request("metadata.managedFields must be nil")
    shape = versions.schema(version)
    assert shape is not None
    if wrong := check.problems(shape, applied):
        raise _not_typed(call, kind, applied, wrong)


def _type_text(obj: Obj) -> str:
    """apiVersion and kind as Go prints a GroupVersionKind: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`."""
    version, kind = obj.get("apiVersion"), obj.get("kind")
    text = version if isinstance(version, str) else ""
    return f"{text if '/' in text else '/' + text}, Kind={kind if isinstance(kind, str) else ''}"


def _not_typed(call: Call, kind: str, applied: Obj, why: str) -> StatusError:
    """Upstream's message; its code is 500, but bad input is none of the server's failures."""
    metadata = applied.get("metadata")
    names: Obj = metadata if isinstance(metadata, dict) else {}
    where = f"{names.get('namespace') or ''}/{names.get('name') or ''}; {_type_text(applied)}"
    return errors.bad_request(f"failed to create typed patch object ({where}): {why}")


def _forced(
    versions: Versions, call: Call, live: Obj, applied: Obj, managed: Managed, reset: FieldSet, force: bool, now: str
) -> Applied:
    """Applies. kubectl takes over, without conflict, what `kubectl apply` on the client's side had set and still stands."""
    by = managers.manager(call.manager, APPLY, "", call.subresource)
    try:
        return updater.apply(versions, live, applied, managed, by, reset, force, now)
    except Conflicts as conflicts:
        left = conflicts
        if call.manager == KUBECTL:
            allowed = _client_side_fields(versions, live, call.version.api_version)
            if allowed is not None:
                left = Conflicts(conflicts.outside(allowed))
        if left.items:
            causes = [
                {
                    "reason": "FieldManagerConflict",
                    "message": f"conflict with {item.manager.shown()}",
                    "field": path_text(item.path),
                }
                for item in left.items
            ]
            raise errors.apply_conflict(causes, str(left)) from None
    return updater.apply(versions, live, applied, managed, by, reset, True, now)


def _client_side_fields(versions: Versions, live: Obj, version: str) -> FieldSet | None:
    """The fields that the last `kubectl apply` on the client's side set, where they still are so."""
    text = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    shape = versions.schema(version)
    if not text or shape is None:
        return None
    try:
        last = orjson.loads(text)
        if not isinstance(last, dict) or last.get("apiVersion") != version or check.problems(shape, last):
            return None
        change = typed.compare(shape, last, live)
        fields = typed.field_set(shape, last)
    except (ValueError, ElementError):
        return None
    return difference(difference(fields, change.written), change.removed)


def _keep_last_applied(manager: str, applied: Obj, result: Obj) -> None:
    """Keeps kubectl's memory of what was applied on the client's side up to date, where there is one."""
    annotations: Obj = result["metadata"].get("annotations") or {}
    if manager != KUBECTL or not annotations.get(LAST_APPLIED):
        return
    metadata: Obj = applied.get("metadata") or {}
    if metadata.get("annotations"):
        mine = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
        applied = {**applied, "metadata": {**metadata, "annotations": mine}}
    text = orjson.dumps(applied, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    annotations = {**annotations, LAST_APPLIED: text}
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > MAX_ANNOTATIONS:
        del annotations[LAST_APPLIED]
    result["metadata"]["annotations"] = annotations


class _Served:
    """A kind's objects in the versions of one group. (Upstream, too, drops those who manage a kind in another group.)"""

    def __init__(self, kind: Kind, group: str) -> None:
        self._kind = kind
        self._group = group

    def _version(self, name: str) -> Version | None:
        hub = self._kind.hub
        if hub.api_version == name:
            return hub
        return next((v for v in self._kind.versions if v.api_version == name), None)

    def names(self) -> frozenset[str]:
        return frozenset(version.api_version for version in self._kind.versions if version.group == self._group)

    def schema(self, version: str) -> Schema | None:
        found = self._version(version)
        if found is not None and found.group != self._group:
            return None
        return found.schema if found is not None else None

    def convert(self, tree: Obj, version: str) -> Obj:
        if tree["apiVersion"] == version:
            return tree
        source, target = self._version(tree["apiVersion"]), self._version(version)
        assert source is not None and target is not None
        if not tree.get("metadata"):
            return self.nothing(target)
        if source is not self._kind.hub:
            tree = source.normalised(trees.copy(tree))
            tree = source.decode(tree) if source.decode is not None else tree
            tree["apiVersion"] = self._kind.hub.api_version
        return codec.from_hub(self._kind, target, tree)

    def nothing(self, version: Version) -> Obj:
        """What a new object is compared with."""
        return {"apiVersion": version.api_version, "kind": self._kind.kind, "metadata": {}}


class _ScaleVersions:
    """The one version of a Scale."""

    def schema(self, version: str) -> Schema | None:
        return schema(SCALE_SCHEMA) if version == scale.SCALE_VERSION else None

    def convert(self, tree: Obj, version: str) -> Obj:
        return tree


_SCALE = _ScaleVersions()
