"""Expressions of policies and match conditions, run for one request. Source: apiserver's admission/plugin/cel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from navarch.api.admissionregistration.expressions import CONDITION, Scope
from navarch.api.kind import Version
from navarch.apiserver import codec
from navarch.apiserver.admission.chain import aggregated
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.admission.matching import kind_of, resource_of
from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.customresources.conversion import converting
from navarch.apiserver.request import User
from navarch.machinery.cel.cost import PER_CALL_LIMIT
from navarch.machinery.cel.environment import Program
from navarch.machinery.cel.library.authorizer import AuthorizerValue, Question, ResourceCheck
from navarch.machinery.cel.types import Type
from navarch.machinery.cel.values import CelError, CostExceeded
from navarch.machinery.types import Obj

BUDGET, CONDITIONS_BUDGET = 10_000_000, 2_500_000
"""Units that the expressions of a policy, and those of its match conditions, may cost together."""
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
Authorize = Callable[[Attributes], Decision]
T = TypeVar("T")
OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


class Failed(Exception):
    """An expression came to no value."""


class OutOfBudget(Exception):
    def __init__(self) -> None:
        super().__init__(OUT_OF_BUDGET)


class Expression(NamedTuple):
    """Compiled, or what is wrong with it."""

    text: str
    program: Program | None
    problem: str = ""

    @staticmethod
    def of(scope: Scope, text: str, wanted: tuple[Type, ...], **options: Any) -> Expression:
        """`options` are those of Scope.compile."""
        try:
            return Expression(text, scope.compile(text.strip(), wanted, **options))
        except ValueError as error:
            return Expression(text, None, str(error))


class Conditions:
    """Match conditions: all must hold."""

    def __init__(self, conditions: Sequence[Obj], scope: Scope, fail: bool) -> None:
        """`fail`: an error is one of the request; else it means no match."""
        self._conditions = [Expression.of(scope, c.get("expression", ""), CONDITION) for c in conditions]
        self._fail = fail

    def hold(self, bindings: Mapping[str, Any], variables: Mapping[str, Expression] | None = None) -> bool:
        """Raises Failed."""
        evaluation = Evaluation(bindings, variables or {}, CONDITIONS_BUDGET)
        failures: list[str] = []
        try:
            for condition in self._conditions:
                try:
                    if evaluation.run(condition) is False:
                        return False
                except Failed as error:
                    failures.append(str(error))
        except OutOfBudget as error:
            failures = [str(error)]
        if not failures:
            return True
        if self._fail:
            raise Failed(aggregated(failures))
        return False


class Evaluation:
    """Runs expressions over one set of bindings, within one budget."""

    def __init__(self, bindings: Mapping[str, Any], variables: Mapping[str, Expression], budget: int) -> None:
        self.bindings = dict(bindings)
        if variables:
            self.bindings["variables"] = _Variables(variables, self)
        self.budget = budget

    def run(self, expression: Expression) -> Any:
        """Raises Failed, and OutOfBudget when nothing more may be run."""
        if expression.program is None:
            raise Failed(f"compilation error: {expression.problem}")
        try:
            value, cost = expression.program.run_counted(self.bindings, min(PER_CALL_LIMIT, max(self.budget, 0)))
        except (CelError, CostExceeded) as error:
            if self.budget < 0 or (isinstance(error, CostExceeded) and self.budget < PER_CALL_LIMIT):
                raise OutOfBudget from None
            raise Failed(f"expression '{expression.text}' resulted in error: {error}") from None
        self.budget -= cost
        if self.budget < 0:
            raise OutOfBudget
        return value


class _Variables(dict[str, Any]):
    """The policy's variables, each computed when it is first read."""

    def __init__(self, expressions: Mapping[str, Expression], evaluation: Evaluation) -> None:
        super().__init__()
        self._expressions = expressions
        self._evaluation = evaluation

    def __contains__(self, name: object) -> bool:
        return name in self._expressions

    def __missing__(self, name: str) -> Any:
        expression, evaluation = self._expressions[name], self._evaluation
        if expression.program is None:
            raise CelError(f'composited variable "{name}" fails to compile: {expression.problem}')
        try:
            value, cost = expression.program.run_counted(evaluation.bindings)
        except (CelError, CostExceeded) as error:
            raise CelError(f'composited variable "{name}" fails to evaluate: {error}') from None
        evaluation.budget -= cost
        self[name] = value
        return value


