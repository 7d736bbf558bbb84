"""Admission policies: which are in force, and for which parameters. What they say is in verdicts.py and mutations.py.

Source: apiserver's admission/plugin/policy/generic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from navarch.api.kind import Version
from navarch.apiserver.admission.chain import BasePlugin, Memo
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.admission.matching import GROUP, NAMESPACES, POLICIES, Matcher
from navarch.apiserver.admission.measures import Measures
from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.watchcache import CacheSet, ResourceCache
from navarch.machinery import errors
from navarch.machinery.errors import StatusError
from navarch.machinery.selectors import from_label_selector
from navarch.machinery.types import GroupResource, GroupVersion, Obj

if TYPE_CHECKING:
    from navarch.apiserver.admission.mutations import Mutator
    from navarch.apiserver.admission.verdicts import Validator

Authorize = Callable[[Attributes], Decision]


class ConfigurationError(Exception):
    """A policy or binding cannot be used as it is."""


@dataclass(slots=True)
class Binding:
    name: str
    tree: Obj
    """Its spec."""
    matcher: Matcher | None
    """None: it has no say about which requests."""


@dataclass(slots=True)
class Policy:
    """A policy with its bindings."""

    name: str
    spec: Obj
    matcher: Matcher
    bindings: list[Binding]
    evaluator: Any = None
    """Made when it is first needed."""

    @property
    def fails(self) -> bool:
        return self.spec.get("failurePolicy") != "Ignore"


class Invocation(NamedTuple):
    """A policy that is to look at a request, as `version` shows it, with one parameter (None: without)."""

    policy: Policy
    binding: Binding
    version: Version
    param: Obj | None


class Problem(NamedTuple):
    """A policy that matches a request, but cannot be asked."""

    policy: Policy
    binding: Binding | None
    text: str


class Policies:
    """The policies of one kind, prepared for matching; made anew when one of them, or a binding, changes."""

    def __init__(self, kind: str, caches: CacheSet, forget: Callable[[], None]) -> None:
        """`kind` is `validating` or `mutating`."""
        self._caches = caches
        self._policies = caches[GroupResource(GROUP, f"{kind}admissionpolicies")]
        self._bindings = caches[GroupResource(GROUP, f"{kind}admissionpolicybindings")]
        self._namespaces = caches[NAMESPACES]
        self._prepared: list[Policy] | None = None
        self._params: dict[tuple[str, str], _Params] = {}
        self._forget = forget
        self._policies.on_change(self._changed)
        self._bindings.on_change(self._changed)

    def _changed(self, *_: object) -> None:
        self._prepared = None
        self._params.clear()
        self._forget()

    def concerning(self, request: AdmissionRequest) -> list[Policy]:
        """Those that may be about the request's kind, subresource and operation."""
        if request.resource in POLICIES or not len(self._bindings):
            return []
        if self._prepared is None:
            self._prepared = self._prepare()
        return [policy for policy in self._prepared if policy.bindings and policy.matcher.concerns(request)]

    def _prepare(self) -> list[Policy]:
        bound: dict[str, list[Binding]] = {}
        for entry in self._bindings.range():
            spec = entry.obj["spec"]
            resources = spec.get("matchResources")
            matcher = Matcher(resources, "resourceRules", self._namespaces) if resources is not None else None
            bound.setdefault(spec.get("policyName", ""), []).append(Binding(entry.name, spec, matcher))
        return [
            Policy(
                entry.name,
                entry.obj["spec"],
                Matcher(entry.obj["spec"].get("matchConstraints") or {}, "resourceRules", self._namespaces),
                bound.get(entry.name, []),
            )
            for entry in self._policies.range()
        ]

    def namespace_of(self, request: AdmissionRequest) -> Obj | None:
        """The Namespace that expressions may look at. Raises StatusError 404."""
        if not request.namespace or request.resource == NAMESPACES:
            return None
        entry = self._namespaces.get("", request.namespace)
        if entry is None:
            raise errors.not_found(NAMESPACES, request.namespace)
        return entry.obj

    # -- who is asked, with what

    def invocations(self, request: AdmissionRequest, policies: list[Policy]) -> Iterator[Invocation | Problem]:
        for policy in policies:
            try:
                version = policy.matcher.version(request)
            except StatusError as error:
                yield Problem(policy, None, f"failed to configure policy: {error.message}")
                continue
            if version is None:
                continue
            try:
                source = self._params_of(policy.spec.get("paramKind"))
            except ConfigurationError as error:
                yield Problem(policy, None, f"failed to configure policy: {error}")
                continue
            for binding in policy.bindings:
                yield from self._bound(request, policy, version, binding, source)

    def _bound(
        self, request: AdmissionRequest, policy: Policy, version: Version, binding: Binding, source: _Params | None
    ) -> Iterator[Invocation | Problem]:
        try:
            if binding.matcher is not None and binding.matcher.version(request, rules_needed=False) is None:
                return
            reference = binding.tree.get("paramRef")
            params = source.found(request, reference) if source is not None and reference is not None else [None]
        except StatusError as error:
            yield Problem(policy, binding, f"failed to configure binding: {error.message}")
        except ConfigurationError as error:
            yield Problem(policy, binding, f"failed to configure binding: {error}")
        else:
            for param in params:
                yield Invocation(policy, binding, version, param)

    def _params_of(self, kind: Obj | None) -> _Params | None:
        """None: the policy has no parameters. Raises ConfigurationError for a kind that is not served."""
        if kind is None:
            return None
        key = (kind.get("apiVersion", ""), kind.get("kind", ""))
        if (known := self._params.get(key)) is not None and known.stands(self._caches):
            return known
        group, number = GroupVersion.parse(key[0])
        for cache in self._caches:
            if cache.kind.kind != key[1]:
                continue
            for version in cache.kind.versions:
                if (version.group, version.version) == (group, number):
                    found = self._params[key] = _Params(cache, version)
                    return found
        shown = f"{group}/{number}, Kind={kind.get('kind', '')}"
        raise ConfigurationError(f"failed to find resource referenced by paramKind: '{shown}'")


