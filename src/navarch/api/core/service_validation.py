"""What a Service must be: type, ports, addresses and families, traffic policies. Source: core validation."""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.meta import validate_labels
from navarch.api.podspec import checks
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.types import Obj

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
POLICIES = ("Cluster", "Local")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
MAX_AFFINITY_SECONDS = 86400
HINTS, MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"
SOURCE_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
ONLY_BALANCED = "may only be used when `type` is 'LoadBalancer'"
NOT_EXTERNAL = "may not be set for ExternalName services"
SET_ONCE = "may not change once set"


def externally_accessible(spec: Obj) -> bool:
    kind = spec.get("type")
    return kind in ("LoadBalancer", "NodePort") or (kind == "ClusterIP" and bool(spec.get("externalIPs")))


def is_headless(spec: Obj) -> bool:
    return spec.get("clusterIPs") == ["None"]


def _needs_health_check(spec: Obj) -> bool:
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj["spec"]
    annotations = obj["metadata"].get("annotations")
    if annotations:
        hints, mode = annotations.get(HINTS), annotations.get(MODE)
        if hints is not None and mode is not None and hints != mode:
            message = f"must match annotations[{HINTS}] when both are specified"
            errs.invalid(f"metadata.annotations[{MODE}]", mode, message)
    kind, headless, ports = spec.get("type", ""), is_headless(spec), spec.get("ports") or ()
    if not ports and not headless and kind != "ExternalName":
        errs.required("spec.ports")
    if headless and kind in ("LoadBalancer", "NodePort"):
        errs.invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services")
    if kind == "ExternalName":
        _external_name(spec, errs)
    _ports(ports, kind, errs)
    if selector := spec.get("selector"):
        validate_labels(selector, "spec.selector", errs)
    _affinity(spec, errs)
    if kind != "ExternalName":
        validate_addresses(spec, errs)
    for index, address in enumerate(spec.get("externalIPs") or ()):
        if wrong := names.legacy_ip(address):
            checks.each(errs, f"spec.externalIPs[{index}]", address, wrong)
        else:
            reachable_ip(address, f"spec.externalIPs[{index}]", errs)
    checks.one_of(errs, "spec.type", kind, TYPES)
    if kind == "ClusterIP":
        for index, port in enumerate(ports):
            if port.get("nodePort"):
                errs.forbidden(f"spec.ports[{index}].nodePort", "may not be used when `type` is 'ClusterIP'")
    _duplicate_ports(ports, errs)
    _balancer(spec, annotations or {}, errs)
    _traffic(spec, errs)


def _external_name(spec: Obj, errs: FieldErrors) -> None:
    if spec.get("clusterIPs") or spec.get("clusterIP"):
        errs.forbidden("spec.clusterIPs", NOT_EXTERNAL)
    if spec.get("ipFamilies"):
        errs.forbidden("spec.ipFamilies", NOT_EXTERNAL)
    if spec.get("ipFamilyPolicy") is not None:
        errs.forbidden("spec.ipFamilyPolicy", NOT_EXTERNAL)
    if name := spec.get("externalName", "").removesuffix("."):
        checks.named(errs, "spec.externalName", name, names.dns1123_subdomain)
    else:
        errs.required("spec.externalName")


def _ports(ports: Sequence[Obj], kind: str, errs: FieldErrors) -> None:
    several, seen = len(ports) > 1, set[str]()
    for index, port in enumerate(ports):
        at = f"spec.ports[{index}]"
        if name := port.get("name"):
            checks.named(errs, f"{at}.name", name, names.dns1123_label)
            if name in seen:
                errs.duplicate(f"{at}.name", name)
            seen.add(name)
        elif several:
            errs.required(f"{at}.name")
        number = port.get("port", 0)
        checks.each(errs, f"{at}.port", number, names.port_num(number))
        checks.one_of(errs, f"{at}.protocol", port.get("protocol"), PROTOCOLS)
        checks.port_number_or_name(errs, f"{at}.targetPort", port.get("targetPort"))
        if (protocol := port.get("appProtocol")) is not None:
            checks.named(errs, f"{at}.appProtocol", protocol, names.qualified_name)


def _duplicate_ports(ports: Sequence[Obj], errs: FieldErrors) -> None:
    node_ports, numbers = set[tuple[str, int]](), set[tuple[str, int]]()
    for index, port in enumerate(ports):
        if node_port := port.get("nodePort"):
            key = (port.get("protocol", ""), node_port)
            if key in node_ports:
                errs.duplicate(f"spec.ports[{index}].nodePort", node_port)
            node_ports.add(key)
    for index, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in numbers:
            shown = {"protocol": key[0], "port": key[1], "targetPort": 0}
            errs.duplicate(f"spec.ports[{index}]", shown)
        numbers.add(key)


