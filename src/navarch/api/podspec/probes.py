"""Validation of probes and lifecycle handlers."""

from __future__ import annotations

import re

from navarch.api.podspec import checks
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
SCHEMES = ("HTTP", "HTTPS")
_HEADER = re.compile(r"[-A-Za-z0-9]+", re.ASCII)
HEADER_MESSAGE = (
    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', "
    "regex used for validation is '[-A-Za-z0-9]+')"
)


def validate_probe(field: str, probe: Obj, path: str, grace: int, errs: FieldErrors) -> None:
    """`field` says which of the three it is."""
    _handler(probe, path, grace, errs)
    checks.non_negative(
        errs,
        path,
        probe,
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    )
    own_grace = probe.get("terminationGracePeriodSeconds")
    if own_grace is not None and own_grace <= 0:
        errs.invalid(f"{path}.terminationGracePeriodSeconds", own_grace, "must be greater than 0")
    if field == "readinessProbe":
        if own_grace is not None:
            errs.invalid(f"{path}.terminationGracePeriodSeconds", own_grace, "must not be set for readinessProbes")
    elif probe.get("successThreshold", 0) != 1:
        errs.invalid(f"{path}.successThreshold", probe.get("successThreshold", 0), "must be 1")


def validate_lifecycle(lifecycle: Obj, path: str, grace: int, errs: FieldErrors) -> None:
    for field in ("postStart", "preStop"):
        if (handler := lifecycle.get(field)) is not None:
            _handler(handler, f"{path}.{field}", grace, errs)


def _handler(handler: Obj, path: str, grace: int, errs: FieldErrors) -> None:
    chosen = [name for name in HANDLERS if handler.get(name) is not None]
    if not chosen:
        errs.required(path, "must specify a handler type")
        return
    for name in chosen[1:]:
        errs.forbidden(f"{path}.{name}", "may not specify more than 1 handler type")
    action, at = handler[chosen[0]], f"{path}.{chosen[0]}"
    match chosen[0]:
        case "exec":
            checks.required(errs, at, action, "command")
        case "httpGet":
            _http_get(action, at, errs)
        case "sleep":
            seconds = action.get("seconds", 0)
            if not 0 <= seconds <= grace:
                message = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                errs.invalid(at, seconds, message)
        case _:
            checks.port_number_or_name(errs, f"{at}.port", action.get("port"))


def _http_get(action: Obj, path: str, errs: FieldErrors) -> None:
    checks.required(errs, path, action, "path")
    checks.port_number_or_name(errs, f"{path}.port", action.get("port"))
    if (scheme := action.get("scheme", "")) not in SCHEMES:
        errs.not_supported(f"{path}.scheme", scheme, SCHEMES)
    for header in action.get("httpHeaders") or ():
        if not _HEADER.fullmatch(name := header.get("name", "")):
            errs.invalid(f"{path}.httpHeaders", name, HEADER_MESSAGE)
