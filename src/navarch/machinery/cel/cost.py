"""What an expression costs: counted while it runs, and estimated before it may be stored.

The model is cel-go's with Kubernetes' estimator on top (apiserver pkg/cel/library/cost.go); one unit is about 50 ns there.
The estimate decides whether an expression is accepted into a CRD or a policy, so its figures follow upstream's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from navarch.machinery.cel import types
from navarch.machinery.cel.checker import Checked
from navarch.machinery.cel.syntax import Bind, Call, Fold, Ident, ListNode, Literal_, MapNode, Node, Select, StructNode
from navarch.machinery.cel.types import SCALARS, Type
from navarch.machinery.cel.values import MAX_UINT, size

LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40
TRAVERSAL, REGEX = 0.1, 0.25
"""Per character of a string gone through, and of a pattern."""
AUTHORIZATION = 350_000
"""A check: two of them in an expression, and no more."""
MAX_FORMAT_REGEX = 128
PER_CALL_LIMIT = 1_000_000
"""Units that one evaluation may cost."""

Spend = Callable[[Sequence[Any], Any], int]
"""(arguments, the target first; result) -> units."""


def _part(value: Any, factor: float = TRAVERSAL) -> int:
    return math.ceil(size(value) * factor)


def _tree(value: Any) -> int:
    """Going through a value as a tree."""
    if isinstance(value, str | bytes):
        return int(len(value) * TRAVERSAL)
    if isinstance(value, list):
        return sum(map(_tree, value))
    if isinstance(value, dict):
        return sum(_tree(k) + _tree(v) for k, v in value.items())
    return 1


def _smaller(values: Sequence[Any], _: Any) -> int:
    return math.ceil(min(size(values[0]), size(values[1])) * TRAVERSAL)


def _regex(values: Sequence[Any], _: Any) -> int:
    return math.ceil((1 + size(values[0])) * TRAVERSAL) * math.ceil(size(values[1]) * REGEX)


def _selector(values: Sequence[Any], _: Any) -> int:
    length = size(values[1])
    return LIST_COST + math.ceil(length * TRAVERSAL) + math.ceil(math.ceil(length * 0.5) * (LIST_COST + STRUCT_COST))


def _contains_ip(values: Sequence[Any], _: Any) -> int:
    parsed = _part(values[1]) if isinstance(values[1], str) else 0
    return math.ceil(2 * size(values[0]) * TRAVERSAL) + parsed


def _add(values: Sequence[Any], result: Any) -> int:
    return math.ceil((size(values[0]) + size(values[1])) * TRAVERSAL) if isinstance(result, str | bytes) else 1


def _validate(values: Sequence[Any], _: Any) -> int:
    pattern = getattr(values[0], "max_regex", MAX_FORMAT_REGEX)
    return math.ceil((1 + size(values[1])) * TRAVERSAL) * math.ceil(pattern * REGEX)


def _contains(values: Sequence[Any], _: Any) -> int:
    return _part(values[0]) * _part(values[1])


def _compared(values: Sequence[Any], _: Any) -> int:
    return _smaller(values, _) if isinstance(values[0], str | bytes) else 1


def _first(values: Sequence[Any], _: Any) -> int:
    return _part(values[0])


def _first_twice(values: Sequence[Any], _: Any) -> int:
    return _part(values[0], 2 * TRAVERSAL)


def _one(_: Sequence[Any], __: Any) -> int:
    return 1


def _product(factor: int) -> Spend:
    return lambda values, result: 1 + factor * size(values[0]) * size(values[1])


def _made(values: Sequence[Any], result: Any) -> int:
    """A list of the result's length was made."""
    return 1 + LIST_COST + size(result)


def _flattened(values: Sequence[Any], result: Any) -> int:
    return 1 + LIST_COST + size(values[0]) * (values[1] if len(values) > 1 else 1)


def self_comparison(items: Sequence[Any]) -> int:
    """Sorting or deduplicating: each with each."""
    factor = 2 + (TRAVERSAL if items and isinstance(items[0], str | bytes) else 0)
    return 1 + LIST_COST + int(len(items) ** 2 * factor)