def _affinity(spec: Obj, errs: FieldErrors) -> None:
    affinity, config = spec.get("sessionAffinity", ""), spec.get("sessionAffinityConfig")
    at = "spec.sessionAffinityConfig"
    checks.one_of(errs, "spec.sessionAffinity", affinity, ("ClientIP", "None"))
    if affinity == "None" and config is not None:
        errs.forbidden(at, "must not be set when session affinity is None")
    if affinity == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            errs.required(at, "when session affinity type is ClientIP")
        elif not 0 < seconds <= MAX_AFFINITY_SECONDS:
            message = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
            errs.invalid(f"{at}.clientIP.timeoutSeconds", seconds, message)


def validate_addresses(spec: Obj, errs: FieldErrors) -> None:
    """Cluster addresses and families among themselves."""
    first, addresses = spec.get("clusterIP"), spec.get("clusterIPs") or []
    if first:
        if not addresses:
            errs.required("spec.clusterIPs")
        elif addresses[0] != first:
            errs.invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    elif addresses:
        errs.invalid("spec.clusterIPs", addresses, "must be empty when `clusterIP` is not specified")
    families = spec.get("ipFamilies") or ()
    for index, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            errs.not_supported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
        if family in families[:index]:
            errs.duplicate(f"spec.ipFamilies[{index}]", family)
    policy = spec.get("ipFamilyPolicy")
    if policy is not None and policy not in ("PreferDualStack", "RequireDualStack", "SingleStack"):
        allowed = ("PreferDualStack", "RequireDualStack", "SingleStack")
        errs.not_supported("spec.ipFamilyPolicy", policy, allowed)
    broken = False
    for index, address in enumerate(addresses):
        if index == 0 and address == "None":
            if len(addresses) > 1:
                broken = True
                errs.invalid("spec.clusterIPs", addresses, "'None' must be the first and only value")
        elif wrong := names.legacy_ip(address):
            broken = True
            checks.each(errs, f"spec.clusterIPs[{index}]", address, wrong)
    if len(addresses) > 2:
        errs.invalid("spec.clusterIPs", addresses, "may only hold up to 2 values")
    if broken or addresses == ["None"]:
        return
    versions = ["IPv6" if ":" in address else "IPv4" for address in addresses]
    if len(addresses) > 1 and len(set(versions)) < 2:
        errs.invalid("spec.clusterIPs", addresses, "may specify no more than one IP for each IP family")
    for index, (version, family) in enumerate(zip(versions, families, strict=False)):
        if version != family and family in ("IPv4", "IPv6"):
            article = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            errs.invalid(f"spec.clusterIPs[{index}]", addresses[index], article)


def _balancer(spec: Obj, annotations: Obj, errs: FieldErrors) -> None:
    balanced = spec.get("type") == "LoadBalancer"
    if ranges := spec.get("loadBalancerSourceRanges"):
        if not balanced:
            errs.forbidden("spec.LoadBalancerSourceRanges", ONLY_BALANCED)
        for index, text in enumerate(ranges):
            cidr = text.strip()
            checks.named(errs, f"spec.LoadBalancerSourceRanges[{index}]", cidr, names.legacy_cidr)
    elif (listed := annotations.get(SOURCE_RANGES)) is not None:
        at = f"metadata.annotations[{SOURCE_RANGES}]"
        if not balanced:
            errs.forbidden(at, ONLY_BALANCED)
        for text in listed.split(",") if listed.strip() else ():
            checks.named(errs, at, text.strip(), names.legacy_cidr)
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if allocate is not None and not balanced:
        errs.forbidden("spec.allocateLoadBalancerNodePorts", ONLY_BALANCED)
    if allocate is None and balanced:
        errs.required("allocateLoadBalancerNodePorts")
    if (name := spec.get("loadBalancerClass")) is not None:
        if balanced:
            checks.named(errs, "spec.loadBalancerClass", name, names.qualified_name)
        else:
            errs.forbidden("spec.loadBalancerClass", ONLY_BALANCED)


