"""Approved requests get their certificates: the four signers of kubernetes.io. Source: certificates/signer."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping

from navarch.api.certificates import requests
from navarch.api.certificates.certificatesigningrequest import APPROVED, DENIED, FAILED, decoded
from navarch.client.resources import CERTIFICATE_REQUESTS
from navarch.controllers import objects
from navarch.controllers.certificates.approving import request_keys
from navarch.controllers.certificates.authority import CertificateAuthority
from navarch.controlloop.plan import Caches, Plan, Update, Watch
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import Key, Obj

TTL_SECONDS = 365 * 24 * 3600
MIN_SECONDS = 600


def client_usage_problem(usages: Collection[str]) -> str:
    for usage in usages:
        if usage not in ("digital signature", "key encipherment", "client auth"):
            return f"invalid usage for client certificate: {usage}"
    return "" if "client auth" in usages else "missing required usage for client certificate: client auth"


Problem = Callable[[bytes, Collection[str]], str]
"""(request, usages) -> why a signer refuses; empty where it does not."""
SIGNERS: Mapping[str, Problem] = {
    requests.CLIENT: lambda request, usages: client_usage_problem(usages),
    requests.KUBELET_CLIENT: lambda request, usages: requests.kubelet_client_problem(requests.parse(request), usages),
    requests.KUBELET_SERVING: lambda request, usages: requests.kubelet_serving_problem(requests.parse(request), usages),
    requests.LEGACY_UNKNOWN: lambda request, usages: "",
}


def lifetime(spec: Obj) -> int:
    """Seconds that the certificate lives: what was asked for, in bounds."""
    asked = spec.get("expirationSeconds")
    return TTL_SECONDS if asked is None else max(MIN_SECONDS, min(asked, TTL_SECONDS))


class SigningController:
    name = "certificatesigningrequest-signing-controller"

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority
        self.watches = (Watch(CERTIFICATE_REQUESTS, request_keys),)

    def observe(self, key: Key, caches: Caches) -> Obj | None:
        found = caches[CERTIFICATE_REQUESTS].get("", key.name)
        if found is None or found["spec"].get("signerName") not in SIGNERS:
            return None
        status = found.get("status") or {}
        done = status.get("certificate") or _is_true(status, FAILED) or objects.condition_of(status, DENIED)
        return found if objects.condition_of(status, APPROVED) and not done else None

    def reconcile(self, observed: Obj, now: float) -> Plan:
        spec, status = observed["spec"], observed.get("status") or {}
        request, usages = decoded(spec.get("request")), spec.get("usages") or ()
        if problem := SIGNERS[spec["signerName"]](request, usages):
            stamp = rfc3339(now)
            failed = {
                "type": FAILED,
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": problem,
                "lastUpdateTime": stamp,
                "lastTransitionTime": stamp,
            }
            status = {**status, "conditions": [*(status.get("conditions") or ()), failed]}
            reasons = [f"its signer refuses it: {problem}"]
        else:
            made = self._authority.sign(request, usages, lifetime(spec), now)
            status = {**status, "certificate": base64.b64encode(made).decode()}
            reasons = ["it is approved, and signed"]
        return Plan([Update(CERTIFICATE_REQUESTS, {**observed, "status": status}, "status")], reasons=reasons)


def _is_true(status: Obj, kind: str) -> bool:
    condition = objects.condition_of(status, kind)
    return condition is not None and condition.get("status", "") in ("", "True")
