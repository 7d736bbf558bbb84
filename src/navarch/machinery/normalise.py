"""Brings a decoded tree to the form that Go's decoding and encoding of the same type would give it, in one pass.

`normalise` is compiled per schema to closures that walk what is present: a typical Pod costs little more than a visit
of its fields. Behaviour followed: encoding/json and sigs.k8s.io/json (case-sensitive names), apimachinery's Time,
MicroTime, Quantity, IntOrString.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any, TypeAlias

from navarch.machinery import scalars
from navarch.machinery.errors import StatusError, bad_request
from navarch.machinery.scalars import Mismatch
from navarch.machinery.schema import Schema

Found: TypeAlias = "list[list[str | int]]"
"""Paths of unknown fields, relative to the node that is being walked."""
Walk: TypeAlias = Callable[[Any, Found], Any]
"""(value, found) -> the value to keep; changes containers in place."""

_PLAIN: dict[str, type] = {"string": str, "bool": bool, "int32": int, "int64": int}
_OMIT, _POINTER, _ALWAYS = range(3)
_PRESENCE = {"omitempty": _OMIT, "pointer": _POINTER, "always": _ALWAYS}


def normalise(schema: Schema, tree: Any, unknown: list[str] | None = None) -> Any:
    """Type-checks `tree`, drops nulls and unknown fields, and applies Go's presence rules and canonical texts.

    Takes ownership: the tree is changed in place and returned (null becomes an empty object). Paths of unknown fields
    (`spec.containers[0].foo`) are appended to `unknown`. Raises StatusError 400 where a value has the wrong type; its
    cause is the Mismatch.
    """
    found: Found = []
    try:
        result = _compiled(schema)({} if tree is None else tree, found)
    except Mismatch as mismatch:
        raise _refusal(schema, tree, mismatch) from mismatch
    if found and unknown is not None:
        unknown.extend(path_text(path) for path in found)
    return result


def path_text(path: list[str | int]) -> str:
    """`["spec", "containers", 0, "foo"]` as `spec.containers[0].foo`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def cannot_be_handled(schema: Schema, tree: Any, why: str) -> StatusError:
    """The 400 of a body that does not decode into its kind."""
    package, _, kind = schema.name.rpartition(".")
    version = package.rpartition(".")[2]
    if not kind and isinstance(tree, dict):
        kind, version = str(tree.get("kind", "")), str(tree.get("apiVersion", "")).rpartition("/")[2]
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def _refusal(schema: Schema, tree: Any, mismatch: Mismatch) -> StatusError:
    if not mismatch.go_type:
        return cannot_be_handled(schema, tree, mismatch.text)
    path = ".".join(step for step in mismatch.path if isinstance(step, str))
    where = f"field {mismatch.struct}.{path}" if path else f"value of type {mismatch.go_type}"
    if not path:
        return cannot_be_handled(schema, tree, f"json: cannot unmarshal {mismatch.text} into Go {where}")
    why = f"json: cannot unmarshal {mismatch.text} into Go struct {where} of type {mismatch.go_type}"
    return cannot_be_handled(schema, tree, why)


@lru_cache(maxsize=2048)
def _compiled(schema: Schema) -> Walk:
    return _walk_of(schema, {})


def _walk_of(schema: Schema, pending: dict[Schema, Walk]) -> Walk:
    """The closure for one node; `pending` ties the knots of recursive schemas."""
    if walk := pending.get(schema):
        return walk
    if schema.type == "scalar":
        return scalars.WALKS[schema.scalar]
    if schema.type == "object":
        return _object_walk(schema, pending)
    if schema.items is None:
        return _untouched
    if schema.type == "any":
        return _choice_walk(schema.items, pending)
    items = _walk_of(schema.items, pending)
    go_type = _go_type(schema)
    if schema.type == "list":
        return _list_walk(items, schema.items, go_type, pending)
    return _map_walk(items, schema.items, go_type, pending)


def _null() -> None:
    """What Go writes of a time, list or map that is always written and never was set. (Protobuf, the form in which
    upstream stores, knows no difference between none and empty.)"""


def _untouched(value: Any, found: Found) -> Any:
    return value


def _choice_walk(schema: Schema, pending: dict[Schema, Walk]) -> Walk:
    """A value that is the schema's object, a list of them, or something else entirely (JSONSchemaPropsOrArray)."""

    def walk(value: Any, found: Found) -> Any:
        run = pending[schema]
        if isinstance(value, dict):
            return run(value, found)
        if isinstance(value, list):
            mine: Found = []
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    run(item, found)
                    _take(found, index, mine)
            found.extend(mine)
        return value

    _walk_of(schema, pending)
    return walk


def _go_type(schema: Schema) -> str:
    """How Go's messages name the type: `[]v1.Container`, `map[string]string`."""
    if schema.type == "list" and schema.items:
        return "[]" + _go_type(schema.items)
    if schema.type == "map" and schema.items:
        return "map[string]" + _go_type(schema.items)
    if schema.type == "object":
        package, _, name = schema.name.rpartition(".")
        return f"{package.rpartition('.')[2]}.{name}" if name else "map[string]interface {}"
    return scalars.GO_TYPES.get(schema.scalar, "string")


