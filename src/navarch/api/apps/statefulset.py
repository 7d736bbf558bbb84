"""StatefulSet: pods with names and storage of their own. Source: apis/apps defaults and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.core.persistentvolumeclaim import validate_spec as validate_claim
from navarch.api.features import without_group
from navarch.api.kind import SCALE, Column, Kind, Version, status_of
from navarch.api.podspec import checks, workload
from navarch.api.podspec.defaults import default_template
from navarch.api.podspec.printing import AGE, NAME, TEMPLATE_COLUMNS, template_cells
from navarch.api.podspec.warnings import workload_warnings
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import age_of
from navarch.machinery.types import Obj

CHANGEABLE = (
    "replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds", "ordinals",
    "revisionHistoryLimit",
)  # fmt: skip


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "RollingUpdate" and rolling is not None and rolling.get("partition") is None:
        rolling["partition"] = 0
    retention = spec["persistentVolumeClaimRetentionPolicy"] = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for when in ("whenDeleted", "whenScaled"):
        if not retention.get(when):
            retention[when] = "Retain"
    for field, value in (("replicas", 1), ("revisionHistoryLimit", 10)):
        if spec.get(field) is None:
            spec[field] = value
    default_template(spec.setdefault("template", {}))
    for claim in spec.get("volumeClaimTemplates") or ():
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim.setdefault("apiVersion", "v1")
        if not claim.setdefault("spec", {}).get("volumeMode"):
            claim["spec"]["volumeMode"] = "Filesystem"
        claim.setdefault("status", {}).setdefault("phase", "Pending")


def retired_defaults(obj: Obj) -> None:
    workload.selector_from_template(obj.setdefault("spec", {}))
    strategy = obj["spec"].setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "OnDelete"
    defaults(obj)


def name_is_valid(name: str) -> list[str]:
    return ["must not contain dots"] if "." in name else names.dns1123_label(name)


def prepare_create(obj: Obj) -> None:
    """How many may be unavailable is not there yet: upstream's gate MaxUnavailableStatefulSet is closed."""
    (obj["spec"]["updateStrategy"].get("rollingUpdate") or {}).pop("maxUnavailable", None)


def prepare_update(new: Obj, old: Obj) -> None:
    if ((old["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}).get("maxUnavailable") is None:
        prepare_create(new)


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    """What can never change, and may be wrong in objects of old."""
    spec = obj["spec"]
    for index, claim in enumerate(spec.get("volumeClaimTemplates") or ()):
        validate_claim(claim["spec"], f"spec.volumeClaimTemplates[{index}].spec", errs)
    if spec.get("serviceName"):
        checks.named(errs, "spec.serviceName", spec["serviceName"], names.dns1123_label)


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    policy = spec.get("podManagementPolicy", "")
    if policy not in ("OrderedReady", "Parallel"):
        errs.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    strategy, rolling = spec["updateStrategy"].get("type", ""), spec["updateStrategy"].get("rollingUpdate")
    at = "spec.updateStrategy"
    shown = None if rolling is None else {f: rolling.get(f[0].lower() + f[1:]) for f in ("Partition", "MaxUnavailable")}
    if strategy == "OnDelete":
        if rolling is not None:
            errs.invalid(f"{at}.rollingUpdate", shown, "only allowed for updateStrategy 'RollingUpdate'")
    elif strategy != "RollingUpdate":
        errs.invalid(at, {"Type": strategy, "RollingUpdate": shown}, "must be 'RollingUpdate' or 'OnDelete'")
    elif rolling is not None:
        checks.non_negative(errs, f"{at}.rollingUpdate", rolling, "partition")
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for when in ("whenDeleted", "whenScaled"):
        checks.one_of(
            errs, f"spec.persistentVolumeClaimRetentionPolicy.{when}", retention.get(when), ("Delete", "Retain")
        )
    checks.non_negative(errs, "spec", spec, "replicas", "minReadySeconds")
    checks.non_negative(errs, "spec.ordinals", spec.get("ordinals") or {}, "start")
    workload.selected_template(spec, "statefulset", errs, _pods_template(spec))


def _pods_template(spec: Obj) -> Obj:
    """The template as pods will have it: names by the set, claims of their own."""
    template: Obj = spec.get("template") or {}
    pod = {k: v for k, v in (template.get("spec") or {}).items() if k not in ("subdomain", "hostname")}
    if claims := spec.get("volumeClaimTemplates"):
        own = dict.fromkeys((claim.get("metadata") or {}).get("name", "") for claim in claims)
        volumes: list[Obj] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in own]
        pod["volumes"] = volumes + [v for v in pod.get("volumes") or () if v.get("name", "") not in own]
    return {**template, "spec": pod}


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    fixed = [{k: v for k, v in obj["spec"].items() if k not in CHANGEABLE} for obj in (new, old)]
    if fixed[0] != fixed[1]:
        message = (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
            "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
        )
        errs.forbidden("spec", message)


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    bounded = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    workload.replica_counts(new.get("status") or {}, errs, *bounded, ready="status.readyReplicas")
    workload.collisions(new, old, errs)


def row(obj: Obj, now: float) -> list[Any]:
    spec, status = obj["spec"], obj.get("status") or {}
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [obj["metadata"]["name"], ready, age_of(obj, now), *template_cells(spec.get("template"))]


KIND = Kind(
    kind="StatefulSet",
    plural="statefulsets",
    short_names=("sts",),
    categories=("all",),
    versions=(
        Version(
            group="apps",
            version="v1",
            definition="io.k8s.api.apps.v1.StatefulSet",
            validate_create=validate_create,
        ),
        workload.retired("apps", "v1beta2", "StatefulSet", "1.9", validate_create=validate_create),
        workload.retired(
            "apps", "v1beta1", "StatefulSet", "1.9", defaults=retired_defaults, validate_create=validate_create
        ),
    ),
    subresources=(SCALE, status_of("StatefulSet")),
    disable=without_group("spec", "template", "spec"),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    name_is_valid=name_is_valid,
    warnings=workload_warnings,
    has_generation=True,
    columns=(NAME, Column(name="Ready", description="How many pods are ready, of how many."), AGE, *TEMPLATE_COLUMNS),
    row=row,
    extra={"scale": workload.SCALE_PATHS},
)
