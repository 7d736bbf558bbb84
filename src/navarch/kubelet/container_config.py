"""From a pod's spec to the CRI's configurations of its sandbox and containers: pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from navarch.kubelet.cri_tables import (
    NAMESPACE_CONTAINER,
    NAMESPACE_NODE,
    NAMESPACE_POD,
    NAMESPACE_TARGET,
    SECCOMP_LOCALHOST,
    SECCOMP_RUNTIME_DEFAULT,
    SECCOMP_UNCONFINED,
)
from navarch.kubelet.env import ConfigError, expand
from navarch.kubelet.pod_actions import container_hash
from navarch.kubelet.runtime_state import (
    CONTAINER_HASH,
    CONTAINER_NAME,
    GRACE,
    MESSAGE_PATH,
    MESSAGE_POLICY,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    RESTART_COUNT,
)
from navarch.machinery.quantity import Quantity
from navarch.machinery.trees import get
from navarch.machinery.types import Obj

CPU_PERIOD = 100_000
MIN_SHARES, MAX_SHARES = 2, 262_144
MIN_QUOTA = 1000
MASKED = [
    "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
]  # fmt: skip
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
Tree = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInputs:
    """What a container's configuration takes besides its spec."""

    image_ref: str
    environment: Mapping[str, str]
    mounts: Sequence[Tree]
    devices: Sequence[Tree]
    annotations: Mapping[str, str]
    attempt: int
    log_path: str
    memory_capacity: int
    target: str = ""
    """Id of the container whose processes an ephemeral container sees."""
    fs_groups: Sequence[int] = field(default_factory=tuple)


def qos_class(pod: Obj) -> str:
    return pod.get("status", {}).get("qosClass") or "BestEffort"


def cgroup_parent(pod: Obj, root: str) -> str:
    """Where the pod's cgroup is: below its class of service, as upstream's cgroupfs driver names it."""
    uid = pod["metadata"]["uid"]
    tier = {"Guaranteed": "", "Burstable": "/burstable"}.get(qos_class(pod), "/besteffort")
    return f"{root}/kubepods{tier}/pod{uid}"


def labels(pod: Obj) -> dict[str, str]:
    meta = pod["metadata"]
    return {POD_NAME: meta["name"], POD_NAMESPACE: meta["namespace"], POD_UID: meta["uid"]}


def sandbox_config(pod: Obj, attempt: int, *, hostname: str, dns: Tree | None, log_directory: str, root: str) -> Tree:
    spec, meta = pod["spec"], pod["metadata"]
    security = spec.get("securityContext") or {}
    context: Tree = {
        "namespace_options": _namespaces(spec),
        "privileged": any(get(c, "securityContext", "privileged", default=False) for c in spec["containers"]),
        "seccomp": _seccomp(security.get("seccompProfile")),
    }
    if security.get("runAsUser") is not None:
        context["run_as_user"] = {"value": security["runAsUser"]}
    if security.get("runAsGroup") is not None and "run_as_user" in context:
        context["run_as_group"] = {"value": security["runAsGroup"]}
    groups = _groups(security)
    if groups:
        context["supplemental_groups"] = groups
    config: Tree = {
        "metadata": {"name": meta["name"], "uid": meta["uid"], "namespace": meta["namespace"], "attempt": attempt},
        "hostname": hostname,
        "log_directory": log_directory,
        "labels": {**(meta.get("labels") or {}), **labels(pod)},
        "annotations": dict(meta.get("annotations") or {}),
        "linux": {
            "cgroup_parent": cgroup_parent(pod, root),
            "security_context": context,
            "sysctls": {s["name"]: s["value"] for s in security.get("sysctls") or []},
        },
    }
    if dns:
        config["dns_config"] = dns
    return config


def container_config(pod: Obj, container: Obj, inputs: ContainerInputs) -> Tree:
    """Raises ConfigError."""
    values = inputs.environment
    stops = str(pod["spec"].get("terminationGracePeriodSeconds", 30))
    config: Tree = {
        "metadata": {"name": container["name"], "attempt": inputs.attempt},
        "image": {"image": inputs.image_ref, "user_specified_image": container.get("image", "")},
        "command": [expand(word, values) for word in container.get("command") or []],
        "args": [expand(word, values) for word in container.get("args") or []],
        "working_dir": container.get("workingDir", ""),
        "envs": [{"key": key, "value": value.encode()} for key, value in values.items()],
        "mounts": list(inputs.mounts),
        "devices": list(inputs.devices),
        "labels": {**labels(pod), CONTAINER_NAME: container["name"]},
        "annotations": {
            **inputs.annotations,
            CONTAINER_HASH: container_hash(container),
            RESTART_COUNT: str(inputs.attempt),
            GRACE: stops,
            MESSAGE_PATH: container.get("terminationMessagePath", "/dev/termination-log"),
            MESSAGE_POLICY: container.get("terminationMessagePolicy", "File"),
        },
        "log_path": inputs.log_path,
        "stdin": bool(container.get("stdin")),
        "stdin_once": bool(container.get("stdinOnce")),
        "tty": bool(container.get("tty")),
        "linux": {
            "resources": resources(pod, container, inputs.memory_capacity),
            "security_context": security_context(pod, container, inputs.fs_groups, inputs.target),
        },
    }
    return config


