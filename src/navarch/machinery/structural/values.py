"""Whether a value fits its schema, in the words of upstream's validator, with ratcheting: what was there before and is
unchanged may stay as it is.

Sources: kube-openapi's pkg/validation/validate, apiextensions' apiserver/validation.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import orjson

from navarch.machinery.errors import FieldErrors
from navarch.machinery.gotext import number, quoted
from navarch.machinery.structural.formats import FORMATS
from navarch.machinery.structural.lists import key_of
from navarch.machinery.structural.nodes import META_FIELDS, Node

NOTHING: Any = object()
"""No old value that this one comes from."""
_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
MAX_FLOAT = 3.4028234663852886e38


class Finding(NamedTuple):
    """One thing wrong. `what` names the method of FieldErrors; path and text as upstream's validator has them."""

    what: str
    path: str
    value: Any
    text: str = ""
    limit: int = 0
    choices: tuple[str, ...] = ()


def validate(value: Any, node: Node, errs: FieldErrors, *, old: Any = NOTHING, below: str = "") -> None:
    """Adds what is wrong with a value. `old`: what it was before an update. `below`: the path of the value itself."""
    found = _check(value, node, "", old)
    for finding in found:
        _report(finding, below, errs)


def fits(value: Any, node: Node) -> bool:
    return not _check(value, node, "", NOTHING)


def _report(found: Finding, below: str, errs: FieldErrors) -> None:
    path = found.path.removeprefix(".")
    if found.what == "composite":
        errs.invalid(below or "<nil>", "", found.text)
        return
    path = f"{below}.{path}" if below and path else below or path or "<nil>"
    match found.what:
        case "required":
            errs.required(path)
        case "enum":
            errs.not_supported(path, found.value, found.choices, in_order=True)
        case "long":
            errs.too_long(path, found.limit)
        case "many":
            errs.too_many(path, found.value, found.limit)
        case "type":
            errs.type_invalid(path, found.value, found.text)
        case _:
            errs.invalid(path, found.value, found.text)


# -- one value


def _check(value: Any, node: Node, path: str, old: Any) -> list[Finding]:
    found = _findings(value, node, path, old)
    if found and old is not NOTHING and same(value, old, node):
        return []
    return found


def _findings(value: Any, node: Node, path: str, old: Any) -> list[Finding]:
    found: list[Finding] = []
    if value is None:
        if node.types and not node.nullable:
            found.append(_wrong_type(node, path, "null"))
        _enum(value, node, path, found)
        return found
    if node.types or node.format or node.number_format:
        _type(value, node, path, found)
    if node.all_of or node.any_of or node.one_of or node.negated is not None:
        _compose(value, node, path, found)
    kind = type(value)
    if kind is str:
        _text(value, node, path, found)
    elif kind is int or kind is float:
        _number(value, node, path, found)
    elif kind is list:
        _list(value, node, path, old, found)
    if node.enum:
        _enum(value, node, path, found)
    if kind is dict:
        _object(value, node, path, old, found)
    return found


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _wrong_type(node: Node, path: str, found: str) -> Finding:
    text = f"{_named(path)} must be of type {','.join(node.types)}: {quoted(found)}"
    return Finding("type", path, found, text)


def _named(path: str) -> str:
    return f"{path} in body"


def _type(value: Any, node: Node, path: str, found: list[Finding]) -> None:
    kind, types = _kind_of(value), node.types
    if kind in types:
        return
    if kind == "number" and "integer" in types and value.is_integer() and abs(value) < 2**53:
        return
    if kind == "integer" and "number" in types:
        return
    asked = node.raw.get("format") if node.format else node.number_format
    if node.format and kind in ("string", "array"):
        return
    if asked and kind not in ("string", "array"):
        is_format = {"integer": "int64", "number": "float64"}.get(kind, "")
        found.append(Finding("type", path, is_format, f"{_named(path)} must be of type {asked}: {quoted(is_format)}"))
    elif types:
        found.append(_wrong_type(node, path, kind))


def _enum(value: Any, node: Node, path: str, found: list[Finding]) -> None:
    if not node.enum or any(_equal(value, choice) for choice in node.enum):
        return
    choices = tuple(c if isinstance(c, str) else orjson.dumps(c).decode() for c in node.enum)
    found.append(Finding("enum", path, value, choices=choices))