def _traffic(spec: Obj, errs: FieldErrors) -> None:
    policy = spec.get("externalTrafficPolicy")
    if externally_accessible(spec):
        checks.one_of(errs, "spec.externalTrafficPolicy", policy, POLICIES)
    elif policy:
        errs.invalid("spec.externalTrafficPolicy", policy, "may only be set for externally-accessible services")
    number = spec.get("healthCheckNodePort") or 0
    if _needs_health_check(spec):
        if number:
            checks.each(errs, "spec.healthCheckNodePort", number, names.port_num(number))
        else:
            errs.required("spec.healthCheckNodePort")
    elif number:
        message = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errs.invalid("spec.healthCheckNodePort", number, message)
    internal = spec.get("internalTrafficPolicy")
    if internal is None:
        if spec.get("type") in ("ClusterIP", "LoadBalancer", "NodePort"):
            errs.required("spec.internalTrafficPolicy")
    elif internal not in POLICIES:
        errs.not_supported("spec.internalTrafficPolicy", internal, POLICIES)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        errs.not_supported("spec.trafficDistribution", distribution, DISTRIBUTIONS)


def reachable_ip(address: str, path: str, errs: FieldErrors) -> None:
    """An address that other machines can send to."""
    ip = names.parse_ip(names.loose_ip(address))
    if ip is None:
        errs.invalid(path, address, "must be a valid IP address")
        return
    if ip.is_unspecified:
        errs.invalid(path, address, f"may not be unspecified ({address})")
    if ip.is_loopback:
        errs.invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)")
    if ip.is_link_local:
        errs.invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if ip.packed.startswith(b"\xe0\0\0" if ip.version == 4 else b"\xff\2"):
        errs.invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")


def validate_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    """The first address and family stay; a second one may come and go."""
    spec, before = new["spec"], old["spec"]
    if "ExternalName" not in (spec.get("type"), before.get("type")):
        headless, was_headless = is_headless(spec), is_headless(before)
        if not (headless and was_headless):
            _kept(spec, before, "clusterIPs", "clusterIP", errs)
        if not headless and not was_headless:
            _kept(spec, before, "ipFamilies", "ipFamily", errs)
    balanced, name = spec.get("type") == before.get("type") == "LoadBalancer", spec.get("loadBalancerClass")
    if balanced and name != before.get("loadBalancerClass"):
        errs.invalid("spec.loadBalancerClass", name, SET_ONCE)
    number, needed = spec.get("healthCheckNodePort"), _needs_health_check(spec) and _needs_health_check(before)
    if needed and number != before.get("healthCheckNodePort"):
        errs.forbidden("spec.healthCheckNodePort", "field is immutable")


def _kept(spec: Obj, before: Obj, field: str, one: str, errs: FieldErrors) -> None:
    now, was = spec.get(field) or [], before.get(field) or []
    if len(now) == len(was):
        for index, (value, had) in enumerate(zip(now, was, strict=True)):
            if value != had:
                errs.invalid(f"spec.{field}[{index if field == 'clusterIPs' else 0}]", now, SET_ONCE)
        return
    if was and not now:
        errs.invalid(f"spec.{field}[0]", now, f"primary {one} can not be unset")
    elif was and now[0] != was[0]:
        errs.invalid(f"spec.{field}[0]", now, SET_ONCE)
    if len(was) > len(now) == 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        message = f"must be set to 'SingleStack' when releasing the secondary {one}"
        errs.invalid("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), message)


def validate_status(status: Obj, old: Obj, kind: str, errs: FieldErrors) -> None:
    """The load balancer's points of entry; addresses that were there before are taken as they are."""
    points, at = (status.get("loadBalancer") or {}).get("ingress") or (), "status.loadBalancer.ingress"
    if points and kind != "LoadBalancer":
        errs.forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")
        return
    kept = {p.get("ip") for p in (old.get("loadBalancer") or {}).get("ingress") or ()}
    for index, point in enumerate(points):
        balancer_point(point, f"{at}[{index}]", kept, errs)
        mode, ip = point.get("ipMode"), point.get("ip")
        if mode is None and ip:
            errs.required(f"{at}[{index}].ipMode", "must be specified when `ip` is set")
        elif mode is not None and not ip:
            errs.forbidden(f"{at}[{index}].ipMode", "may not be specified when `ip` is not set")
        elif mode is not None and mode not in ("Proxy", "VIP"):
            errs.not_supported(f"{at}[{index}].ipMode", mode, ("Proxy", "VIP"))


def balancer_point(point: Obj, path: str, kept: set[str | None], errs: FieldErrors) -> None:
    """Address and host name of a load balancer, as services and ingresses have them."""
    if (ip := point.get("ip")) and ip not in kept:
        checks.named(errs, f"{path}.ip", ip, names.legacy_ip)
    if name := point.get("hostname"):
        checks.named(errs, f"{path}.hostname", name, names.dns1123_subdomain)
        if names.parse_ip(name) is not None:
            errs.invalid(f"{path}.hostname", name, "must be a DNS name, not an IP address")
