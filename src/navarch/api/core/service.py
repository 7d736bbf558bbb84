"""Service: one name and address for the pods that a selector finds.

Addresses and node ports are allocated by apiserver/registry/service.py. Source: upstream's registry/core/service
strategy and core validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from navarch.api.addresswarnings import cidr_warnings, ip_warnings
from navarch.api.columns import AGE, NAME
from navarch.api.core.service_validation import (
    HINTS,
    MODE,
    externally_accessible,
    validate,
    validate_status,
    validate_update,
)
from navarch.api.kind import Column, Kind, Subresource, Version, status_of
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of, label_text
from navarch.machinery.types import Obj

CLUSTERED = ("ClusterIP", "NodePort", "LoadBalancer")
AFFINITY_SECONDS = 10800


def defaults(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    kind = spec.get("type")
    if not kind:
        kind = spec["type"] = "ClusterIP"
    _affinity(spec)
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port", 0)
    if not spec.get("externalTrafficPolicy") and externally_accessible(spec):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec.get("internalTrafficPolicy") is None and kind in CLUSTERED:
        spec["internalTrafficPolicy"] = "Cluster"
    if kind == "LoadBalancer":
        if spec.get("allocateLoadBalancerNodePorts") is None:
            spec["allocateLoadBalancerNodePorts"] = True
        for ingress in ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip") and ingress.get("ipMode") is None:
                ingress["ipMode"] = "VIP"


def _affinity(spec: Obj) -> None:
    affinity = spec.get("sessionAffinity")
    if not affinity:
        affinity = spec["sessionAffinity"] = "None"
    if affinity == "None":
        spec.pop("sessionAffinityConfig", None)
    elif affinity == "ClientIP":
        config = (spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}
        if config.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}


def prepare_create(obj: Obj) -> None:
    obj["status"] = {"loadBalancer": {}}
    _no_inner_traffic(obj["spec"])


def _no_inner_traffic(spec: Obj) -> None:
    """What is only a name outside has no traffic within; upstream does not show what it keeps of it."""
    if spec.get("type") == "ExternalName":
        spec.pop("internalTrafficPolicy", None)


def _same(new: Obj, old: Obj, *fields: str) -> bool:
    return all((new.get(field) or None) == (old.get(field) or None) for field in fields)


def _drop(spec: Obj, *fields: str) -> None:
    for field in fields:
        spec.pop(field, None)


def prepare_update(new: Obj, old: Obj) -> None:
    """A change of type drops what the new type has no use for, unless the client changed that as well."""
    spec, before = new["spec"], old["spec"]
    kind, was = spec.get("type"), before.get("type")
    _no_inner_traffic(spec)
    if kind == was and externally_accessible(spec) == externally_accessible(before):
        return
    if kind == "ExternalName" != was:
        if _same(spec, before, "clusterIP", "clusterIPs"):
            _drop(spec, "clusterIP", "clusterIPs")
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if _same(spec, before, field):
                _drop(spec, field)
    ported = ("NodePort", "LoadBalancer")
    if was in ported and kind not in ported:
        had = {port.get("nodePort") for port in before.get("ports") or ()}
        if all(port.get("nodePort", 0) in had for port in spec.get("ports") or () if port.get("nodePort")):
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
    if was == "LoadBalancer" != kind:
        for field in ("allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"):
            if _same(spec, before, field):
                _drop(spec, field)
    accessible = externally_accessible(spec) or not externally_accessible(before)
    if not accessible and _same(spec, before, "externalTrafficPolicy"):
        _drop(spec, "externalTrafficPolicy")
    if kind != "LoadBalancer" and (new.get("status") or {}).get("loadBalancer"):
        new["status"] = {**new["status"], "loadBalancer": {}}


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    validate_status(new.get("status") or {}, old.get("status") or {}, new["spec"].get("type", ""), errs)


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    spec, found = obj["spec"], list[str]()
    kind, external = spec.get("type"), spec.get("externalIPs")
    if HINTS in (obj["metadata"].get("annotations") or {}):
        found.append(f"annotation {HINTS} is deprecated, please use {MODE} instead")
    if kind != "ExternalName" and spec.get("clusterIP") != "None":
        for index, address in enumerate(spec.get("clusterIPs") or ()):
            found += ip_warnings(f"spec.clusterIPs[{index}]", address)
    headless = kind == "ClusterIP" and spec.get("clusterIP") == "None"
    if headless:
        if spec.get("loadBalancerIP"):
            found.append("spec.loadBalancerIP is ignored for headless services")
        if external:
            found.append("spec.externalIPs is ignored for headless services")
        if spec.get("sessionAffinity") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    for index, address in enumerate(external or ()):
        found += ip_warnings(f"spec.externalIPs[{index}]", address)
    if external and kind != "ExternalName" and not headless:
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if address := spec.get("loadBalancerIP"):
        found += ip_warnings("spec.loadBalancerIP", address)
    for index, text in enumerate(spec.get("loadBalancerSourceRanges") or ()):
        found += cidr_warnings(f"spec.loadBalancerSourceRanges[{index}]", text)
    if external and kind == "ExternalName":
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if kind != "ExternalName" and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def fields(obj: Obj) -> Mapping[str, str]:
    spec = obj.get("spec") or {}
    return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}


def _external(obj: Obj) -> str:
    spec = obj["spec"]
    kind, addresses = spec.get("type"), list(spec.get("externalIPs") or ())
    if kind == "ExternalName":
        return spec.get("externalName", "")
    if kind == "LoadBalancer":
        points = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        found = sorted({p.get("ip") or p.get("hostname") or "" for p in points} - {""})
        return ",".join(found + addresses) or "<pending>"
    return ",".join(addresses) or NONE


def _port(port: Obj) -> str:
    node_port = f":{number}" if (number := port.get("nodePort")) else ""
    return f"{port.get('port', 0)}{node_port}/{port.get('protocol', '')}"


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj["spec"]
    addresses = spec.get("clusterIPs")
    return [
        obj["metadata"]["name"],
        spec.get("type", ""),
        addresses[0] if addresses else NONE,
        _external(obj),
        ",".join(map(_port, spec.get("ports") or ())) or NONE,
        age_of(obj, now),
        label_text(spec.get("selector")),
    ]


KIND = Kind(
    kind="Service",
    plural="services",
    short_names=("svc",),
    categories=("all",),
    versions=(Version(group="", version="v1", definition="io.k8s.api.core.v1.Service"),),
    subresources=(
        Subresource(name="proxy", kind="ServiceProxyOptions", verbs=("create", "delete", "get", "patch", "update")),
        status_of("Service"),
    ),
    defaults=defaults,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    warnings=warnings,
    name_is_valid=names.dns1123_label,
    allow_create_on_update=True,
    columns=(
        NAME,
        Column(name="Type", description="How the service is reached."),
        Column(name="Cluster-IP", description="The address within the cluster."),
        Column(name="External-IP", description="Addresses from outside."),
        Column(name="Port(s)", description="Ports, node ports and protocols."),
        AGE,
        Column(name="Selector", description="Which pods stand behind the service.", priority=1),
    ),
    row=row,
    fields=fields,
)
