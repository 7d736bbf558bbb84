"""The checks of level baseline: known ways out of a container. Source: pod-security-admission policy/check_*.go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from navarch.api.podsecurity.reading import (
    Check,
    Finding,
    containers,
    in_user_namespace,
    named,
    names_where,
    plural,
    quoted,
    security,
    setters,
)
from navarch.machinery.types import Obj

APPARMOR, APPARMOR_ANNOTATION = ("RuntimeDefault", "Localhost"), "container.apparmor.security.beta.kubernetes.io/"
CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
        "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
SECCOMP = ("Localhost", "RuntimeDefault")
SECCOMP_POD, SECCOMP_CONTAINER = (
    "seccomp.security.alpha.kubernetes.io/pod",
    "container.seccomp.security.alpha.kubernetes.io/",
)
SELINUX = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    )
)
KEEPALIVE = ("tcp_keepalive_time", "tcp_fin_timeout", "tcp_keepalive_intvl", "tcp_keepalive_probes")
SYSCTLS_27 = SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
SYSCTLS_29 = SYSCTLS_27 | {f"net.ipv4.{name}" for name in KEEPALIVE}
SYSCTLS_32 = SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def apparmor(metadata: Obj, spec: Obj) -> Finding | None:
    values: set[str] = set()

    def wrong(holder: Obj) -> bool:
        profile = security(holder).get("appArmorProfile")
        kind = profile.get("type", "") if profile is not None else APPARMOR[0]
        if kind in APPARMOR:
            return False
        values.add(kind)
        return True

    pod = wrong(spec)
    bad = names_where(spec, wrong)
    annotations = [
        f'{key}="{value}"'
        for key, value in sorted((metadata.get("annotations") or {}).items())
        if key.startswith(APPARMOR_ANNOTATION) and value not in ("", "runtime/default") and value[:10] != "localhost/"
    ]
    found = [setters(pod, bad)] if pod or bad else []
    if annotations:
        found.append(plural("annotation", "annotations", len(annotations)))
    if not found:
        return None
    shown = [*sorted(values), *annotations]
    reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", len(shown))
    return Finding(reason, f"{' and '.join(found)} must not set AppArmor profile type to {quoted(shown)}")


def capabilities(metadata: Obj, spec: Obj) -> Finding | None:
    found: set[str] = set()

    def wrong(container: Obj) -> bool:
        extra = {c for c in (security(container).get("capabilities") or {}).get("add") or () if c not in CAPABILITIES}
        found.update(extra)
        return bool(extra)

    if not (bad := names_where(spec, wrong)):
        return None
    detail = f"{named(bad)} must not include {quoted(sorted(found))} in securityContext.capabilities.add"
    return Finding("non-default capabilities", detail)


def host_namespaces(metadata: Obj, spec: Obj) -> Finding | None:
    found = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Finding("host namespaces", ", ".join(found)) if found else None


def host_paths(metadata: Obj, spec: Obj) -> Finding | None:
    bad = [volume.get("name", "") for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Finding("hostPath volumes", f"{plural('volume', 'volumes', len(bad))} {quoted(bad)}") if bad else None


def host_ports(metadata: Obj, spec: Obj) -> Finding | None:
    ports: set[str] = set()

    def wrong(container: Obj) -> bool:
        mine = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        ports.update(mine)
        return bool(mine)

    if not (bad := names_where(spec, wrong)):
        return None
    use, what = plural("uses", "use", len(bad)), plural("hostPort", "hostPorts", len(ports))
    return Finding("hostPort", f"{named(bad)} {use} {what} {', '.join(sorted(ports))}")


def host_probes(metadata: Obj, spec: Obj) -> Finding | None:
    hosts: set[str] = set()

    def wrong(container: Obj) -> bool:
        mine = set(_hosts(container))
        hosts.update(mine)
        return bool(mine)

    if not (bad := sorted(set(names_where(spec, wrong)))):
        return None
    what = plural("probe or lifecycle host", "probe or lifecycle hosts", len(hosts))
    detail = f"{named(bad)} {plural('uses', 'use', len(bad))} {what} {quoted(sorted(hosts))}"
    return Finding("probe or lifecycle host", detail)


def _hosts(container: Obj) -> Iterator[str]:
    lifecycle = container.get("lifecycle") or {}
    actions = [container.get(field) for field in ("livenessProbe", "readinessProbe", "startupProbe")]
    for action in (*actions, lifecycle.get("postStart"), lifecycle.get("preStop")):
        for kind in ("httpGet", "tcpSocket"):
            if host := ((action or {}).get(kind) or {}).get("host"):
                yield host


def privileged(metadata: Obj, spec: Obj) -> Finding | None:
    bad = names_where(spec, lambda container: security(container).get("privileged"))
    return Finding("privileged", f"{named(bad)} must not set securityContext.privileged=true") if bad else None


def proc_mount(metadata: Obj, spec: Obj) -> Finding | None:
    values: set[str] = set()

    def wrong(container: Obj) -> bool:
        value = security(container).get("procMount")
        if value is None or value == "Default":
            return False
        values.add(value)
        return True

    if not (bad := names_where(spec, wrong)):
        return None
    return Finding("procMount", f"{named(bad)} must not set securityContext.procMount to {quoted(sorted(values))}")


def proc_mount_35(metadata: Obj, spec: Obj) -> Finding | None:
    return None if in_user_namespace(spec) else proc_mount(metadata, spec)


def selinux(allowed: frozenset[str]) -> Check:
    def check(metadata: Obj, spec: Obj) -> Finding | None:
        types: set[str] = set()
        fields: set[str] = set()

        def wrong(holder: Obj) -> bool:
            options = security(holder).get("seLinuxOptions")
            if options is None:
                return False
            kind = options.get("type", "")
            types.update({kind} - allowed)
            set_fields = {field for field in ("user", "role") if options.get(field)}
            fields.update(set_fields)
            return kind not in allowed or bool(set_fields)

        pod = wrong(spec)
        bad = names_where(spec, wrong)
        if not pod and not bad:
            return None
        data = [f"{plural('type', 'types', len(types))} {quoted(sorted(types))}"] if types else []
        data += [f"{field} may not be set" for field in ("user", "role") if field in fields]
        detail = f"{setters(pod, bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        return Finding("seLinuxOptions", detail)

    return check


def seccomp_annotations(metadata: Obj, spec: Obj) -> Finding | None:
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    keys = [SECCOMP_POD, *(SECCOMP_CONTAINER + container.get("name", "") for container in containers(spec))]
    allowed = ("runtime/default", "docker/default")
    found = {
        f'{key}="{annotations[key]}"'
        for key in keys
        if key in annotations and annotations[key] not in allowed and not annotations[key].startswith("localhost/")
    }
    if not found:
        return None
    detail = f"forbidden {plural('annotation', 'annotations', len(found))} {', '.join(sorted(found))}"
    return Finding("seccompProfile", detail)


def seccomp(metadata: Obj, spec: Obj) -> Finding | None:
    values: set[str] = set()

    def wrong(holder: Obj) -> bool:
        profile = security(holder).get("seccompProfile")
        if profile is None or profile.get("type", "") in SECCOMP:
            return False
        values.add(profile.get("type", ""))
        return True

    pod = wrong(spec)
    bad = names_where(spec, wrong)
    if not pod and not bad:
        return None
    detail = f"{setters(pod, bad)} must not set securityContext.seccompProfile.type to {quoted(sorted(values))}"
    return Finding("seccompProfile", detail)


def sysctls(allowed: frozenset[str]) -> Check:
    def check(metadata: Obj, spec: Obj) -> Finding | None:
        found = [s.get("name", "") for s in security(spec).get("sysctls") or () if s.get("name", "") not in allowed]
        return Finding("forbidden sysctls", ", ".join(found)) if found else None

    return check


def windows_host_process(metadata: Obj, spec: Obj) -> Finding | None:
    def wrong(holder: Obj) -> bool:
        return bool((security(holder).get("windowsOptions") or {}).get("hostProcess"))

    found = setters(wrong(spec), names_where(spec, wrong))
    detail = f"{found} must not set securityContext.windowsOptions.hostProcess=true"
    return Finding("hostProcess", detail) if found else None


BASELINE: Mapping[str, tuple[tuple[int, Check], ...]] = {
    "appArmorProfile": ((0, apparmor),),
    "capabilities_baseline": ((0, capabilities),),
    "hostNamespaces": ((0, host_namespaces),),
    "hostPathVolumes": ((0, host_paths),),
    "hostPorts": ((0, host_ports),),
    "hostProbesAndHostLifecycle": ((34, host_probes),),
    "privileged": ((0, privileged),),
    "procMount": ((0, proc_mount), (35, proc_mount_35)),
    "seLinuxOptions": ((0, selinux(SELINUX)), (31, selinux(SELINUX | {"container_engine_t"}))),
    "seccompProfile_baseline": ((0, seccomp_annotations), (19, seccomp)),
    "sysctls": ((0, sysctls(SYSCTLS)), (27, sysctls(SYSCTLS_27)), (29, sysctls(SYSCTLS_29)), (32, sysctls(SYSCTLS_32))),
    "windowsHostProcess": ((0, windows_host_process),),
}
"""By id, in the order in which findings are told: (first minor version, check), oldest first."""
