"""Node: a machine that runs pods. Source: upstream's registry/core/node and core validation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from navarch.api.addresswarnings import cidr_warnings
from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Subresource, Version, status_of
from navarch.api.podspec import checks
from navarch.api.resourcenames import resource_amount
from navarch.machinery import names
from navarch.machinery.errors import FieldError, FieldErrors, show
from navarch.machinery.tables import NONE, UNKNOWN, age_of
from navarch.machinery.types import Obj

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"
_FEATURE = re.compile(r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*")
FEATURE_WRONG = (
    "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or "
    "MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
)
EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")


def defaults(obj: Obj) -> None:
    """Without another word, all of a node can be allocated."""
    spec = obj.setdefault("spec", {})
    if (first := spec.get("podCIDR")) and (spec.get("podCIDRs") or [""])[0] != first:
        spec["podCIDRs"] = [first]
    status = obj.setdefault("status", {})
    if status.get("allocatable") is None and status.get("capacity") is not None:
        status["allocatable"] = dict(status["capacity"])


def prepare_create(obj: Obj) -> None:
    obj["spec"].pop("configSource", None)
    obj["status"].pop("config", None)


def prepare_update(new: Obj, old: Obj) -> None:
    """`configSource` belongs to a feature that is gone: it stays only where it was."""
    if "configSource" not in (old.get("spec") or {}):
        (new.get("spec") or {}).pop("configSource", None)


def prepare_status_update(new: Obj, old: Obj) -> None:
    """`status.config` belongs to a feature that is gone: it stays only where it was."""
    if "config" not in (old.get("status") or {}):
        (new.get("status") or {}).pop("config", None)


def validate(obj: Obj, errs: FieldErrors) -> None:
    _pod_cidrs((obj.get("spec") or {}).get("podCIDRs") or (), errs)
    _common(obj, errs)
    swap = ((obj.get("status") or {}).get("nodeInfo") or {}).get("swap") or {}
    if (capacity := swap.get("capacity")) is not None and capacity <= 0:
        errs.invalid("metadata.nodeSwapStatus.capacity", capacity, "must be greater than 0")


def _common(obj: Obj, errs: FieldErrors) -> None:
    if taints := (obj.get("spec") or {}).get("taints"):
        validate_taints(taints, "metadata.taints", errs)
    status = obj.get("status") or {}
    for field in ("capacity", "allocatable"):
        for name, text in (status.get(field) or {}).items():
            resource_amount(name, text, f"status.{field}.{name}", errs)
    features: Sequence[str] = status.get("declaredFeatures") or ()
    for index, feature in enumerate(features):
        if wrong := _feature_name(feature):
            errs.invalid(f"status.declaredFeatures[{index}]", feature, f'invalid feature name "{feature}": {wrong}')
    for index, (before, after) in enumerate(pairwise(features), 1):
        if before == after:
            errs.duplicate(f"status.declaredFeatures[{index}]", after)
        elif before > after:
            errs.invalid(f"status.declaredFeatures[{index}]", after, "list must be sorted alphabetically")


def _feature_name(name: str) -> str:
    """What is wrong with it; empty: nothing."""
    if names.longer_than(name, 253):
        return "must be no more than 253 characters"
    return "" if _FEATURE.fullmatch(name) else FEATURE_WRONG


def validate_taints(taints: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        at, key, effect = f"{path}[{index}]", taint.get("key", ""), taint.get("effect", "")
        checks.named(errs, f"{at}.key", key, names.qualified_name)
        if wrong := names.label_value(taint.get("value", "")):
            errs.invalid(f"{at}.value", taint["value"], ";".join(wrong))
        checks.one_of(errs, f"{at}.effect", effect, EFFECTS)
        if (key, effect) in seen:
            message = f"Duplicate value: {show(taint)}: taints must be unique by key and effect pair"
            errs.items.append(FieldError("FieldValueDuplicate", at, message))
        seen.add((key, effect))


def _pod_cidrs(cidrs: Sequence[str], errs: FieldErrors) -> None:
    for index, cidr in enumerate(cidrs):
        checks.named(errs, f"spec.podCIDRs[{index}]", cidr, names.legacy_cidr)
    if len(cidrs) > 1:
        families = {network.version for cidr in cidrs if (network := names.parse_cidr(cidr)) is not None}
        if len(cidrs) > 2 or len(families) != 2:
            errs.invalid("spec.podCIDRs", cidrs, "may specify no more than one CIDR for each IP family")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """Ranges and the provider's id are set once."""
    addresses: list[Obj] = []
    for index, address in enumerate((new.get("status") or {}).get("addresses") or ()):
        if address in addresses:
            errs.duplicate(f"status.addresses[{index}]", address)
        addresses.append(address)
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    if (had := before.get("podCIDRs")) and spec.get("podCIDRs") != had:
        errs.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if (had := before.get("providerID")) and spec.get("providerID") != had:
        errs.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid')
    if (source := spec.get("configSource")) is not None and source.get("configMap") is None:
        errs.invalid("spec.configSource", source, "exactly one reference subfield must be non-nil")
    if spec.get("externalID", "") != before.get("externalID", ""):
        errs.forbidden("spec.externalID", "may not be updated")


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    _common(new, errs)
    validate_update(new, old, errs)