def _equal(value: Any, choice: Any) -> bool:
    if isinstance(value, bool) or isinstance(choice, bool):
        return value is choice
    return value == choice


def _text(value: str, node: Node, path: str, found: list[Finding]) -> None:
    raw, name = node.raw, _named(path)
    most, least = raw.get("maxLength"), raw.get("minLength")
    if most is not None and len(value) > most:
        found.append(Finding("long", path, value, limit=most))
    elif least is not None and len(value) < least:
        found.append(Finding("invalid", path, value, f"{name} should be at least {least} chars long"))
    elif (pattern := node.pattern) is not None:
        if pattern.search is None:
            text = f"{name} should match '{pattern.text}, but pattern is invalid: {pattern.why}'"
            found.append(Finding("invalid", path, value, text))
        elif pattern.search(value) is None:
            found.append(Finding("invalid", path, value, f"{name} should match '{pattern.text}'"))
    if node.format and not FORMATS[node.format](value):
        text = f"{name} must be of type {node.raw.get('format')}: {quoted(value)}"
        found.append(Finding("type", path, value, text))


def _number(value: float, node: Node, path: str, found: list[Finding]) -> None:
    raw, name = node.raw, _named(path)
    _suits(value, "Checked", node, path, found)
    factor = raw.get("multipleOf")
    if factor is not None:
        _multiple(value if _suits(factor, "MultipleOf", node, path, found) else float(value), factor, path, found)
    most, least = raw.get("maximum"), raw.get("minimum")
    if most is not None:
        native = _suits(most, "Maximum boundary", node, path, found)
        bound = int(most) if native and isinstance(value, int) else most
        strict = bool(raw.get("exclusiveMaximum"))
        if value > bound or (strict and value == bound):
            words = "less than" if strict else "less than or equal to"
            found.append(Finding("invalid", path, value, f"{name} should be {words} {number(bound)}"))
    if least is not None:
        native = _suits(least, "Minimum boundary", node, path, found)
        bound = int(least) if native and isinstance(value, int) else least
        strict = bool(raw.get("exclusiveMinimum"))
        if value < bound or (strict and value == bound):
            words = "greater than" if strict else "greater than or equal to"
            found.append(Finding("invalid", path, value, f"{name} should be {words} {number(bound)}"))


def _suits(value: float, what: str, node: Node, path: str, found: list[Finding]) -> bool:
    """Whether a number, or a bound of numbers, is of the schema's type and format."""
    name = node.number_format
    if name or node.types == ("integer",):
        if _in_range(value, name or "int64"):
            return True
        shown = f"with format {name}" if name else "(default format)"
        text = f"{what} value must be of type {node.types[0]} {shown} in {path}"
        found.append(Finding("composite", path, "", text))
        return False
    return True


def _in_range(value: float, name: str) -> bool:
    if name in _RANGES:
        low, high = _RANGES[name]
        return value == int(value) and low <= value <= high
    return name != "float" or abs(value) <= MAX_FLOAT


def _multiple(value: float, factor: float, path: str, found: list[Finding]) -> None:
    whole = isinstance(value, int) and float(factor).is_integer()
    if factor <= 0 or (isinstance(value, int) and int(factor) <= 0):
        shown: Any = int(factor) if isinstance(value, int) else factor
        text = f"factor MultipleOf declared for {path} must be positive: {number(shown)}"
        found.append(Finding("invalid", path, shown, text))
    elif (
        (value % int(factor) != 0) if whole else not _is_integer(value / factor if factor >= 1 else 1 / factor * value)
    ):
        text = f"{_named(path)} should be a multiple of {number(factor)}"
        found.append(Finding("invalid", path, value, text))


def _is_integer(value: float) -> bool:
    """As swag.IsFloat64AJSONInteger: but for a rounding error."""
    if math.isinf(value) or math.isnan(value) or abs(value) >= 2**53:
        return False
    near = abs(value - round(value))
    return near == 0 or near < 1e-9 * max(abs(value), 1)


# -- lists and objects


