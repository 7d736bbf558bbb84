"""The reviews: questions who somebody is and what they may do, answered and forgotten.

Source: pkg/registry/authorization, pkg/registry/authentication.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from navarch.api.authorization import reviews as access
from navarch.apiserver.auth.authenticators import BadToken
from navarch.apiserver.auth.interface import Attributes
from navarch.apiserver.registry.call import Call
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.request import User
from navarch.machinery import errors
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import FieldErrors
from navarch.machinery.selectors import FieldTerm, parse_field_selector, parse_label_selector
from navarch.machinery.types import GroupKind, GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.server import ApiServer

AT = "spec.resourceAttributes"
LABEL_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def review_handlers(server: ApiServer) -> dict[tuple[GroupResource, str], Virtual]:
    authorization, authentication = access.GROUP, "authentication.k8s.io"
    return {
        (GroupResource(authorization, "subjectaccessreviews"), ""): AccessReview(
            server, "SubjectAccessReview", access.validate_access_review
        ),
        (GroupResource(authorization, "localsubjectaccessreviews"), ""): AccessReview(
            server, "LocalSubjectAccessReview", access.validate_local_review
        ),
        (GroupResource(authorization, "selfsubjectaccessreviews"), ""): AccessReview(
            server, "SelfSubjectAccessReview", access.validate_self_review
        ),
        (GroupResource(authorization, "selfsubjectrulesreviews"), ""): RulesReview(server),
        (GroupResource(authentication, "tokenreviews"), ""): TokenReview(server),
        (GroupResource(authentication, "selfsubjectreviews"), ""): SelfReview(server),
    }


class AccessReview(Virtual):
    """May somebody (of a SelfSubjectAccessReview: who asks) do something?"""

    def __init__(self, server: ApiServer, kind: str, validate: Callable[[Obj, FieldErrors], None]) -> None:
        self._server = server
        self._kind = kind
        self._validate = validate

    async def create(self, call: Call, body: Obj) -> Obj:
        metadata = body["metadata"]
        if call.namespace and metadata.setdefault("namespace", call.namespace) != call.namespace:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        errs = FieldErrors()
        self._validate(body, errs)
        if errs:  # upstream names no kind here
            raise errors.invalid(GroupKind(access.GROUP, ""), "", errs)
        spec = body["spec"]
        user = call.user if self._kind.startswith("Self") else _user_of(spec)
        asked, problems = attributes_of(user, spec)
        decision = self._server.decide(asked)
        status: Obj = {"allowed": decision.allowed}
        if decision.denied:
            status["denied"] = True
        if decision.reason:
            status["reason"] = decision.reason
        if problems:
            status["evaluationError"] = "; ".join(problems)
        return {**body, "status": status}


def _user_of(spec: Obj) -> User:
    extra = tuple((key, tuple(values or ())) for key, values in sorted((spec.get("extra") or {}).items()))
    return User(spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()), extra)


def attributes_of(user: User, spec: Obj) -> tuple[Attributes, list[str]]:
    """What a spec asks about, and which of its selectors were ignored."""
    resource = spec.get("resourceAttributes")
    if resource is None:
        path = spec["nonResourceAttributes"]
        return Attributes(user, path.get("verb", ""), False, path.get("path", "")), []
    fields, problems = _fields(resource.get("fieldSelector") or {})
    asked = Attributes(
        user,
        resource.get("verb", ""),
        True,
        "",
        resource.get("group", ""),
        resource.get("version") or "*",
        resource.get("resource", ""),
        resource.get("subresource", ""),
        resource.get("namespace", ""),
        resource.get("name", ""),
        fields,
    )
    return asked, [*problems, *_label_problems(resource.get("labelSelector") or {})]


def _fields(selector: Obj) -> tuple[str, list[str]]:
    """The selector's text, of what could be understood of it: a looser one only asks for more."""
    if raw := selector.get("rawSelector", ""):
        try:
            return str(parse_field_selector(raw)), []
        except ValueError:
            return "", [f"{AT}.fieldSelector ignored due to parse error"]
    terms: list[str] = []
    wanted = selector.get("requirements") or ()
    for term in wanted:
        operator, values = term.get("operator"), term.get("values") or ()
        if operator in ("In", "NotIn") and len(values) == 1:
            terms.append(str(FieldTerm(term.get("key", ""), operator == "In", values[0])))
    return ",".join(terms), _ignored("fieldSelector", len(wanted), len(terms))


def _label_problems(selector: Obj) -> list[str]:
    """No authorizer looks at labels; the client still learns what could not be understood."""
    if raw := selector.get("rawSelector", ""):
        try:
            parse_label_selector(raw)
        except ValueError:
            return [f"{AT}.labelSelector ignored due to parse error"]
    wanted = selector.get("requirements") or ()
    return _ignored("labelSelector", len(wanted), sum(t.get("operator") in LABEL_OPERATORS for t in wanted))


def _ignored(word: str, wanted: int, understood: int) -> list[str]:
    if wanted == understood:
        return []
    return [f"{AT}.{word} {'partially ignored' if understood else 'ignored'} due to parse error"]


class RulesReview(Virtual):
    """What may I do in a namespace?"""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def create(self, call: Call, body: Obj) -> Obj:
        namespace = (body.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise errors.bad_request("no namespace on request")
        rules, problems = self._server.rbac.written_rules(call.user, namespace)
        if is_node := "system:nodes" in call.user.groups and call.user.name.startswith("system:node:"):
            problems = ["node authorizer does not support user rule resolution", *problems]
        words = ("verbs", "apiGroups", "resources", "resourceNames")
        status: Obj = {
            "resourceRules": [{w: rule[w] for w in words if rule.get(w)} for rule in rules if rule.get("resources")],
            "nonResourceRules": [
                {"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]}
                for rule in rules
                if rule.get("nonResourceURLs")
            ],
            "incomplete": is_node,
        }
        if problems:
            unique = list(dict.fromkeys(problems))
            status["evaluationError"] = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
        return {**body, "metadata": {}, "spec": {}, "status": status}


class TokenReview(Virtual):
    """Whose token is this?"""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def create(self, call: Call, body: Obj) -> Obj:
        spec = body.get("spec") or {}
        token = spec.get("token", "")
        if not token:
            raise errors.bad_request("token is required for TokenReview in authentication")
        audiences = tuple(spec.get("audiences") or self._server.tokens.audiences)
        try:
            verified = self._server.bearer.verify(token, audiences)
            if isinstance(verified, Awaitable):
                verified = await verified
        except BadToken as err:
            return {**body, "status": {"user": {}, "error": str(err)}}
        status: Obj = {"authenticated": True, "user": verified.user.info()}
        if verified.audiences:
            status["audiences"] = list(verified.audiences)
        return {**body, "status": status}


class SelfReview(Virtual):
    """Who am I?"""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def create(self, call: Call, body: Obj) -> Obj:
        created = rfc3339(self._server.world.now())
        return {**body, "metadata": {"creationTimestamp": created}, "status": {"userInfo": call.user.info()}}
