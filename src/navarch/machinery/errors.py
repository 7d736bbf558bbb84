"""API errors: every failure that a client can see, as upstream words and codes it.

A `StatusError` carries what a `metav1.Status` of status Failure carries; the wire edge only encodes it. Field
errors (`FieldErrors`) are collected by validation and become one 422 Status with a cause for each.
Sources: apimachinery's api/errors and util/validation/field packages, and the API conventions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from navarch.machinery.gotext import number
from navarch.machinery.types import GroupKind, GroupResource, Obj


class StatusError(Exception):
    """An error with a wire form. `details` is a StatusDetails tree; `headers` go onto the HTTP answer."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Obj | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = tuple(headers)

    def to_status(self) -> Obj:
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status

    @staticmethod
    def from_status(status: Obj) -> StatusError:
        """The error that a Status read from the wire stands for."""
        return StatusError(
            int(status.get("code", 500)),
            status.get("reason", ""),
            status.get("message", ""),
            status.get("details"),
        )


def _resource_details(resource: GroupResource | GroupKind, name: str) -> Obj:
    details: Obj = {}
    if name:
        details["name"] = name
    if resource.group:
        details["group"] = resource.group
    if kind := resource[1]:
        details["kind"] = kind
    return details


def not_found(resource: GroupResource, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{resource} "{name}" not found', _resource_details(resource, name))


def already_exists(resource: GroupResource, name: str, going: bool = False) -> StatusError:
    """`going`: what exists is being deleted."""
    message = f'{"object is being deleted: " if going else ""}{resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, _resource_details(resource, name))


def generate_name_conflict(resource: GroupResource, name: str) -> StatusError:
    """A generated name collided even after retries: the client is to try again."""
    return StatusError(
        409,
        "AlreadyExists",
        f'{resource} "{name}" already exists, the server was not able to generate a unique name for the object',
        _resource_details(resource, name),
    )


OPTIMISTIC_LOCK_MESSAGE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(resource: GroupResource, name: str, why: str = OPTIMISTIC_LOCK_MESSAGE) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource} "{name}": {why}',
        _resource_details(resource, name),
    )


def apply_conflict(causes: Sequence[Obj], message: str) -> StatusError:
    """Server-side apply met fields of other managers; `causes` have reason FieldManagerConflict."""
    return StatusError(409, "Conflict", message, {"causes": list(causes)})


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def bad_patch(patched: str, why: str) -> StatusError:
    """The 422 of a patch whose outcome, `patched`, is no object of the kind."""
    errs = FieldErrors()
    errs.invalid("patch", patched, why)
    return invalid(GroupKind("", ""), "", errs)


def unauthorized(message: str = "Unauthorized") -> StatusError:
    return StatusError(401, "Unauthorized", message)


def forbidden(resource: GroupResource, name: str, why: str) -> StatusError:
    if not resource.resource:
        return StatusError(403, "Forbidden", f"forbidden: {why}", {})
    subject = f'{resource} "{name}"' if name else str(resource)
    return StatusError(403, "Forbidden", f"{subject} is forbidden: {why}", _resource_details(resource, name))


def method_not_allowed() -> StatusError:
    return StatusError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def not_acceptable(media_types: Iterable[str]) -> StatusError:
    accepted = ", ".join(media_types)
    return StatusError(406, "NotAcceptable", f"only the following media types are accepted: {accepted}")


def unsupported_media_type(media_types: Iterable[str]) -> StatusError:
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(media_types),
    )


def unsupported_patch_type() -> StatusError:
    return StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def unfit_patch_type(types: Iterable[str]) -> StatusError:
    """A patch type that is one, but not of this resource."""
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(types),
    )


def entity_too_large(message: str) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: {message}")


def gone(message: str) -> StatusError:
    return StatusError(410, "Gone", message)


def expired(message: str) -> StatusError:
    """The resourceVersion asked for is compacted, or the continue token is too old."""
    return StatusError(410, "Expired", message)


def too_large_resource_version(current: int, wanted: int) -> StatusError:
    return StatusError(
        504,
        "Timeout",
        f"Too large resource version: {wanted}, current: {current}",
        {
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
        [("Retry-After", "1")],
    )


def too_many_requests(message: str, retry_after_seconds: int = 1) -> StatusError:
    return StatusError(
        429,
        "TooManyRequests",
        message,
        {"retryAfterSeconds": retry_after_seconds},
        [("Retry-After", str(retry_after_seconds))],
    )


def timeout(message: str, retry_after_seconds: int = 0) -> StatusError:
    return StatusError(504, "Timeout", f"Timeout: {message}", {"retryAfterSeconds": retry_after_seconds})


def internal(message: str) -> StatusError:
    return StatusError(
        500,
        "InternalError",
        f"Internal error occurred: {message}",
        {"causes": [{"message": message}]},
    )


def service_unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)


