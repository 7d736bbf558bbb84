"""AdmissionReviews: what a webhook is asked, and what its answer means. Source: admission/plugin/webhook/request, errors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from navarch.api.kind import Version
from navarch.apiserver.admission.evaluation import request_tree, shown
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

GROUP = "admission.k8s.io"
KIND = "AdmissionReview"
KNOWN = ("v1", "v1beta1")


class BadReview(Exception):
    """There is no telling what the answer means."""


class Verdict(NamedTuple):
    allowed: bool
    patch: bytes
    patch_type: str
    status: Obj | None
    """The Status of a refusal."""
    warnings: list[str]
    annotations: dict[str, str]


def review_version(versions: Sequence[str]) -> str:
    """The first that is known. Raises BadReview."""
    for version in versions:
        if version in KNOWN:
            return version
    raise BadReview("webhook does not accept known AdmissionReview versions (v1, v1beta1)")


def review(request: AdmissionRequest, version: Version, uid: str, spoken: str) -> bytes:
    tree = {"uid": uid, **request_tree(request, version)}
    tree["object"] = shown(request, version, request.object)
    tree["oldObject"] = shown(request, version, request.old)
    return orjson.dumps({"kind": KIND, "apiVersion": f"{GROUP}/{spoken}", "request": tree})


def verdict(answer: Obj, uid: str, spoken: str, mutating: bool) -> Verdict:
    """Raises BadReview."""
    response = answer.get("response")
    if not isinstance(response, dict):
        raise BadReview("webhook response was absent")
    patch, patch_type = _patch_of(response)
    if spoken == "v1":
        found = response.get("uid") or ""
        if found != uid:
            raise BadReview(f'expected response.uid="{uid}", got "{found}"')
        _check_type(answer)
        _check_patch(patch, response.get("patchType"), mutating)
    elif patch:
        patch_type = "JSONPatch"
    status = response.get("status")
    warnings, annotations = response.get("warnings") or [], response.get("auditAnnotations") or {}
    well_formed = isinstance(warnings, list) and isinstance(annotations, dict) and isinstance(status, dict | None)
    if not well_formed:
        raise BadReview("response.warnings, response.auditAnnotations or response.status is of a wrong type")
    return Verdict(
        response.get("allowed") is True,
        patch if mutating else b"",
        patch_type,
        status,
        [str(text) for text in warnings if text],
        {str(key): str(value) for key, value in annotations.items()},
    )


def _patch_of(response: Obj) -> tuple[bytes, str]:
    text = response.get("patch") or ""
    try:
        return base64.b64decode(text, validate=True), response.get("patchType") or ""
    except (binascii.Error, TypeError, ValueError):
        raise BadReview("response.patch is no base64") from None


def _check_type(answer: Obj) -> None:
    found_version, found = answer.get("apiVersion") or "", answer.get("kind") or ""
    if (found_version, found) != (f"{GROUP}/v1", KIND):
        text = found_version if "/" in found_version else f"/{found_version}"
        raise BadReview(f"expected webhook response of {GROUP}/v1, Kind={KIND}, got {text}, Kind={found}")


def _check_patch(patch: bytes, patch_type: Any, mutating: bool) -> None:
    if not mutating:
        if patch:
            raise BadReview("validating webhook may not return response.patch")
        if patch_type is not None:
            raise BadReview("validating webhook may not return response.patchType")
    elif patch and patch_type is None:
        raise BadReview("webhook returned response.patch but not response.patchType")
    elif not patch and patch_type is not None:
        raise BadReview("webhook returned response.patchType but not response.patch")
    elif patch_type == "":
        raise BadReview('webhook returned invalid response.patchType of ""')


def rejection(name: str, status: Obj | None) -> StatusError:
    """The refusal that a webhook's Status asks for."""
    status = status or {}
    code, reason, message = status.get("code"), status.get("reason") or "", status.get("message") or ""
    denied = f'admission webhook "{name}" denied the request'
    text = f"{denied}: {message or reason}" if message or reason else f"{denied} without explanation"
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    details = status.get("details")
    return StatusError(code, str(reason), text, details if isinstance(details, dict) else None)