def normalise(obj: Obj) -> None:
    """`podCIDR` and the first of `podCIDRs` are the same range."""
    spec = obj.get("spec") or {}
    if (first := spec.get("podCIDR")) and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [first]
    elif (ranges := spec.get("podCIDRs")) and not first:
        spec["podCIDR"] = ranges[0]


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    spec = obj.get("spec") or {}
    found: list[str] = []
    if spec.get("configSource") is not None:
        found.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
    for index, text in enumerate(spec.get("podCIDRs") or ()):
        found += cidr_warnings(f"spec.podCIDRs[{index}]", text)
    return found


def fields(obj: Obj) -> Mapping[str, str]:
    return {"spec.unschedulable": "true" if (obj.get("spec") or {}).get("unschedulable") else "false"}


def _roles(labels: Mapping[str, str]) -> str:
    found = {key.removeprefix(ROLE_PREFIX) for key in labels if key.startswith(ROLE_PREFIX)}
    found.add(labels.get(ROLE_LABEL, ""))
    return ",".join(sorted(found - {""})) or NONE


def _address(status: Obj, kind: str) -> str:
    return next((a.get("address", "") for a in status.get("addresses") or () if a.get("type") == kind), NONE)


def row(obj: Obj, now: float) -> list[Any]:
    status = obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    ready = next((c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    state = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    if (obj.get("spec") or {}).get("unschedulable"):
        state += ",SchedulingDisabled"
    kernel = info.get("kernelVersion") or UNKNOWN
    if architecture := info.get("architecture"):
        kernel += f" ({architecture})"
    return [
        obj["metadata"]["name"],
        state,
        _roles(obj["metadata"].get("labels") or {}),
        age_of(obj, now),
        info.get("kubeletVersion", ""),
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        kernel,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


KIND = Kind(
    kind="Node",
    plural="nodes",
    short_names=("no",),
    namespaced=False,
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.Node"),),
    subresources=(
        Subresource(name="proxy", kind="NodeProxyOptions", verbs=("create", "delete", "get", "patch", "update")),
        status_of("Node"),
    ),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status_update=prepare_status_update,
    warnings=warnings,
    normalise=normalise,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    keeps_status_on_create=True,
    columns=(
        NAME,
        Column(name="Status", description="Whether the node is ready, and whether it takes new pods."),
        Column(name="Roles", description="The roles that the node's labels tell."),
        AGE,
        Column(name="Version", description="The version of the node's kubelet."),
        Column(name="Internal-IP", description="The address within the cluster.", priority=1),
        Column(name="External-IP", description="The address from outside.", priority=1),
        Column(name="OS-Image", description="The operating system.", priority=1),
        Column(name="Kernel-Version", description="The kernel, and the machine's architecture.", priority=1),
        Column(name="Container-Runtime", description="The container runtime and its version.", priority=1),
    ),
    row=row,
    fields=fields,
)
