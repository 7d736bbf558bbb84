"""Validation of a pod's containers: regular, init (sidecars among them) and ephemeral."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from navarch.api.podspec import checks, probes
from navarch.api.podspec.environment import validate_env, validate_env_from
from navarch.api.podspec.quantities import validate_resources
from navarch.api.podspec.resources import is_sidecar
from navarch.api.podspec.security import validate_container_security
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

Volumes = Mapping[str, Obj]
"""A pod's valid volumes by name."""
PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")
RESTART_POLICIES = ("Always", "Never", "OnFailure")
ONLY_SIDECARS = "may not be set for init containers without restartPolicy=Always"
RULES_WITHOUT = "must specify restartPolicy when restart rules are used"
EPHEMERAL_MESSAGE = "cannot be set for an Ephemeral Container"
EPHEMERAL_FIELDS = (
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
)
"""What an ephemeral container may not have; resources are looked at apart, because `{}` is always there."""


class Surroundings:
    """What a container's validation needs to know of its pod."""

    __slots__ = ("claims", "grace", "host_users", "restart_policy", "volumes")

    def __init__(self, spec: Obj, volumes: Volumes) -> None:
        self.volumes = volumes
        self.claims = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
        self.grace: int = spec.get("terminationGracePeriodSeconds") or 0
        self.restart_policy: str = spec.get("restartPolicy", "")
        self.host_users = spec.get("hostUsers") is not False


def validate_containers(spec: Obj, path: str, around: Surroundings, errs: FieldErrors) -> None:
    containers: Sequence[Obj] = spec.get("containers") or ()
    if not containers:
        errs.required(f"{path}.containers")
        return
    seen: set[str] = set()
    for index, container in enumerate(containers):
        at = f"{path}.containers[{index}]"
        _common(container, at, around, errs)
        name = container.get("name", "")
        if name in seen:
            errs.duplicate(f"{at}.name", name)
        seen.add(name)
        _lasting(container, at, around, errs)
        _restart_policy(container, at, errs)
    _host_ports(containers, f"{path}.containers", errs)


def validate_init_containers(spec: Obj, path: str, around: Surroundings, errs: FieldErrors) -> None:
    seen = {c.get("name", "") for c in spec.get("containers") or ()}
    for index, container in enumerate(spec.get("initContainers") or ()):
        at = f"{path}.initContainers[{index}]"
        _common(container, at, around, errs)
        if container.get("restartPolicy") is not None:
            _restart_policy(container, at, errs)
        elif container.get("restartPolicyRules"):
            errs.required(f"{at}.restartPolicy", RULES_WITHOUT)
        name = container.get("name", "")
        if name in seen:
            errs.duplicate(f"{at}.name", name)
        elif name:
            seen.add(name)
        _host_ports([container], f"{path}.initContainers", errs)
        if is_sidecar(container):
            _lasting(container, at, around, errs)
            continue
        for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(field) is not None:
                errs.forbidden(f"{at}.{field}", ONLY_SIDECARS)
        for position, policy in enumerate(container.get("resizePolicy") or ()):
            if policy.get("restartPolicy") == "RestartContainer":
                errs.invalid(
                    f"{at}.resizePolicy[{position}].restartPolicy",
                    "RestartContainer",
                    "must not be set to 'RestartContainer' for non-sidecar initContainers",
                )


def validate_ephemeral_containers(spec: Obj, path: str, around: Surroundings, errs: FieldErrors) -> None:
    ephemeral = spec.get("ephemeralContainers")
    if not ephemeral:
        return
    others = {c.get("name", "") for f in ("containers", "initContainers") for c in spec.get(f) or ()}
    seen = set(others)
    for index, container in enumerate(ephemeral):
        at = f"{path}.ephemeralContainers[{index}]"
        _common(container, at, around, errs)
        untrimmed_image(container, at, errs)
        name, target = container.get("name", ""), container.get("targetContainerName")
        if name in seen:
            errs.duplicate(f"{at}.name", name)
        seen.add(name)
        if target and target not in others:
            errs.not_found(f"{at}.targetContainerName", target)
        for field in EPHEMERAL_FIELDS:
            if container.get(field) is not None:
                errs.forbidden(f"{at}.{field}", EPHEMERAL_MESSAGE)
        if container.get("resources"):
            errs.forbidden(f"{at}.resources", EPHEMERAL_MESSAGE)
        for position, mount in enumerate(container.get("volumeMounts") or ()):
            for field in ("subPath", "subPathExpr"):
                if mount.get(field):
                    errs.forbidden(f"{at}.volumeMounts[{position}].{field}", EPHEMERAL_MESSAGE)


