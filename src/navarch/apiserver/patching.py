"""A patch as a client sends it, and what it makes of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from navarch.api.kind import Version
from navarch.client.interface import PatchType
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.patch.json_patch import apply as apply_json_patch
from navarch.machinery.patch.json_patch import go_kind
from navarch.machinery.patch.merge import apply as apply_merge_patch
from navarch.machinery.patch.strategic import apply as apply_strategic_patch
from navarch.machinery.patch.strategic import go_text
from navarch.machinery.scalars import Mismatch
from navarch.machinery.types import Obj

MAX_OPERATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Patch:
    type: PatchType
    tree: Any
    """The patch itself: a list for `json`, an object for the others."""
    force: bool = False
    """Server-side apply takes fields over from other managers."""
    duplicates: tuple[str, ...] = ()
    """Which fields the patch gives twice, a message each."""

    def applied_to(self, tree: Obj, version: Version) -> Obj:
        """The patched tree, of the same version. May use `tree` up. Raises StatusError 400, 413 or 422."""
        if self.type == "json":
            return self._json(tree)
        change = self._object()
        if self.type == "merge":
            return apply_merge_patch(tree, change)
        identity = {field: tree[field] for field in ("apiVersion", "kind") if field in tree}
        return apply_strategic_patch(tree, change, version.schema) | identity

    def applied_to_virtual(self, tree: Obj) -> Obj:
        """The same for an object without a schema of its own kind (a Scale): its lists are all atomic."""
        return self._json(tree) if self.type == "json" else apply_merge_patch(tree, self._object())

    def _object(self) -> Obj:
        if isinstance(self.tree, dict):
            return self.tree
        merge = self.type == "merge"
        if self.tree is None:
            if merge:
                raise errors.bad_request("Invalid JSON Patch")
            return {}
        raise errors.bad_request(
            f"{'error decoding patch: ' if merge else ''}json: cannot unmarshal {go_kind(self.tree)} into Go value of "
            "type map[string]interface {}"
        )

    def unfit(self, patched: Any, why: str, cause: BaseException | None = None) -> StatusError:
        """The 422 of a patch whose outcome is no object of the kind."""
        why = why.partition(" cannot be handled as a ")[2].partition(": ")[2] or why
        if self.type == "strategic":
            why = cause.restoring() if isinstance(cause, Mismatch) else why
            return errors.bad_patch(go_text(self.tree), why)
        shown = dict(sorted(patched.items())) if isinstance(patched, dict) else patched
        return errors.bad_patch(orjson.dumps(shown).decode(), why)

    def _json(self, tree: Obj) -> Obj:
        if not isinstance(self.tree, list):
            raise errors.bad_request(
                f"error decoding patch: json: cannot unmarshal {go_kind(self.tree)} into Go value of type []handlers.jsonPatchOp"
            )
        if len(self.tree) > MAX_OPERATIONS:
            raise errors.entity_too_large(
                f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(self.tree)}"
            )
        return apply_json_patch(tree, self.tree)
