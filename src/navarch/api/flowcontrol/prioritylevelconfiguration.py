"""PriorityLevelConfiguration: how many requests run at once, and which wait. Source: apis/flowcontrol defaults,
conversion and validation.
"""

from __future__ import annotations

import math
from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.flowcontrol.bootstrap import EXEMPT, MANDATORY_LEVELS
from navarch.api.flowcontrol.rules import validate_conditions, validate_status_update, versions
from navarch.api.kind import Column, Kind, status_of
from navarch.api.meta import keep_metadata
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj

KEEP_ZERO = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"
"""The annotation by which v1beta3 tells a share of zero from none."""
SHARES, OLD_SHARES = "nominalConcurrencyShares", "assuredConcurrencyShares"
DEFAULT_SHARES = 30
DEFAULT_QUEUING = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}
MAX_QUEUES, MAX_HASH_BITS = 10**7, 60


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if (exempt := spec.get("exempt")) is not None:
        _fill(exempt, {SHARES: 0, "lendablePercent": 0})
    if (limited := spec.get("limited")) is not None:
        _fill(limited, {SHARES: DEFAULT_SHARES, "lendablePercent": 0})
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing is not None:
            queuing.update({field: value for field, value in DEFAULT_QUEUING.items() if not queuing.get(field)})


def _fill(tree: Obj, values: Obj) -> None:
    for field, value in values.items():
        if tree.get(field) is None:
            tree[field] = value


# -- the retired versions


def beta3_defaults(obj: Obj) -> None:
    limited = (obj.get("spec") or {}).get("limited")
    kept = KEEP_ZERO in (obj["metadata"].get("annotations") or {})
    if limited is not None and not limited.get(SHARES):
        limited[SHARES] = 0 if kept else DEFAULT_SHARES
    defaults(obj)


def beta3_decode(obj: Obj) -> Obj:
    annotations = obj["metadata"].get("annotations") or {}
    if KEEP_ZERO in annotations:
        kept = {k: v for k, v in annotations.items() if k != KEEP_ZERO}
        metadata = {k: v for k, v in obj["metadata"].items() if k != "annotations"}
        obj["metadata"] = {**metadata, "annotations": kept} if kept else metadata
    return obj


def beta3_encode(obj: Obj) -> Obj:
    if (_limited(obj) or {SHARES: 1}).get(SHARES):
        return obj
    annotations = {**(obj["metadata"].get("annotations") or {}), KEEP_ZERO: ""}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}


def old_defaults(obj: Obj) -> None:
    limited = (obj.get("spec") or {}).get("limited")
    if limited is not None and not limited.get(OLD_SHARES):
        limited[OLD_SHARES] = DEFAULT_SHARES
    renamed = old_decode(obj)
    defaults(renamed)
    obj.update(old_encode(renamed))


def old_decode(obj: Obj) -> Obj:
    """The shares had another name."""
    limited = _limited(obj)
    return _with_limited(obj, {SHARES if k == OLD_SHARES else k: v for k, v in limited.items()}) if limited else obj


def old_encode(obj: Obj) -> Obj:
    limited = _limited(obj)
    return _with_limited(obj, {OLD_SHARES if k == SHARES else k: v for k, v in limited.items()}) if limited else obj


def _limited(obj: Obj) -> Obj | None:
    return (obj.get("spec") or {}).get("limited")


def _with_limited(obj: Obj, limited: Obj) -> Obj:
    return {**obj, "spec": {**obj["spec"], "limited": limited}}


# -- validation


