"""Expressions, ready to run: `compile_expression` once, `Program.run` as often as needed.

program = compile_expression("self.replicas <= self.max", {"self": schema_type(...)}, BOOL)
program.estimate                     units it may cost at most, by the sizes its types allow
program.run({"self": obj})           its value; raises CelError, CostExceeded
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from navarch.machinery.cel import cost, literals
from navarch.machinery.cel.checker import Checked, check
from navarch.machinery.cel.declarations import Library, merge
from navarch.machinery.cel.evaluate import Frame, compile_code
from navarch.machinery.cel.library.authorizer import AUTHORIZATION
from navarch.machinery.cel.library.kubernetes import JSON_PATCHES, KUBERNETES
from navarch.machinery.cel.library.lists import LISTS
from navarch.machinery.cel.library.standard import STANDARD
from navarch.machinery.cel.library.strings import STRINGS
from navarch.machinery.cel.library.times import TIMES_AND_OPTIONALS
from navarch.machinery.cel.parser import parse
from navarch.machinery.cel.syntax import CompileError, InstantiationError, Issue
from navarch.machinery.cel.types import DYN, Type, assignable
from navarch.machinery.cel.values import CelError


@cache
def functions(patches: bool = False) -> Library:
    """Every function of release 1.36's environment; with `patches`, those of expressions that make JSON patches too."""
    found = merge(STANDARD, TIMES_AND_OPTIONALS, STRINGS, LISTS, KUBERNETES, AUTHORIZATION)
    return found | JSON_PATCHES if patches else found


class Program:
    """A compiled expression. Immutable and free of state: it may run in several places at once."""

    __slots__ = ("_code", "_size", "_slots", "checked", "estimate", "type")

    def __init__(self, checked: Checked, variables: Mapping[str, Type]) -> None:
        self.checked = checked
        self.type = checked.type
        self.estimate = cost.estimate(checked).high
        self._code, self._slots, self._size = compile_code(checked, variables)

    def run(self, bindings: Mapping[str, Any], limit: int = cost.PER_CALL_LIMIT) -> Any:
        return self.run_counted(bindings, limit)[0]

    def run_counted(self, bindings: Mapping[str, Any], limit: int = cost.PER_CALL_LIMIT) -> tuple[Any, int]:
        """The value, and what it cost. Variables that are not bound are null. Raises CelError, CostExceeded."""
        slots: list[Any] = [None] * self._size
        for name, slot in self._slots.items():
            slots[slot] = bindings.get(name)
        frame = Frame(slots, limit)
        try:
            return self._code(frame), frame.cost
        except CelError as error:
            error.cost = frame.cost
            raise
        except RecursionError:
            raise CelError("expression recursion limit exceeded") from None


def compile_expression(
    text: str,
    variables: Mapping[str, Type],
    result: Type | tuple[Type, ...] = DYN,
    structs: Mapping[str, Type] | None = None,
) -> Program:
    """Raises CompileError for text that does not parse, does not check, or gives another type than `result`."""
    try:
        root = parse(text)
        checked = check(text, root, functions("JSONPatch" in (structs or ())), variables, structs)
        if found := list(literals.issues(checked)):
            raise CompileError(text, found)
        literals.convert(checked)
        program = Program(checked, variables)
    except CelError as error:
        raise InstantiationError(str(error)) from None
    except RecursionError:
        raise CompileError(text, [Issue(0, "expression recursion limit exceeded")]) from None
    allowed = result if isinstance(result, tuple) else (result,)
    if not any(assignable(wanted, checked.type, {}) for wanted in allowed):
        words = " or ".join(str(wanted) for wanted in allowed)
        raise CompileError(text, [Issue(root.at, f"must evaluate to {words}")])
    return program
