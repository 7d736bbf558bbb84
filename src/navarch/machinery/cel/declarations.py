"""Functions as the checker and the evaluator know them: overloads, and what computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from navarch.machinery.cel.types import Type

Impl = Callable[..., Any]
"""Values in (the target first), a value out. Raises CelError; TypeError means that no overload fits."""


@dataclass(frozen=True, slots=True)
class Overload:
    id: str
    """cel-go's overload id where the cost model knows it."""
    params: tuple[Type, ...]
    """The target first, for a member function."""
    result: Type
    member: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    overloads: tuple[Overload, ...]
    impl: Impl


Library = dict[str, Function]


def over(id: str, result: Type, *params: Type) -> Overload:
    """A function or operator of these arguments."""
    return Overload(id, params, result)


def member(id: str, result: Type, *params: Type) -> Overload:
    """A method of the first parameter."""
    return Overload(id, params, result, True)


def library(*functions: tuple[str, Impl, Iterable[Overload]]) -> Library:
    return {name: Function(name, tuple(overloads), impl) for name, impl, overloads in functions}


def merge(*libraries: Library) -> Library:
    """All functions; overloads of one name in several libraries are put together, told apart by their first parameter."""
    merged: Library = {}
    for functions in libraries:
        for name, function in functions.items():
            known = merged.get(name)
            merged[name] = function if known is None else _joined(known, function)
    return merged


def _joined(first: Function, second: Function) -> Function:
    def impl(*values: Any) -> Any:
        try:
            return first.impl(*values)
        except TypeError:
            return second.impl(*values)

    return Function(first.name, first.overloads + second.overloads, impl)
