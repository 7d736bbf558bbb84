"""Who may approve and sign for which signer, and that nobody asks to become a master.

Source: plugin/pkg/admission/certificates.
"""

from __future__ import annotations

from collections.abc import Callable

from navarch.api.certificates import requests
from navarch.api.certificates.certificatesigningrequest import GROUP, decoded
from navarch.apiserver.admission.chain import BasePlugin, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.machinery.types import GroupResource

REQUESTS = GroupResource(GROUP, "certificatesigningrequests")
MASTERS = "system:masters"
Authorize = Callable[[Attributes], Decision]


def may_use_signer(authorize: Authorize, request: AdmissionRequest, verb: str, signer: str) -> bool:
    """Whether the user has the verb for the signer, or for all signers of its domain."""
    domain = signer.partition("/")[0]
    return any(
        authorize(Attributes(request.user, verb, True, "", GROUP, "*", "signers", name=name)).allowed
        for name in (signer, f"{domain}/*")
    )


class _SignerPlugin(BasePlugin):
    subresource = verb = done = ""

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    def concerns(self, request: AdmissionRequest) -> bool:
        return (
            request.resource == REQUESTS and request.subresource == self.subresource and request.operation == "UPDATE"
        )

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.old is not None
        signer = request.old["spec"].get("signerName", "")
        if not may_use_signer(self._authorize, request, self.verb, signer):
            raise refuse(request, f'user not permitted to {self.verb} requests with signerName "{signer}"')


class CertificateApproval(_SignerPlugin):
    name = "CertificateApproval"
    subresource, verb = "approval", "approve"


class CertificateSigning(_SignerPlugin):
    name = "CertificateSigning"
    subresource, verb = "status", "sign"

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None and request.old is not None
        after, before = request.object.get("status") or {}, request.old.get("status") or {}
        if any((after.get(field) or None) != (before.get(field) or None) for field in ("certificate", "conditions")):
            await super().validate(request)


class CertificateSubjectRestriction(BasePlugin):
    name = "CertificateSubjectRestriction"

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == REQUESTS and request.operation == "CREATE" and not request.subresource

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object["spec"]
        if spec.get("signerName") != requests.CLIENT:
            return
        try:
            groups = requests.organizations(requests.parse(decoded(spec.get("request"))))
        except ValueError as error:
            raise refuse(request, f"failed to parse CSR: {error}") from None
        if MASTERS in groups:
            raise refuse(request, f"use of {requests.CLIENT} signer with system:masters group is not allowed")
