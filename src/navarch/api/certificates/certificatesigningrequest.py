"""CertificateSigningRequest: a certificate asked for, approved and issued. Source: apis/certificates validation.

Who asks is set by apiserver/registry/certificates.py, which has the approval subresource too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from navarch.api.certificates import requests
from navarch.api.columns import AGE, NAME
from navarch.api.kind import STATUS_VERBS, Column, Kind, Subresource, Version, status_of
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names, pem
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of, duration
from navarch.machinery.types import Obj

GROUP = "certificates.k8s.io"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
STATUSES = ("False", "True", "Unknown")
USAGES = frozenset(
    (
        "signing", "digital signature", "content commitment", "key encipherment", "key agreement", "data encipherment",
        "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth", "client auth", "code signing",
        "email protection", "s/mime", "ipsec end system", "ipsec tunnel", "ipsec user", "timestamping", "ocsp signing",
        "microsoft sgc", "netscape sgc",
    )
)  # fmt: skip
MIN_SECONDS = 600
MAX_DOMAIN = names.SUBDOMAIN_LENGTH
MAX_SIGNER = MAX_DOMAIN + MAX_DOMAIN + names.LABEL_LENGTH + 2


def decoded(text: str | None) -> bytes:
    """Bytes of the API; empty for what is not base64 (decoding has refused that)."""
    try:
        return base64.b64decode(text or "")
    except binascii.Error:
        return b""


def beta_defaults(obj: Obj) -> None:
    """The retired version guesses the signer, and that conditions are true."""
    spec = obj.setdefault("spec", {})
    if spec.get("usages") is None:
        spec["usages"] = ["digital signature", "key encipherment"]
    if spec.get("signerName") is None:
        spec["signerName"] = _signer(spec)
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if not condition.get("status"):
            condition["status"] = "True"


def _signer(spec: Obj) -> str:
    try:
        request = requests.parse(decoded(spec.get("request")))
        if not requests.kubelet_client_problem(request, spec["usages"]):
            return requests.KUBELET_CLIENT
        if not requests.kubelet_serving_problem(request, spec["usages"]):
            return requests.KUBELET_SERVING
    except ValueError:
        pass
    return requests.LEGACY_UNKNOWN


def prepare_update(new: Obj, old: Obj) -> None:
    new["spec"] = old["spec"]


def preserve(new: Obj, old: Obj) -> None:
    """A write of the status leaves the conditions of approval as they are; whether any came or went is judged later."""
    after: list[Obj] = (new.get("status") or {}).get("conditions") or []
    before: list[Obj] = (old.get("status") or {}).get("conditions") or []
    for kind in (APPROVED, DENIED):
        kept = [c for c in before if c.get("type") == kind]
        places = [i for i, c in enumerate(after) if c.get("type") == kind]
        if len(kept) == len(places):
            for place, condition in zip(places, kept, strict=True):
                after[place] = condition


# -- validation


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    try:
        requests.verify(requests.parse(decoded(spec.get("request"))))
    except ValueError as error:
        errs.invalid("spec.request", spec.get("request"), str(error))
    _usages(spec.get("usages") or [], errs)
    if (signer := spec.get("signerName", "")) == requests.LEGACY_UNKNOWN:
        errs.invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version")
    else:
        validate_signer_name(signer, "spec.signerName", errs)
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < MIN_SECONDS:
        message = "may not specify a duration less than 600 seconds (10 minutes)"
        errs.invalid("spec.expirationSeconds", seconds, message)
    _conditions(status.get("conditions") or [], errs)
    if wrong := certificate_problem(decoded(status.get("certificate"))):
        errs.invalid("status.certificate", "<certificate data>", wrong)


def _usages(usages: list[str], errs: FieldErrors) -> None:
    if not usages:
        errs.required("spec.usages")
    for index, usage in enumerate(usages):
        if usage not in USAGES:
            errs.not_supported(f"spec.usages[{index}]", usage, USAGES)
    for index, usage in enumerate(usages):
        if usage in usages[:index]:
            errs.duplicate(f"spec.usages[{index}]", usage)


def validate_signer_name(signer: str, path: str, errs: FieldErrors) -> None:
    """A domain and a path: `example.com/signer`."""
    if not signer:
        errs.required(path)
        return
    domain, slash, name = signer.partition("/")
    if not slash or "/" in name:
        errs.invalid(path, signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
        return
    if names.longer_than(domain, MAX_DOMAIN):
        errs.too_long(path, MAX_DOMAIN)
    _labels(domain, names.dns1123_label, path, errs)
    if "." not in domain:
        errs.invalid(path, domain, "should be a domain with at least two segments separated by dots")
    _labels(name, names.dns1123_subdomain, path, errs)
    if names.longer_than(signer, MAX_SIGNER):
        errs.too_long(path, MAX_SIGNER)


def _labels(text: str, rule: names.Rule, path: str, errs: FieldErrors) -> None:
    for label in text.split("."):
        if wrong := rule(label):
            checks.each(errs, path, text, [f'validating label "{label}": {message}' for message in wrong])
            return


def _conditions(conditions: list[Obj], errs: FieldErrors) -> None:
    at = "status.conditions"
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        kind, status = condition.get("type", ""), condition.get("status", "")
        if not kind:
            errs.required(f"{at}[{index}].type")
        allowed = ("True",) if kind in (APPROVED, DENIED, FAILED) else STATUSES
        checks.one_of(errs, f"{at}[{index}].status", status, allowed)
        if {APPROVED: DENIED, DENIED: APPROVED}.get(kind) in seen:
            errs.invalid(at, kind, "Approved and Denied conditions are mutually exclusive")
        if kind in seen:
            errs.duplicate(f"{at}[{index}].type", kind)
        seen.add(kind)


def certificate_problem(text: bytes) -> str:
    """What is wrong with issued certificates in PEM; empty where nothing is, or there are none."""
    if not text:
        return ""
    from cryptography.x509 import load_der_x509_certificate  # lazily: slow to import

    found = pem.blocks(text)
    for block in found:
        if block.label != "CERTIFICATE":
            return f'only CERTIFICATE PEM blocks are allowed, found "{block.label}"'
        if block.headers:
            return "no PEM block headers are permitted"
        try:
            load_der_x509_certificate(block.data)
        except ValueError as error:
            return f"x509: malformed certificate: {error}"
    return "" if found else "must contain at least one CERTIFICATE PEM block"


def _of(obj: Obj, kind: str) -> list[Obj]:
    return [c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == kind]


def _judge(new: Obj, old: Obj, approving: bool, issuing: bool, errs: FieldErrors) -> None:
    validate(new, errs)
    at = "status.conditions"
    for kind in (APPROVED, DENIED, FAILED):
        if len(_of(new, kind)) < len(_of(old, kind)):
            errs.forbidden(at, f'updates may not remove a condition of type "{kind}"')
    for kind in () if approving else (APPROVED, DENIED):
        after, before = _of(new, kind), _of(old, kind)
        if len(after) > len(before):
            errs.forbidden(at, f'updates may not add a condition of type "{kind}"')
        elif len(after) == len(before) and after != before:
            errs.forbidden(at, f'updates may not modify a condition of type "{kind}"')
    issued, had = ((tree.get("status") or {}).get("certificate") or "" for tree in (new, old))
    if issued != had:
        if not issuing:
            errs.forbidden("status.certificate", "updates may not set certificate content")
        elif had:
            errs.forbidden("status.certificate", "updates may not modify existing certificate content")


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    _judge(new, old, False, True, errs)


def prepare_approval(new: Obj, old: Obj) -> None:
    """Only the conditions change."""
    status = {**(old.get("status") or {})}
    status.pop("conditions", None)
    if conditions := (new.get("status") or {}).get("conditions"):
        status["conditions"] = conditions
    new["spec"], new["status"] = old["spec"], status


def validate_approval(new: Obj, old: Obj, errs: FieldErrors) -> None:
    _judge(new, old, True, False, errs)


# -- reads


def fields(obj: Obj) -> Mapping[str, str]:
    return {"spec.signerName": (obj.get("spec") or {}).get("signerName", "")}


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    state = "Denied" if _of(obj, DENIED) else "Approved" if _of(obj, APPROVED) else "Pending"
    if _of(obj, FAILED):
        state += ",Failed"
    if (obj.get("status") or {}).get("certificate"):
        state += ",Issued"
    return [
        obj["metadata"]["name"],
        age_of(obj, now),
        spec.get("signerName") or NONE,
        spec.get("username", ""),
        duration(seconds) if seconds is not None else NONE,
        state,
    ]


KIND = Kind(
    kind="CertificateSigningRequest",
    plural="certificatesigningrequests",
    short_names=("csr",),
    namespaced=False,
    versions=(
        Version(group=GROUP, version="v1", definition="io.k8s.api.certificates.v1.CertificateSigningRequest"),
        retired(GROUP, "v1beta1", "CertificateSigningRequest", "1.19", "1.22", f"{GROUP}/v1", defaults=beta_defaults),
    ),
    subresources=(
        Subresource(name="approval", kind="CertificateSigningRequest", verbs=STATUS_VERBS),
        status_of("CertificateSigningRequest"),
    ),
    prepare_update=prepare_update,
    prepare_status_update=preserve,
    validate=validate,
    validate_status_update=validate_status_update,
    name_is_valid=names.path_segment,
    columns=(
        NAME,
        AGE,
        Column(name="SignerName", description="Who is to sign it."),
        Column(name="Requestor", description="Who asks for it."),
        Column(name="RequestedDuration", description="How long the certificate is to be valid."),
        Column(name="Condition", description="Whether it is approved, denied, failed or issued."),
    ),
    row=row,
    fields=fields,
    extra={"subresources": {"approval": (prepare_approval, validate_approval)}},
)
