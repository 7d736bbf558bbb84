"""Ingress: HTTP routes into the cluster, by host and path. Source: apis/networking defaults, conversion and validation."""

from __future__ import annotations

from typing import Any

from navarch.api.columns import AGE, NAME
from navarch.api.kind import Column, Kind, Version, status_of
from navarch.api.podspec import checks
from navarch.api.retired import retired
from navarch.machinery import names
from navarch.machinery.errors import FieldErrors
from navarch.machinery.tables import NONE, age_of
from navarch.machinery.types import Obj

CLASS = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_PATH_PARTS = ("//", "/./", "/../", "%2f", "%2F")
BAD_PATH_ENDS = ("/..", "/.")


# -- the retired versions


def _paths(spec: Obj) -> list[Obj]:
    return [path for rule in spec.get("rules") or () for path in (rule.get("http") or {}).get("paths") or ()]


def retired_defaults(obj: Obj) -> None:
    for path in _paths(obj.get("spec") or {}):
        if path.get("pathType") is None:
            path["pathType"] = "ImplementationSpecific"


def _new_backend(backend: Obj) -> Obj:
    made = {k: v for k, v in backend.items() if k not in ("serviceName", "servicePort")}
    if backend.get("serviceName") or backend.get("servicePort"):
        port = backend.get("servicePort")
        named = {"name": port} if isinstance(port, str) else {"number": port or 0}
        made["service"] = {"name": backend.get("serviceName", ""), "port": named}
    return made


def _old_backend(backend: Obj) -> Obj:
    made = {k: v for k, v in backend.items() if k != "service"}
    if (service := backend.get("service")) is not None:
        port = service.get("port") or {}
        made |= {"serviceName": service.get("name", ""), "servicePort": port.get("name") or port.get("number", 0)}
    return made


def decode(obj: Obj) -> Obj:
    """From the retired form: backends by serviceName and servicePort, the default one called `backend`."""
    spec = obj.get("spec") or {}
    if (backend := spec.pop("backend", None)) is not None:
        spec["defaultBackend"] = _new_backend(backend)
    for path in _paths(spec):
        path["backend"] = _new_backend(path.get("backend") or {})
    return obj


def encode(obj: Obj) -> Obj:
    spec = dict(obj.get("spec") or {})
    if (backend := spec.pop("defaultBackend", None)) is not None:
        spec["backend"] = _old_backend(backend)
    if spec.get("rules"):
        spec["rules"] = [_old_rule(rule) for rule in spec["rules"]]
    return {**obj, "spec": spec}


def _old_rule(rule: Obj) -> Obj:
    if not rule.get("http"):
        return rule
    paths = [{**path, "backend": _old_backend(path.get("backend") or {})} for path in rule["http"].get("paths") or ()]
    return {**rule, "http": {**rule["http"], "paths": paths}}


# -- validation


def validate(obj: Obj, errs: FieldErrors) -> None:
    spec = obj.get("spec") or {}
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        errs.invalid("spec", spec.get("rules"), "either `defaultBackend` or `rules` must be specified")
    if (backend := spec.get("defaultBackend")) is not None:
        _backend(backend, "spec.defaultBackend", errs)
    for index, rule in enumerate(spec.get("rules") or ()):
        _rule(rule, f"spec.rules[{index}]", errs)
    for index, tls in enumerate(spec.get("tls") or ()):
        for position, host in enumerate(tls.get("hosts") or ()):
            _host(host, f"spec.tls[{index}].hosts[{position}]", errs)
        if secret := tls.get("secretName"):
            checks.named(errs, f"spec.tls[{index}].secretName", secret, names.dns1123_subdomain)
    if (name := spec.get("ingressClassName")) is not None:
        checks.named(errs, "spec.ingressClassName", name, names.dns1123_subdomain)


def _host(host: str, at: str, errs: FieldErrors) -> None:
    rule = names.wildcard_dns1123_subdomain if "*" in host else names.dns1123_subdomain
    checks.named(errs, at, host, rule)


def _rule(rule: Obj, at: str, errs: FieldErrors) -> None:
    host = rule.get("host", "")
    if host:
        if names.parse_ip(host) is not None:
            errs.invalid(f"{at}.host", host, "must be a DNS name, not an IP address")
        _host(host, f"{at}.host", errs)
    http = rule.get("http")
    if http is None:
        return
    if not http.get("paths"):
        errs.required(f"{at}.http.paths", "")
    for index, path in enumerate(http.get("paths") or ()):
        where = f"{at}.http.paths[{index}]"
        if path.get("pathType") is None:
            errs.required(f"{where}.pathType", "pathType must be specified")
            continue
        _path(path, where, errs)
        _backend(path.get("backend") or {}, f"{where}.backend", errs)


