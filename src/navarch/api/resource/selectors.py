"""Expressions that choose devices. Source: k8s.io/dynamic-resource-allocation/cel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from navarch.api.resource.rules import MAX_SELECTORS, each
from navarch.machinery import names
from navarch.machinery.cel.types import BOOL, DYN, QUANTITY, STRING, Type, map_of, object_of
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

if TYPE_CHECKING:
    from navarch.machinery.cel.environment import Program

MAX_EXPRESSION, MAX_COST = 10 * 1024, 1_000_000
MAX_NAMES, MAX_VALUE = 32, 64


def _short(length: int) -> Type:
    return Type(STRING.name, max_elements=length)


_ATTRIBUTE = Type(DYN.name, max_elements=MAX_VALUE)
DEVICE = object_of(
    "kubernetes.DRADevice",
    {
        "driver": _short(63),
        "allowMultipleAllocations": Type(BOOL.name, max_elements=1),
        "attributes": map_of(_short(63), map_of(_short(32), _ATTRIBUTE, MAX_NAMES), MAX_NAMES),
        "capacity": map_of(_short(63), map_of(_short(32), QUANTITY, MAX_NAMES), MAX_NAMES),
    },
)


@lru_cache(maxsize=256)
def compiled(expression: str) -> Program:
    """The program of a selector, over `device`. Raises ValueError in upstream's words."""
    from navarch.machinery.cel.environment import compile_expression  # lazily: no start needs it
    from navarch.machinery.cel.syntax import CompileError, failure

    try:
        program = compile_expression(expression, {"device": DEVICE})
    except CompileError as error:
        raise ValueError(failure(error)) from None
    if program.type not in (BOOL, DYN):
        raise ValueError(f"must evaluate to bool or the unknown type, not {program.type}")
    return program


def validate_selectors(selectors: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    each(errs, path, selectors, MAX_SELECTORS, _selector)


def _selector(selector: Obj, at: str, errs: FieldErrors) -> None:
    cel = selector.get("cel")
    if cel is None:
        errs.required(f"{at}.cel")
        return
    path, text = f"{at}.cel.expression", cel.get("expression", "")
    if names.longer_than(text, MAX_EXPRESSION):
        errs.too_long(path, MAX_EXPRESSION)
        return
    try:
        program = compiled(text)
    except ValueError as error:
        errs.invalid(path, text, str(error))
        return
    if program.estimate > MAX_COST:
        errs.forbidden(path, "too complex, exceeds cost limit")