def _zero_of(schema: Schema, pending: dict[Schema, Walk]) -> Callable[[], Any] | None:
    """Makes what Go encodes for an absent field that is always written; None where that would be a null."""
    match schema.type:
        case "object":
            walk = _walk_of(schema, pending)
            return lambda: walk({}, [])
        case "list":
            return list
        case "map":
            return dict
        case "scalar":
            return scalars.ZEROS.get(schema.scalar)
        case "any":
            return None


def _list_walk(items: Walk, item: Schema, go_type: str, pending: dict[Schema, Walk]) -> Walk:
    if item.type == "object":
        return _object_list_walk(items, go_type)
    all_text = item.type == "scalar" and item.scalar == "string"
    only_text = {str}
    zero = _zero_of(item, pending)

    def walk(value: Any, found: Found) -> Any:
        if type(value) is not list:
            raise Mismatch.of(value, go_type)
        if all_text and set(map(type, value)) <= only_text:
            return value
        mine: Found = []
        for index, element in enumerate(value):
            if element is None and zero is not None:
                element = zero()
            new = items(element, found)
            if new is not value[index]:
                value[index] = new
            if found:
                _take(found, index, mine)
        if mine:
            found.extend(mine)
        return value

    return walk


def _object_list_walk(items: Walk, go_type: str) -> Walk:
    """A list of objects: they are changed in place, so that only a null has to be put back."""

    def walk(value: Any, found: Found) -> Any:
        if type(value) is not list:
            raise Mismatch.of(value, go_type)
        mine: Found | None = None
        for index, element in enumerate(value):
            if element is None:
                value[index] = items({}, found)
            else:
                items(element, found)
            if found:
                mine = mine or []
                _take(found, index, mine)
        if mine is not None:
            found.extend(mine)
        return value

    return walk


def _map_walk(items: Walk, item: Schema, go_type: str, pending: dict[Schema, Walk]) -> Walk:
    all_text = item.type == "scalar" and item.scalar == "string"
    only_text = {str}
    zero = dict if item.type == "object" else _zero_of(item, pending)

    def walk(value: Any, found: Found) -> Any:
        if type(value) is not dict:
            raise Mismatch.of(value, go_type)
        if all_text and set(map(type, value.values())) <= only_text:
            return value
        mine: Found = []
        for key, element in value.items():
            if element is None and zero is not None:
                element = zero()
            new = items(element, found)
            if new is not value[key]:
                value[key] = new
            if found:
                _take(found, key, mine)
        if mine:
            found.extend(mine)
        return value

    return walk


def _take(found: Found, step: str | int, mine: Found) -> None:
    """Moves what the child at `step` found into the parent's list."""
    for path in found:
        path.insert(0, step)
    mine.extend(found)
    found.clear()


def _object_walk(schema: Schema, pending: dict[Schema, Walk]) -> Walk:
    """The hot closure. `plan` says of a field what is usual: a plain scalar's type (not zero: it stays as it is), or the
    walk of a container (not empty: it stays, changed in place). All else is looked at in full."""
    plan: dict[str, Any] = {}
    others: dict[str, tuple[Walk, int]] = {}
    always: list[tuple[str, Callable[[], Any]]] = []
    look_up = plan.get
    struct = schema.name.rpartition(".")[2]
    go_type = _go_type(schema)
    keep_unknown = schema.preserve_unknown

    def walk(tree: Any, found: Found) -> Any:
        if type(tree) is not dict:
            raise Mismatch.of(tree, go_type)
        drop: list[str] | None = None
        mine: Found | None = None
        key = ""
        try:
            for key, value in tree.items():
                usual = look_up(key)
                if type(value) is usual:
                    if value and (usual is not int or -0x80000000 <= value <= 0x7FFFFFFF):
                        continue
                elif type(usual) is FunctionType and value:
                    usual(value, found)
                    if found:
                        mine = mine or []
                        _take(found, key, mine)
                    continue
                if key not in others:
                    if keep_unknown:
                        continue
                    mine = mine or []
                    mine.append([key])
                elif value is not None:
                    run, presence = others[key]
                    new = run(value, found)
                    if new is not None and (new or presence != _OMIT):
                        if new is not value:
                            tree[key] = new
                        continue
                drop = drop or []
                drop.append(key)
        except Mismatch as mismatch:
            mismatch.path.insert(0, key)
            mismatch.struct = mismatch.struct or struct
            raise
        if drop is not None:
            for key in drop:
                del tree[key]
        for key, zero in always:
            if key not in tree:
                tree[key] = zero()
        if mine is not None:
            found.extend(mine)
        return tree

    pending[schema] = walk
    for name, field in schema.fields.items():
        node = field.schema
        run = _walk_of(node, pending)
        written_null = field.presence == "always" and node.type in ("list", "map")
        others[name] = (run, _OMIT if written_null else _PRESENCE[field.presence])
        if node.type == "scalar":
            plan[name] = _PLAIN.get(node.scalar)
        else:
            plan[name] = run
        if field.presence == "always":
            zero = None if written_null else _zero_of(node, pending)
            always.append((name, zero or _null))
    return walk