def path_not_found() -> StatusError:
    """No such path: upstream answers with this Status when the path is under an API group."""
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


class FieldError(NamedTuple):
    """One thing wrong with one field. `reason` is the CauseType; `body` the message without the path."""

    reason: str
    field: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def show(value: Any) -> str:
    """A bad value, as upstream's messages print it: strings quoted, trees as JSON, null as null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value)
    text = orjson.dumps(value).decode()
    if isinstance(value, dict | list):
        for character in "<>&":
            text = text.replace(character, f"\\u{ord(character):04x}")
    return text


class FieldErrors:
    """Collects field errors in the order they are found. Paths are upstream's: `spec.ports[0].name`, `data[key]`."""

    __slots__ = ("items", "warnings")

    def __init__(self) -> None:
        self.items: list[FieldError] = []
        self.warnings: list[str] = []
        """What is wrong, too, but may stay: texts for Warning headers."""

    def __bool__(self) -> bool:
        return bool(self.items)

    def required(self, path: str, detail: str = "") -> None:
        self.items.append(FieldError("FieldValueRequired", path, "Required value" + (f": {detail}" if detail else "")))

    def invalid(self, path: str, value: Any, detail: str) -> None:
        self.items.append(
            FieldError("FieldValueInvalid", path, f"Invalid value: {show(value)}" + (f": {detail}" if detail else ""))
        )

    def type_invalid(self, path: str, value: Any, detail: str) -> None:
        """Of another type than the schema's: what is below it was not looked at."""
        self.items.append(FieldError("FieldValueTypeInvalid", path, f"Invalid value: {show(value)}: {detail}"))

    def unfit(self, path: str, detail: str) -> None:
        """Invalid as a whole: the message leaves the value out."""
        self.items.append(FieldError("FieldValueInvalid", path, f"Invalid value: {detail}"))

    def not_supported(self, path: str, value: Any, supported: Iterable[str], *, in_order: bool = False) -> None:
        """`in_order`: the choices are shown as they are given, not by the alphabet."""
        choices = ", ".join(f'"{s}"' for s in (supported if in_order else sorted(supported)))
        self.items.append(
            FieldError(
                "FieldValueNotSupported",
                path,
                f"Unsupported value: {show(value)}: supported values: {choices}",
            )
        )

    def duplicate(self, path: str, value: Any) -> None:
        self.items.append(FieldError("FieldValueDuplicate", path, f"Duplicate value: {show(value)}"))

    def duplicate_whole(self, path: str) -> None:
        """The message leaves the value out."""
        self.items.append(FieldError("FieldValueDuplicate", path, "Duplicate value"))

    def not_found(self, path: str, value: Any) -> None:
        self.items.append(FieldError("FieldValueNotFound", path, f"Not found: {show(value)}"))

    def forbidden(self, path: str, detail: str) -> None:
        self.items.append(FieldError("FieldValueForbidden", path, f"Forbidden: {detail}"))

    def too_long(self, path: str, max_length: int) -> None:
        unit = "byte" if max_length == 1 else "bytes"
        self.items.append(FieldError("FieldValueTooLong", path, f"Too long: may not be more than {max_length} {unit}"))

    def too_many(self, path: str, actual: int, max_items: int) -> None:
        unit = "item" if max_items == 1 else "items"
        self.items.append(
            FieldError("FieldValueTooMany", path, f"Too many: {actual}: must have at most {max_items} {unit}")
        )

    def internal(self, path: str, detail: str) -> None:
        self.items.append(FieldError("InternalError", path, f"Internal error: {detail}"))


def invalid(kind: GroupKind, name: str, errs: FieldErrors) -> StatusError:
    """The 422 that all field errors of one object become."""
    messages = list(dict.fromkeys(str(e) for e in errs.items))
    text = messages[0] if len(messages) == 1 else "[" + ", ".join(messages) + "]"
    details = _resource_details(kind, name)
    details["causes"] = [{"reason": e.reason, "message": e.body, "field": e.field} for e in errs.items]
    return StatusError(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details)
