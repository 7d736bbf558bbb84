"""Query parameters as options: read, checked, and refused in upstream's words.

Sources: metav1's ListOptions, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions and their validation."""

from __future__ import annotations

from typing import Any

from navarch.api.meta import validate_manager
from navarch.api.schemas import schema
from navarch.apiserver.negotiate import read_body
from navarch.apiserver.registry.call import DeleteOptions
from navarch.apiserver.registry.listing import ListOptions
from navarch.apiserver.request import Request
from navarch.machinery import errors
from navarch.machinery.errors import FieldErrors
from navarch.machinery.normalise import normalise
from navarch.machinery.types import GroupKind, Obj

META = "meta.k8s.io"
MAX_MANAGER = 128
VALIDATIONS = ("Ignore", "Strict", "Warn")
DELETE_OPTIONS = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"


def flag(text: str) -> bool:
    """A boolean parameter: present and neither 0 nor false."""
    return text not in ("0", "false", "False", "FALSE", "f", "F")


def number(request: Request, name: str) -> int:
    text = request.param(name)
    if not text:
        return 0
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise errors.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def list_options(request: Request, watch: bool) -> ListOptions:
    """Raises 400 and 422."""
    if not request.raw_query:
        return ListOptions()
    param = request.param
    send = param("sendInitialEvents")
    options = ListOptions(
        label_selector=param("labelSelector"),
        field_selector=param("fieldSelector"),
        resource_version=param("resourceVersion"),
        match=param("resourceVersionMatch"),
        limit=number(request, "limit"),
        continue_token=param("continue"),
        timeout_seconds=number(request, "timeoutSeconds"),
        bookmarks="allowWatchBookmarks" in request.query and flag(param("allowWatchBookmarks")),
        send_initial_events=flag(send) if send else None,
    )
    errs = FieldErrors()
    if watch:
        _check_watch(options, errs)
    else:
        _check_list(options, errs)
    if errs:
        raise errors.invalid(GroupKind(META, "ListOptions"), "", errs)
    return options


def _check_list(options: ListOptions, errs: FieldErrors) -> None:
    field, match = "resourceVersionMatch", options.match
    if match:
        if not options.resource_version:
            errs.forbidden(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")
        if options.continue_token:
            errs.forbidden(field, "resourceVersionMatch is forbidden when continue is provided")
        if match not in ("Exact", "NotOlderThan"):
            errs.not_supported(field, match, ["Exact", "NotOlderThan", ""])
        if match == "Exact" and options.resource_version == "0":
            errs.forbidden(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    if options.send_initial_events is not None:
        errs.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")


def _check_watch(options: ListOptions, errs: FieldErrors) -> None:
    field, match = "resourceVersionMatch", options.match
    if options.send_initial_events is not None and match != "NotOlderThan":
        errs.forbidden(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    if match:
        if options.send_initial_events is None:
            errs.forbidden(field, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        if match != "NotOlderThan":
            errs.not_supported(field, match, ["NotOlderThan"])
        if options.continue_token:
            errs.forbidden(field, "resourceVersionMatch is forbidden when continue is provided")


def write_options(request: Request, kind: str) -> tuple[bool, str, str]:
    """(dry run, field manager, field validation) of a CreateOptions, UpdateOptions or PatchOptions. Raises 422."""
    if not request.raw_query:
        return False, "", "Warn"
    errs = FieldErrors()
    dry_run = request.query.get("dryRun", [])
    _check_dry_run(dry_run, errs)
    manager = request.param("fieldManager")
    validate_manager(manager, "fieldManager", errs)
    validation = request.param("fieldValidation")
    if validation and validation not in VALIDATIONS:
        errs.not_supported("fieldValidation", validation, VALIDATIONS)
    if errs:
        raise errors.invalid(GroupKind(META, kind), "", errs)
    return bool(dry_run), manager, validation or "Warn"


def options_tree(request: Request, kind: str) -> Obj:
    """The options as admission sees them."""
    tree: Obj = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if request.raw_query:
        if dry_run := request.query.get("dryRun"):
            tree["dryRun"] = dry_run
        for name in ("fieldManager", "fieldValidation"):
            if value := request.param(name):
                tree[name] = value
    return tree


def delete_tree(asked: DeleteOptions, dry_run: bool) -> Obj:
    """DeleteOptions as admission sees them."""
    tree: Obj = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    if dry_run:
        tree["dryRun"] = ["All"]
    if asked.grace_period_seconds is not None:
        tree["gracePeriodSeconds"] = asked.grace_period_seconds
    if asked.propagation:
        tree["propagationPolicy"] = asked.propagation
    if asked.orphan_dependents is not None:
        tree["orphanDependents"] = asked.orphan_dependents
    given = {"uid": asked.uid, "resourceVersion": asked.resource_version}
    if preconditions := {name: value for name, value in given.items() if value is not None}:
        tree["preconditions"] = preconditions
    return tree


def manager_of_agent(agent: str) -> str:
    """The field manager that a user agent stands for: what is before its first slash, of it what can be printed."""
    name = agent.partition("/")[0]
    if not name.isprintable():
        name = "".join(character for character in name if character.isprintable())
    if len(name) > MAX_MANAGER or not name.isascii():
        name = name.encode()[:MAX_MANAGER].decode(errors="ignore")
    return name or "unknown"


def _check_dry_run(values: list[str], errs: FieldErrors) -> None:
    if any(v != "All" for v in values):
        errs.not_supported("dryRun", values, ["All"])


def delete_options(request: Request) -> tuple[DeleteOptions, bool]:
    """The DeleteOptions of the body, else of the query; and whether it is a dry run. Raises 400 and 422."""
    tree: Obj = {}
    if request.body:
        found: Any = read_body(request, "DeleteOptions", DELETE_OPTIONS).tree
        if not isinstance(found, dict):
            raise errors.bad_request("expected DeleteOptions")
        if found.get("kind", "DeleteOptions") != "DeleteOptions":
            raise errors.bad_request(f"decoded object cannot be converted to DeleteOptions: {found.get('kind')}")
        tree = normalise(schema(DELETE_OPTIONS), found)
    elif request.raw_query:
        tree = _from_query(request)
    errs = FieldErrors()
    propagation, orphan = tree.get("propagationPolicy"), tree.get("orphanDependents")
    dry_run: list[str] = tree.get("dryRun") or []
    if propagation is not None and orphan is not None:
        errs.invalid("propagationPolicy", propagation, "orphanDependents and deletionPropagation cannot be both set")
    if propagation not in (None, "", "Foreground", "Background", "Orphan"):
        errs.not_supported("propagationPolicy", propagation, ["Foreground", "Background", "Orphan", "nil"])
    _check_dry_run(dry_run, errs)
    grace = tree.get("gracePeriodSeconds")
    if errs:
        raise errors.invalid(GroupKind(META, "DeleteOptions"), "", errs)
    preconditions = tree.get("preconditions") or {}
    options = DeleteOptions(
        grace_period_seconds=grace,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
        propagation=propagation or "",
        orphan_dependents=orphan,
    )
    return options, bool(dry_run)


def _from_query(request: Request) -> Obj:
    tree: Obj = {}
    if request.param("gracePeriodSeconds"):
        tree["gracePeriodSeconds"] = number(request, "gracePeriodSeconds")
    if policy := request.param("propagationPolicy"):
        tree["propagationPolicy"] = policy
    if orphan := request.param("orphanDependents"):
        tree["orphanDependents"] = flag(orphan)
    if dry_run := request.query.get("dryRun"):
        tree["dryRun"] = dry_run
    return tree
