"""Validation of pod specs and pod templates: what holds for every kind that makes pods."""

from __future__ import annotations

from navarch.api.podspec import checks, containers, scheduling, windows
from navarch.api.podspec.defaults import CONTAINER_LISTS
from navarch.api.podspec.environment import validate_file_volumes
from navarch.api.podspec.quantities import validate_pod_resources, validate_resources
from navarch.api.podspec.security import validate_pod_security
from navarch.api.podspec.volumes import validate_volumes
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.memo import Memo
from navarch.machinery.types import Obj

RESTART_POLICIES = ("Always", "Never", "OnFailure")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
DNS_NAMED = ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName")


def validate_template(template: Obj, path: str, errs: FieldErrors) -> None:
    """A pod template: its labels and annotations, and its spec."""
    metadata = template.get("metadata") or {}
    checks.label_map(errs, f"{path}.labels", metadata.get("labels"))
    for key in metadata.get("annotations") or ():
        checks.named(errs, f"{path}.annotations", key.lower(), names.qualified_name)
    spec = template.get("spec") or {}
    validate_spec(spec, f"{path}.spec", errs)
    if spec.get("ephemeralContainers"):
        errs.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


_valid: dict[bool, Memo[bool]] = {False: Memo(256), True: Memo(256)}
"""Specs that were found without error, of templates and of pods."""


def validate_spec(spec: Obj, path: str, errs: FieldErrors, pod_name: str = "", is_pod: bool = False) -> None:
    """A pod spec, defaulted. `is_pod`: it is a Pod's own and not a template's."""
    if any("ephemeral" in volume for volume in spec.get("volumes") or ()):
        _validate_spec(spec, path, errs, pod_name, is_pod)  # the pod's name is part of the claims' names
        return
    memo = _valid[is_pod]
    key = memo.key(spec)
    if memo.get(key):
        return
    before = len(errs.items)
    _validate_spec(spec, path, errs, pod_name, is_pod)
    if len(errs.items) == before:
        memo.put(key, True)


def _validate_spec(spec: Obj, path: str, errs: FieldErrors, pod_name: str, is_pod: bool) -> None:
    if spec.get("terminationGracePeriodSeconds") is None:
        errs.required(f"{path}.terminationGracePeriodSeconds")
    volumes = spec.get("volumes")
    valid = validate_volumes(volumes, pod_name, f"{path}.volumes", errs) if volumes else {}
    _claims(spec, path, errs)
    around = containers.Surroundings(spec, valid)
    containers.validate_containers(spec, path, around, errs)
    if spec.get("initContainers"):
        containers.validate_init_containers(spec, path, around, errs)
    if spec.get("ephemeralContainers"):
        containers.validate_ephemeral_containers(spec, path, around, errs)
    if (resources := spec.get("resources")) is not None:
        validate_pod_resources(spec, resources, f"{path}.resources", around.claims, errs)
    _files(spec, path, errs)
    if spec.get("hostNetwork"):
        _host_network(spec, path, is_pod, errs)
    if (policy := spec.get("restartPolicy")) not in RESTART_POLICIES:
        checks.one_of(errs, f"{path}.restartPolicy", policy, RESTART_POLICIES)
    if (policy := spec.get("dnsPolicy")) not in DNS_POLICIES:
        checks.one_of(errs, f"{path}.dnsPolicy", policy, DNS_POLICIES)
    if selector := spec.get("nodeSelector"):
        checks.label_map(errs, f"{path}.nodeSelector", selector)
    if security := spec.get("securityContext"):
        validate_pod_security(security, spec, f"{path}.securityContext", errs)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        at = f"{path}.securityContext.shareProcessNamespace"
        errs.invalid(at, True, "ShareProcessNamespace and HostPID cannot both be enabled")
    _placement(spec, path, errs)
    _naming(spec, path, errs)
    _dns(spec, path, errs)
    _rest(spec, path, errs)
    windows.validate_host_process(spec, path, errs)


def _files(spec: Obj, path: str, errs: FieldErrors) -> None:
    sources: Obj = {volume.get("name", ""): volume for volume in spec.get("volumes") or ()}
    for field in CONTAINER_LISTS:
        for index, container in enumerate(spec.get(field) or ()):
            if env := container.get("env"):
                validate_file_volumes(env, sources, f"{path}.{field}[{index}].env", errs)


def _placement(spec: Obj, path: str, errs: FieldErrors) -> None:
    if affinity := spec.get("affinity"):
        scheduling.validate_affinity(affinity, f"{path}.affinity", errs)
    for index, gate in enumerate(spec.get("readinessGates") or ()):
        kind = gate.get("conditionType", "")
        checks.named(errs, f"{path}.readinessGates[{index}].conditionType", kind, names.qualified_name)
    if gates := spec.get("schedulingGates"):
        scheduling.validate_gates(gates, f"{path}.schedulingGates", errs)
    if constraints := spec.get("topologySpreadConstraints"):
        scheduling.validate_spread(constraints, f"{path}.topologySpreadConstraints", errs)
    if tolerations := spec.get("tolerations"):
        scheduling.validate_tolerations(tolerations, f"{path}.tolerations", errs)
    if (group := spec.get("schedulingGroup")) is not None:
        at, name = f"{path}.schedulingGroup.podGroupName", group.get("podGroupName")
        if name is None:
            errs.invalid(at, None, "must specify one of: `podGroupName`")
        else:
            checks.named(errs, at, name, names.dns1123_subdomain)


