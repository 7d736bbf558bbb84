"""What a definition's status says: which names it has, whether it is served, what is wrong with it. Pure.

Sources: apiextensions' controllers status (naming), establish, nonstructuralschema and apiapproval.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

import orjson

from navarch.api.apiextensions.spec import is_ca_bundle
from navarch.api.apiextensions.status import approval, is_protected
from navarch.api.apiextensions.structural import unsupported, validate_structural
from navarch.machinery.clock import rfc3339
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

ACCEPTED, ESTABLISHED, TERMINATING = "NamesAccepted", "Established", "Terminating"
JUDGED = 64
NON_STRUCTURAL, APPROVAL = "NonStructuralSchema", "KubernetesAPIApprovalPolicyConformant"


def is_true(crd: Obj, type_: str) -> bool:
    found = condition(crd.get("status") or {}, type_)
    return found is not None and found["status"] == "True"


def condition(status: Obj, type_: str) -> Obj | None:
    return next((c for c in status.get("conditions") or () if c["type"] == type_), None)


@dataclass(slots=True)
class Taken:
    """The names that the definitions of one group have."""

    resources: Counter[str] = field(default_factory=Counter[str])
    kinds: Counter[str] = field(default_factory=Counter[str])

    def count(self, accepted: Obj, by: int) -> None:
        """Adds (1) or takes away (-1) the accepted names of a definition."""
        names = [accepted.get("plural"), accepted.get("singular"), *(accepted.get("shortNames") or ())]
        for counter, found in ((self.resources, names), (self.kinds, [accepted.get("kind"), accepted.get("listKind")])):
            for name in found:
                if name:
                    counter[name] += by
                    if counter[name] <= 0:
                        del counter[name]


def next_status(crd: Obj, taken: Taken, now: float) -> Obj:
    """The status that the definition should have; the one that it has, where nothing is to change."""
    status: Obj = crd.get("status") or {}
    wanted: list[Obj] = []
    names = status.get("acceptedNames") or {}
    if names != crd["spec"]["names"] or condition(status, ACCEPTED) is None:
        names, accepted = _names(crd, names, taken)
        wanted.append(accepted)
    else:
        accepted = condition(status, ACCEPTED) or {}
    established = _established(crd, accepted["status"] == "True")
    if established is not None:
        wanted.append(established)
    wanted += _approval(crd)
    structural = _non_structural(crd)
    if structural is not None:
        wanted.append(structural)
    out = {**status, "acceptedNames": names}
    conditions = [dict(c) for c in status.get("conditions") or ()]
    if structural is None:
        conditions = [c for c in conditions if c["type"] != NON_STRUCTURAL]
    for one in wanted:
        set_condition(conditions, one, now)
    out["conditions"] = conditions or status.get("conditions")
    return out


def set_condition(conditions: list[Obj], wanted: Obj, now: float) -> None:
    """Puts a condition in place; its time changes with its status only."""
    found = next((c for c in conditions if c["type"] == wanted["type"]), None)
    if found is None:
        conditions.append({**_shape(wanted), "lastTransitionTime": rfc3339(now)})
        return
    if found["status"] != wanted["status"]:
        found["lastTransitionTime"] = rfc3339(now)
    found.update(wanted)


def _shape(wanted: Obj) -> Obj:
    return {"type": wanted["type"], "status": wanted["status"], "lastTransitionTime": None, **wanted}


def made(type_: str, status: str, reason: str, message: str) -> Obj:
    return {"type": type_, "status": status, "reason": reason, "message": message}


# -- names


def _names(crd: Obj, has: Obj, taken: Taken) -> tuple[Obj, Obj]:
    """The names it gets, and the condition that says so. What it has stays its own."""
    asks: Obj = crd["spec"]["names"]
    gets, problem = dict(has), ("", "")
    for name, reason, used in (
        ("plural", "PluralConflict", taken.resources),
        ("singular", "SingularConflict", taken.resources),
        ("shortNames", "ShortNamesConflict", taken.resources),
        ("kind", "KindConflict", taken.kinds),
        ("listKind", "ListKindConflict", taken.kinds),
    ):
        wrong = _short_names(asks, has, used) if name == "shortNames" else _name(asks, has, name, used)
        if wrong:
            problem = (reason, wrong)
        else:
            _take(gets, asks, name)
    _take(gets, asks, "categories")
    if problem[0]:
        return gets, made(ACCEPTED, "False", *problem)
    return gets, made(ACCEPTED, "True", "NoConflicts", "no conflicts found")


def _take(gets: Obj, asks: Obj, name: str) -> None:
    if name in asks:
        gets[name] = asks[name]
    else:
        gets.pop(name, None)


def _name(asks: Obj, has: Obj, name: str, used: Counter[str]) -> str:
    wanted = asks.get(name) or ""
    if wanted == (has.get(name) or "") or not used[wanted]:
        return ""
    return f'"{wanted}" is already in use'


def _short_names(asks: Obj, has: Obj, used: Counter[str]) -> str:
    mine = has.get("shortNames") or ()
    wrong = [f'"{n}" is already in use' for n in asks.get("shortNames") or () if n not in mine and used[n]]
    return wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]" if wrong else ""


def _established(crd: Obj, accepted: bool) -> Obj | None:
    if is_true(crd, ESTABLISHED):
        return None
    if not accepted:
        if condition(crd.get("status") or {}, ESTABLISHED) is not None:
            return None
        return made(ESTABLISHED, "False", "NotAccepted", "not all names are accepted")
    config: Any = ((crd["spec"].get("conversion") or {}).get("webhook") or {}).get("clientConfig") or {}
    if (bundle := config.get("caBundle")) and not is_ca_bundle(bundle):
        return made(ESTABLISHED, "False", "InvalidCABundle", "The conversion webhook CABundle is invalid")
    return made(ESTABLISHED, "True", "InitialNamesAccepted", "the initial names have been accepted")


# -- schemas and approval


_judged: OrderedDict[bytes, Obj | None] = OrderedDict()
"""What was found lately, by the digest of the versions."""


def _non_structural(crd: Obj) -> Obj | None:
    key = hashlib.sha256(orjson.dumps(crd["spec"].get("versions"))).digest()
    if key not in _judged:
        _judged[key] = _violations(crd)
        while len(_judged) > JUDGED:
            _judged.popitem(last=False)
    return _judged[key]


def _violations(crd: Obj) -> Obj | None:
    errs = FieldErrors()
    for index, version in enumerate(crd["spec"].get("versions") or ()):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            continue
        if why := unsupported(schema):
            message = f"failed to check validation schema for version {version['name']}: {why}"
            return made(NON_STRUCTURAL, "Unknown", "StructuralError", message)
        validate_structural(schema, f"spec.versions[{index}].schema.openAPIV3Schema", errs)
    if not errs:
        return None
    texts = [str(error) for error in errs.items]
    return made(NON_STRUCTURAL, "True", "Violations", texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")


_APPROVALS = {
    "invalid": ("False", "InvalidAnnotation"),
    "missing": ("False", "MissingAnnotation"),
    "approved": ("True", "ApprovedAnnotation"),
    "bypassed": ("False", "UnapprovedAnnotation"),
}


def _approval(crd: Obj) -> list[Obj]:
    if not is_protected(crd["spec"]["group"]):
        return []
    state, why = approval(crd["metadata"].get("annotations") or {})
    return [made(APPROVAL, *_APPROVALS[state], why)]
