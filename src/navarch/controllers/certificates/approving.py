"""Kubelets' requests for client certificates are approved where who asks may have them. Source: certificates/approver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from navarch.api.certificates import requests
from navarch.api.certificates.certificatesigningrequest import APPROVED, DENIED, decoded
from navarch.client.interface import Client
from navarch.client.resources import CERTIFICATE_REQUESTS
from navarch.controllers import objects
from navarch.controlloop.plan import Caches, Call, Plan, Update, Watch
from navarch.machinery.types import Key, Obj, key_of

REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
MESSAGES = {
    "selfnodeclient": "Auto approving self kubelet client certificate after SubjectAccessReview.",
    "nodeclient": "Auto approving kubelet client certificate after SubjectAccessReview.",
}
"""By the subresource whose creation must be allowed, in the order in which it is asked."""
RETRY_SECONDS = 10.0
"""Until a refused request is asked about again: roles change, and wake nobody."""


def request_keys(old: Obj | None, new: Obj | None, caches: Caches) -> Iterable[Key]:
    return [key_of(new)] if new is not None else ()


def is_judged(request: Obj) -> bool:
    status = request.get("status") or {}
    return any(objects.condition_of(status, kind) for kind in (APPROVED, DENIED))


def rights_of(request: Obj) -> Sequence[str]:
    """Which rights would let it be approved; none for what is no kubelet's request for a client certificate."""
    spec = request["spec"]
    if spec.get("signerName") != requests.KUBELET_CLIENT:
        return ()
    try:
        wanted = requests.parse(decoded(spec.get("request")))
    except ValueError:
        return ()
    if requests.kubelet_client_problem(wanted, spec.get("usages") or ()):
        return ()
    own = requests.common_name(wanted) == spec.get("username")
    return ("selfnodeclient", "nodeclient") if own else ("nodeclient",)


class ApprovingController:
    name = "certificatesigningrequest-approving-controller"

    def __init__(self, client: Client) -> None:
        self._client = client
        self.watches = (Watch(CERTIFICATE_REQUESTS, request_keys),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        found = caches[CERTIFICATE_REQUESTS].get("", key.name)
        if found is None or is_judged(found) or (found.get("status") or {}).get("certificate"):
            return None
        return found

    def reconcile(self, observed: Obj, now: float) -> Plan:
        rights = rights_of(observed)
        if not rights:
            return Plan(reasons=["it is no kubelet's request for a client certificate: somebody else is to approve it"])
        ask = Call("ask whether it may have one", lambda: self._ask(observed, rights))
        return Plan([ask], reasons=["a kubelet asks for its client certificate"])

    async def _ask(self, request: Obj, rights: Sequence[str]) -> Plan:
        for right in rights:
            answer = await self._client.raw("POST", REVIEWS, body=review(request, right))
            if (answer.get("status") or {}).get("allowed"):
                return Plan([approval(request, MESSAGES[right])], reasons=[f"who asks may {right}"])
        tried = " nor ".join(rights)
        return Plan(requeue_after=RETRY_SECONDS, reasons=[f"who asks has no right to {tried}"])


def review(request: Obj, right: str) -> Obj:
    """The SubjectAccessReview of who made a request."""
    spec = request["spec"]
    asked = {
        "group": "certificates.k8s.io",
        "version": "*",
        "resource": "certificatesigningrequests",
        "verb": "create",
        "subresource": right,
    }
    who = {"user": spec.get("username", ""), "uid": spec.get("uid", "")}
    who |= {"groups": spec.get("groups") or [], "extra": spec.get("extra") or {}}
    body: Obj = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    return {**body, "spec": {**who, "resourceAttributes": asked}}


def approval(request: Obj, message: str) -> Update:
    condition = {"type": APPROVED, "status": "True", "reason": "AutoApproved", "message": message}
    status = request.get("status") or {}
    made = {**request, "status": {**status, "conditions": [*(status.get("conditions") or ()), condition]}}
    return Update(CERTIFICATE_REQUESTS, made, "approval")