def _naming(spec: Obj, path: str, errs: FieldErrors) -> None:
    for field in DNS_NAMED:
        if name := spec.get(field):
            checks.named(errs, f"{path}.{field}", name, names.dns1123_subdomain)
    if spec.get("runtimeClassName") == "":
        checks.named(errs, f"{path}.runtimeClassName", "", names.dns1123_subdomain)
    for field in ("hostname", "subdomain"):
        if name := spec.get(field):
            checks.named(errs, f"{path}.{field}", name, names.dns1123_label)
    if (name := spec.get("hostnameOverride")) is not None:
        at = f"{path}.hostnameOverride"
        if spec.get("setHostnameAsFQDN"):
            errs.forbidden(at, "may not be specified when setHostnameAsFQDN is true")
        if spec.get("hostNetwork"):
            errs.forbidden(at, "may not be specified when hostNetwork is true")
        if len(name) > 64:
            errs.too_long(at, 64)
        checks.named(errs, at, name, names.dns1123_subdomain)


def _host_network(spec: Obj, path: str, is_pod: bool, errs: FieldErrors) -> None:
    for index, container in enumerate(spec.get("containers") or ()):
        for position, port in enumerate(container.get("ports") or ()):
            host, inner = port.get("hostPort") or 0, port.get("containerPort") or 0
            if (is_pod or host) and host != inner:
                message = "must match `containerPort` when `hostNetwork` is true"
                errs.invalid(f"{path}.containers[{index}].ports[{position}].hostPort", host, message)


def _dns(spec: Obj, path: str, errs: FieldErrors) -> None:
    config: Obj | None = spec.get("dnsConfig")
    at = f"{path}.dnsConfig"
    if spec.get("dnsPolicy") == "None":
        if config is None:
            errs.required(at, "must provide `dnsConfig` when `dnsPolicy` is None")
            return
        if not config.get("nameservers"):
            errs.required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")
            return
    if not config:
        return
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > 3:
        errs.invalid(f"{at}.nameservers", servers, "must not have more than 3 nameservers")
    for index, server in enumerate(servers):
        checks.named(errs, f"{at}.nameservers[{index}]", server, names.is_valid_ip)
    if len(searches) > 32:
        errs.invalid(f"{at}.searches", searches, "must not have more than 32 search paths")
    if len(" ".join(searches)) > 2048:
        message = "must not have more than 2048 characters (including spaces) in the search list"
        errs.invalid(f"{at}.searches", searches, message)
    for index, search in enumerate(searches):
        if search != ".":
            bare = search.removesuffix(".")
            checks.each(errs, f"{at}.searches[{index}]", bare, names.dns1123_subdomain_with_underscore(bare))
    for index, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errs.required(f"{at}.options[{index}]", "must not be empty")


def _claims(spec: Obj, path: str, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, claim in enumerate(spec.get("resourceClaims") or ()):
        at, name = f"{path}.resourceClaims[{index}]", claim.get("name", "")
        if not name:
            errs.required(f"{at}.name")
        elif name in seen:
            errs.duplicate(f"{at}.name", name)
        else:
            checks.named(errs, f"{at}.name", name, names.dns1123_label)
        seen.add(name)
        fields = [f for f in ("resourceClaimName", "resourceClaimTemplateName") if claim.get(f) is not None]
        if len(fields) == 2:
            message = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errs.invalid(at, claim, message)
        if not fields:
            errs.invalid(at, claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
        for field in fields:
            checks.named(errs, f"{at}.{field}", claim[field], names.dns1123_subdomain)


def _rest(spec: Obj, path: str, errs: FieldErrors) -> None:
    if (seconds := spec.get("activeDeadlineSeconds")) is not None:
        checks.in_range(errs, f"{path}.activeDeadlineSeconds", seconds, 1, checks.MAX_INT32)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        at = f"{path}.hostAliases[{index}]"
        checks.named(errs, f"{at}.ip", alias.get("ip", ""), names.is_valid_ip)
        for position, name in enumerate(alias.get("hostnames") or ()):
            checks.named(errs, f"{at}.hostnames[{position}]", name, names.dns1123_subdomain)
    policies = ("Never", "PreemptLowerPriority")
    if (policy := spec.get("preemptionPolicy")) is not None and policy not in policies:
        checks.one_of(errs, f"{path}.preemptionPolicy", policy, policies)
    if overhead := spec.get("overhead"):
        validate_resources({"limits": overhead}, f"{path}.overhead", (), errs)
    if (system := spec.get("os")) is not None:
        if not (name := system.get("name")):
            errs.required(f"{path}.os.name")
        elif name not in ("linux", "windows"):
            errs.not_supported(f"{path}.os", name, ("linux", "windows"))
        else:
            windows.validate_os(spec, name, path, errs)
    if spec.get("hostUsers") is False:
        for field, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
            if spec.get(field):
                errs.forbidden(f"{path}.{shown}", "when `hostUsers` is false")
        for field in CONTAINER_LISTS:
            for index, container in enumerate(spec.get(field) or ()):
                if container.get("volumeDevices"):
                    errs.forbidden(f"{path}.{field}[{index}].volumeDevices", "when `hostUsers` is false")