def _path(path: Obj, at: str, errs: FieldErrors) -> None:
    kind, text = path.get("pathType"), path.get("path", "")
    if kind not in PATH_TYPES:
        errs.not_supported(f"{at}.pathType", kind, PATH_TYPES)
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            errs.invalid(f"{at}.path", text, "must be an absolute path")
    else:
        if not text.startswith("/"):
            errs.invalid(f"{at}.path", text, "must be an absolute path")
        for part in BAD_PATH_PARTS:
            if part in text:
                errs.invalid(f"{at}.path", text, f"must not contain '{part}'")
        for end in BAD_PATH_ENDS:
            if text.endswith(end):
                errs.invalid(f"{at}.path", text, f"cannot end with '{end}'")


def _backend(backend: Obj, at: str, errs: FieldErrors) -> None:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        errs.invalid(at, "", "cannot set both resource and service backends")
    elif resource is not None:
        typed_reference(resource, f"{at}.resource", errs)
    elif service is None:
        errs.invalid(at, "", "resource or service backend is required")
    else:
        _service(service, at, errs)


def typed_reference(reference: Obj, at: str, errs: FieldErrors) -> None:
    """A group, kind and name."""
    if (group := reference.get("apiGroup")) is not None:
        checks.named(errs, f"{at}.apiGroup", group, names.dns1123_subdomain)
    for field in ("kind", "name"):
        if value := reference.get(field):
            checks.named(errs, f"{at}.{field}", value, names.path_segment)
        else:
            errs.required(f"{at}.{field}")


def _service(service: Obj, at: str, errs: FieldErrors) -> None:
    name, port = service.get("name", ""), service.get("port") or {}
    if not name:
        errs.required(f"{at}.service.name", "")
    else:
        checks.named(errs, f"{at}.service.name", name, names.dns1123_label)
    number, called = port.get("number", 0), port.get("name", "")
    if number and called:
        errs.invalid(at, "", "cannot set both port name & port number")
    elif not number and not called:
        errs.required(at, "port name or number is required")
    elif called:
        checks.named(errs, f"{at}.service.port.name", called, names.port_name)
    else:
        checks.each(errs, f"{at}.service.port.number", number, names.port_num(number))


def validate_create(obj: Obj, errs: FieldErrors) -> None:
    """The class in the annotation of old and in the field agree."""
    annotation = (obj["metadata"].get("annotations") or {}).get(CLASS)
    name = (obj.get("spec") or {}).get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        errs.invalid(f"annotations.{CLASS}", annotation, "must match `ingressClassName` when both are specified")


def validate_status_update(new: Obj, old: Obj, errs: FieldErrors) -> None:
    known = {point.get("ip") for point in _points(old)}
    for index, point in enumerate(_points(new)):
        at, address, hostname = f"status.loadBalancer.ingress[{index}]", point.get("ip", ""), point.get("hostname", "")
        if address and address not in known:
            checks.named(errs, f"{at}.ip", address, names.legacy_ip)
        if hostname:
            checks.named(errs, f"{at}.hostname", hostname, names.dns1123_subdomain)
            if names.parse_ip(hostname) is not None:
                errs.invalid(f"{at}.hostname", hostname, "must be a DNS name, not an IP address")


def _points(obj: Obj) -> list[Obj]:
    """Where a load balancer serves it."""
    return ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    annotations, spec = obj["metadata"].get("annotations") or {}, obj.get("spec") or {}
    if old is not None or CLASS not in annotations or spec.get("ingressClassName") is not None:
        return []
    return [f"annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead"]


# -- printing


def hosts_cell(rules: list[Obj]) -> str:
    found = [rule["host"] for rule in rules if rule.get("host")]
    if not found:
        return "*"
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")


def row(obj: Obj, now: float) -> list[Any]:
    spec = obj.get("spec") or {}
    annotation = (obj["metadata"].get("annotations") or {}).get(CLASS)
    return [
        obj["metadata"]["name"],
        spec.get("ingressClassName") or annotation or NONE,
        hosts_cell(spec.get("rules") or []),
        ",".join(point.get("ip") or point.get("hostname") or "" for point in _points(obj)),
        "80, 443" if spec.get("tls") else "80",
        age_of(obj, now),
    ]


def _retired(group: str, since: str) -> Version:
    return retired(
        group,
        "v1beta1",
        "Ingress",
        since,
        "1.22",
        "networking.k8s.io/v1",
        defaults=retired_defaults,
        decode=decode,
        encode=encode,
        validate_create=validate_create,
    )


KIND = Kind(
    kind="Ingress",
    plural="ingresses",
    short_names=("ing",),
    versions=(
        Version(
            group="networking.k8s.io",
            version="v1",
            definition="io.k8s.api.networking.v1.Ingress",
            validate_create=validate_create,
        ),
        _retired("networking.k8s.io", "1.19"),
        _retired("extensions", "1.14"),
    ),
    subresources=(status_of("Ingress"),),
    validate=validate,
    validate_status_update=validate_status_update,
    warnings=warnings,
    has_generation=True,
    columns=(
        NAME,
        Column(name="Class", description="Which controller serves it."),
        Column(name="Hosts", description="The hosts that it routes."),
        Column(name="Address", description="Where it is reached."),
        Column(name="Ports", description="The ports that are open."),
        AGE,
    ),
    row=row,
)
