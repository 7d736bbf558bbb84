"""What MutatingAdmissionPolicies make of an object. Source: apiserver's admission/plugin/policy/mutating."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import orjson

from navarch.api.admissionregistration.expressions import APPLIED, PATCH_TYPES, Scope
from navarch.api.admissionregistration.policies import MUTATIONS
from navarch.api.kind import Version
from navarch.apiserver.admission.chain import refuse
from navarch.apiserver.admission.changing import Inapplicable, Rounds, patched, put
from navarch.apiserver.admission.evaluation import (
    BUDGET,
    Authorize,
    Conditions,
    Evaluation,
    Expression,
    Failed,
    OutOfBudget,
    bindings_of,
    compiled_variables,
    converted,
    shown,
)
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.admission.matching import kind_of
from navarch.apiserver.admission.policies import Binding, Invocation, Policies, Policy, Problem
from navarch.apiserver.codec import IGNORE, STRICT
from navarch.machinery.apply import check, typed
from navarch.machinery.apply.elements import ElementError
from navarch.machinery.cel.syntax import ListNode, Node, StructNode
from navarch.machinery.cel.values import CelError, to_plain
from navarch.machinery.schema import Schema
from navarch.machinery.types import Obj

NAME = "MutatingAdmissionPolicy"


class Evaluator:
    """A policy's expressions."""

    def __init__(self, policy: Policy) -> None:
        spec = policy.spec
        scope = Scope(params=spec.get("paramKind") is not None, composed=True)
        self.variables = compiled_variables(scope, spec.get("variables") or ())
        conditions: list[Obj] = spec.get("matchConditions") or []
        self.conditions = Conditions(conditions, scope, policy.fails) if conditions else None
        self.mutations: list[tuple[str, Expression]] = []
        for mutation in spec.get("mutations") or ():
            kind = mutation.get("patchType", "")
            field, wanted = MUTATIONS[kind]
            text = (mutation.get(field) or {}).get("expression", "")
            self.mutations.append((kind, Expression.of(scope, text, wanted, structs=PATCH_TYPES)))


class Mutator:
    def __init__(self, policies: Policies, authorize: Authorize) -> None:
        self._policies, self._authorize = policies, authorize

    async def change(self, request: AdmissionRequest, concerned: list[Policy]) -> None:
        """Raises StatusError where a policy that must not fail does."""
        rounds = Rounds.of(request, NAME)
        problems: list[tuple[Policy, Binding | None, str, str]] = []
        for found in list(self._policies.invocations(request, concerned)):
            if isinstance(found, Problem):
                problems.append((found.policy, found.binding, found.text, ""))
                continue
            failures = await self._invoke(request, found, rounds)
            problems.extend((found.policy, found.binding, text, "Invalid") for text in failures)
        rounds.end(request)
        _refuse(request, [problem for problem in problems if problem[0].fails])

    async def _invoke(self, request: AdmissionRequest, found: Invocation, rounds: Rounds) -> list[str]:
        """Changes the object; returns what went wrong."""
        policy = found.policy
        if policy.evaluator is None:
            policy.evaluator = Evaluator(policy)
        evaluator: Evaluator = policy.evaluator
        bindings = await self._bindings(request, found)
        if evaluator.conditions is not None:
            try:
                if not evaluator.conditions.hold({**bindings, "namespaceObject": None}, evaluator.variables):
                    return []
            except Failed as error:
                return [str(error)]
        key = (policy.name, found.binding.name, _name_of(found.param))
        if rounds.skips(request, key):
            return []
        changed, failures = False, list[str]()
        for kind, expression in evaluator.mutations:
            if request.object is None:
                continue
            try:
                if expression.program is not None and (wrong := _misnamed(expression.program.checked.root)):
                    raise Failed(f"type mismatch: {wrong}")
                value = Evaluation(bindings, evaluator.variables, BUDGET).run(expression)
                tree = await converted(partial(_changed, request, found.version, kind, value))
            except (Failed, OutOfBudget) as error:
                failures.append(str(error))
                continue
            validation = STRICT if kind == "JSONPatch" else IGNORE
            if tree is not None and await converted(partial(put, request, found.version, tree, validation)):
                changed = True
                bindings = await self._bindings(request, found)
        if changed:
            rounds.changed()
            request.unsettled = True
        if policy.spec.get("reinvocationPolicy") == "IfNeeded":
            rounds.invoked.add(key)
        return failures

    async def _bindings(self, request: AdmissionRequest, found: Invocation) -> Obj:
        namespace = self._policies.namespace_of(request)
        made = await converted(lambda: bindings_of(request, found.version, self._authorize, namespace))
        return made | {"params": found.param}


