"""Strategic merge patch: a merge patch that knows, from the schema, how lists merge.

Directives: `$patch: replace|delete`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`, `$retainKeys`.
Where items of a merged list end up: the order of `$setElementOrder`, then that of the patch, then the live one.
Source: apimachinery util/strategicpatch (MergingMapPatch and its element ordering).
"""

from __future__ import annotations

from functools import cmp_to_key
from typing import Any, Final

from navarch.machinery import errors
from navarch.machinery.patch.json_patch import rejected
from navarch.machinery.schema import Schema
from navarch.machinery.trees import copy
from navarch.machinery.types import Obj

DIRECTIVE: Final = "$patch"
RETAIN: Final = "$retainKeys"
DELETE_PRIMITIVES: Final = "$deleteFromPrimitiveList"
SET_ORDER: Final = "$setElementOrder"

BAD_PRIMITIVE_LIST: Final = "invalid patch format of primitive list"
BAD_RETAIN_KEYS: Final = "invalid patch format of retainKeys"
BAD_SET_ORDER: Final = "invalid patch format of setElementOrder list"


def apply(tree: Obj, patch: Obj, schema: Schema) -> Obj:
    """The patched tree; neither argument changes. Raises StatusError: 400 for a malformed directive and for a patch
    that does not fit the object (upstream says 500 of some), 422 for lists of lists."""
    return _merge(tree, copy(patch), schema)


def _failed(message: str) -> errors.StatusError:
    return errors.bad_request(message)


def _no_merge_key(item: Any, key: str) -> errors.StatusError:
    return _failed(f"map: {go_text(item)} does not contain declared merge key: {key}")


_GO_TYPES: Final = {
    dict: "map[string]interface {}",
    list: "[]interface {}",
    int: "int64",
    float: "float64",
    bool: "bool",
}


def _go_type(value: Any) -> str:
    return _GO_TYPES.get(type(value), "string")


def go_text(value: Any) -> str:
    """A value as Go's %v prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_text(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_text, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


_ANY: Final = Schema("any")


def _field(schema: Schema, name: str) -> tuple[Schema, tuple[str, ...], str]:
    """(schema, strategies but retainKeys, merge key) of a field. Raises for one that the kind does not have."""
    if schema.type == "object":
        found = schema.fields.get(name)
        if found is None:
            if schema.preserve_unknown:
                return _ANY, (), ""
            raise _failed(
                f'unable to find api field in struct {schema.name.rpartition(".")[2]} for the json field "{name}"'
            )
        return found.schema, tuple(s for s in found.patch_strategy if s != "retainKeys"), found.patch_merge_key
    return (schema.items or _ANY), (), ""


def _merge(original: Obj, patch: Obj, schema: Schema) -> Obj:
    """A merged copy of `original`; `patch` is used up."""
    if DIRECTIVE in patch:
        directive = patch.pop(DIRECTIVE)
        if directive == "replace":
            return patch
        if directive == "delete":
            return {}
        raise _failed(f"unknown patch type: {go_text(directive)} in map: {go_text({DIRECTIVE: directive, **patch})}")
    out = dict(original)
    _retain_keys(out, patch)
    for key in [k for k in patch if k.startswith(SET_ORDER)]:
        _merge_ordered(out, patch, key, patch.pop(key), schema)
    for key, value in patch.items():
        if key.startswith(DELETE_PRIMITIVES):
            _delete_primitives(out, _directive_field(key, DELETE_PRIMITIVES, BAD_PRIMITIVE_LIST), value)
        elif value is None:
            out.pop(key, None)
        else:
            _merge_value(out, key, value, schema)
    return out


def _merge_value(out: Obj, key: str, value: Any, schema: Schema) -> None:
    live = out.get(key)
    if isinstance(live, dict) and isinstance(value, dict):
        below, strategies, _ = _field(schema, key)
        out[key] = value if "replace" in strategies else _merge(live, value, below)
    elif isinstance(live, list) and isinstance(value, list):
        below, strategies, merge_key = _field(schema, key)
        if "merge" in strategies:
            out[key] = _merge_list(live, value, below.items or _ANY, merge_key)
        else:
            out[key] = value
    elif _is_directive(value):
        out.pop(key, None)
    else:
        out[key] = _plain(value)


def _is_directive(value: Any) -> bool:
    return isinstance(value, dict) and DIRECTIVE in value


def _plain(value: Any) -> Any:
    """A part of a patch taken over where nothing was: without nulls and without directives."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None and not _is_directive(v)}
    if isinstance(value, list):
        return [_plain(v) for v in value if not _is_directive(v)]
    return value


def _directive_field(key: str, prefix: str, problem: str) -> str:
    head, slash, field = key.partition("/")
    if not slash or head != prefix:
        raise errors.bad_request(problem)
    return field


def _retain_keys(out: Obj, patch: Obj) -> None:
    """Drops what `$retainKeys` does not list."""
    if RETAIN not in patch:
        return
    keep = patch.pop(RETAIN)
    if not isinstance(keep, list):
        raise errors.bad_request(BAD_RETAIN_KEYS)
    for key, value in patch.items():
        if value is not None and key not in keep and not key.startswith((DELETE_PRIMITIVES, SET_ORDER)):
            raise errors.bad_request(BAD_RETAIN_KEYS)
    for key in [k for k in out if k not in keep]:
        del out[key]


def _delete_primitives(out: Obj, field: str, values: Any) -> None:
    live = out.get(field)
    if values is None:
        out.pop(field, None)
    elif isinstance(live, list) and isinstance(values, list):
        out[field] = [v for v in live if v not in values]


# -- lists


def _merge_ordered(out: Obj, patch: Obj, key: str, order: Any, schema: Schema) -> None:
    """Merges a list together with its `$setElementOrder`; takes the list out of the patch."""
    if not isinstance(order, list):
        raise _failed("expected a []interface {}, but received a " + _go_type(order))
    field = _directive_field(key, SET_ORDER, BAD_SET_ORDER)
    live, change = out.get(field), patch.get(field)
    for value in (live, change):
        if value is not None and not isinstance(value, list):
            raise _failed("expected a []interface {}, but received a " + _go_type(value))
    below, strategies, merge_key = _field(schema, field)
    _check_order(change or [], order, merge_key)
    if field in out and field not in patch:
        merged = list(live or [])
    elif field in patch and field not in out:
        merged = _plain(change or [])
    elif field in out:
        replace = "merge" not in strategies
        merged = (
            list(change or []) if replace else _merge_list(live or [], change or [], below.items or _ANY, merge_key)
        )
    else:
        return
    if not live and not change:
        raise _failed("no elements in any of the given slices")
    out[field] = _arrange(merged, order, live or [], merge_key)
    patch.pop(field, None)


def _identity(item: Any, merge_key: str) -> Any:
    """What tells an item of a merged list from the others."""
    if not merge_key:
        return item
    if not isinstance(item, dict):
        raise _failed(f"expected a map[string]interface {{}}, but received a {_go_type(item)}")
    if merge_key not in item:
        raise _no_merge_key(item, merge_key)
    return item[merge_key]


def _check_order(change: list[Any], order: list[Any], merge_key: str) -> None:
    """Whether the items of the patch come in the order that `$setElementOrder` gives."""
    if not order or not change:
        return
    wanted = [_identity(item, merge_key) for item in change if not _is_directive(item)]
    at = 0
    for item in order:
        if at < len(wanted) and _identity(item, merge_key) == wanted[at]:
            at += 1
    if at < len(wanted):
        raise _failed(
            f"The order in patch list:\n{go_text(change)}\n doesn't match {SET_ORDER} list:\n{go_text(order)}\n"
        )


def _check_types(items: list[Any]) -> None:
    if any(isinstance(item, list) for item in items):
        raise rejected()
    if len({type(item) for item in items}) > 1:
        raise _failed(f"list element types are not identical: {go_text([items])}")


def _merge_list(live: list[Any], change: list[Any], schema: Schema, merge_key: str) -> list[Any]:
    if not live and not change:
        return live
    _check_types([*live, *change])
    if not isinstance((live or change)[0], dict):
        merged = _unique([*live, *change])
        return _arrange(merged, change, live, "")
    if not merge_key:
        raise _failed(f"cannot merge lists without merge key for {schema.name or schema.type}")
    live, change = _special_items(live, change, merge_key)
    merged = list(live)
    for item in change:
        identity = _identity(item, merge_key)
        at = next((i for i, m in enumerate(merged) if m.get(merge_key) == identity), None)
        if at is None:
            merged.append(item)
        else:
            merged[at] = _merge(merged[at], item, schema)
    return _arrange(merged, change, live, merge_key)


def _special_items(live: list[Any], change: list[Any], merge_key: str) -> tuple[list[Any], list[Any]]:
    """(live, patch) after the patch's directives on items: delete and replace."""
    plain: list[Any] = []
    replace = False
    for item in change:
        directive = item.get(DIRECTIVE)
        if directive is None:
            plain.append(item)
        elif directive == "delete":
            identity = _identity(item, merge_key)
            live = [m for m in live if m.get(merge_key) != identity]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _failed("merging lists cannot yet be specified in the patch")
        else:
            raise _failed(f"unknown patch type: {go_text(directive)} in map: {go_text(item)}")
    return (plain, []) if replace else (live, plain)


def _unique(items: list[Any]) -> list[Any]:
    out: list[Any] = []
    for item in items:
        if item not in out:
            out.append(item)
    return out


def _place(identities: list[Any], identity: Any) -> int:
    return identities.index(identity) if identity in identities else -1


def _arrange(merged: list[Any], order: list[Any], live: list[Any], merge_key: str) -> list[Any]:
    """Puts ordered items as `order` has them, and weaves the others in where the live list had them."""
    wanted = [_identity(item, merge_key) for item in order]
    before = [_identity(item, merge_key) for item in live]
    keyed = [(_identity(item, merge_key), item) for item in merged]
    right = _sorted([pair for pair in keyed if pair[0] in wanted], wanted)
    left = _sorted([pair for pair in keyed if pair[0] not in wanted], before)
    out: list[Any] = []
    i = j = 0
    while i < len(left) or j < len(right):
        if j >= len(right):
            take_left = True
        elif i >= len(left):
            take_left = False
        else:
            here, there = _place(before, left[i][0]), _place(before, right[j][0])
            take_left = 0 <= here < there
        if take_left:
            out.append(left[i][1])
            i += 1
        else:
            out.append(right[j][1])
            j += 1
    return out


def _sorted(pairs: list[tuple[Any, Any]], order: list[Any]) -> list[tuple[Any, Any]]:
    """By place in `order`; what it does not know stays behind what it does."""
    last = len(order)

    def compare(a: tuple[Any, Any], b: tuple[Any, Any]) -> int:
        x, y = _place(order, a[0]), _place(order, b[0])
        return (x if x >= 0 else last) - (y if y >= 0 else last)

    return sorted(pairs, key=cmp_to_key(compare))
