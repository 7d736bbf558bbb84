"""The environment of a container: services, sources, values, and $(NAME) in them. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from navarch.kubelet import envfile
from navarch.machinery.gotext import quoted
from navarch.machinery.quantity import Quantity
from navarch.machinery.trees import get
from navarch.machinery.types import Obj

REFERENCE = re.compile(r"\$(?:\$|\(([^()\s]*)\))")


class ConfigError(Exception):
    """A container cannot be configured: what it refers to is missing or wrong (CreateContainerConfigError)."""


Look = Callable[[str, str], "Obj | None"]
"""(kind, name) -> the ConfigMap or Secret of the pod's namespace, or None."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """$(NAME) becomes its value where there is one, $$ a dollar sign; everything else stays."""

    def one(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return values.get(match.group(1), match.group(0))

    return REFERENCE.sub(one, text)


def service_variables(services: Iterable[Obj], namespace: str, links: bool) -> dict[str, str]:
    """The variables that name services: those of the namespace, and always the API server's."""
    found: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        is_api = meta["namespace"] == "default" and meta["name"] == "kubernetes"
        if not (is_api or (links and meta["namespace"] == namespace)):
            continue
        address = spec.get("clusterIP")
        ports = spec.get("ports") or []
        if not ports or address in (None, "", "None"):
            continue
        name = meta["name"].upper().replace("-", "_")
        found[f"{name}_SERVICE_HOST"] = address
        found[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        for port in ports:
            if port.get("name"):
                found[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
        found |= _link_variables(name, address, ports)
    return found


def _link_variables(name: str, address: str, ports: Iterable[Obj]) -> dict[str, str]:
    """Docker's link variables."""
    found: dict[str, str] = {}
    for index, port in enumerate(ports):
        protocol = port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{address}:{port['port']}"
        if index == 0:
            found[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{port['port']}_{protocol}"
        found |= {
            prefix: url,
            f"{prefix}_PROTO": protocol.lower(),
            f"{prefix}_PORT": str(port["port"]),
            f"{prefix}_ADDR": address,
        }
    return found


def environment(
    container: Obj,
    pod: Obj,
    services: Mapping[str, str],
    look: Look,
    node: Mapping[str, Any],
    volumes: Mapping[str, Path] | None = None,
) -> dict[str, str]:
    """The container's variables in upstream's precedence. `node`: allocatable amounts for resourceFieldRef; `volumes`:
    where the pod's are, for fileKeyRef. Raises ConfigError."""
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        found |= _from_source(source, look)
    for entry in container.get("env") or []:
        if entry.get("valueFrom"):
            if key := entry["valueFrom"].get("fileKeyRef"):
                value = _from_file(key, volumes or {})
            else:
                value = _from_reference(entry["valueFrom"], container, pod, look, node)
            if value is not None:
                found[entry["name"]] = value
        else:
            found[entry["name"]] = expand(entry.get("value", ""), {**services, **found})
    return {**services, **found}


def _from_file(key: Obj, volumes: Mapping[str, Path]) -> str | None:
    """Raises ConfigError."""
    root, path = volumes.get(key["volumeName"]), key["path"]
    if root is None:
        raise ConfigError(f'cannot find the volume "{key["volumeName"]}" referenced by FileKeyRef')
    try:
        value = envfile.parse(envfile.read(root, path), key["key"])
    except (OSError, ValueError):
        raise ConfigError("couldn't parse env file") from None
    if not value and not key.get("optional"):
        raise ConfigError(f'environment variable key "{key["key"]}" not found in file "{root / path}"')
    return value or None


def _from_source(source: Obj, look: Look) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for field, kind, named in (("configMapRef", "ConfigMap", "configmap"), ("secretRef", "Secret", "secret")):
        reference = source.get(field)
        if reference is None:
            continue
        obj = look(kind, reference["name"])
        if obj is None:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'{named} "{reference["name"]}" not found')
        return {prefix + key: value for key, value in _texts(obj).items()}
    return {}


def _texts(obj: Obj) -> dict[str, str]:
    if obj["kind"] == "Secret":
        return {key: decoded(value).decode(errors="replace") for key, value in (obj.get("data") or {}).items()}
    return obj.get("data") or {}


def decoded(text: str) -> bytes:
    """A Secret's value."""
    import base64

    return base64.b64decode(text)


def _from_reference(reference: Obj, container: Obj, pod: Obj, look: Look, node: Mapping[str, Any]) -> str | None:
    if field := reference.get("fieldRef"):
        return field_value(pod, field["fieldPath"])
    if resource := reference.get("resourceFieldRef"):
        return resource_value(pod, resource, container, node)
    for name, kind, named in (("configMapKeyRef", "ConfigMap", "configmap"), ("secretKeyRef", "Secret", "secret")):
        if key := reference.get(name):
            obj = look(kind, key["name"])
            if obj is None:
                if key.get("optional"):
                    return None
                raise ConfigError(f'{named} "{key["name"]}" not found')
            values = _texts(obj)
            if key["key"] not in values:
                if key.get("optional"):
                    return None
                where = f"{pod['metadata']['namespace']}/{key['name']}"
                raise ConfigError(f"couldn't find key {key['key']} in {kind} {where}")
            return values[key["key"]]
    return None


def field_value(pod: Obj, path: str) -> str:
    """A field of the downward API, as text. Raises ConfigError."""
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.*)'\]", path):
        return (meta.get(match.group(1)) or {}).get(match.group(2), "")
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return meta[path.partition(".")[2]]
        case "metadata.labels" | "metadata.annotations":
            values = meta.get(path.partition(".")[2]) or {}
            return "\n".join(f"{key}={quoted(value)}" for key, value in sorted(values.items()))
        case "spec.nodeName":
            return spec.get("nodeName", "")
        case "spec.serviceAccountName":
            return spec.get("serviceAccountName", "")
        case "status.hostIP" | "status.podIP":
            return status.get(path.partition(".")[2], "")
        case "status.hostIPs" | "status.podIPs":
            return ",".join(entry["ip"] for entry in status.get(path.partition(".")[2]) or [])
        case _:
            raise ConfigError(f"unsupported fieldPath: {path}")


def resource_value(pod: Obj, reference: Obj, container: Obj | None, node: Mapping[str, Any]) -> str:
    """limits.cpu and its kin, divided and rounded up; the node's amount where there is no limit."""
    name = reference.get("containerName")
    if name:
        everything = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]
        container = next((c for c in everything if c["name"] == name), None)
    if container is None:
        raise ConfigError(f"container {name} not found")
    kind, _, resource = reference["resource"].partition(".")
    text = get(container, "resources", kind, resource)
    if text is None:
        text = node.get(resource, "0") if kind == "limits" else "0"
    divisor = reference.get("divisor") or "1"
    if str(divisor) == "0":
        divisor = "1"
    amount, unit = Quantity.parse(str(text)), Quantity.parse(str(divisor))
    if resource == "cpu":
        return str(-(-amount.milli() // max(unit.milli(), 1)))
    return str(-(-amount.value() // max(unit.value(), 1)))