def _list(value: list[Any], node: Node, path: str, old: Any, found: list[Finding]) -> None:
    raw, size, items = node.raw, len(value), node.items
    if items is not None:
        before = old_items(node, old)
        for index, item in enumerate(value):
            was = before.get(key_of(item, node.keys), NOTHING) if before else NOTHING
            if below := _check(item, items, f"{path}[{index}]", was):
                found.extend(below)
    least, most = raw.get("minItems"), raw.get("maxItems")
    if least is not None and size < least:
        found.append(Finding("invalid", path, size, f"{_named(path)} should have at least {least} items"))
    if most is not None and size > most:
        found.append(Finding("many", path, size, limit=most))


def old_items(node: Node, old: Any) -> dict[Any, Any]:
    """The old items of a list that is a map, by their keys; those of other lists cannot be found again."""
    if node.list_type != "map" or not isinstance(old, list):
        return {}
    found: dict[Any, Any] = {}
    for item in old:
        if isinstance(item, dict):
            found.setdefault(key_of(item, node.keys), item)
    return found


def _object(value: dict[str, Any], node: Node, path: str, old: Any, found: list[Finding]) -> None:
    raw, properties = node.raw, node.properties
    least, most = raw.get("minProperties"), raw.get("maxProperties")
    if least is not None and len(value) < least:
        found.append(Finding("invalid", path, len(value), f"{_named(path)} should have at least {least} properties"))
    if most is not None and len(value) > most:
        found.append(Finding("many", path, len(value), limit=most))
    was: dict[str, Any] = old if isinstance(old, dict) else {}
    more = node.additional
    for name, child in value.items():
        before = was.get(name, NOTHING)
        if not path and name in META_FIELDS and name != "metadata":
            before = NOTHING
        if (below := properties.get(name)) is not None:
            at = f"{path}.{name}" if path else name
        elif isinstance(more, Node):
            below, at = more, f"{path}.{name}"
        else:
            if node.closed:
                found.append(Finding("invalid", path, name, f"{path}.{name} in body is a forbidden property"))
            continue
        if wrong := _check(child, below, at, before):
            found.extend(wrong)
    if node.required:
        found.extend(Finding("required", f"{path}.{name}", None) for name in node.required if name not in value)


# -- junctors


def _compose(value: Any, node: Node, path: str, found: list[Finding]) -> None:
    shown = quoted(path)
    if node.any_of:
        tries = [_findings(value, choice, path, NOTHING) for choice in node.any_of]
        if all(tries):
            found.append(Finding("composite", path, "", f"{shown} must validate at least one schema (anyOf)"))
            found.extend(_best(tries))
    if node.one_of:
        tries = [_findings(value, choice, path, NOTHING) for choice in node.one_of]
        valid = sum(not wrong for wrong in tries)
        if valid != 1:
            more = "Found none valid" if not valid else f"Found {valid} valid alternatives"
            text = f"{shown} must validate one and only one schema (oneOf). {more}"
            found.append(Finding("composite", path, "", text))
            if not valid:
                found.extend(_best(tries))
    if node.all_of:
        tries = [_findings(value, choice, path, NOTHING) for choice in node.all_of]
        for wrong in tries:
            found.extend(wrong)
        if any(tries):
            more = ". None validated" if all(tries) else ""
            found.append(Finding("composite", path, "", f"{shown} must validate all the schemas (allOf){more}"))
    if node.negated is not None and not _findings(value, node.negated, path, NOTHING):
        found.append(Finding("composite", path, "", f"{shown} must not validate the schema (not)"))


def _best(tries: list[list[Finding]]) -> list[Finding]:
    """The failures of the alternative that came closest; the first of those."""
    return min(tries, key=len)


# -- ratcheting


def same(value: Any, old: Any, node: Node | None) -> bool:
    """Whether nothing has changed; in lists that are maps, items are compared by their keys."""
    if type(value) is not type(old):
        return False
    if type(value) is dict:
        if value.keys() != old.keys():
            return False
        return all(same(child, old[name], node.child(name) if node else None) for name, child in value.items())
    if type(value) is list:
        if len(value) != len(old):
            return False
        if node is not None and node.list_type == "map":
            before = old_items(node, old)
            return all(same(i, before.get(key_of(i, node.keys), NOTHING), node.items) for i in value)
        return value == old
    return value == old
