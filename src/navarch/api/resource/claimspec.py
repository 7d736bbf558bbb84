"""What a claim of devices asks for. Source: apis/resource defaults and validation."""

from __future__ import annotations

from collections.abc import Mapping

from navarch.api.podspec import checks
from navarch.api.resource import rules
from navarch.api.resource.selectors import validate_selectors
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

MAX_REQUESTS, MAX_CONSTRAINTS, MAX_ALTERNATIVES = 32, 32, 8
MODES = ("All", "ExactCount")
ONE_WAY = "exactly one of `exactly` or `firstAvailable` is required"
NO_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
RequestNames = Mapping[str, frozenset[str]]
"""A request's name -> those of its alternatives."""


def default_claim(spec: Obj) -> None:
    for request in (spec.get("devices") or {}).get("requests") or ():
        exactly = request.get("exactly")
        for one in (*([exactly] if exactly is not None else []), *(request.get("firstAvailable") or ())):
            if not one.get("allocationMode"):
                one["allocationMode"] = "ExactCount"
            if one["allocationMode"] == "ExactCount" and not one.get("count"):
                one["count"] = 1
            default_tolerations(one)


def default_tolerations(tree: Obj) -> None:
    for toleration in tree.get("tolerations") or ():
        if not toleration.get("operator"):
            toleration["operator"] = "Equal"


def request_names(spec: Obj) -> RequestNames:
    requests = (spec.get("devices") or {}).get("requests") or ()
    return {
        request.get("name", ""): frozenset(one.get("name", "") for one in request.get("firstAvailable") or ())
        for request in requests
    }


def validate_claim(spec: Obj, path: str, errs: FieldErrors) -> None:
    devices, at, known = spec.get("devices") or {}, f"{path}.devices", request_names(spec)

    def constraint(tree: Obj, where: str, errs: FieldErrors) -> None:
        _references(tree, where, known, errs)
        if (attribute := tree.get("matchAttribute")) is not None:
            rules.fully_qualified(errs, f"{where}.matchAttribute", attribute)
        elif (attribute := tree.get("distinctAttribute")) is not None:
            rules.fully_qualified(errs, f"{where}.distinctAttribute", attribute)
        else:
            message = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
            errs.required(where, message)

    def config(tree: Obj, where: str, errs: FieldErrors) -> None:
        _references(tree, where, known, errs)
        rules.configuration(tree, where, errs)

    rules.each_once(errs, f"{at}.requests", devices.get("requests") or [], MAX_REQUESTS, _request, _name)
    rules.each(errs, f"{at}.constraints", devices.get("constraints") or [], MAX_CONSTRAINTS, constraint)
    rules.each(errs, f"{at}.config", devices.get("config") or [], rules.MAX_CONFIG, config)


def _name(request: Obj) -> str:
    return request.get("name", "")


def _references(tree: Obj, at: str, known: RequestNames, errs: FieldErrors) -> None:
    def reference(name: str, where: str, errs: FieldErrors) -> None:
        validate_reference(name, where, known, errs)

    rules.each_once(errs, f"{at}.requests", tree.get("requests") or [], MAX_REQUESTS, reference, rules.itself)


def validate_reference(name: str, path: str, known: RequestNames, errs: FieldErrors) -> None:
    """That a request, or one of its alternatives (`request/alternative`), is in the claim."""
    request, slash, alternative = name.partition("/")
    if "/" in alternative:
        errs.invalid(path, name, NO_REQUEST)
        return
    rules.label(errs, path, request)
    if slash:
        rules.label(errs, path, alternative)
    if request not in known or (slash and alternative not in known[request]):
        errs.invalid(path, name, NO_REQUEST)


def _request(request: Obj, at: str, errs: FieldErrors) -> None:
    rules.label(errs, f"{at}.name", request.get("name", ""))
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or []
    if exactly is None and not alternatives:
        errs.required(at, ONE_WAY)
    elif exactly is not None and alternatives:
        errs.invalid(at, None, f"{ONE_WAY}, but multiple fields are set")
    elif exactly is not None:
        _wanted(exactly, f"{at}.exactly", errs)
    else:
        rules.each_once(errs, f"{at}.firstAvailable", alternatives, MAX_ALTERNATIVES, _alternative, _name)


def _alternative(request: Obj, at: str, errs: FieldErrors) -> None:
    rules.label(errs, f"{at}.name", request.get("name", ""))
    _wanted(request, at, errs)


def _wanted(request: Obj, at: str, errs: FieldErrors) -> None:
    if name := request.get("deviceClassName"):
        checks.named(errs, f"{at}.deviceClassName", name, names.dns1123_subdomain)
    else:
        errs.required(f"{at}.deviceClassName")
    validate_selectors(request.get("selectors") or [], f"{at}.selectors", errs)
    mode, count = request.get("allocationMode", ""), request.get("count") or 0
    if mode == "All":
        if count:
            errs.invalid(f"{at}.count", count, "must not be specified when allocationMode is 'All'")
    elif mode == "ExactCount":
        if count <= 0:
            errs.invalid(f"{at}.count", count, "must be greater than zero")
    else:
        errs.not_supported(f"{at}.allocationMode", mode, MODES)
    for index, toleration in enumerate(request.get("tolerations") or ()):
        rules.toleration(toleration, f"{at}.tolerations[{index}]", errs)
