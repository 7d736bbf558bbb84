"""What may be wrong with an object, derived from its schema (OpenAPI v3): every field absent, null, empty, of another type,
out of bounds, badly named, twice, or set beside what excludes it. Pure.

A mutation is a label and the whole changed tree. Labels say where and what: `spec.ports[].port=65536`, `spec.ports-`
(absent), `spec.hostPID+` (a field that the object has not, with a plain value). Of lists and maps the first item is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PREFIX = "#/components/schemas/"
DEEP = 7
"""How many levels of fields are made below a field that the object has not."""
LONG = "x" * 300
STRINGS = ("", "x", "Bad_Name/", " a ", "a.b/c", LONG, 5)
PLAIN = {
    "path": "/a",
    "mountPath": "/a",
    "devicePath": "/a",
    "ip": "10.0.0.1",
    "hostIP": "10.0.0.1",
    "cidr": "10.0.0.0/8",
    "apiVersion": "v1",
    "fieldPath": "metadata.name",
    "topologyKey": "kubernetes.io/hostname",
    "matchLabelKeys": "a",
}
"""Plain values of fields by name; other texts are "a"."""
ADDRESSES = ("10.0.0.1", "010.0.0.1", "::1", "::ffff:10.0.0.1", "256.0.0.1", "10.0.0.0/8", "10.0.0.1/8", "fd00::/64")
ODD = {
    "string": STRINGS,
    "date-time": ("", "x", "2019-01-01", "2019-01-01T00:00:00+02:00", 5),
    "byte": ("", "x", "YQ==", 5),
    "integer": (0, 1, -1, 100, 65535, 65536, 2**31 - 1, 2**31, 2**63, 1.5, "1"),
    "number": (0, -1.5, "x"),
    "boolean": (True, False, "true"),
    "quantity": ("0", "-1", "x", "", "1500m", "0.0001", "1Pi", "1e3", 1, 1.5, True),
    "int-or-string": (0, -1, 65536, 2**31, "x", "", "0", "50%", "101%", "-1%", "Bad Name", 1.5, True),
    "any": (1, "x", [], {}),
}


@dataclass(frozen=True, slots=True)
class Mutation:
    label: str
    tree: Any


class Mutator:
    """For the schemas of one group and version."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def named(self, group: str, version: str, kind: str) -> Any:
        """The schema of a kind. Raises KeyError where there is none."""
        wanted = {"group": group, "version": version, "kind": kind}
        for schema in self._schemas.values():
            if schema.get("x-kubernetes-group-version-kind") == [wanted] and "properties" in schema:
                return schema
        raise KeyError(kind)

    def mutations(
        self, tree: Any, schema: Any, below: tuple[str, ...] = (), skip: tuple[str, ...] = ()
    ) -> list[Mutation]:
        """Of `tree`; only at and below these top fields, if any are given, and not at those to skip."""
        found = {
            label.removeprefix("."): changed
            for label, changed in self._changes(tree, schema, "", DEEP)
            if label and _chosen(label, below, skip)
        }
        return [Mutation(label, changed) for label, changed in found.items()]

    def _changes(self, value: Any, schema: Any, name: str, deep: int) -> Iterator[tuple[str, Any]]:
        """(label, what may stand instead of the value)."""
        schema = self._resolved(schema)
        kind = _kind(schema)
        if kind in ODD:
            odd = (*ODD[kind], *schema.get("enum", ()), *(ADDRESSES if _address(name, kind) else ()), None)
            yield from ((f"={_short(other)}", other) for other in odd if other is not value)
            return
        yield from ((f"={_short(other)}", other) for other in ({}, [], "x", None) if other != value)
        if kind == "array" and isinstance(value, list):
            yield from self._list(value, schema["items"], name, deep)
        elif kind == "map" and isinstance(value, dict):
            yield from self._map(value, schema["additionalProperties"], deep)
        elif kind == "object" and isinstance(value, dict):
            yield from self._object(value, schema, deep)

    def _object(self, value: dict[str, Any], schema: Any, deep: int) -> Iterator[tuple[str, Any]]:
        yield ".nofield+", {**value, "nofield": 1}
        for key, field in schema["properties"].items():
            if key in value:
                yield f".{key}-", {k: v for k, v in value.items() if k != key}
                plain, less = value[key], deep
            elif deep:
                plain, less = self._plain(field, key), deep - 1
                yield f".{key}+", {**value, key: plain}
            else:
                continue
            yield from (
                (f".{key}{label}", {**value, key: other}) for label, other in self._changes(plain, field, key, less)
            )

    def _list(self, value: list[Any], items: Any, name: str, deep: int) -> Iterator[tuple[str, Any]]:
        first = value[0] if value else self._plain(items, name)
        rest = value[1:]
        yield "[twice]", [first, first, *rest]
        yield "[null]", [None, *rest]
        yield from ((f"[]{label}", [other, *rest]) for label, other in self._changes(first, items, name, deep))

    def _map(self, value: dict[str, Any], values: Any, deep: int) -> Iterator[tuple[str, Any]]:
        key = min(value, default="a")
        first = value.get(key, self._plain(values, ""))
        rest = {k: v for k, v in value.items() if k != key}
        for odd in ("", "Bad Key", "a/b/c", "x" * 64, "example.com/a", "-a"):
            yield f"[key {_short(odd)}]", {odd: first, **rest}
        yield from ((f"[]{label}", {key: other, **rest}) for label, other in self._changes(first, values, "", deep))

    def _plain(self, schema: Any, name: str) -> Any:
        """A value that is likely to be valid: what is required, and no more."""
        schema = self._resolved(schema)
        kind = _kind(schema)
        if kind == "object":
            return {key: self._plain(schema["properties"][key], key) for key in schema.get("required", ())}
        if kind == "array":
            return [self._plain(schema["items"], name)]
        if kind == "map":
            return {"a": self._plain(schema["additionalProperties"], "")}
        if kind == "string":
            return schema["enum"][0] if schema.get("enum") else PLAIN.get(name, "a")
        plain = {"boolean": True, "date-time": "2019-01-01T00:00:00Z", "byte": "YQ==", "quantity": "1", "any": {}}
        return plain.get(kind, 1)

    def _resolved(self, schema: Any) -> Any:
        while (ref := schema.get("$ref") or (schema.get("allOf") or [{}])[0].get("$ref")) is not None:
            schema = self._schemas[ref.removeprefix(PREFIX)]
        return schema


def _kind(schema: Any) -> str:
    if "oneOf" in schema:
        return "int-or-string" if schema.get("format") == "int-or-string" else "quantity"
    kind, format = schema.get("type", "any"), schema.get("format")
    if kind == "object":
        return "object" if "properties" in schema else "map" if "additionalProperties" in schema else "any"
    return format if format in ("date-time", "byte") else kind


def _address(name: str, kind: str) -> bool:
    return kind == "string" and any(word in name.lower() for word in ("ip", "cidr", "address", "server", "range"))


def _chosen(label: str, below: tuple[str, ...], skip: tuple[str, ...]) -> bool:
    top = label.lstrip(".").partition("[")[0].partition("=")[0].rstrip("+-").split(".")
    path = [".".join(top[: number + 1]) for number in range(len(top))]
    return not any(part in skip for part in path) and (not below or any(part in below for part in path))


def _short(value: Any) -> str:
    return "long" if isinstance(value, str) and len(value) > 50 else repr(value)
