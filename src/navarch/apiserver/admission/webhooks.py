"""The webhooks that users configure: who is asked about a request, in which order, and what follows.

Source: apiserver's admission/plugin/webhook (generic, mutating, validating). How a webhook is reached: apiserver/webhooks.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from navarch.api.kind import Version
from navarch.apiserver.admission.chain import BasePlugin, Memo
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.admission.matching import CONFIGURATIONS, GROUP, NAMESPACES, Matcher
from navarch.apiserver.admission.measures import Measures
from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.credentials import Credentials
from navarch.apiserver.request import PATCH_NOTE
from navarch.apiserver.watchcache import CacheSet
from navarch.apiserver.webhooks import WebhookError, Webhooks
from navarch.machinery import errors
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.patch.json_patch import go_kind
from navarch.machinery.types import GroupResource, Obj

if TYPE_CHECKING:
    from navarch.apiserver.admission.evaluation import Conditions
    from navarch.apiserver.admission.reviews import Verdict

Authorize = Callable[[Attributes], Decision]
DEFAULT_SECONDS = 10


class CallFailed(Exception):
    """A webhook gave no usable answer; its failure policy says what that means."""

    def __init__(self, name: str, why: object, code: int = 503) -> None:
        super().__init__(f'failed calling webhook "{name}": {why}')
        self.code = code


class Hook:
    """One webhook of a configuration, prepared."""

    def __init__(self, tree: Obj, configuration: str, index: int, caches: CacheSet) -> None:
        self.tree = tree
        self.name: str = tree.get("name", "")
        self.configuration = configuration
        self.uid = (configuration, self.name, index)
        self.matcher = Matcher(tree, "rules", caches[NAMESPACES])
        self.fails = tree.get("failurePolicy") != "Ignore"
        self.seconds: float = tree.get("timeoutSeconds") or DEFAULT_SECONDS
        self.again = tree.get("reinvocationPolicy") == "IfNeeded"
        self._conditions: Conditions | None = None

    async def matches(self, request: AdmissionRequest, authorize: Authorize) -> Version | None:
        """The version to ask it in; None: it is not asked. Raises StatusError."""
        version = self.matcher.version(request)
        listed: list[Obj] = self.tree.get("matchConditions") or []
        if version is None or not listed:
            return version
        from navarch.api.admissionregistration.expressions import Scope
        from navarch.apiserver.admission.evaluation import Conditions, Failed, bindings_of, converted

        if self._conditions is None:
            self._conditions = Conditions(listed, Scope(), self.fails)
        try:
            bindings = await converted(lambda: bindings_of(request, version, authorize, None))
            held = self._conditions.hold(bindings)
        except Failed as error:
            raise errors.forbidden(request.resource, request.name, str(error)) from None
        return version if held else None


class Asked(NamedTuple):
    hook: Hook
    version: Version


class _WebhookPlugin(BasePlugin):
    kind = ""

    def __init__(
        self,
        caches: CacheSet,
        authorize: Authorize,
        webhooks: Webhooks,
        world: World,
        measures: Measures,
        credentials: Credentials | None = None,
    ) -> None:
        """`credentials`: what webhooks are told of who asks."""
        self._credentials = credentials
        self._caches, self._authorize = caches, authorize
        self._webhooks, self._world, self._measures = webhooks, world, measures
        self._configurations = caches[GroupResource(GROUP, f"{self.kind}webhookconfigurations")]
        self._configurations.on_change(self._changed)
        self._hooks: list[Hook] | None = None
        self._plans = Memo(self._concerning)
        self._told: Callable[[], None] = self._plans.clear

    def attach(self, changed: Callable[[], None]) -> None:
        self._told = changed

    def _changed(self, *_: object) -> None:
        self._hooks = None
        self._plans.clear()
        self._told()

    def concerns(self, request: AdmissionRequest) -> bool:
        return bool(self._plans.get(request))

    def _concerning(self, request: AdmissionRequest) -> list[Hook]:
        """Webhooks that may be about the request's kind, subresource and operation, in order."""
        hooks = [] if request.resource in CONFIGURATIONS else self._prepared()
        return [hook for hook in hooks if hook.matcher.concerns(request)]

    def _prepared(self) -> list[Hook]:
        if self._hooks is None:
            self._hooks = [
                Hook(tree, entry.name, index, self._caches)
                for entry in self._configurations.range()
                for index, tree in enumerate(entry.obj.get("webhooks") or ())
            ]
        return self._hooks

    async def _measured(self, request: AdmissionRequest, asked: Asked, mutating: bool) -> Verdict:
        """As `_ask`, and counts it."""
        hook, loop = asked.hook, asyncio.get_running_loop()
        started, kind, operation = loop.time(), "admit" if mutating else "validating", request.operation
        try:
            verdict = await self._ask(request, asked, mutating)
        except CallFailed as failure:
            seconds, error = loop.time() - started, "calling_webhook_error"
            self._measures.asked(hook.name, kind, operation, seconds, failure.code, hook.fails, error)
            raise
        except StatusError as refusal:
            self._measures.asked(hook.name, kind, operation, loop.time() - started, refusal.code, True)
            raise
        self._measures.asked(hook.name, kind, operation, loop.time() - started, 200, False)
        return verdict

    async def _ask(self, request: AdmissionRequest, asked: Asked, mutating: bool) -> Verdict:
        """Raises CallFailed, and StatusError 400 for a dry run that the webhook cannot take part in."""
        from navarch.apiserver.admission import reviews
        from navarch.apiserver.admission.evaluation import converted

        hook = asked.hook
        if request.dry_run and hook.tree.get("sideEffects") not in ("None", "NoneOnDryRun"):
            raise errors.bad_request(f'admission webhook "{hook.name}" does not support dry run')
        uid = self._world.uid()
        try:
            spoken = reviews.review_version(hook.tree.get("admissionReviewVersions") or ())
        except reviews.BadReview as error:
            raise CallFailed(hook.name, f"could not create admission objects: {error}") from None
        body = await converted(lambda: reviews.review(request, asked.version, uid, spoken))
        try:
            answer = await self._webhooks.ask(
                hook.tree.get("clientConfig") or {}, body, hook.seconds, self._credentials
            )
        except WebhookError as error:
            raise CallFailed(hook.name, f"failed to call webhook: {error}", error.code) from None
        try:
            verdict = reviews.verdict(answer, uid, spoken, mutating)
        except reviews.BadReview as error:
            raise CallFailed(hook.name, f"received invalid webhook response: {error}") from None
        for key, value in verdict.annotations.items():
            request.annotate(f"{hook.name}/{key}", value)
        request.warnings.extend(verdict.warnings)
        if not verdict.allowed:
            raise reviews.rejection(hook.name, verdict.status)
        return verdict


