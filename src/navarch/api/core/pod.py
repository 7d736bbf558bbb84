"""Pod: what runs on a node. Source: upstream's registry/core/pod strategy and core validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from navarch.api.core import podresize
from navarch.api.features import without_group
from navarch.api.kind import STATUS_VERBS, Kind, Subresource, Version, status_of
from navarch.api.podspec import checks
from navarch.api.podspec.containers import untrimmed_image
from navarch.api.podspec.defaults import default_pod_spec, default_spec
from navarch.api.podspec.printing import POD_COLUMNS, pod_row
from navarch.api.podspec.resources import qos_class
from navarch.api.podspec.scheduling import validate_tolerations
from navarch.api.podspec.validation import validate_spec
from navarch.api.podspec.warnings import pod_warnings
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors, show
from navarch.machinery.types import Obj

UPDATABLE = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)
MIRROR = "kubernetes.io/config.mirror"
GATED = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}
CONTAINERS = ("initContainers", "containers")


def defaults(pod: Obj) -> None:
    spec = pod.setdefault("spec", {})
    default_spec(spec)
    default_pod_spec(spec)
    if status := pod.get("status"):
        _one_address(status)


def _one_address(status: Obj) -> None:
    """podIP and the first of podIPs are the same address."""
    ips, first = status.get("podIPs") or [], status.get("podIP")
    if first and (not ips or ips[0].get("ip") != first):
        status["podIPs"] = [{"ip": first}]
    elif ips and not first:
        status["podIP"] = ips[0].get("ip", "")


def prepare_create(pod: Obj) -> None:
    """A new pod is Pending and has its QoS class; a gated one says that it is."""
    pod["metadata"]["generation"] = 1
    status: Obj = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}
    if pod["spec"].get("schedulingGates"):
        times = {"lastProbeTime": None, "lastTransitionTime": pod["metadata"]["creationTimestamp"]}
        status["conditions"] = [GATED | times]
    pod["status"] = status


def normalise(pod: Obj) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`: both say the same."""
    spec = pod["spec"]
    if account := spec.get("serviceAccountName"):
        spec["serviceAccount"] = account
    else:
        spec.pop("serviceAccount", None)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        spec["terminationGracePeriodSeconds"] = 1


def validate(pod: Obj, errs: FieldErrors) -> None:
    spec = pod["spec"]
    validate_spec(spec, "spec", errs, pod["metadata"].get("name", ""), is_pod=True)
    if not spec.get("serviceAccountName"):
        for index, volume in enumerate(spec.get("volumes") or ()):
            for position, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
                if source.get("serviceAccountToken") is not None:
                    at = f"spec.volumes[{index}].projected.sources[{position}].serviceAccountToken"
                    errs.forbidden(at, "must not be specified when serviceAccountName is not set")
    for field in CONTAINERS:
        for index, container in enumerate(spec.get(field) or ()):
            untrimmed_image(container, f"spec.{field}[{index}]", errs)


def validate_new(pod: Obj, errs: FieldErrors) -> None:
    """What only a new pod must be."""
    if pod["spec"].get("ephemeralContainers"):
        errs.forbidden("spec.ephemeralContainers", "cannot be set on create")
    if pod["spec"].get("schedulingGates") and pod["spec"].get("nodeName"):
        errs.forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")
    for index, volume in enumerate(pod["spec"].get("volumes") or ()):
        image = volume.get("image") if len(volume) == 2 else None
        if image is not None and not image.get("reference"):
            errs.required(f"spec.volumes[{index}].image.reference")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """Only images, the deadline, tolerations and gates change; a gated pod may also narrow its nodes."""
    spec, before = new["spec"], old["spec"]
    for field in ("containers", "initContainers"):
        if len(spec.get(field) or ()) != len(before.get(field) or ()):
            errs.forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    if not _deadline(spec, before, errs):
        return
    _tolerations(spec.get("tolerations") or (), before.get("tolerations") or (), errs)
    gates = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in gates:
            message = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errs.forbidden(f"spec.schedulingGates[{index}].name", message)
    if spec == before:
        return
    masked = _masked(spec, before)
    if gates:
        _gated(masked, before, errs)
    if masked != before:
        changed = _difference(before, masked)
        errs.forbidden("spec", f"pod updates may not change fields other than {','.join(UPDATABLE)}\n{changed}")