# -- resources


def _milli(resources_: Obj, kind: str, name: str) -> int:
    text = get(resources_, kind, name)
    return Quantity.parse(str(text)).milli() if text is not None else 0


def _bytes(resources_: Obj, kind: str, name: str) -> int:
    text = get(resources_, kind, name)
    return Quantity.parse(str(text)).value() if text is not None else 0


def cpu_shares(milli: int) -> int:
    return min(max(milli * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def cpu_quota(milli: int) -> int:
    return max(milli * CPU_PERIOD // 1000, MIN_QUOTA) if milli else 0


def resources(pod: Obj, container: Obj, memory_capacity: int) -> Tree:
    """LinuxContainerResources: shares by request, quota and memory by limit, the OOM score by class of service."""
    own = container.get("resources") or {}
    request, limit = _milli(own, "requests", "cpu"), _milli(own, "limits", "cpu")
    found: Tree = {
        "cpu_shares": cpu_shares(request or limit if "cpu" in (own.get("limits") or {}) and not request else request),
        "oom_score_adj": oom_score(pod, _bytes(own, "requests", "memory"), memory_capacity),
    }
    if limit:
        found |= {"cpu_period": CPU_PERIOD, "cpu_quota": cpu_quota(limit)}
    if memory := _bytes(own, "limits", "memory"):
        found["memory_limit_in_bytes"] = memory
    return found


def oom_score(pod: Obj, memory_request: int, capacity: int) -> int:
    """Who goes first when memory runs out (upstream's qos policy)."""
    if (pod["spec"].get("priority") or 0) >= 2_000_000_000:
        return -997
    match qos_class(pod):
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
        case _:
            score = 1000 - 1000 * memory_request // max(capacity, 1)
            return min(max(score, 3), 999)


# -- security


def _namespaces(spec: Obj) -> Tree:
    pid = NAMESPACE_CONTAINER
    if spec.get("hostPID"):
        pid = NAMESPACE_NODE
    elif spec.get("shareProcessNamespace"):
        pid = NAMESPACE_POD
    return {
        "network": NAMESPACE_NODE if spec.get("hostNetwork") else NAMESPACE_POD,
        "pid": pid,
        "ipc": NAMESPACE_NODE if spec.get("hostIPC") else NAMESPACE_POD,
    }


def _groups(security: Obj) -> list[int]:
    groups = list(security.get("supplementalGroups") or [])
    if security.get("fsGroup") is not None:
        groups.append(security["fsGroup"])
    return groups


def _seccomp(profile: Obj | None) -> Tree:
    match (profile or {}).get("type"):
        case "RuntimeDefault":
            return {"profile_type": SECCOMP_RUNTIME_DEFAULT}
        case "Localhost":
            reference = f"/var/lib/kubelet/seccomp/{(profile or {}).get('localhostProfile', '')}"
            return {"profile_type": SECCOMP_LOCALHOST, "localhost_ref": reference}
        case _:
            return {"profile_type": SECCOMP_UNCONFINED}


def security_context(pod: Obj, container: Obj, fs_groups: Sequence[int], target: str = "") -> Tree:
    """The effective security context: the container's own, over the pod's. Raises ConfigError."""
    spec = pod["spec"]
    shared, own = spec.get("securityContext") or {}, container.get("securityContext") or {}

    def effective(name: str) -> Any:
        return own[name] if own.get(name) is not None else shared.get(name)

    privileged = bool(own.get("privileged"))
    namespaces = _namespaces(spec)
    if target:
        namespaces |= {"pid": NAMESPACE_TARGET, "target_id": target}
    context: Tree = {
        "namespace_options": namespaces,
        "privileged": privileged,
        "readonly_rootfs": bool(own.get("readOnlyRootFilesystem")),
        "no_new_privs": own.get("allowPrivilegeEscalation") is False,
        "seccomp": {"profile_type": SECCOMP_UNCONFINED} if privileged else _seccomp(effective("seccompProfile")),
        "supplemental_groups": [*_groups(shared), *fs_groups],
    }
    capabilities = own.get("capabilities") or {}
    context["capabilities"] = {
        "add_capabilities": capabilities.get("add") or [],
        "drop_capabilities": capabilities.get("drop") or [],
    }
    if not privileged and own.get("procMount") != "Unmasked":
        context |= {"masked_paths": MASKED, "readonly_paths": READ_ONLY}
    user = effective("runAsUser")
    if user is not None:
        context["run_as_user"] = {"value": user}
    if effective("runAsGroup") is not None:
        context["run_as_group"] = {"value": effective("runAsGroup")}
    if effective("runAsNonRoot") and user == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    return context