class MutatingAdmissionWebhook(_WebhookPlugin):
    name = "MutatingAdmissionWebhook"
    kind = "mutating"

    async def admit(self, request: AdmissionRequest) -> None:
        from navarch.apiserver.admission.changing import Rounds

        rounds = Rounds.of(request, self.name)
        for index, hook in enumerate(self._plans.get(request)):
            version = await hook.matches(request, self._authorize)
            if version is None or rounds.skips(request, hook.uid):
                continue
            where = f"round_{int(request.again)}_index_{index}"
            changed = False
            try:
                verdict = await self._measured(request, Asked(hook, version), True)
                changed = await self._patch(request, Asked(hook, version), verdict, where)
            except CallFailed as error:
                if hook.fails:
                    raise errors.internal(str(error)) from None
                request.annotate(f"failed-open.mutation.webhook.admission.k8s.io/{where}", hook.name)
            finally:
                note: Obj = {"configuration": hook.configuration, "webhook": hook.name, "mutated": changed}
                request.annotate(f"mutation.webhook.admission.k8s.io/{where}", orjson.dumps(note).decode())
            if changed:
                rounds.changed()
                request.unsettled = True
            if hook.again:
                rounds.invoked.add(hook.uid)
        rounds.end(request)

    async def _patch(self, request: AdmissionRequest, asked: Asked, verdict: Verdict, where: str) -> bool:
        """Whether the webhook's patch changed the object. Raises CallFailed, and StatusError 500."""
        from navarch.apiserver.admission.changing import Inapplicable, patched, put
        from navarch.apiserver.admission.evaluation import converted, shown

        if not verdict.patch:
            return False
        hook, version = asked
        operations = _operations(hook, verdict.patch)
        if not operations:
            return False
        if request.object is None:
            why = f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this operation'
            raise errors.internal(why)
        if verdict.patch_type != "JSONPatch":
            raise CallFailed(hook.name, f'unsupported patch type "{verdict.patch_type}"')
        tree = await converted(lambda: shown(request, version, request.object))
        assert tree is not None
        try:
            changed = patched(tree, operations)
            differs = await converted(lambda: put(request, version, changed))
        except Inapplicable as error:
            raise errors.internal(str(error)) from None
        note: Obj = {
            "configuration": hook.configuration,
            "webhook": hook.name,
            "patch": operations,
            "patchType": "JSONPatch",
        }
        request.annotate(f"{PATCH_NOTE}{where}", orjson.dumps(note).decode())
        return differs


def _operations(hook: Hook, patch: bytes) -> list[Any]:
    try:
        found = orjson.loads(patch)
    except orjson.JSONDecodeError as error:
        raise CallFailed(hook.name, f"received undecodable patch in webhook response: {error}") from None
    if not isinstance(found, list):
        what = f"json: cannot unmarshal {go_kind(found)} into Go value of type jsonpatch.Patch"
        raise CallFailed(hook.name, f"received undecodable patch in webhook response: {what}")
    return found


class ValidatingAdmissionWebhook(_WebhookPlugin):
    name = "ValidatingAdmissionWebhook"
    kind = "validating"

    async def validate(self, request: AdmissionRequest) -> None:
        """All are asked at once; the first in order that refuses decides."""
        asked = [
            Asked(hook, version)
            for hook in self._plans.get(request)
            if (version := await hook.matches(request, self._authorize)) is not None
        ]
        if not asked:
            return
        if len(asked) == 1:
            failures = [await self._judged(request, asked[0], 0)]
        else:
            failures = await asyncio.gather(*(self._judged(request, one, i) for i, one in enumerate(asked)))
        for failure in failures:
            if failure is not None:
                raise failure

    async def _judged(self, request: AdmissionRequest, asked: Asked, index: int) -> StatusError | None:
        hook = asked.hook
        try:
            await self._measured(request, asked, False)
        except CallFailed as error:
            if hook.fails:
                return errors.internal(str(error))
            request.annotate(f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{index}", hook.name)
        except StatusError as error:
            return error
        return None
