"""A checked tree to closures, which compute its value and count its cost as cel-go's cost tracker does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from navarch.machinery.cel import folds
from navarch.machinery.cel.checker import Checked
from navarch.machinery.cel.cost import LIST_COST, MAP_COST, STRUCT_COST, call_cost
from navarch.machinery.cel.folds import Code, Frame
from navarch.machinery.cel.syntax import Bind, Call, Fold, Ident, ListNode, Literal_, MapNode, Node, Select, StructNode
from navarch.machinery.cel.types import Type
from navarch.machinery.cel.values import (
    NONE_,
    CelError,
    CostExceeded,
    Optional_,
    TypeValue,
    type_name,
)


def compile_code(checked: Checked, variables: Iterable[str]) -> tuple[Code, dict[str, int], int]:
    """The code, the slots of its variables, and how many slots there are."""
    compiler = _Compiler(checked, variables)
    code = compiler.code(checked.root)
    return code, compiler.globals, compiler.size


class _Compiler:
    def __init__(self, checked: Checked, variables: Iterable[str]) -> None:
        self.checked = checked
        self.globals = {name: slot for slot, name in enumerate(variables)}
        self.size = len(self.globals)
        self.locals: list[tuple[str, int]] = []
        self.makers: dict[type[Node], Callable[..., Code]] = {
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

    def code(self, node: Node) -> Code:
        node = self.checked.qualified.get(node, node)
        return self.makers[type(node)](node)

    def new_slot(self, name: str) -> int:
        slot, self.size = self.size, self.size + 1
        self.locals.append((name, slot))
        return slot

    # -- leaves

    def literal(self, node: Literal_) -> Code:
        value = node.value
        return lambda frame: value

    def ident(self, node: Ident) -> Code:
        if node in self.checked.type_names:
            named = TypeValue(self.checked.type_names[node])
            return lambda frame: named
        name = node.name.removeprefix(".")
        slot = next((slot for known, slot in reversed(self.locals) if known == node.name), None)
        slot = self.globals[name] if slot is None else slot

        def run(frame: Frame) -> Any:
            frame.cost += 1
            return frame.slots[slot]

        return run

    # -- selection

    def select(self, node: Select) -> Code:
        if node in self.checked.type_names:
            named = TypeValue(self.checked.type_names[node])
            return lambda frame: named
        operand = self.code(node.operand)
        field, convert = self.field(node)
        if node.test:
            return _presence(operand, field)
        if node.optional or self.checked.types[node.operand].name == "optional_type":
            return _optional_field(operand, field, convert)
        if convert is None:

            def plain(frame: Frame) -> Any:
                value = operand(frame)
                frame.cost += 1
                if isinstance(value, dict):
                    try:
                        return value[field]
                    except KeyError:
                        raise CelError(f"no such key: {field}") from None
                return _select_other(value, field)

            return plain

        def converted(frame: Frame) -> Any:
            value = operand(frame)
            frame.cost += 1
            return convert(_select_other(value, field))

        return converted

    def field(self, node: Select) -> tuple[str, Any]:
        """(name in JSON, conversion) of a selected field."""
        operand = self.checked.types[node.operand]
        if operand.name == "optional_type" and operand.params:
            operand = operand.params[0]
        if operand.fields is not None:
            return operand.names.get(node.field, node.field), operand.fields[node.field].convert
        return node.field, operand.params[1].convert if operand.name == "map" else None

    # -- calls

    def call(self, node: Call) -> Code:
        parts = [self.code(arg) for arg in ([node.target] if node.target is not None else []) + node.args]
        if node.function in ("_&&_", "_||_"):
            return _logic(*parts, decisive=node.function == "_||_")
        if node.function == "_?_:_":
            return _conditional(*parts)
        if node.function == "_[_]":
            return self.indexed(node, parts)
        impl = self.checked.functions[node].impl
        overloads = self.checked.overloads[node]
        spend = call_cost(node.function, overloads[0].id if len(overloads) == 1 else "")

        def run(frame: Frame) -> Any:
            values = [part(frame) for part in parts]
            try:
                result = impl(*values)
            except TypeError:
                raise CelError("no such overload") from None
            frame.cost += spend(values, result)
            if frame.cost > frame.limit:
                raise CostExceeded
            return result

        return run

    def indexed(self, node: Call, parts: list[Code]) -> Code:
        impl = self.checked.functions[node].impl
        convert = _element_conversion(self.checked.types[node.args[0]])
        container, key = parts

        def run(frame: Frame) -> Any:
            holder = container(frame)
            try:
                result = impl(holder, key(frame))
            except TypeError:
                raise CelError("no such overload") from None
            frame.cost += 1
            return convert(result) if convert is not None else result

        return run

    # -- aggregates

    def list_(self, node: ListNode) -> Code:
        items = [(self.code(item), position in node.optional) for position, item in enumerate(node.items)]

        def run(frame: Frame) -> Any:
            made: list[Any] = []
            for code, optional in items:
                value = code(frame)
                if not optional:
                    made.append(value)
                elif _optional(value, "list element").present:
                    made.append(value.value)
            frame.cost += LIST_COST
            return made

        return run

    def map_(self, node: MapNode) -> Code:
        entries = [(self.code(e.key), self.code(e.value), e.optional) for e in node.entries]

        def run(frame: Frame) -> Any:
            made: dict[Any, Any] = {}
            for key_code, value_code, optional in entries:
                key, value = key_code(frame), value_code(frame)
                if not isinstance(key, str | int):
                    raise CelError(f"unsupported key type: {type_name(key)}")
                if key in made:
                    raise CelError(f"repeated key: {key}")
                if not optional:
                    made[key] = value
                elif _optional(value, f"entry '{key}'").present:
                    made[key] = value.value
            frame.cost += MAP_COST
            return made

        return run

    def struct(self, node: StructNode) -> Code:
        declared = self.checked.types[node]
        fields = [(declared.names.get(n, n), self.code(value), optional) for n, value, optional, _ in node.fields]

        def run(frame: Frame) -> Any:
            made: dict[str, Any] = {}
            for name, code, optional in fields:
                value = code(frame)
                if not optional:
                    made[name] = value
                elif _optional(value, f"entry '{name}'").present:
                    made[name] = value.value
            frame.cost += STRUCT_COST
            return made

        return run

    # -- macros

    def fold(self, node: Fold) -> Code:
        source = self.code(node.range)
        depth = len(self.locals)
        key_slot = self.new_slot(node.key) if node.key else -1
        slot = self.new_slot(node.variable)
        condition = self.code(node.condition) if node.condition is not None else None
        step = self.code(node.step)
        del self.locals[depth:]
        walk = folds.walker(source, key_slot, slot, _element_conversion(self.checked.types[node.range]))
        match node.kind:
            case "all":
                return folds.all_(walk, step)
            case "exists":
                return folds.exists(walk, step)
            case "exists_one":
                return folds.exists_one(walk, step)
            case "filter":
                return folds.filter_(walk, step, slot)
            case "sortBy":
                return folds.sort_by(walk, step, slot)
            case "map" | "transformList":
                return folds.map_(walk, step, condition)
            case "transformMap":
                return folds.transform_map(walk, step, condition, key_slot)
            case "transformMapEntry":
                return folds.transform_entries(walk, step, condition)

    def bind(self, node: Bind) -> Code:
        target = self.code(node.target)
        depth = len(self.locals)
        slot = self.new_slot(node.variable)
        body = self.code(node.body)
        del self.locals[depth:]
        wrap = node.kind == "optMap"

        def run(frame: Frame) -> Any:
            value = target(frame)
            if not isinstance(value, Optional_):
                raise CelError("no such overload")
            if not value.present:
                return NONE_
            frame.slots[slot] = value.value
            result = body(frame)
            return Optional_(result) if wrap else result

        return run


def _element_conversion(container: Type) -> Any:
    if container.name == "list":
        return container.params[0].convert
    return container.params[1].convert if container.name == "map" else None


def _select_other(value: Any, field: str) -> Any:
    """A field of whatever is not a plain dict (a lazy mapping, a null), or the error."""
    if isinstance(value, Mapping):
        with suppress(KeyError):
            return value[field]
    raise CelError(f"no such key: {field}")


def _presence(operand: Code, field: str) -> Code:
    def run(frame: Frame) -> bool:
        value = operand(frame)
        if isinstance(value, Optional_):
            value = value.value if value.present else {}
        if not isinstance(value, Mapping):
            raise CelError("no such overload")
        return field in value

    return run


def _optional_field(operand: Code, field: str, convert: Any) -> Code:
    def run(frame: Frame) -> Any:
        value = operand(frame)
        frame.cost += 1
        if isinstance(value, Optional_):
            if not value.present:
                return NONE_
            value = value.value
        if not isinstance(value, Mapping):
            raise CelError("no such overload")
        if field not in value:
            return NONE_
        found = value[field]
        return Optional_(convert(found) if convert is not None else found)

    return run


# -- logic: an error on one side gives way to a decision on the other


def _logic(left: Code, right: Code, *, decisive: bool) -> Code:
    def run(frame: Frame) -> bool:
        failure: CelError | None = None
        try:
            value = left(frame)
            if value is decisive:
                return decisive
            if type(value) is not bool:
                failure = CelError("no such overload")
        except CelError as error:
            failure = error
        value = right(frame)
        if value is decisive:
            return decisive
        if failure is not None:
            raise failure
        if type(value) is not bool:
            raise CelError("no such overload")
        return value

    return run


def _conditional(condition: Code, first: Code, second: Code) -> Code:
    def run(frame: Frame) -> Any:
        value = condition(frame)
        if type(value) is not bool:
            raise CelError("no such overload")
        return first(frame) if value else second(frame)

    return run


def _optional(value: Any, what: str) -> Optional_:
    """The value of an optional entry of a literal: types that are found out at run time may be others."""
    if isinstance(value, Optional_):
        return value
    raise CelError(f"cannot initialize optional {what} from non-optional value of type {type_name(value)}")