_SPENDING: dict[str, Spend] = {
    "sets.contains": _product(1),
    "sets.intersects": _product(1),
    "sets.equivalent": _product(2),
    **dict.fromkeys(("slice", "lists.range", "reverse"), _made),
    "flatten": _flattened,
    **dict.fromkeys(("sort", "distinct"), lambda values, result: self_comparison(values[0])),
    "check": lambda values, result: AUTHORIZATION,
    "fieldSelector": _selector,
    "labelSelector": _selector,
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), lambda v, r: _tree(v[0])),
    **dict.fromkeys(("url", "isURL", "lowerAscii", "upperAscii", "substring", "trim", "jsonpatch.escapeKey"), _first),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _first),
    **dict.fromkeys(("startsWith", "endsWith", "bytes", "strings.quote", "format"), _first),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _first_twice),
    "ip": lambda values, result: _first(values, result) if isinstance(values[0], str) else 1,
    "string": lambda values, result: _first(values, result) if isinstance(values[0], bytes) else 1,
    "join": lambda values, result: _part(result, 2 * TRAVERSAL),
    **dict.fromkeys(("find", "findAll", "matches"), _regex),
    "containsIP": _contains_ip,
    "containsCIDR": lambda values, result: _contains_ip(values, result) + _first(values, result) + 1,
    "validate": _validate,
    "contains": _contains,
    "@in": lambda values, result: size(values[1]) if isinstance(values[1], list) else 1,
    "_+_": _add,
    "_==_": _smaller,
    "_!=_": _smaller,
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _compared),
}


def call_cost(function: str, overload: str) -> Spend:
    """How the calls of a function are counted at run time."""
    return _SPENDING.get(function, _one)


# -- the estimate


class Range(NamedTuple):
    """At least and at most; saturates at 2^64-1."""

    low: int
    high: int

    def plus(self, other: Range) -> Range:
        return Range(min(self.low + other.low, MAX_UINT), min(self.high + other.high, MAX_UINT))

    def times(self, other: Range) -> Range:
        return Range(min(self.low * other.low, MAX_UINT), min(self.high * other.high, MAX_UINT))

    def scaled(self, factor: float) -> Range:
        return Range(_scaled(self.low, factor), _scaled(self.high, factor))

    def union(self, other: Range) -> Range:
        return Range(min(self.low, other.low), max(self.high, other.high))


def _scaled(value: int, factor: float) -> int:
    return MAX_UINT if value >= MAX_UINT else min(math.ceil(value * factor), MAX_UINT)


UNKNOWN = Range(0, MAX_UINT)
ZERO, ONE = Range(0, 0), Range(1, 1)
APPEND = Range(12, 12)
"""`accumulator + [element]` of an expanded macro: name, list, concatenation."""


ENTRY = {"transformMap": 3, "transformMapEntry": 2}
"""What putting an entry into the accumulator costs."""


def estimate(checked: Checked) -> Range:
    """What evaluating the expression costs, from the sizes that its types allow."""
    return _Estimator(checked).cost(checked.root)


class _Estimator:
    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.sizes: dict[Node, Range] = {}
        self.entries: dict[Node, Range] = {}
        """The sizes of what is in a list, where no schema has them: in literals, and in what `map` makes of them."""
        self.variables: dict[str, Range] = {}

    # -- sizes

    def size(self, node: Node) -> Range:
        found = self.sizes.get(node)
        if found is not None:
            return found
        if isinstance(node, Literal_):
            return Range(size(node.value), size(node.value))
        if isinstance(node, ListNode):
            return Range(len(node.items), len(node.items))
        if isinstance(node, MapNode):
            return Range(len(node.entries), len(node.entries))
        kind = self.checked.types[node]
        if not isinstance(node, Ident) or kind.max_elements is not None:
            return type_size(kind)
        if kind.name == "type":
            return ZERO
        return self.variables.get(node.name) or type_size(kind)

    # -- costs

    def cost(self, node: Node) -> Range:
        match node:
            case Literal_():
                return ZERO
            case Ident():
                return ONE
            case Select():
                return ONE if node in self.checked.qualified else self.select(node)
            case Call():
                return self.call(node)
            case ListNode():
                cost = self.total(node.items).plus(Range(LIST_COST, LIST_COST))
                self.entries[node] = _all([self.size(item) for item in node.items])
                return cost
            case MapNode():
                parts = [part for entry in node.entries for part in (entry.key, entry.value)]
                return self.total(parts).plus(Range(MAP_COST, MAP_COST))
            case StructNode():
                return self.total([value for _, value, _, _ in node.fields]).plus(Range(STRUCT_COST, STRUCT_COST))
            case Fold():
                return self.fold(node)
            case Bind():
                return self.cost(node.target).plus(Range(0, self.cost(node.body).high)).plus(ONE)
            case _:
                return ZERO

    def total(self, nodes: Sequence[Node]) -> Range:
        result = ZERO
        for node in nodes:
            result = result.plus(self.cost(node))
        return result

    def select(self, node: Select) -> Range:
        cost = self.cost(node.operand)
        return cost if node.test else cost.plus(ONE)

    def fold(self, node: Fold) -> Range:
        result = self.cost(node.range)
        rounds = self.size(node.range)
        hidden = self.variables.pop(node.variable, None)
        entry = self.entries.get(node.range)
        if entry is not None:
            self.variables[node.variable] = entry
        step = self.cost(node.step)
        guard = self.cost(node.condition) if node.condition is not None else ZERO
        if node.kind == "map":
            self.entries[node] = Range(0, self.size(node.step).high)
        elif node.kind == "filter" and entry is not None:
            self.entries[node] = entry
        self.variables.pop(node.variable, None)
        if hidden is not None:
            self.variables[node.variable] = hidden
        if node.kind in ("map", "transformList", "sortBy"):
            step = step.plus(APPEND)
        if node.kind in ENTRY:
            step = step.plus(Range(ENTRY[node.kind], ENTRY[node.kind]))
        if node.condition is not None:
            step = guard.plus(step.union(ONE))
        match node.kind:
            case "all":
                loop, first, last = Range(2 + 1, 2 + 1 + step.high), ZERO, ONE
            case "exists":
                loop, first, last = Range(3 + 1, 3 + 1 + step.high), ZERO, ONE
            case "exists_one":
                loop, first, last = step.plus(Range(1, 2)), ZERO, Range(2, 2)
            case "filter":
                loop, first, last = step.plus(Range(1, 13)), Range(LIST_COST, LIST_COST), ONE
            case "map" | "transformList" | "sortBy":
                loop, first, last = step, Range(LIST_COST, LIST_COST), ONE
            case _:
                loop, first, last = step, Range(MAP_COST, MAP_COST), ONE
        if node.kind not in ("all", "exists", "exists_one"):
            self.sizes[node] = rounds if node.condition is None and node.kind != "filter" else Range(0, rounds.high)
        return result.plus(first).plus(rounds.times(loop)).plus(last)

    def call(self, node: Call) -> Range:
        parts = ([node.target] if node.target is not None else []) + node.args
        costs = [self.cost(part) for part in parts]
        if node.function in ("_&&_", "_||_"):
            return Range(costs[0].low, costs[0].plus(costs[1]).high)
        if node.function == "_?_:_":
            self.sizes[node] = self.size(parts[1]).union(self.size(parts[2]))
            return costs[0].plus(costs[1].union(costs[2]))
        arguments = ZERO
        for cost in costs:
            arguments = arguments.plus(cost)
        own, result = self.function(node, [self.size(part) for part in parts])
        if result is not None:
            self.sizes[node] = result
        return arguments.plus(own)

    def function(self, node: Call, sizes: list[Range]) -> tuple[Range, Range | None]:
        """(cost, size of the result where the type does not say it)."""
        name = node.function
        found = self.checked.types[node]
        if name in _ESTIMATES:
            return _ESTIMATES[name](sizes)
        match name:
            case "_+_" if found in (types.STRING, types.BYTES):
                both = sizes[0].plus(sizes[1])
                return both.scaled(TRAVERSAL), both
            case "_+_" if found.name == "list":
                return ONE, sizes[0].plus(sizes[1])
            case "_==_" | "_!=_":
                kind = self.checked.types[node.args[0]].name
                return (ONE if "." in kind and name == "_==_" else _smallest(sizes)), None
            case "_<_" | "_<=_" | "_>_" | "_>=_" if self.checked.types[node.args[0]] in (types.STRING, types.BYTES):
                return _smallest(sizes), None
            case "_<_" | "_<=_" | "_>_" | "_>=_" if self.checked.types[node.args[0]] == types.DYN:
                return _smallest(sizes).union(ONE), None
            case "lists.range":
                times = node.args[0]
                length = _exactly(times.value) if isinstance(times, Literal_) else UNKNOWN
                return _allocated(length, length)
            case "@in" if self.checked.types[node.args[1]].name == "list":
                return sizes[1], None
            case "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf":
                return self.traversed(node, sizes[0]), None
            case "join":
                return self.joined(node, sizes)
            case "dyn":
                return ONE, sizes[0]
            case "containsIP" | "containsCIDR":
                text = sizes[1] if self.checked.types[node.args[0]] == types.STRING else ZERO
                cost = Range(8, 32).scaled(TRAVERSAL).plus(text.scaled(TRAVERSAL))
                return (cost.plus(Range(4, 16).scaled(TRAVERSAL)).plus(ONE) if name == "containsCIDR" else cost), None
            case _:
                return ONE, None

    def item(self, node: Node) -> Type | None:
        found = self.checked.types[node]
        return found.params[0] if found.name == "list" else None

    def traversed(self, node: Call, length: Range) -> Range:
        assert node.target is not None
        item = self.item(node.target)
        if item is None:
            return length.scaled(TRAVERSAL)
        each = ONE
        if item in (types.STRING, types.BYTES):
            each = each.plus(type_size(item).scaled(TRAVERSAL))
        return length.times(each)

    def joined(self, node: Call, sizes: list[Range]) -> tuple[Range, Range]:
        assert node.target is not None
        item = self.item(node.target)
        length = sizes[0].times(type_size(item)) if item is not None else ZERO
        if len(sizes) > 1:
            gaps = Range(max(sizes[0].low - 1, 0), max(sizes[0].high - 1, 0))
            length = length.plus(sizes[1].times(gaps))
        return length.scaled(TRAVERSAL), length


