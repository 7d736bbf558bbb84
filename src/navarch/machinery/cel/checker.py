"""Types of a parsed expression: every node's type and every call's possible overloads, or what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from navarch.machinery.cel import types
from navarch.machinery.cel.declarations import Function, Library, Overload
from navarch.machinery.cel.library.standard import TYPE_NAMES
from navarch.machinery.cel.syntax import (
    Bind,
    Call,
    CompileError,
    Fold,
    Ident,
    Issue,
    ListNode,
    Literal_,
    MapNode,
    Node,
    Select,
    StructNode,
)
from navarch.machinery.cel.types import BOOL, DYN, ERROR, INT, Type
from navarch.machinery.cel.values import type_name

ORDERED = frozenset((INT, types.UINT, types.DOUBLE, BOOL, types.DURATION, types.TIMESTAMP, types.STRING, types.BYTES))
"""What can be sorted by."""
LITERALS = {"null_type": types.NULL, "google.protobuf.Duration": types.DURATION}


@dataclass(slots=True)
class Checked:
    """A checked tree: what cost and evaluation need besides it."""

    text: str
    root: Node
    types: dict[Node, Type] = field(default_factory=dict[Node, Type])
    overloads: dict[Node, tuple[Overload, ...]] = field(default_factory=dict[Node, tuple[Overload, ...]])
    functions: dict[Node, Function] = field(default_factory=dict[Node, Function])
    type_names: dict[Node, str] = field(default_factory=dict[Node, str])
    """Nodes that name a type."""
    qualified: dict[Node, Ident] = field(default_factory=dict[Node, Ident])
    """Selections that are variables with a dotted name (`authorizer.requestResource`)."""

    @property
    def type(self) -> Type:
        return self.types[self.root]


def check(
    text: str,
    root: Node,
    functions: Library,
    variables: Mapping[str, Type],
    structs: Mapping[str, Type] | None = None,
) -> Checked:
    """`structs` are the object types that the expression may construct. Raises CompileError."""
    checker = _Checker(text, functions, variables, structs or {})
    checked = Checked(text, root)
    checker.out = checked
    checker.visit(root)
    if issues := checker.issues or checker.mixtures:
        raise CompileError(text, issues)
    return checked


class _Checker:
    def __init__(
        self, text: str, functions: Library, variables: Mapping[str, Type], structs: Mapping[str, Type]
    ) -> None:
        self.functions = functions
        self.variables = variables
        self.structs = structs
        self.scopes: list[dict[str, Type]] = []
        self.issues: list[Issue] = []
        self.mixtures: list[Issue] = []
        """Literals with elements of several types: reported where nothing else is wrong."""
        self.formatting = 0
        """Within the arguments of `format`, which may be mixed."""
        self.out = Checked(text, Node())
        self.handlers: dict[type[Node], Callable[..., Type]] = {
            Literal_: self.literal,
            Ident: self.ident,
            Select: self.select,
            Call: self.call,
            ListNode: self.list_,
            MapNode: self.map_,
            StructNode: self.struct,
            Fold: self.fold,
            Bind: self.bind,
        }

    def visit(self, node: Node) -> Type:
        found = self.out.types[node] = self.handlers[type(node)](node)
        return found

    def wrong(self, at: int, message: str) -> Type:
        if len(self.issues) < 100:
            self.issues.append(Issue(at, message))
        return ERROR

    # -- leaves

    def literal(self, node: Literal_) -> Type:
        name = type_name(node.value)
        return LITERALS.get(name) or Type(name)

    def ident(self, node: Ident) -> Type:
        found = self.variable(node.name)
        if found is not None:
            return found
        if node.name in TYPE_NAMES:
            self.out.type_names[node] = node.name
            return types.type_of(TYPE_NAMES[node.name])
        return self.wrong(node.at, f"undeclared reference to '{node.name}' (in container '')")

    def variable(self, name: str) -> Type | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return self.variables.get(name.removeprefix("."))

    # -- selection

    def select(self, node: Select) -> Type:
        dotted = self.dotted(node)
        if dotted in TYPE_NAMES:
            self.out.type_names[node] = dotted
            return types.type_of(TYPE_NAMES[dotted])
        if (variable := self.qualified(node)) is not None:
            self.out.qualified[node] = variable
            return self.variables[variable.name]
        operand = self.visit(node.operand)
        wrapped = operand.name == "optional_type"
        inner = operand.params[0] if wrapped and operand.params else operand
        found = self.field(node, inner)
        if node.test:
            return BOOL
        return types.optional_of(found) if wrapped or node.optional else found

    def dotted(self, node: Node) -> str:
        if isinstance(node, Ident):
            return "" if self.variable(node.name) else node.name
        if isinstance(node, Select) and not node.test and (base := self.dotted(node.operand)):
            return f"{base}.{node.field}"
        return ""

    def qualified(self, node: Select) -> Ident | None:
        if not isinstance(node.operand, Ident) or node.test or node.optional:
            return None
        base = node.operand.name
        if f"{base}.{node.field}" not in self.variables or any(base in scope for scope in self.scopes):
            return None
        return Ident(f"{base}.{node.field}", at=node.at)

    def field(self, node: Select, operand: Type) -> Type:
        if operand.fields is not None:
            found = operand.fields.get(node.field)
            return found if found is not None else self.wrong(node.at, f"undefined field '{node.field}'")
        if operand.name == "map":
            return operand.params[1]
        if operand in (DYN, ERROR) or operand.name in types.PARAMETERS:
            return DYN
        return self.wrong(node.at, f"type '{operand}' does not support field selection")

    # -- calls

    def call(self, node: Call) -> Type:
        self.qualify(node)
        targets = [self.visit(node.target)] if node.target is not None else []
        self.formatting += node.function == "format"
        arguments = [*targets, *(self.visit(arg) for arg in node.args)]
        self.formatting -= node.function == "format"
        if node.function in ("_&&_", "_||_"):
            return self.logical(node, arguments)
        if node.function == "_?_:_":
            return self.conditional(node, arguments)
        function = self.functions.get(node.function)
        if function is None:
            return self.wrong(node.at, f"undeclared reference to '{node.function}' (in container '')")
        return self.resolve(node, function, arguments)

    def qualify(self, node: Call) -> None:
        """`sets.contains(a, b)` is a function with a dotted name, unless `sets` is a variable."""
        if isinstance(node.target, Ident) and self.variable(node.target.name) is None:
            name = f"{node.target.name}.{node.function}"
            if name in self.functions:
                node.function, node.target = name, None

    def logical(self, node: Call, arguments: list[Type]) -> Type:
        for found, argument in zip(arguments, node.args, strict=True):
            self.must_be_bool(found, argument)
        return BOOL

    def conditional(self, node: Call, arguments: list[Type]) -> Type:
        condition, first, second = arguments
        if _is_empty(node.args[1]) and first.name == second.name:
            first = second  # what nothing is in can be of any type
        elif _is_empty(node.args[2]) and first.name == second.name:
            second = first
        fits = types.assignable(first, second, {}) or types.assignable(second, first, {})
        if condition not in (BOOL, DYN, ERROR) or not fits:
            return self.no_overload(node, arguments)
        return types.join(first, second)

    def resolve(self, node: Call, function: Function, arguments: list[Type]) -> Type:
        is_member = node.target is not None
        result: Type | None = None
        fitting: list[Overload] = []
        for overload in function.overloads:
            if overload.member != is_member or len(overload.params) != len(arguments):
                continue
            bindings: types.Bindings = {}
            if all(types.assignable(w, f, bindings) for w, f in zip(overload.params, arguments, strict=True)):
                fitting.append(overload)
                given = types.substitute(overload.result, bindings)
                result = given if result is None or result == given else DYN
        if result is None:
            return self.no_overload(node, arguments)
        self.out.overloads[node] = tuple(fitting)
        self.out.functions[node] = function
        return result

    def no_overload(self, node: Call, arguments: list[Type]) -> Type:
        return self.unfit(node, node.function, arguments, node.target is not None)

    def unfit(self, node: Node, function: str, arguments: list[Type], member: bool = False) -> Type:
        words = [_word(found) for found in arguments]
        shown = f"{words[0]}.({', '.join(words[1:])})" if member else f"({', '.join(words)})"
        return self.wrong(node.at, f"found no matching overload for '{function}' applied to '{shown}'")

    # -- aggregates

    def list_(self, node: ListNode) -> Type:
        found: Type | None = None
        for position, item in enumerate(node.items):
            one = self.visit(item)
            if position in node.optional:
                one = self.unwrapped(one, item.at)
            found = self.alike(found, one, item.at)
        return types.list_of(found or DYN)

    def map_(self, node: MapNode) -> Type:
        keys: Type | None = None
        values: Type | None = None
        for entry in node.entries:
            keys = self.alike(keys, self.visit(entry.key), entry.key.at)
            value = self.visit(entry.value)
            if entry.optional:
                value = self.unwrapped(value, entry.value.at)
            values = self.alike(values, value, entry.value.at)
        return types.map_of(keys or DYN, values or DYN)

    def unwrapped(self, found: Type, at: int) -> Type:
        """What an optional entry of a literal adds where it has a value."""
        if found.name == "optional_type":
            return found.params[0]
        if found in (DYN, ERROR):
            return found
        return self.wrong(at, f"expected type '{_word(types.optional_of(found))}' but found '{_word(found)}'")

    def alike(self, before: Type | None, found: Type, at: int) -> Type:
        """Elements of literals are of one type."""
        if before is None or ERROR in (before, found):
            return found if before is None else before
        if types.assignable(before, found, {}) or types.assignable(found, before, {}):
            return types.join(before, found)
        if not self.formatting:
            self.mixtures.append(Issue(at, f"expected type '{_word(before)}' but found '{_word(found)}'"))
        return DYN

    def struct(self, node: StructNode) -> Type:
        declared = self.structs.get(node.type_name)
        if declared is None or declared.fields is None:
            for _, value, _, _ in node.fields:
                self.visit(value)
            return self.wrong(node.at, f"undeclared reference to '{node.type_name}' (in container '')")
        for name, value, optional, at in node.fields:
            found = self.visit(value)
            if optional:
                found = self.unwrapped(found, value.at)
            wanted = declared.fields.get(name)
            if wanted is None:
                self.wrong(at, f"undefined field '{name}'")
            elif not types.assignable(wanted, found, {}):
                self.wrong(
                    at, f"expected type of field '{name}' is '{_word(wanted)}' but provided type is '{_word(found)}'"
                )
        return declared

    # -- macros

    def fold(self, node: Fold) -> Type:
        keys, values = self.elements(node)
        two = bool(node.key)
        if not two:
            values = keys if self.out.types[node.range].name == "map" else values
        self.scopes.append({node.key: keys, node.variable: values} if two else {node.variable: values})
        condition = self.visit(node.condition) if node.condition is not None else BOOL
        step = self.visit(node.step)
        self.scopes.pop()
        if condition != BOOL:
            mapped = node.kind in ("transformMap", "transformMapEntry")
            self.choosing(node, condition, types.map_of(keys, step) if mapped else types.list_of(step))
        match node.kind:
            case "all" | "exists":
                self.must_be_bool(step, node.step)
                return BOOL
            case "exists_one":
                self.choosing(node, step, INT)
                return BOOL
            case "filter":
                self.choosing(node, step, types.list_of(values))
                return types.list_of(values)
            case "sortBy":
                if step not in ORDERED and step not in (DYN, ERROR):
                    self.unfit(node, "@sortByAssociatedKeys", [types.list_of(values), types.list_of(step)], True)
                return types.list_of(values)
            case "map" | "transformList":
                return types.list_of(replace(step, max_elements=None))
            case "transformMap":
                return types.map_of(keys, step)
            case "transformMapEntry":
                if step.name != "map" and step not in (DYN, ERROR):
                    self.unfit(node, "cel.@mapInsert", [types.map_of(DYN, DYN), step])
                return step if step.name == "map" else types.map_of(DYN, DYN)

    def elements(self, node: Fold) -> tuple[Type, Type]:
        """(key or index, value) of what is gone through."""
        found = self.visit(node.range)
        if found.name == "list":
            return INT, found.params[0]
        if found.name == "map":
            return found.params[0], found.params[1]
        if found not in (DYN, ERROR):
            self.wrong(
                node.range.at,
                f"expression of type '{_word(found)}' cannot be range of a comprehension (must be list, map, or dynamic)",
            )
        return DYN, DYN

    def choosing(self, node: Fold, condition: Type, result: Type) -> None:
        """What a macro chooses elements by, as the conditional that it stands for."""
        if condition not in (BOOL, DYN, ERROR):
            self.unfit(node, "_?_:_", [condition, result, result])

    def must_be_bool(self, found: Type, node: Node) -> None:
        if found not in (BOOL, DYN, ERROR):
            self.wrong(node.at, f"expected type 'bool' but found '{_word(found)}'")

    def bind(self, node: Bind) -> Type:
        found = self.visit(node.target)
        if found.name != "optional_type" and found not in (DYN, ERROR):
            self.wrong(node.at, f"found no matching overload for '{node.kind}' applied to '{_word(found)}'")
        self.scopes.append({node.variable: found.params[0] if found.params else DYN})
        body = self.visit(node.body)
        self.scopes.pop()
        return types.optional_of(body) if node.kind == "optMap" else body


def _is_empty(node: Node) -> bool:
    """A literal of no elements."""
    return (isinstance(node, ListNode) and not node.items) or (isinstance(node, MapNode) and not node.entries)


def _word(found: Type) -> str:
    """A type as cel-go prints it."""
    text = str(found)
    return {"null_type": "null", "google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}.get(
        text, text
    )