def untrimmed_image(container: Obj, path: str, errs: FieldErrors) -> None:
    """In a pod (a template may) an image has no space around it."""
    image = container.get("image", "")
    if image != image.strip():
        errs.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")


def _common(container: Obj, path: str, around: Surroundings, errs: FieldErrors) -> None:
    name = container.get("name")
    if not name:
        errs.required(f"{path}.name")
    elif messages := names.dns1123_label(name):
        checks.each(errs, f"{path}.name", name, messages)
    if not container.get("image"):
        errs.required(f"{path}.image")
    if (policy := container.get("terminationMessagePolicy")) not in MESSAGE_POLICIES:
        checks.one_of(errs, f"{path}.terminationMessagePolicy", policy, MESSAGE_POLICIES)
    if ports := container.get("ports"):
        _ports(ports, f"{path}.ports", errs)
    if env := container.get("env"):
        validate_env(env, f"{path}.env", errs)
    if sources := container.get("envFrom"):
        validate_env_from(sources, f"{path}.envFrom", errs)
    mounts, devices = container.get("volumeMounts") or (), container.get("volumeDevices") or ()
    if mounts:
        _mounts(mounts, devices, container, f"{path}.volumeMounts", around.volumes, errs)
    if devices:
        _devices(devices, mounts, f"{path}.volumeDevices", around.volumes, errs)
    if (pull := container.get("imagePullPolicy")) not in PULL_POLICIES:
        checks.one_of(errs, f"{path}.imagePullPolicy", pull, PULL_POLICIES)
    if resources := container.get("resources"):
        validate_resources(resources, f"{path}.resources", around.claims, errs)
    if policies := container.get("resizePolicy"):
        _resize_policies(policies, f"{path}.resizePolicy", around, errs)
    if security := container.get("securityContext"):
        validate_container_security(security, f"{path}.securityContext", around.host_users, errs)


def _lasting(container: Obj, path: str, around: Surroundings, errs: FieldErrors) -> None:
    """What only containers that keep running have: lifecycle and probes."""
    if lifecycle := container.get("lifecycle"):
        probes.validate_lifecycle(lifecycle, f"{path}.lifecycle", around.grace, errs)
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if (probe := container.get(field)) is not None:
            probes.validate_probe(field, probe, f"{path}.{field}", around.grace, errs)


def _restart_policy(container: Obj, path: str, errs: FieldErrors) -> None:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        if rules:
            errs.required(f"{path}.restartPolicy", RULES_WITHOUT)
    elif policy not in RESTART_POLICIES:
        errs.not_supported(f"{path}.restartPolicy", policy, RESTART_POLICIES)
    if len(rules) > 20:
        errs.too_many(f"{path}.restartPolicyRules", len(rules), 20)
    for index, rule in enumerate(rules):
        at = f"{path}.restartPolicyRules[{index}]"
        actions = ("Restart", "RestartAllContainers")
        if rule.get("action", "") not in actions:
            errs.not_supported(f"{at}.action", rule.get("action", ""), actions)
        codes = rule.get("exitCodes")
        if codes is None:
            errs.required(f"{at}.exitCodes", "must be specified")
            continue
        if codes.get("operator", "") not in ("In", "NotIn"):
            errs.not_supported(f"{at}.exitCodes.operator", codes.get("operator", ""), ("In", "NotIn"))
        if len(codes.get("values") or ()) > 255:
            errs.too_many(f"{at}.exitCodes.values", len(codes["values"]), 255)


