"""Rules of a schema before they may be stored: their texts, whether they compile, and what they may cost at most.

Source: apiextensions' validation.go and cel_validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from navarch.machinery.errors import FieldErrors
from navarch.machinery.structural.nodes import Node
from navarch.machinery.structural.paths import PathError, field_path
from navarch.machinery.types import Obj

COST_LIMIT = 10_000_000
TOTAL_LIMIT = 100_000_000
MOST = 2**64 - 1
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")


def validate_rule_texts(rules: Sequence[Obj], schema: Obj, at: str, errs: FieldErrors) -> None:
    node: Node | None = None
    for index, rule in enumerate(rules):
        here = f"{at}.x-kubernetes-validations[{index}]"
        _texts(rule, here, errs)
        if (reason := rule.get("reason")) is not None and reason not in REASONS:
            errs.not_supported(f"{here}.reason", reason, REASONS)
        path = rule.get("fieldPath") or ""
        if path and not path.strip():
            errs.invalid(f"{here}.fieldPath", path, "must be non-empty if specified")
        if _has_newlines(path):
            errs.invalid(f"{here}.fieldPath", path, "must not contain line breaks")
        if path:
            node = node or Node(schema)
            try:
                field_path(path, node)
            except PathError:
                errs.invalid(f"{here}.fieldPath", path, "must be a valid path")


def _texts(rule: Obj, at: str, errs: FieldErrors) -> None:
    text, message, source = rule.get("rule") or "", rule.get("message") or "", rule.get("messageExpression") or ""
    if not text.strip():
        errs.required(f"{at}.rule", "rule is not specified")
    elif message and not message.strip():
        errs.invalid(f"{at}.message", message, "must be non-empty if specified")
    elif _has_newlines(message.strip()):
        errs.invalid(f"{at}.message", message, "must not contain line breaks")
    elif _has_newlines(text.strip()) and not message.strip():
        errs.required(f"{at}.message", "message must be specified if rule contains line breaks")
    if source and not source.strip():
        errs.required(f"{at}.messageExpression", "messageExpression must be non-empty if specified")


def _has_newlines(text: str) -> bool:
    return re.search(r"[\n\r]", text) is not None


# -- costs


@dataclass(slots=True)
class Total:
    """What all rules of a schema cost."""

    sum: int = 0
    largest: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """(cost, path) of the four that cost most, of those that matter."""

    def add(self, path: str, cost: int) -> None:
        self.sum = min(self.sum + cost, MOST)
        if cost >= TOTAL_LIMIT // 100:
            self.largest = sorted([*self.largest, (cost, path)], reverse=True)[:4]

    def report(self, at: str, errs: FieldErrors) -> None:
        if self.sum <= TOTAL_LIMIT:
            return
        for _, path in self.largest:
            message = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            errs.forbidden(path, message)
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errs.forbidden(at, _exceeds(what, self.sum, TOTAL_LIMIT))


@dataclass(slots=True)
class Costs:
    """How often a schema's values can be there at most."""

    schema: Obj
    times: int | None
    """None: unbounded, but for a request's size."""
    total: Total
    is_root: bool = False

    def below(self, schema: Obj) -> Costs:
        most = _elements(self.schema)
        times = None if self.times is None or most is None else min(self.times * most, MOST)
        return Costs(schema, times, self.total)


def root_costs(schema: Obj) -> Costs:
    return Costs(schema, 1, Total(), True)


def _elements(schema: Obj) -> int | None:
    match schema.get("type"):
        case "object" if schema.get("additionalProperties") is not None:
            most = schema.get("maxProperties")
        case "array":
            most = schema.get("maxItems")
        case _:
            return 1
    return None if most is None else max(most, 0)


def _exceeds(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:.6f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, and "
        "maxLength where arrays, maps, and strings are declared)"
    )


def validate_rules(schema: Obj, at: str, costs: Costs, uncorrelated: str, unchanged: bool, errs: FieldErrors) -> None:
    """Compiles a schema's own rules. `uncorrelated`: the place above that keeps their old values from being found."""
    from navarch.machinery.cel.schematypes import declare  # lazily: most schemas have no rules
    from navarch.machinery.structural import rules as running

    node = Node(schema)
    declared = declare(schema, costs.is_root or node.embedded)
    if declared is None:
        message = (
            "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert "
            "structural schema to CEL declarations"
        )
        errs.internal(f"{at}.x-kubernetes-validations", message)
        return
    times = costs.times if costs.times is not None else running.cardinality(declared)
    for index, raw in enumerate(schema["x-kubernetes-validations"]):
        here = f"{at}.x-kubernetes-validations[{index}]"
        rule = running.compile_rule(raw, node, declared.type)
        cost = min(int(rule.program.estimate) * times, MOST) if rule.program is not None else 0
        if not unchanged and cost > COST_LIMIT:
            errs.forbidden(f"{here}.rule", _exceeds("estimated rule cost", cost, COST_LIMIT))
        costs.total.add(f"{here}.rule", cost)
        if rule.error:
            errs.invalid(f"{here}.rule", _shown(raw), rule.error)
        if rule.message_error:
            errs.invalid(f"{here}.messageExpression", _shown(raw), rule.message_error)
        elif rule.message is not None:
            spent = min(int(rule.message.estimate), MOST)
            if not unchanged and spent > COST_LIMIT:
                message = _exceeds("estimated messageExpression cost", spent, COST_LIMIT)
                errs.forbidden(f"{here}.messageExpression", message)
            costs.total.add(f"{here}.messageExpression", spent)
        if rule.uses_old and uncorrelated:
            message = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {uncorrelated}"
            errs.invalid(f"{here}.rule", raw["rule"], message)
        elif not rule.uses_old and raw.get("optionalOldSelf") is not None:
            errs.invalid(
                f"{here}.optionalOldSelf", raw["optionalOldSelf"], "may not be set if oldSelf is not used in rule"
            )


def _shown(rule: Obj) -> Obj:
    """A rule as upstream's messages print it."""
    return {
        "Rule": rule.get("rule", ""),
        "Message": rule.get("message", ""),
        "MessageExpression": rule.get("messageExpression", ""),
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath", ""),
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }
