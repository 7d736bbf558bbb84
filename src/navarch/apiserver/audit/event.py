"""An audit event (audit.k8s.io/v1 Event), made when its log line is written: off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from navarch.apiserver import negotiate
from navarch.apiserver.audit.policy import LEVELS, METADATA, REQUEST, REQUEST_RESPONSE, Verdict
from navarch.apiserver.auth.interface import Attributes, Decision
from navarch.apiserver.request import PATCH_NOTE, Request, Response
from navarch.machinery import protobuf
from navarch.machinery.clock import rfc3339_micro
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

MAX_AGENT = 1024
Typed = Callable[[Attributes], "tuple[str, str]"]
"""(kind, schema definition) of what a request's body is; ("", "") for what has none."""


@dataclass(slots=True)
class Record:
    """One stage of one request, as it is known then."""

    request: Request
    asked: Attributes
    verdict: Verdict
    received: float
    stage: str = ""
    at: float = 0.0
    response: Response | None = None
    failure: StatusError | None = None
    code: int = 0
    message: str = ""
    """The status of what never reached authorization."""

    @property
    def size(self) -> int:
        """Bytes that it keeps in memory."""
        body = self.response.body if self.response is not None else b""
        return len(self.request.body) + (len(body) if isinstance(body, bytes) else sum(map(len, body)))

    def line(self, typed: Typed) -> bytes:
        return orjson.dumps(self._event(typed)) + b"\n"

    def _event(self, typed: Typed) -> Obj:
        request, verdict = self.request, self.verdict
        event: Obj = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": LEVELS[verdict.level],
            "auditID": request.audit_id,
            "stage": self.stage,
            "requestURI": request.path + (f"?{request.raw_query}" if request.raw_query else ""),
            "verb": self.asked.verb,
            "user": self.asked.user.info() if not self.message else {},
        }
        if request.impersonator is not None:
            event["impersonatedUser"] = request.user.info()
            if request.constraint:
                event["authenticationMetadata"] = {"impersonationConstraint": request.constraint}
        event["sourceIPs"] = _sources(request)
        if agent := request.headers.get("user-agent", ""):
            event["userAgent"] = agent if len(agent) <= MAX_AGENT else agent[:MAX_AGENT] + "...TRUNCATED"
        body = self._request_body(typed)
        if self.asked.is_resource:
            event["objectRef"] = _reference(self.asked, body)
        if self.code:
            event["responseStatus"] = self._status()
        if body is not None and verdict.level >= REQUEST:
            event["requestObject"] = body
        if verdict.level >= REQUEST_RESPONSE and (answer := self._answer(typed)) is not None:
            event["responseObject"] = answer
        event["requestReceivedTimestamp"] = rfc3339_micro(self.received)
        event["stageTimestamp"] = rfc3339_micro(self.at)
        annotations = {**request.annotations, **_decided(request.decision)}
        if verdict.level < REQUEST:
            annotations = {k: v for k, v in annotations.items() if not k.startswith(PATCH_NOTE)}
        if annotations:
            event["annotations"] = annotations
        return event

    def _status(self) -> Obj:
        if self.failure is None:
            message = {"status": "Failure", "message": self.message} if self.message else {}
            return {"metadata": {}, **message, "code": self.code}
        status = self.failure.to_status()
        return {k: v for k, v in status.items() if k not in ("kind", "apiVersion")}

    def _request_body(self, typed: Typed) -> Any:
        """What came in. Of what only its metadata is logged, nothing but the name is used."""
        request, level = self.request, self.verdict.level
        if not request.body or not self.asked.is_resource or (level == METADATA and self.asked.verb != "create"):
            return None
        patch = self.asked.verb == "patch"
        media = request.headers.get("content-type", "")
        return self._tree(request.body, "application/json" if patch and "yaml" not in media else media, typed)

    def _answer(self, typed: Typed) -> Any:
        response = self.response
        if (
            response is None
            or response.stream is not None
            or response.upgrade is not None
            or not self.asked.is_resource
        ):
            return self.failure.to_status() if self.failure is not None else None
        body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        return self._tree(body, response.content_type, typed)

    def _tree(self, body: bytes, media: str, typed: Typed) -> Any:
        """A body's tree; None for what cannot be read."""
        kind, definition = typed(self.asked)
        headers = {"content-type": media.replace("apply-patch+", "")}
        request = Request("POST", "", "", headers, body, self.request.connection)
        try:
            if media.startswith(negotiate.PROTOBUF) and protobuf.unseal(body)[1] != kind:
                return None
            tree = negotiate.read_body(request, kind, definition).tree
        except (StatusError, ValueError, KeyError):
            return None
        if self.verdict.omit_managed_fields and isinstance(tree, dict):
            for one in (tree, *(tree.get("items") or ())):
                if isinstance(metadata := one.get("metadata"), dict):
                    metadata.pop("managedFields", None)
        return tree


def _reference(asked: Attributes, body: Any) -> Obj:
    metadata = body.get("metadata") if isinstance(body, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    found = {
        "resource": asked.resource,
        "namespace": asked.namespace or metadata.get("namespace", ""),
        "name": asked.name or metadata.get("name", ""),
        "uid": metadata.get("uid", ""),
        "apiGroup": asked.group,
        "apiVersion": asked.version,
        "resourceVersion": metadata.get("resourceVersion", ""),
        "subresource": asked.subresource,
    }
    return {k: v for k, v in found.items() if v}


def _sources(request: Request) -> list[str]:
    """From the client's own words first; only the last address is certain."""
    said = [part.strip() for part in request.headers.get("x-forwarded-for", "").split(",") if part.strip()]
    if (real := request.headers.get("x-real-ip", "").strip()) and real not in said:
        said.append(real)
    peer = request.connection.peer_address[0]
    return [*said, peer] if not said or said[-1] != peer else said


def _decided(decision: Decision | None) -> dict[str, str]:
    if decision is None:
        return {}
    return {
        "authorization.k8s.io/decision": "allow" if decision.allowed else "forbid",
        "authorization.k8s.io/reason": decision.reason,
    }