def validate(obj: Obj, errs: FieldErrors) -> None:
    name, spec = obj["metadata"].get("name", ""), obj["spec"]
    if KEEP_ZERO in (obj["metadata"].get("annotations") or {}):
        errs.forbidden("metadata.annotations", f"annotation '{KEEP_ZERO}' is forbidden")
    kind, limited, exempt = spec.get("type", ""), spec.get("limited"), spec.get("exempt")
    if (name == EXEMPT) != (kind == "Exempt"):
        errs.invalid("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'")
    if kind == "Exempt":
        if limited is not None:
            errs.forbidden("spec.limited", "must be nil if the type is not Limited")
        if exempt is not None:
            _shares(exempt, "spec.exempt", errs)
    elif kind == "Limited":
        if exempt is not None:
            errs.forbidden("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            errs.required("spec.limited", "must not be empty when type is Limited")
        else:
            _limit(limited, "spec.limited", errs)
    else:
        errs.not_supported("spec.type", kind, ("Exempt", "Limited"))
    _fixed(name, spec, errs)
    validate_conditions(obj, errs)


def _fixed(name: str, spec: Obj, errs: FieldErrors) -> None:
    fixed = MANDATORY_LEVELS.get(name)
    if fixed is None:
        return
    if name == EXEMPT:
        if {**spec, "exempt": fixed["exempt"]} != fixed:
            message = f"spec of '{name}' except the 'spec.exempt' field must equal the fixed value"
            errs.invalid("spec", spec, message)
    elif spec != fixed:
        errs.invalid("spec", spec, f"spec of '{name}' must equal the fixed value")


def _shares(tree: Obj, at: str, errs: FieldErrors) -> None:
    if (shares := tree.get(SHARES) or 0) < 0:
        errs.invalid(f"{at}.{SHARES}", shares, "must be a non-negative integer")
    if not 0 <= (percent := tree.get("lendablePercent") or 0) <= 100:
        errs.invalid(f"{at}.lendablePercent", percent, "must be between 0 and 100, inclusive")


def _limit(limited: Obj, at: str, errs: FieldErrors) -> None:
    response = limited.get("limitResponse") or {}
    kind, queuing, where = response.get("type", ""), response.get("queuing"), f"{at}.limitResponse"
    if kind == "Reject":
        if queuing is not None:
            errs.forbidden(f"{where}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif kind == "Queue":
        if queuing is None:
            errs.required(f"{where}.queuing", "must not be empty if limited.limitResponse.type is Limited")
        else:
            _queuing(queuing, f"{where}.queuing", errs)
    else:
        errs.not_supported(f"{where}.type", kind, ("Queue", "Reject"))
    _shares(limited, at, errs)
    if (borrowing := limited.get("borrowingLimitPercent") or 0) < 0:
        errs.invalid(f"{at}.borrowingLimitPercent", borrowing, "if specified, must be a non-negative integer")


def _queuing(queuing: Obj, at: str, errs: FieldErrors) -> None:
    queues, hand, length = (queuing.get(field, 0) for field in ("queues", "handSize", "queueLengthLimit"))
    if length <= 0:
        errs.invalid(f"{at}.queueLengthLimit", length, "must be positive")
    if queues <= 0:
        errs.invalid(f"{at}.queues", queues, "must be positive")
    elif queues > MAX_QUEUES:
        errs.invalid(f"{at}.queues", queues, f"must not be greater than {MAX_QUEUES}")
    if hand <= 0:
        errs.invalid(f"{at}.handSize", hand, "must be positive")
    elif hand > queues:
        errs.invalid(f"{at}.handSize", hand, f"should not be greater than queues ({queues})")
    elif math.ceil(math.log2(queues) * hand) > MAX_HASH_BITS:
        message = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        )
        errs.invalid(f"{at}.handSize", hand, message)


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj["spec"]
    limited = spec.get("limited")
    queuing = ((limited or {}).get("limitResponse") or {}).get("queuing")
    return [
        obj["metadata"]["name"],
        spec.get("type", ""),
        limited.get(SHARES, 0) if limited is not None else NONE,
        *(queuing.get(field, 0) if queuing else NONE for field in ("queues", "handSize", "queueLengthLimit")),
        age_of(obj, now),
    ]


OLD = {"defaults": old_defaults, "decode": old_decode, "encode": old_encode}
KIND = Kind(
    kind="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    namespaced=False,
    versions=versions(
        "PriorityLevelConfiguration",
        {
            "v1beta3": {"defaults": beta3_defaults, "decode": beta3_decode, "encode": beta3_encode},
            "v1beta2": OLD,
            "v1beta1": OLD,
        },
    ),
    subresources=(status_of("PriorityLevelConfiguration"),),
    defaults=defaults,
    prepare_status_update=keep_metadata,
    validate=validate,
    validate_status_update=validate_status_update,
    has_generation=True,
    columns=(
        NAME,
        Column(name="Type", description="Whether requests are limited."),
        Column(name="NominalConcurrencyShares", description="Its share of what runs at once."),
        Column(name="Queues", description="How many queues there are."),
        Column(name="HandSize", description="How many queues a flow may use."),
        Column(name="QueueLengthLimit", description="How many requests a queue holds."),
        AGE,
    ),
    row=row,
)