class _Params(NamedTuple):
    """Where a policy's parameters are."""

    cache: ResourceCache
    version: Version

    def stands(self, caches: CacheSet) -> bool:
        """Whether the kind is still served so: custom ones come and go."""
        kind = self.cache.kind
        return caches.get(kind.group_resource) is self.cache and any(v is self.version for v in kind.versions)

    def found(self, request: AdmissionRequest, reference: Obj) -> list[Obj | None]:
        """Raises ConfigurationError."""
        namespace, name, selector = reference.get("namespace", ""), reference.get("name", ""), reference.get("selector")
        if self.cache.kind.namespaced:
            namespace = namespace or request.namespace
            if not namespace:
                raise ConfigurationError(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                )
        elif namespace:
            raise ConfigurationError("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        if name:
            entry = self.cache.get(namespace, name)
            entries = [entry] if entry is not None else []
        else:
            wanted = from_label_selector(selector)
            entries = [entry for entry in self.cache.range(namespace) if wanted.matches(entry.labels)]
        if not entries and reference.get("parameterNotFoundAction") == "Deny":
            raise ConfigurationError("no params found for policy binding with `Deny` parameterNotFoundAction")
        from navarch.apiserver import codec

        return [codec.from_hub(self.cache.kind, self.version, entry.obj) for entry in entries]


class _PolicyPlugin(BasePlugin):
    kind = ""

    def __init__(self, caches: CacheSet, authorize: Authorize, measures: Measures) -> None:
        self._caches, self._authorize, self._measures = caches, authorize, measures
        self.policies = Policies(self.kind, caches, self._forget)
        self._plans = Memo(self.policies.concerning)
        self._told: Callable[[], None] = self._plans.clear

    def attach(self, changed: Callable[[], None]) -> None:
        self._told = changed

    def _forget(self) -> None:
        self._plans.clear()
        self._told()

    def concerns(self, request: AdmissionRequest) -> bool:
        return bool(self.concerned(request))

    def concerned(self, request: AdmissionRequest) -> list[Policy]:
        return self._plans.get(request)


class ValidatingAdmissionPolicy(_PolicyPlugin):
    name = "ValidatingAdmissionPolicy"
    kind = "validating"
    _validator: Validator | None = None

    async def validate(self, request: AdmissionRequest) -> None:
        if self._validator is None:
            from navarch.apiserver.admission.verdicts import Validator  # lazily: no start needs expressions

            self._validator = Validator(self.policies, self._authorize, self._measures)
        await self._validator.judge(request, self.concerned(request))


class MutatingAdmissionPolicy(_PolicyPlugin):
    name = "MutatingAdmissionPolicy"
    kind = "mutating"
    _mutator: Mutator | None = None

    async def admit(self, request: AdmissionRequest) -> None:
        if self._mutator is None:
            from navarch.apiserver.admission.mutations import Mutator

            self._mutator = Mutator(self.policies, self._authorize)
        await self._mutator.change(request, self.concerned(request))