def _name_of(param: Obj | None) -> tuple[str, str]:
    metadata = param["metadata"] if param is not None else {}
    return metadata.get("namespace", ""), metadata.get("name", "")


def _misnamed(node: Node) -> str:
    """What is wrong with the types of object literals, which are named by their places; empty where nothing is."""
    if isinstance(node, ListNode):
        return next(filter(None, map(_misnamed, node.items)), "")
    if not isinstance(node, StructNode):
        return ""
    for name, value, _, _ in node.fields:
        if node.type_name.startswith(APPLIED.name):
            wanted = f"{node.type_name}.{name}"
            for part in value.items if isinstance(value, ListNode) else [value]:
                if isinstance(part, StructNode) and part.type_name != wanted:
                    return (
                        f'unexpected type name "{part.type_name}", expected "{wanted}", which matches field name path from '
                        "root Object type"
                    )
        if wrong := _misnamed(value):
            return wrong
    return ""


def _changed(request: AdmissionRequest, version: Version, kind: str, value: Any) -> Obj | None:
    """The tree that a mutation makes; None: the object stays as it is. Raises Failed."""
    tree = shown(request, version, request.object)
    assert tree is not None
    try:
        plain = to_plain(value)
    except CelError as error:
        raise Failed(f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}") from None
    if kind == "JSONPatch":
        return _patched(tree, plain)
    body = kind_of(request, version)
    plain = {**plain, "apiVersion": tree.get("apiVersion"), "kind": body.kind}
    try:
        return orjson.loads(orjson.dumps(_applied(version.schema, tree, plain)))
    except ElementError as error:
        raise Failed(f"error applying patch: failed to convert patch object to typed object: {error}") from None


def _patched(tree: Obj, operations: list[Obj]) -> Obj | None:
    """A test that fails leaves the object as it is."""
    try:
        return patched(tree, operations)
    except Inapplicable as error:
        if error.operation == "test":
            return None
        raise Failed(f"JSON Patch: {error}") from None


def _applied(shape: Schema, live: Obj, config: Obj) -> Obj:
    if wrong := check.problems(shape, config):
        raise Failed(f"error applying patch: failed to convert patch object to typed object: {wrong}")
    if atomics := list(_atomics(shape, config, "")):
        text = ", ".join(atomics)
        raise Failed(
            f"error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {text}"
        )
    return typed.merge(shape, live, config)


def _atomics(shape: Schema, value: Any, path: str) -> Iterator[str]:
    """Paths of what would be replaced whole."""
    if isinstance(value, dict) and shape.type in ("object", "map"):
        if shape.map_type == "atomic":
            yield path
        for name, item in value.items():
            yield from _atomics(typed.child_of(shape, name), item, f"{path}.{name}")
    elif isinstance(value, list) and shape.type == "list":
        if shape.list_type == "atomic":
            yield path
        for index, item in enumerate(value):
            if shape.items is not None:
                yield from _atomics(shape.items, item, f"{path}[{index}]")


def _refuse(request: AdmissionRequest, problems: list[tuple[Policy, Binding | None, str, str]]) -> None:
    if not problems:
        return
    texts = [
        f"policy '{policy.name}' with binding '{binding.name}' denied request: {text}"
        if binding is not None
        else f'policy "{policy.name}" denied request: {text}'
        for policy, binding, text, _ in problems
    ]
    error = refuse(request, "admission request denied by policy")
    error.message, error.reason = texts[0], problems[0][3] or error.reason
    assert error.details is not None
    error.details["causes"] = [{"message": text} for text in texts]
    raise error