def type_size(found: Type) -> Range:
    if found.max_elements is not None:
        return Range(0, found.max_elements)
    if found in SCALARS or (found.name == "optional_type" and found.params and found.params[0] in SCALARS):
        return ONE
    return UNKNOWN


def _exactly(length: Any) -> Range:
    return Range(max(length, 0), max(length, 0)) if isinstance(length, int) else UNKNOWN


def _all(sizes: Sequence[Range]) -> Range:
    return Range(min((s.low for s in sizes), default=0), max((s.high for s in sizes), default=0))


def _smallest(sizes: list[Range]) -> Range:
    high = min(sizes[0].high, sizes[1].high)
    return Range(1 if high > 0 else 0, high).scaled(TRAVERSAL)


Estimate = Callable[[list[Range]], tuple[Range, "Range | None"]]


def _fixed(units: int) -> Estimate:
    return lambda sizes: (Range(units, units), None)


def _traversal(factor: float = TRAVERSAL, keeps: bool = False) -> Estimate:
    return lambda sizes: (sizes[0].scaled(factor), sizes[0] if keeps else None)


def _pattern(sizes: list[Range]) -> tuple[Range, Range | None]:
    cost = sizes[0].plus(ONE).scaled(TRAVERSAL).times(sizes[1].scaled(REGEX))
    return cost, Range(0, sizes[0].high)


def _replaced(sizes: list[Range]) -> tuple[Range, Range | None]:
    text, old, new = sizes[:3]
    if old.low == 0:
        most = min(min(text.high + 1, MAX_UINT) * new.high + text.high, MAX_UINT)
    elif new.high <= old.low:
        most = text.high
    else:
        most = min(math.ceil(text.high / old.low) * new.high, MAX_UINT)
    return text.scaled(2 * TRAVERSAL), Range(0, most)


def _validated(sizes: list[Range]) -> tuple[Range, Range | None]:
    return sizes[1].scaled(TRAVERSAL).scaled(MAX_FORMAT_REGEX * REGEX), None


def _selected(sizes: list[Range]) -> tuple[Range, Range | None]:
    parse, requirements = sizes[1].scaled(TRAVERSAL), sizes[1].scaled(0.5).scaled(LIST_COST + STRUCT_COST)
    return Range(LIST_COST, LIST_COST).plus(parse).plus(requirements), None


def _pairs(factor: int) -> Estimate:
    return lambda sizes: (sizes[0].times(sizes[1]).scaled(factor).plus(ONE), None)


def _allocated(work: Range, result: Range) -> tuple[Range, Range | None]:
    return work.plus(Range(1 + LIST_COST, 1 + LIST_COST)), result


_ESTIMATES: dict[str, Estimate] = {
    "check": _fixed(AUTHORIZATION),
    "fieldSelector": _selected,
    "labelSelector": _selected,
    **dict.fromkeys(
        ("url", "jsonpatch.escapeKey", "lowerAscii", "upperAscii", "substring", "trim"), _traversal(keeps=True)
    ),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "ip", "quantity", "isQuantity", "semver", "isSemver"), _traversal()),
    "ip.isCanonical": _traversal(2 * TRAVERSAL),
    "replace": _replaced,
    "split": lambda sizes: (sizes[0].scaled(2 * TRAVERSAL), Range(0, sizes[0].high)),
    "find": _pattern,
    "findAll": _pattern,
    "matches": lambda sizes: (_pattern(sizes)[0], None),
    "contains": lambda sizes: (sizes[0].scaled(TRAVERSAL).times(sizes[1].scaled(TRAVERSAL)), None),
    **dict.fromkeys(("startsWith", "endsWith"), lambda sizes: (sizes[1].scaled(TRAVERSAL), None)),
    "format": _traversal(),
    "bytes": lambda sizes: (sizes[0].scaled(TRAVERSAL), Range(sizes[0].low, min(sizes[0].high * 4, MAX_UINT))),
    "strings.quote": lambda sizes: (sizes[0].scaled(TRAVERSAL), sizes[0].scaled(2).plus(Range(2, 2))),
    "validate": _validated,
    "sets.contains": _pairs(1),
    "sets.intersects": _pairs(1),
    "sets.equivalent": _pairs(2),
    **dict.fromkeys(("slice", "reverse", "flatten"), lambda sizes: _allocated(sizes[0], sizes[0])),
    **dict.fromkeys(("sort", "distinct"), lambda sizes: _allocated(sizes[0].times(sizes[0]).scaled(2), sizes[0])),
}