def _resize_policies(policies: Sequence[Obj], path: str, around: Surroundings, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, policy in enumerate(policies):
        resource, restart = policy.get("resourceName", ""), policy.get("restartPolicy", "")
        if resource in seen:
            errs.duplicate(f"{path}[{index}]", resource)
        seen.add(resource)
        checks.one_of(errs, path, resource, ("cpu", "memory"))
        checks.one_of(errs, path, restart, ("NotRequired", "RestartContainer"))
        if around.restart_policy == "Never" and restart != "NotRequired":
            errs.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'")


def _ports(ports: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        if name := port.get("name"):
            if messages := names.port_name(name):
                checks.each(errs, f"{path}[{index}].name", name, messages)
            elif name in seen:
                errs.duplicate(f"{path}[{index}].name", name)
            seen.add(name)
        if not (number := port.get("containerPort")):
            errs.required(f"{path}[{index}].containerPort")
        elif not 0 < number < 65536:
            checks.in_range(errs, f"{path}[{index}].containerPort", number, 1, 65535)
        if number := port.get("hostPort"):
            checks.in_range(errs, f"{path}[{index}].hostPort", number, 1, 65535)
        if port.get("protocol") not in PROTOCOLS:
            checks.one_of(errs, f"{path}[{index}].protocol", port.get("protocol"), PROTOCOLS)


def _host_ports(containers: Sequence[Obj], path: str, errs: FieldErrors) -> None:
    """No two ports of a pod take the same port of the node."""
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for position, port in enumerate(container.get("ports") or ()):
            if not (number := port.get("hostPort")):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{number}"
            if key in taken:
                errs.duplicate(f"{path}[{index}].ports[{position}].hostPort", key)
            taken.add(key)


def _mounts(
    mounts: Sequence[Obj], devices: Sequence[Obj], container: Obj, path: str, volumes: Volumes, errs: FieldErrors
) -> None:
    seen: set[str] = set()
    device_names = {d.get("name") for d in devices}
    device_paths = {d.get("devicePath") for d in devices}
    for index, mount in enumerate(mounts):
        name, where = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errs.required(f"{path}[{index}].name")
        if name not in volumes:
            errs.not_found(f"{path}[{index}].name", name)
        if not where:
            errs.required(f"{path}[{index}].mountPath")
        if where in seen:
            errs.invalid(f"{path}[{index}].mountPath", where, "must be unique")
        seen.add(where)
        if name in device_names:
            errs.invalid(f"{path}[{index}].name", name, "must not already exist in volumeDevices")
        if where in device_paths:
            errs.invalid(f"{path}[{index}].mountPath", where, "must not already exist as a path in volumeDevices")
        sub, expression = mount.get("subPath"), mount.get("subPathExpr")
        if sub:
            checks.descending_path(errs, f"{path}.subPath", sub)
        if expression:
            if sub:
                message = "subPathExpr and subPath are mutually exclusive"
                errs.invalid(f"{path}[{index}].subPathExpr", expression, message)
            checks.descending_path(errs, f"{path}.subPathExpr", expression)
        if (propagation := mount.get("mountPropagation")) is not None:
            _propagation(propagation, container, f"{path}.mountPropagation", errs)
        if (recursive := mount.get("recursiveReadOnly")) is not None:
            _recursive(recursive, mount, f"{path}.recursiveReadOnly", errs)


def _propagation(value: str, container: Obj, path: str, errs: FieldErrors) -> None:
    modes = ("Bidirectional", "HostToContainer", "None")
    if value not in modes:
        errs.not_supported(path, value, modes)
    if value == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        errs.forbidden(path, "Bidirectional mount propagation is available only to privileged containers")


def _recursive(value: str, mount: Obj, path: str, errs: FieldErrors) -> None:
    if value == "Disabled":
        return
    if value not in ("Enabled", "IfPossible"):
        errs.not_supported(path, value, ("Disabled", "Enabled", "IfPossible"))
        return
    if not mount.get("readOnly"):
        errs.forbidden(path, "may only be specified when readOnly is true")
    if mount.get("mountPropagation") not in (None, "None"):
        errs.forbidden(path, "may only be specified when mountPropagation is None or not specified")


def _devices(devices: Sequence[Obj], mounts: Sequence[Obj], path: str, volumes: Volumes, errs: FieldErrors) -> None:
    seen_names: set[str] = set()
    seen_paths: set[str] = set()
    mount_names = {m.get("name") for m in mounts}
    mount_paths = {m.get("mountPath") for m in mounts}
    for index, device in enumerate(devices):
        at_name, at_path = f"{path}[{index}].name", f"{path}[{index}].devicePath"
        name: str = device.get("name") or ""
        where: str = device.get("devicePath") or ""
        if not name:
            errs.required(at_name)
        if name in seen_names:
            errs.invalid(at_name, name, "must be unique")
        volume: Any = volumes.get(name)
        if volume is None:
            errs.not_found(at_name, name)
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errs.invalid(at_name, name, message)
        if not where:
            errs.required(at_path)
        if where in seen_paths:
            errs.invalid(at_path, where, "must be unique")
        if ".." in where.split("/"):
            errs.invalid(at_path, where, "can not contain backsteps ('..')")
        if name in mount_names:
            errs.invalid(at_name, name, "must not already exist in volumeMounts")
        if where in mount_paths:
            errs.invalid(at_path, where, "must not already exist as a path in volumeMounts")
        seen_names.add(name)
        seen_paths.add(where)
