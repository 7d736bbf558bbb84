"""CSIDriver: what a storage driver can do, and what it wants. Source: apis/storage, registry/storage/csidriver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind
from navarch.api.podspec import checks
from navarch.api.storage.rules import beta, version
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj

MODES = ("Ephemeral", "Persistent")
GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
DEFAULTS: Mapping[str, Any] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}
MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS, MIN_UPDATE_SECONDS = 600, 1 << 32, 10
IN_SECRETS = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible "
    "logging of tokens in volume attributes"
)


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    for field, value in DEFAULTS.items():
        if spec.get(field) is None:
            spec[field] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def prepare_create(obj: Obj) -> None:
    obj["spec"].pop("preventPodSchedulingIfMissing", None)  # an alpha feature's


def prepare_update(new: Obj, old: Obj) -> None:
    """The generation counts changes, from none at creation."""
    if "preventPodSchedulingIfMissing" not in old["spec"]:
        new["spec"].pop("preventPodSchedulingIfMissing", None)
    if new["spec"] != old["spec"]:
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    if (policy := spec.get("fsGroupPolicy")) not in GROUP_POLICIES:
        errs.not_supported("spec.fsGroupPolicy", policy, GROUP_POLICIES)
    _tokens(spec.get("tokenRequests") or [], errs)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in MODES:
            errs.not_supported("spec.volumeLifecycleModes", mode, MODES)
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < MIN_UPDATE_SECONDS:
        message = "must be greater than or equal to 10 seconds"
        errs.invalid("spec.nodeAllocatableUpdatePeriodSeconds", period, message)
    in_secrets = spec.get("serviceAccountTokenInSecrets")
    if in_secrets is not None and not spec.get("tokenRequests"):
        message = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        errs.invalid("spec.serviceAccountTokenInSecrets", in_secrets, message)


def _tokens(requests: list[Obj], errs: FieldErrors) -> None:
    audiences: set[str] = set()
    for index, request in enumerate(requests):
        at, audience = f"spec.tokenRequests[{index}]", request.get("audience", "")
        if audience in audiences:
            errs.duplicate(f"{at}.audience", audience)
            continue
        audiences.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is None:
            continue
        if seconds < MIN_TOKEN_SECONDS:
            message = "may not specify a duration less than 10 minutes"
            errs.invalid(f"{at}.expirationSeconds", seconds, message)
        if seconds > MAX_TOKEN_SECONDS:
            message = "may not specify a duration larger than 2^32 seconds"
            errs.invalid(f"{at}.expirationSeconds", seconds, message)


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    spec, before = new["spec"], old["spec"]
    checks.immutable(errs, "spec.attachedRequired", spec.get("attachRequired"), before.get("attachRequired"))
    modes = "volumeLifecycleModes"
    checks.immutable(errs, f"spec.{modes}", spec.get(modes), before.get(modes))


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    spec = obj["spec"]
    requests = spec.get("tokenRequests")
    unchanged = old is not None and old["spec"].get("tokenRequests") == requests
    return [IN_SECRETS] if requests and not unchanged and spec.get("serviceAccountTokenInSecrets") is None else []


def row(obj: Obj, now: float) -> list[Any]:
    spec, requests = obj["spec"], obj["spec"].get("tokenRequests")
    return [
        obj["metadata"]["name"],
        bool(spec.get("attachRequired", True)),
        bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")),
        ",".join(request.get("audience", "") for request in requests) if requests is not None else "<unset>",
        bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE,
        age_of(obj, now),
    ]


KIND = Kind(
    kind="CSIDriver",
    plural="csidrivers",
    namespaced=False,
    versions=(version("CSIDriver"), beta("CSIDriver", "1.19", "1.22")),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    warnings=warnings,
    allow_unconditional_update=False,
    columns=(
        NAME,
        Column(name="AttachRequired", type="boolean", description="Whether volumes are attached to nodes first."),
        Column(name="PodInfoOnMount", type="boolean", description="Whether the driver is told of the pod."),
        Column(name="StorageCapacity", type="boolean", description="Whether scheduling looks at what is free."),
        Column(name="TokenRequests", description="For whom tokens are made."),
        Column(name="RequiresRepublish", type="boolean", description="Whether volumes are published again."),
        Column(name="Modes", description="How long its volumes live."),
        AGE,
    ),
    row=row,
)
