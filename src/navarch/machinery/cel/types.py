"""Types of expressions: what the checker knows of a value before there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    """`name` with its parameters. Types compare by name and parameters; an object's fields come with it."""

    name: str
    params: tuple[Type, ...] = ()
    fields: Mapping[str, Type] | None = field(default=None, compare=False, hash=False)
    """Of an object type: its fields by their escaped names. None: no object."""
    names: Mapping[str, str] = field(default_factory=dict[str, str], compare=False, hash=False)
    """Escaped field name -> the name in JSON, where they differ."""
    max_elements: int | None = field(default=None, compare=False, hash=False)
    """The longest a string, list or map of this schema can be; None: unknown."""
    convert: Any = field(default=None, compare=False, hash=False)
    """JSON value -> CEL value, where they are not the same (times, numbers that are doubles)."""

    def __str__(self) -> str:
        if self.name == "list":
            return f"list({self.params[0]})"
        if self.name == "map":
            return f"map({self.params[0]}, {self.params[1]})"
        if self.name in ("optional_type", "type") and self.params:
            return f"{self.name}({self.params[0]})"
        return self.name

    @property
    def is_object(self) -> bool:
        return self.fields is not None


DYN = Type("dyn")
ERROR = Type("!error!")
INT, UINT, DOUBLE, BOOL, STRING, BYTES = (Type(n) for n in ("int", "uint", "double", "bool", "string", "bytes"))
NULL = Type("null_type")
TIMESTAMP, DURATION = Type("google.protobuf.Timestamp"), Type("google.protobuf.Duration")
A, B = Type("A"), Type("B")
"""Type parameters of declarations."""
PARAMETERS = frozenset(("A", "B"))
URL, QUANTITY = Type("kubernetes.URL"), Type("kubernetes.Quantity")
IP, CIDR = Type("net.IP"), Type("net.CIDR")
FORMAT, SEMVER = Type("kubernetes.NamedFormat"), Type("kubernetes.Semver")
AUTHORIZER = Type("kubernetes.authorization.Authorizer")
PATH_CHECK, GROUP_CHECK = Type("kubernetes.authorization.PathCheck"), Type("kubernetes.authorization.GroupCheck")
RESOURCE_CHECK, DECISION = (
    Type("kubernetes.authorization.ResourceCheck"),
    Type("kubernetes.authorization.Decision"),
)
SCALARS = frozenset((BOOL, DOUBLE, DURATION, INT, TIMESTAMP, UINT))


def list_of(item: Type, max_elements: int | None = None) -> Type:
    return Type("list", (item,), max_elements=max_elements)


def map_of(key: Type, value: Type, max_elements: int | None = None) -> Type:
    return Type("map", (key, value), max_elements=max_elements)


def optional_of(value: Type) -> Type:
    return Type("optional_type", (value,))


def type_of(value: Type) -> Type:
    return Type("type", (value,))


def object_of(name: str, fields: Mapping[str, Type], names: Mapping[str, str] | None = None) -> Type:
    return Type(name, (), fields, names or {})


Bindings = dict[str, Type]
"""Type parameter -> what it stands for in one call."""


def assignable(wanted: Type, found: Type, bindings: Bindings) -> bool:
    """Whether a value of `found` can stand where `wanted` is declared; binds type parameters."""
    if wanted.name in PARAMETERS:
        bound = bindings.get(wanted.name)
        if bound is None or bound == DYN:
            bindings[wanted.name] = found
            return True
        if assignable(bound, found, {}):
            return True
        if assignable(found, bound, {}):
            bindings[wanted.name] = found
            return True
        return False
    if DYN in (wanted, found) or ERROR in (wanted, found):
        return True
    if wanted.name != found.name:
        return _nullable(wanted, found) or _nullable(found, wanted)
    if wanted.name == "type" or not wanted.params or not found.params:
        return True
    return all(assignable(w, f, bindings) for w, f in zip(wanted.params, found.params, strict=True))


def _nullable(wanted: Type, found: Type) -> bool:
    """A null stands for any object or time."""
    return found == NULL and (wanted.is_object or wanted in (TIMESTAMP, DURATION))


def substitute(declared: Type, bindings: Bindings) -> Type:
    """The declared type with its parameters filled in; unbound ones are dyn."""
    if declared.name in PARAMETERS:
        return bindings.get(declared.name, DYN)
    if not declared.params:
        return declared
    return Type(
        declared.name, tuple(substitute(p, bindings) for p in declared.params), max_elements=declared.max_elements
    )


def join(a: Type, b: Type) -> Type:
    """The type of either; dyn where they differ."""
    if a == b:
        return a
    if assignable(a, b, {}):
        return DYN if DYN in (a, b) else b if a == NULL else a
    return DYN
