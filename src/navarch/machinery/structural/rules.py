"""x-kubernetes-validations: rules in CEL, compiled from a schema and run on objects.

Source: apiextensions' schema/cel (compilation.go, validation.go): costs, ratcheting and messages are upstream's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from navarch.machinery.cel.environment import Program, compile_expression
from navarch.machinery.cel.schematypes import MAX_REQUEST, SELF, Declared, convert, declare, escape, own_name
from navarch.machinery.cel.syntax import CompileError, failure, mentions
from navarch.machinery.cel.types import BOOL, DYN, STRING, Type, optional_of
from navarch.machinery.cel.values import NONE_, CelError, CostExceeded, Optional_
from navarch.machinery.errors import FieldErrors
from navarch.machinery.structural.lists import key_of
from navarch.machinery.structural.nodes import Node
from navarch.machinery.structural.paths import PathError, field_path
from navarch.machinery.structural.values import META_FIELDS, NOTHING, old_items, same
from navarch.machinery.types import Obj

BUDGET = 10_000_000
"""Units that all rules may spend on one object."""
MAX_MESSAGE = 5 * 1024
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(slots=True)
class Rule:
    """One rule, compiled. `error` and `message_error` say why there is no program."""

    raw: Obj
    program: Program | None = None
    error: str = ""
    uses_old: bool = False
    message: Program | None = None
    message_error: str = ""
    path: str = ""
    """Where its failures are shown, below the value."""

    @property
    def shown(self) -> str:
        return (self.raw.get("message") or self.raw["rule"]).strip()

    @property
    def optional(self) -> bool:
        return bool(self.raw.get("optionalOldSelf"))


@dataclass(slots=True)
class Rules:
    """The rules of a schema and of what is below it."""

    node: Node
    type: Type
    own: Sequence[Rule] = ()
    properties: dict[str, Rules] = field(default_factory=dict[str, "Rules"])
    items: Rules | None = None
    additional: Rules | None = None

    @property
    def shown_type(self) -> str:
        return self.node.raw.get("type") or ""


def compile_rule(raw: Obj, node: Node, type: Type) -> Rule:
    """A rule on values of a type. Never raises: the rule says what is wrong with it."""
    rule = Rule(raw)
    if not (raw.get("rule") or "").strip():
        return rule
    old = optional_of(type) if rule.optional else type
    variables = {"self": type, "oldSelf": old}
    try:
        program = compile_expression(raw["rule"], variables, DYN)
    except CompileError as error:
        rule.error = failure(error).replace(own_name(type), SELF)
        return rule
    if program.type not in (BOOL, DYN) or program.type == DYN:
        rule.error = "cel expression must evaluate to a bool"
        return rule
    rule.program, rule.uses_old = program, mentions(program.checked.root, "oldSelf")
    if raw.get("messageExpression"):
        try:
            rule.message = compile_expression(raw["messageExpression"], variables, DYN)
            if rule.message.type != STRING:
                rule.message, rule.message_error = None, "messageExpression must evaluate to a string"
        except CompileError as error:
            told = failure(error).removeprefix("program ").replace(own_name(type), SELF)
            rule.message_error = f"messageExpression {told}"
    if raw.get("fieldPath"):
        try:
            rule.path = field_path(raw["fieldPath"], node)[0]
        except PathError:
            rule.path = ""
    return rule


def compile_rules(node: Node, *, root: bool = False) -> Rules | None:
    """All rules of a schema; None where there are none."""
    declared = declare(node.raw, root or node.embedded)
    return _compile(node, declared.type) if declared is not None else None


def _compile(node: Node, type: Type) -> Rules | None:
    own = [compile_rule(raw, node, type) for raw in node.raw.get("x-kubernetes-validations") or ()]
    rules = Rules(node, type, own)
    for name, below in node.properties.items():
        known = child_type(type, name, below)
        if known is not None and (found := _compile(below, known)):
            rules.properties[name] = found
    if node.items is not None and type.name == "list":
        rules.items = _compile(node.items, type.params[0])
    if isinstance(node.additional, Node) and type.name == "map":
        rules.additional = _compile(node.additional, type.params[1])
    return rules if own or rules.properties or rules.items or rules.additional else None


def child_type(type: Type, name: str, node: Node) -> Type | None:
    """The type of a property; None where expressions do not see it."""
    escaped = escape(name)
    if escaped is not None:
        return (type.fields or {}).get(escaped)
    declared = declare(node.raw, node.embedded)
    return declared.type if declared is not None else None


def cardinality(declared: Declared) -> int:
    """How many values of a type a request can hold at most."""
    return MAX_REQUEST // (declared.smallest + 1)


# -- running


@dataclass(slots=True)
class Run:
    """One evaluation of all rules on an object."""

    errs: FieldErrors
    warnings: list[str]
    budget: int = BUDGET


Known = tuple[Any, Any, Node] | None
"""The nearest value whose old one is known, with it and its schema: what ratcheting compares."""


def run_rules(
    rules: Rules, value: Any, old: Any, errs: FieldErrors, warnings: list[str], budget: int = BUDGET, at: str = ""
) -> int:
    """Adds what rules say. `old` is NOTHING on create. Rules that failed on an unchanged value only warn. Returns what is
    left of the budget, negative when it ran out. `at`: the path of the value."""
    run = Run(errs, warnings, budget)
    known: Known = (value, old, rules.node) if old is not NOTHING and not at else None
    _validate(run, rules, value, old, known, at, not at)
    return run.budget


def _validate(run: Run, rules: Rules, value: Any, old: Any, known: Known, at: str, root: bool) -> None:
    if value is None:
        return
    if rules.own:
        _own(run, rules, value, old, known, at)
        if run.budget < 0:
            return
    if type(value) is dict:
        was: dict[str, Any] = old if isinstance(old, dict) else {}
        for name, child in value.items():
            below = rules.properties.get(name)
            if below is not None:
                path = f"{at}.{name}" if at else name
            elif rules.additional is not None and name not in rules.node.properties:
                below, path = rules.additional, f"{at}[{name}]"
            else:
                continue
            before = was.get(name, NOTHING)
            _validate(run, below, child, before, _closer(known, below, child, before, root, name), path, False)
            if run.budget < 0:
                return
    elif type(value) is list and rules.items is not None:
        earlier = old_items(rules.node, old)
        for index, item in enumerate(value):
            before = earlier.get(key_of(item, rules.node.keys), NOTHING) if earlier else NOTHING
            nearer = (item, before, rules.items.node) if known is not None and before is not NOTHING else known
            _validate(run, rules.items, item, before, nearer, f"{at}[{index}]", False)
            if run.budget < 0:
                return


def _closer(known: Known, rules: Rules, child: Any, before: Any, root: bool, name: str) -> Known:
    if known is None or (root and name in META_FIELDS and name != "metadata"):
        return None
    return (child, before, rules.node) if before is not NOTHING else known


def _own(run: Run, rules: Rules, value: Any, old: Any, known: Known, at: str) -> None:
    old = NOTHING if old is None else old
    path, shown = at or "<nil>", rules.shown_type
    if run.budget <= 0:
        run.errs.invalid(path, shown, OUT_OF_BUDGET)
        run.budget = -1
        return
    bindings = {"self": convert(rules.type, value)}
    converted = convert(rules.type, old) if old is not NOTHING else None
    for rule in rules.own:
        if rule.error:
            run.errs.invalid(path, shown, f"rule compile error: {rule.error}")
            continue
        if rule.program is None or (rule.uses_old and old is NOTHING and not rule.optional):
            continue
        if rule.optional:
            bindings["oldSelf"] = NONE_ if old is NOTHING else Optional_(converted)
        else:
            bindings["oldSelf"] = converted
        if _holds(run, rule, bindings, path, shown) is False:
            _failed(run, rules, rule, bindings, value, known, at)
        if run.budget < 0:
            return


def _holds(run: Run, rule: Rule, bindings: Obj, path: str, shown: str) -> bool | None:
    """None: there is an error instead."""
    assert rule.program is not None
    try:
        result, cost = rule.program.run_counted(bindings)
    except CostExceeded as error:
        text = (
            f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.shown}"
        )
        run.errs.invalid(path, shown, text)
        run.budget = -1
        return None
    except CelError as error:
        run.budget -= error.cost
        text = f"{error} evaluating rule: {rule.shown}"
        if str(error).startswith("no such overload"):
            text = (
                f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: "
                f"{rule.shown}"
            )
        run.errs.invalid(path, shown, text)
        return None
    if cost > run.budget:
        run.errs.invalid(path, shown, OUT_OF_BUDGET)
        run.budget = -1
        return None
    run.budget -= cost
    return result is True


def _failed(run: Run, rules: Rules, rule: Rule, bindings: Obj, value: Any, known: Known, at: str) -> None:
    path = f"{at}.{rule.path}" if at and rule.path else at or rule.path or "<nil>"
    errs = FieldErrors()
    text = _message(run, rule, bindings)
    if isinstance(text, _Stop):
        errs.invalid(path, rules.shown_type, text.why)
        run.budget = -1
    else:
        text = text or (rule.raw.get("message") or "").strip() or f"failed rule: {rule.raw['rule'].strip()}"
        _add(errs, rule.raw.get("reason"), path, value, rules.shown_type in ("object", "array"), text)
    if not rule.uses_old and known is not None and same(known[0], known[1], known[2]):
        run.warnings.extend(str(error) for error in errs.items)
    else:
        run.errs.items.extend(errs.items)


def _add(errs: FieldErrors, reason: str | None, path: str, value: Any, omit: bool, text: str) -> None:
    match reason:
        case "FieldValueForbidden":
            errs.forbidden(path, text)
        case "FieldValueRequired":
            errs.required(path, text)
        case "FieldValueDuplicate":
            if omit:
                errs.duplicate_whole(path)
            else:
                errs.duplicate(path, value)
        case _ if omit:
            errs.unfit(path, text)
        case _:
            errs.invalid(path, value, text)


@dataclass(slots=True)
class _Stop:
    """Nothing more is evaluated."""

    why: str


def _message(run: Run, rule: Rule, bindings: Obj) -> str | _Stop:
    """What the messageExpression says; empty: nothing that can be shown."""
    if rule.message is None:
        return ""
    source = rule.raw["messageExpression"]
    try:
        text, cost = rule.message.run_counted(bindings)
    except CostExceeded:
        why = "no further validation rules will be run due to call cost exceeds limit for messageExpression: "
        return _Stop(why + f'"{source}"')
    except CelError as error:
        run.budget -= error.cost
        return ""
    if cost > run.budget:
        return _Stop(
            "messageExpression evaluation failed due to running out of cost budget, "
            "no further validation rules will be run"
        )
    run.budget -= cost
    text = text.strip() if isinstance(text, str) else ""
    return "" if len(text.encode()) > MAX_MESSAGE or re.search(r"\n", text) else text