def _deadline(spec: Obj, before: Obj, errs: FieldErrors) -> bool:
    """Whether validation goes on."""
    at = "spec.activeDeadlineSeconds"
    new, old = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if new is None:
        if old is not None:
            errs.invalid(at, None, "must not update from a positive integer to nil value")
        return True
    if not 0 <= new <= checks.MAX_INT32:
        checks.in_range(errs, at, new, 0, checks.MAX_INT32)
        return False
    if old is not None and old < new:
        errs.invalid(at, new, "must be less than or equal to previous value")
        return False
    return True


def _tolerations(new: Sequence[Obj], old: Sequence[Obj], errs: FieldErrors) -> None:
    def untimed(toleration: Obj) -> Obj:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds"}

    kept = [untimed(toleration) for toleration in new]
    if any(untimed(toleration) not in kept for toleration in old):
        errs.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
        return
    validate_tolerations(new, "spec.tolerations", errs)


def _masked(spec: Obj, before: Obj) -> Obj:
    """The new spec with everything that may change put back."""
    masked = dict(spec)
    for field in CONTAINERS:
        if field in spec:
            pairs = zip(spec[field], before.get(field) or (), strict=False)
            masked[field] = [{**container, "image": was.get("image", "")} for container, was in pairs]
    for field in ("activeDeadlineSeconds", "schedulingGates", "tolerations"):
        masked.pop(field, None)
        if field in before:
            masked[field] = before[field]
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        masked["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    return masked


def _gated(masked: Obj, before: Obj, errs: FieldErrors) -> None:
    """A gated pod's node selector and node affinity may grow; `masked` gets the old ones back."""
    new, old = masked.pop("nodeSelector", None) or {}, before.get("nodeSelector") or {}
    if any(new.get(key) != value for key, value in old.items()):
        message = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errs.invalid("spec.nodeSelector", new, message)
    if "nodeSelector" in before:
        masked["nodeSelector"] = before["nodeSelector"]


def _difference(old: Any, new: Any, path: str = "") -> str:
    """What differs, one line for each leaf."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = dict.fromkeys((*old, *new))
        return "".join(_difference(old.get(k), new.get(k), f"{path}.{k}") for k in keys if old.get(k) != new.get(k))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return "".join(_difference(a, b, f"{path}[{i}]") for i, (a, b) in pairs if a != b)
    return f"  {path.lstrip('.')}:\n-   {show(old)}\n+   {show(new)}\n"


def prepare_status_update(new: Obj, old: Obj) -> None:
    """The QoS class stays."""
    status = new.setdefault("status", {})
    if not status.get("qosClass") and (was := (old.get("status") or {}).get("qosClass")):
        status["qosClass"] = was


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    status, before = new.get("status") or {}, old.get("status") or {}
    for index, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type", "")
        if kind not in ("PodScheduled", "Ready", "Initialized"):
            checks.named(errs, f"status.conditions[{index}].Type", kind, names.qualified_name)
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        checks.named(errs, "status.nominatedNodeName", nominated, names.dns1123_subdomain)
        if old["spec"].get("nodeName"):
            message = "may not be set on pods that are already bound to a node"
            errs.forbidden("status.nominatedNodeName", message)
    checks.non_negative(errs, "status", status, "observedGeneration")
    checks.immutable(errs, "status.qosClass", status.get("qosClass", ""), before.get("qosClass", ""))
    _transitions(status, before, old["spec"], errs)


def _transitions(status: Obj, before: Obj, spec: Obj, errs: FieldErrors) -> None:
    """A container that ended and must not restart stays ended."""
    policies = {c.get("name"): c.get("restartPolicy") for c in spec.get("containers") or ()}
    now = {c.get("name"): c.get("state") or {} for c in status.get("containerStatuses") or ()}
    for index, was in enumerate(before.get("containerStatuses") or ()):
        ended = (was.get("state") or {}).get("terminated")
        name = was.get("name")
        if ended is None or name not in now or now[name].get("terminated") is not None:
            continue
        policy = policies.get(name) or spec.get("restartPolicy", "Always")
        if policy == "Never" or (policy == "OnFailure" and not ended.get("exitCode")):
            message = "may not be transitioned to non-terminated state"
            errs.forbidden(f"status.containerStatuses[{index}].state", message)


def graceful_seconds(pod: Obj) -> int | None:
    """0 for a pod that no node runs, or that has ended."""
    if not pod["spec"].get("nodeName") or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    seconds = pod["spec"].get("terminationGracePeriodSeconds") or 0
    return 1 if seconds < 0 else seconds


def prepare_ephemeral(new: Obj, old: Obj) -> None:
    """Of the update only the ephemeral containers count."""
    wanted = (new.get("spec") or {}).get("ephemeralContainers")
    new["spec"] = dict(old["spec"])
    new["spec"].pop("ephemeralContainers", None)
    if wanted:
        new["spec"]["ephemeralContainers"] = wanted


def validate_ephemeral(new: Obj, old: Obj, errs: FieldErrors) -> None:
    validate(new, errs)
    if MIRROR in (old["metadata"].get("annotations") or {}):
        errs.forbidden("", "static pods do not support ephemeral containers")
        return
    present = {c.get("name"): c for c in new["spec"].get("ephemeralContainers") or ()}
    for was in old["spec"].get("ephemeralContainers") or ():
        quoted = show(was.get("name"))
        if was.get("name") not in present:
            errs.forbidden("spec.ephemeralContainers", f"existing ephemeral containers {quoted} may not be removed\n")
        elif present[was["name"]] != was:
            changed = _difference(was, present[was["name"]])
            message = f"existing ephemeral containers {quoted} may not be changed\n{changed}"
            errs.forbidden("spec.ephemeralContainers", message)


def fields(pod: Obj) -> Mapping[str, str]:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    ips = status.get("podIPs") or ()
    return {
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.restartPolicy": spec.get("restartPolicy", ""),
        "spec.schedulerName": spec.get("schedulerName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "spec.hostNetwork": "true" if spec.get("hostNetwork") else "false",
        "status.phase": status.get("phase", ""),
        "status.podIP": (ips[0].get("ip", "") if ips else status.get("podIP", "")),
        "status.nominatedNodeName": status.get("nominatedNodeName", ""),
    }


PROXY_VERBS = ("create", "delete", "get", "patch", "update")
KIND = Kind(
    kind="Pod",
    plural="pods",
    short_names=("po",),
    categories=("all",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.Pod", validate_create=validate_new),),
    subresources=(
        Subresource(name="attach", kind="PodAttachOptions", verbs=("create", "get")),
        Subresource(name="binding", kind="Binding", verbs=("create",)),
        Subresource(name="ephemeralcontainers", kind="Pod", verbs=STATUS_VERBS),
        Subresource(name="eviction", kind="Eviction", verbs=("create",), group="policy", version="v1"),
        Subresource(name="exec", kind="PodExecOptions", verbs=("create", "get")),
        Subresource(name="log", kind="Pod", verbs=("get",)),
        Subresource(name="portforward", kind="PodPortForwardOptions", verbs=("create", "get")),
        Subresource(name="proxy", kind="PodProxyOptions", verbs=PROXY_VERBS),
        Subresource(name="resize", kind="Pod", verbs=STATUS_VERBS),
        status_of("Pod"),
    ),
    disable=without_group("spec"),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_status_update=prepare_status_update,
    normalise=normalise,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=pod_warnings,
    has_generation=True,
    graceful_seconds=graceful_seconds,
    columns=POD_COLUMNS,
    row=pod_row,
    fields=fields,
    extra={
        "subresources": {
            "ephemeralcontainers": (prepare_ephemeral, validate_ephemeral),
            "resize": (podresize.prepare, podresize.validator(validate)),
        }
    },
)
