"""What ValidatingAdmissionPolicies say about a request. Source: apiserver's admission/plugin/policy/validating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from navarch.api.admissionregistration.expressions import CONDITION, TEXT, TEXT_OR_NULL, Scope
from navarch.apiserver.admission.chain import refuse
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
)
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.admission.measures import Measures
from navarch.apiserver.admission.policies import Binding, Invocation, Policies, Policy, Problem
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupVersion, Obj

CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
MAX_MESSAGE, MAX_ANNOTATION = 5 * 1024, 10 * 1024
FAILURE = "validation.policy.admission.k8s.io/validation_failure"


class Denial(NamedTuple):
    policy: Policy
    binding: Binding | None
    message: str
    reason: str = ""

    def error(self, request: AdmissionRequest) -> StatusError:
        bound = f" with binding '{self.binding.name}'" if self.binding is not None else ""
        text = f"ValidatingAdmissionPolicy '{self.policy.name}'{bound} denied request: {self.message}"
        found = refuse(request, text)
        found.reason = self.reason or "Invalid"
        found.code = CODES.get(found.reason, 422)
        assert found.details is not None
        found.details["causes"] = [{"message": text}]
        return found


class Finding(NamedTuple):
    """A validation that does not hold, or that came to nothing."""

    place: int
    """Its index among the policy's validations."""
    message: str
    reason: str = ""


class Evaluator:
    """A policy's expressions."""

    def __init__(self, policy: Policy) -> None:
        spec = policy.spec
        scope = Scope(params=spec.get("paramKind") is not None, composed=True)
        self.fails = policy.fails
        self.variables = compiled_variables(scope, spec.get("variables") or ())
        conditions: list[Obj] = spec.get("matchConditions") or []
        self._conditions = Conditions(conditions, scope, policy.fails) if conditions else None
        self._validations: list[Obj] = spec.get("validations") or []
        self._expressions = [Expression.of(scope, v.get("expression", ""), CONDITION) for v in self._validations]
        self._messages = [
            Expression.of(scope, text, TEXT, authorizer=False) if (text := v.get("messageExpression")) else None
            for v in self._validations
        ]
        self._annotations = [
            (a.get("key", ""), Expression.of(scope, a.get("valueExpression", ""), TEXT_OR_NULL))
            for a in spec.get("auditAnnotations") or ()
        ]

    def judge(self, bindings: Obj) -> tuple[list[Finding], list[tuple[str, str]], list[str]]:
        """(what does not hold, audit annotations, failed annotations)."""
        try:
            if self._conditions is not None:
                unscoped = {**bindings, "namespaceObject": None}
                if not self._conditions.hold(unscoped, self.variables):
                    return [], [], []
            findings = self._findings(bindings)
        except (Failed, OutOfBudget) as error:
            return self._failure(0, str(error)), [], []
        notes, failures = self._notes(bindings)
        return findings, notes, failures if self.fails else []

    def _failure(self, index: int, text: str) -> list[Finding]:
        return [Finding(index, text)] if self.fails else []

    def _findings(self, bindings: Obj) -> list[Finding]:
        evaluation = Evaluation(bindings, self.variables, BUDGET)
        found: list[Finding] = []
        failed: list[int] = []
        for index, expression in enumerate(self._expressions):
            try:
                if evaluation.run(expression) is not True:
                    failed.append(index)
            except Failed as error:
                found += self._failure(index, str(error))
        for index in failed:
            validation = self._validations[index]
            try:
                message = self._message(evaluation, index)
            except OutOfBudget as error:
                found += self._failure(index, f"failed messageExpression: {error}")
                continue
            found.append(Finding(index, message, validation.get("reason") or "Invalid"))
        return sorted(found)

    def _message(self, evaluation: Evaluation, index: int) -> str:
        validation, expression = self._validations[index], self._messages[index]
        message: Any = ""
        if expression is not None:
            try:
                message = evaluation.run(expression)
            except Failed:
                message = ""
        message = message.strip() if isinstance(message, str) else ""
        if len(message.encode()) > MAX_MESSAGE or "\n" in message:
            message = ""
        said = validation.get("message", "").strip()
        return message or said or f"failed expression: {validation.get('expression', '').strip()}"

    def _notes(self, bindings: Obj) -> tuple[list[tuple[str, str]], list[str]]:
        evaluation = Evaluation(bindings, self.variables, BUDGET)
        notes: list[tuple[str, str]] = []
        failures: list[str] = []
        for key, expression in self._annotations:
            try:
                value = evaluation.run(expression)
            except (Failed, OutOfBudget) as error:
                failures.append(str(error))
                continue
            text = value.strip() if isinstance(value, str) else ""
            if text:
                notes.append((key, text.encode()[:MAX_ANNOTATION].decode(errors="ignore")))
        return notes, failures


class Validator:
    def __init__(self, policies: Policies, authorize: Authorize, measures: Measures) -> None:
        self._policies, self._authorize, self._measures = policies, authorize, measures

    async def judge(self, request: AdmissionRequest, concerned: list[Policy]) -> None:
        """Raises StatusError for the first denial."""
        denials: list[Denial] = []
        known: dict[GroupVersion, Obj] = {}
        collected: dict[str, list[str]] = {}
        for found in self._policies.invocations(request, concerned):
            if isinstance(found, Problem):
                if found.policy.fails:
                    denials.append(Denial(found.policy, found.binding, found.text))
                continue
            bindings = known.get(found.version.gv)
            if bindings is None:
                bindings = known[found.version.gv] = await self._bindings(request, found)
            self._ask(request, found, {**bindings, "params": found.param}, denials, collected)
        for key, values in collected.items():
            request.annotate(key, ", ".join(values))
        if denials:
            raise denials[0].error(request)

    async def _bindings(self, request: AdmissionRequest, found: Invocation) -> Obj:
        namespace = self._policies.namespace_of(request)
        return await converted(lambda: bindings_of(request, found.version, self._authorize, namespace))

    def _ask(
        self,
        request: AdmissionRequest,
        found: Invocation,
        bindings: Obj,
        denials: list[Denial],
        collected: dict[str, list[str]],
    ) -> None:
        policy, binding = found.policy, found.binding
        if policy.evaluator is None:
            policy.evaluator = Evaluator(policy)
        evaluator: Evaluator = policy.evaluator
        findings, notes, failures = evaluator.judge(bindings)
        actions: Sequence[str] = binding.tree.get("validationActions") or ()
        if not findings and not failures:
            self._measures.checked(policy.name, binding.name, "allow")
        for finding in findings:
            for action in actions:
                self._measures.checked(policy.name, binding.name, action.lower())
                if action == "Deny":
                    denials.append(Denial(policy, binding, finding.message, finding.reason))
                elif action == "Warn":
                    request.warnings.append(
                        f"Validation failed for ValidatingAdmissionPolicy '{policy.name}' with binding "
                        f"'{binding.name}': {finding.message}"
                    )
                else:
                    request.annotate(FAILURE, _failure_text(policy, binding, finding))
        for key, value in notes:
            values = collected.setdefault(f"{policy.name}/{key}", [])
            if value not in values:
                values.append(value)
        denials += [Denial(policy, binding, text) for text in failures]


def _failure_text(policy: Policy, binding: Binding, finding: Finding) -> str:
    tree = {
        "message": finding.message,
        "policy": policy.name,
        "binding": binding.name,
        "expressionIndex": finding.place,
        "validationActions": binding.tree.get("validationActions") or [],
    }
    return orjson.dumps([tree]).decode()
