"""The authorizer library: what may be asked of the server's own authorization from within an expression.

`authorizer` and its requests are values that carry `Decide`, which the API server binds to its authorizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from navarch.machinery import names
from navarch.machinery.cel.declarations import Library, library, member
from navarch.machinery.cel.library.strings import text_of
from navarch.machinery.cel.types import AUTHORIZER, BOOL, DECISION, GROUP_CHECK, PATH_CHECK, RESOURCE_CHECK, STRING
from navarch.machinery.cel.values import CelError


class Question(NamedTuple):
    """One check, as authorization takes it."""

    service_account: tuple[str, str] | None
    """(namespace, name) of whom the question is about; None: whoever sent the request."""
    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""


Decide = Callable[[Question], tuple[bool, str]]
"""-> (allowed, reason). Raises ValueError where authorization failed."""


@dataclass(frozen=True, slots=True)
class AuthorizerValue:
    decide: Decide
    account: tuple[str, str] | None = None
    cel_type: ClassVar[str] = AUTHORIZER.name


@dataclass(frozen=True, slots=True)
class PathCheck:
    authorizer: AuthorizerValue
    path: str
    cel_type: ClassVar[str] = PATH_CHECK.name


@dataclass(frozen=True, slots=True)
class GroupCheck:
    authorizer: AuthorizerValue
    group: str
    cel_type: ClassVar[str] = GROUP_CHECK.name


@dataclass(frozen=True, slots=True)
class ResourceCheck:
    authorizer: AuthorizerValue
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    cel_type: ClassVar[str] = RESOURCE_CHECK.name


@dataclass(frozen=True, slots=True)
class DecisionValue:
    allowed: bool
    reason: str
    error: str = ""
    cel_type: ClassVar[str] = DECISION.name


def _is(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError
    return value


def _path(authorizer: Any, path: Any) -> PathCheck:
    if not text_of(path):
        raise CelError("path must not be empty")
    return PathCheck(_is(authorizer, AuthorizerValue), path)


def _account(authorizer: Any, namespace: Any, name: Any) -> AuthorizerValue:
    if names.dns1123_subdomain(text_of(name)):
        raise CelError("Invalid service account name")
    if names.dns1123_label(text_of(namespace)):
        raise CelError("Invalid service account namespace")
    return replace(_is(authorizer, AuthorizerValue), account=(namespace, name))


def _resource(group: Any, resource: Any) -> ResourceCheck:
    if not text_of(resource):
        raise CelError("resource must not be empty")
    return ResourceCheck(_is(group, GroupCheck).authorizer, group.group, resource)


def _with(field: str) -> Callable[[Any, Any], ResourceCheck]:
    return lambda check, value: replace(_is(check, ResourceCheck), **{field: text_of(value)})


def _check(check: Any, verb: Any) -> DecisionValue:
    verb = text_of(verb)
    if isinstance(check, PathCheck):
        question = Question(check.authorizer.account, verb, path=check.path)
    else:
        check = _is(check, ResourceCheck)
        question = Question(
            check.authorizer.account, verb, "", check.group, check.resource, check.subresource, check.namespace,
            check.name, check.field_selector, check.label_selector,
        )  # fmt: skip
    try:
        allowed, reason = check.authorizer.decide(question)
    except ValueError as error:
        return DecisionValue(False, "", str(error))
    return DecisionValue(allowed, reason)


AUTHORIZATION: Library = library(
    ("path", _path, [member("authorizer_path", PATH_CHECK, AUTHORIZER, STRING)]),
    ("group", lambda a, g: GroupCheck(_is(a, AuthorizerValue), text_of(g)), [
        member("authorizer_group", GROUP_CHECK, AUTHORIZER, STRING),
    ]),
    ("serviceAccount", _account, [member("authorizer_serviceaccount", AUTHORIZER, AUTHORIZER, STRING, STRING)]),
    ("resource", _resource, [member("groupcheck_resource", RESOURCE_CHECK, GROUP_CHECK, STRING)]),
    ("subresource", _with("subresource"), [member("resourcecheck_subresource", RESOURCE_CHECK, RESOURCE_CHECK, STRING)]),
    ("namespace", _with("namespace"), [member("resourcecheck_namespace", RESOURCE_CHECK, RESOURCE_CHECK, STRING)]),
    ("name", _with("name"), [member("resourcecheck_name", RESOURCE_CHECK, RESOURCE_CHECK, STRING)]),
    ("fieldSelector", _with("field_selector"), [
        member("authorizer_fieldselector", RESOURCE_CHECK, RESOURCE_CHECK, STRING),
    ]),
    ("labelSelector", _with("label_selector"), [
        member("authorizer_labelselector", RESOURCE_CHECK, RESOURCE_CHECK, STRING),
    ]),
    ("check", _check, [
        member("pathcheck_check", DECISION, PATH_CHECK, STRING),
        member("resourcecheck_check", DECISION, RESOURCE_CHECK, STRING),
    ]),
    ("allowed", lambda d: _is(d, DecisionValue).allowed, [member("decision_allowed", BOOL, DECISION)]),
    ("reason", lambda d: _is(d, DecisionValue).reason, [member("decision_reason", STRING, DECISION)]),
    ("errored", lambda d: bool(_is(d, DecisionValue).error), [member("decision_errored", BOOL, DECISION)]),
    ("error", lambda d: _is(d, DecisionValue).error, [member("decision_error", STRING, DECISION)]),
)  # fmt: skip