def compiled_variables(scope: Scope, variables: Iterable[Obj]) -> dict[str, Expression]:
    """In order; each may name those before it."""
    found: dict[str, Expression] = {}
    for variable in variables:
        name = variable.get("name", "")
        expression = found[name] = Expression.of(scope, variable.get("expression", ""), ())
        if expression.program is not None:
            scope.variables[name] = expression.program.type
    return found


# -- what expressions may name


def bindings_of(request: AdmissionRequest, version: Version, authorize: Authorize, namespace: Obj | None) -> Obj:
    """Every name but `params`, of the request as `version` shows it. `namespace` is the whole Namespace."""
    authorizer = AuthorizerValue(_decider(request.user, authorize))
    resource = ResourceCheck(
        authorizer, version.group, request.kind.plural, request.subresource, request.namespace, request.name
    )
    return {
        "object": shown(request, version, request.object),
        "oldObject": shown(request, version, request.old),
        "request": request_tree(request, version),
        "namespaceObject": _namespace(namespace) if namespace is not None else None,
        "authorizer": authorizer,
        "authorizer.requestResource": resource,
    }


async def converted(attempt: Callable[[], T]) -> T:
    """Runs what shows or takes objects in other versions, again after each that a webhook has to convert."""

    async def run() -> T:
        return attempt()

    return await converting(run)


def shown(request: AdmissionRequest, version: Version, obj: Obj | None) -> Obj | None:
    """One of the request's objects as that version shows it; shares its parts."""
    if obj is None or request.body is not None:
        return obj
    return codec.from_hub(request.kind, version, obj)


def request_tree(request: AdmissionRequest, version: Version) -> Obj:
    """An AdmissionRequest (admission.k8s.io) without uid and objects."""
    kind, asked = kind_of(request, version)._asdict(), kind_of(request, request.version)._asdict()
    tree: Obj = {
        "kind": kind,
        "resource": resource_of(request.kind, version),
        "requestKind": asked,
        "requestResource": resource_of(request.kind, request.version),
        "operation": request.operation,
        "userInfo": request.user.info(),
        "dryRun": request.dry_run,
        "options": _options(request),
    }
    if request.subresource:
        tree |= {"subResource": request.subresource, "requestSubResource": request.subresource}
    if request.name:
        tree["name"] = request.name
    if request.namespace:
        tree["namespace"] = request.namespace
    return tree


def _options(request: AdmissionRequest) -> Obj | None:
    """A patch's options become those of the create or update that it is."""
    kind = OPTIONS.get(request.operation)
    if kind is None:
        return None
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1"} | {
        name: value for name, value in request.options.items() if name not in ("kind", "apiVersion", "force")
    }


def _namespace(namespace: Obj) -> Obj:
    """What expressions may see of a namespace: neither managed fields nor owners."""
    metadata = {k: v for k, v in namespace["metadata"].items() if k not in ("managedFields", "ownerReferences")}
    return {**namespace, "metadata": metadata}


def _decider(user: User, authorize: Authorize) -> Callable[[Question], tuple[bool, str]]:
    def decide(question: Question) -> tuple[bool, str]:
        asked = user if question.service_account is None else _account(*question.service_account)
        if question.path:
            attributes = Attributes(asked, question.verb, False, path=question.path)
        else:
            attributes = Attributes(
                asked,
                question.verb,
                True,
                group=question.group,
                version="*",
                resource=question.resource,
                subresource=question.subresource,
                namespace=question.namespace,
                name=question.name,
                fields=question.field_selector,
            )
        decision = authorize(attributes)
        return decision.allowed, decision.reason

    return decide


def _account(namespace: str, name: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{namespace}:{name}", groups=groups)
