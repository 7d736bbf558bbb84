"""What a pod spec is warned of although it is valid. Source: upstream's api/pod warnings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from navarch.api.addresswarnings import ip_warnings
from navarch.api.nodelabels import DEPRECATED, selector_warnings
from navarch.api.podspec.scheduling import PREFERRED, REQUIRED
from navarch.machinery import names
from navarch.machinery.memo import Memo
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

GONE_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
GONE_PATHS = {"storageos": "storageOS"}
GONE_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
NO_SELECTOR = "a null labelSelector results in matching no pod"
WHOLE_BYTES = ("memory", "ephemeral-storage")
NEGATIVE_GRACE = "must be >= 0; negative values are invalid and will be treated as 1"


_pods: Memo[list[str]] = Memo(256)


def pod_warnings(obj: Obj, old: Obj | None) -> list[str]:
    """Of new pods: people seldom change pods themselves, and others do so often."""
    if old is not None:
        return []
    spec, annotations = obj["spec"], obj["metadata"].get("annotations")
    key = _pods.key([spec, annotations])
    found = _pods.get(key)
    if found is None:
        found = list(_spec(spec, obj["metadata"], "", False))
        _pods.put(key, found)
    return found


def workload_warnings(obj: Obj, old: Obj | None) -> list[str]:
    """Of kinds with a template at spec.template; only where the template has changed."""
    template = obj["spec"].get("template")
    if not template or (old is not None and old["spec"].get("template") == template):
        return []
    return template_warnings(template, "spec.template.")


def template_warnings(template: Obj, path: str) -> list[str]:
    """`path` ends with a dot."""
    return list(_spec(template.get("spec") or {}, template.get("metadata") or {}, path, True))


def _spec(spec: Obj, meta: Obj, path: str, template: bool) -> Iterator[str]:
    annotations: Obj = meta.get("annotations") or {}
    yield from _selection(spec, f"{path}spec")
    for key in annotations:
        if message := GONE_ANNOTATIONS.get(key):
            yield f"{path}metadata.annotations[{key}]: {message}"
    for index, volume in enumerate(spec.get("volumes") or ()):
        for name, message in GONE_VOLUMES.items():
            if volume.get(name) is not None:
                yield f"{path}spec.volumes[{index}].{GONE_PATHS.get(name, name)}: {message}"
        if (projected := volume.get("projected")) is not None:
            yield from _projected(volume["name"], projected)
    yield from _duplicates(spec.get("hostAliases") or (), "ip", f"{path}spec.hostAliases")
    secrets: Sequence[Obj] = spec.get("imagePullSecrets") or ()
    yield from _duplicates(secrets, "name", f"{path}spec.imagePullSecrets")
    for index, secret in enumerate(secrets):
        if not secret.get("name"):
            yield f'{path}spec.imagePullSecrets[{index}].name: invalid empty name ""'
    yield from _fractions(spec.get("overhead"), f"{path}spec.overhead")
    for at, container in _containers(spec, f"{path}spec"):
        key, own = APP_ARMOR + container.get("name", ""), container.get("securityContext") or {}
        if template and key in annotations and not own.get("appArmorProfile"):
            yield f'{path}metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'
        yield from _container(container, at)
    yield from _ports(list(_containers(spec, f"{path}spec")))
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        yield f"{path}spec.terminationGracePeriodSeconds: {NEGATIVE_GRACE}"
    yield from _affinities(spec.get("affinity") or {}, f"{path}spec.affinity")
    for index, server in enumerate((spec.get("dnsConfig") or {}).get("nameservers") or ()):
        yield from ip_warnings(f"{path}spec.dnsConfig.nameservers[{index}]", server)
    for index, alias in enumerate(spec.get("hostAliases") or ()):
        yield from ip_warnings(f"{path}spec.hostAliases[{index}].ip", alias.get("ip", ""))


def _containers(spec: Obj, path: str) -> Iterator[tuple[str, Obj]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield f"{path}.{field}[{index}]", container


def _selection(spec: Obj, path: str) -> Iterator[str]:
    for key in spec.get("nodeSelector") or ():
        if message := DEPRECATED.get(key):
            yield f"{path}.nodeSelector[{key}]: {message}"
    if affinity := (spec.get("affinity") or {}).get("nodeAffinity"):
        yield from _node_affinity(affinity, f"{path}.affinity.nodeAffinity")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or ()):
        at, key = f"{path}.topologySpreadConstraints[{index}]", constraint.get("topologyKey", "")
        if message := DEPRECATED.get(key):
            yield f"{at}.topologyKey: {key} is {message}"
        if constraint.get("labelSelector") is None:
            yield f"{at}.labelSelector: {NO_SELECTOR}"


def _node_affinity(affinity: Obj, path: str) -> Iterator[str]:
    """Of labels that nodes should no longer be chosen by, and of values that no label has."""
    required: Sequence[Obj] = (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()
    for index, term in enumerate(required):
        yield from selector_warnings(term, f"{path}.{REQUIRED}.nodeSelectorTerms[{index}]")
    for index, weighted in enumerate(affinity.get(PREFERRED) or ()):
        preference: Obj = weighted.get("preference") or {}
        at = f"{path}.{PREFERRED}[{index}].preference"
        yield from selector_warnings(preference, at)
        for number, term in enumerate(preference.get("matchExpressions") or ()):
            for position, value in enumerate(term.get("values") or ()):
                for wrong in names.label_value(value):
                    yield f"{at}.matchExpressions[{number}].values[{position}]: {value} is invalid, {wrong}"


def _projected(volume: str, projected: Obj) -> Iterator[str]:
    """Sources that are none, and tokens that are put in one place."""
    sources: Sequence[Obj] = projected.get("sources") or ()
    paths: list[str] = []
    for source in sources:
        if not any(value is not None for value in source.values()):
            yield f'volume "{volume}" (Projected) has no sources provided'
        path = (source.get("serviceAccountToken") or {}).get("path", "")
        if path and path in paths:
            both = f'"{path}" (ServiceAccountToken) with "{path}" (ServiceAccountToken)'
            yield f'volume "{volume}" (Projected): overlapping paths: {both}'
        paths.append(path)


def _duplicates(items: Sequence[Obj], field: str, path: str) -> Iterator[str]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        value = item.get(field, "")
        if value in seen:
            yield f'{path}[{index}].{field}: duplicate {field} "{value}"'
        seen.add(value)


def _fractions(amounts: Obj | None, path: str) -> Iterator[str]:
    for name in WHOLE_BYTES:
        if (text := (amounts or {}).get(name)) is not None and Quantity.of(text).nano % 10**9:
            yield f'{path}[{name}]: fractional byte value "{text}" is invalid, must be an integer'


def _container(container: Obj, path: str) -> Iterator[str]:
    resources = container.get("resources") or {}
    for name in WHOLE_BYTES:
        for side in ("limits", "requests"):
            amount = {name: found} if (found := (resources.get(side) or {}).get(name)) is not None else None
            yield from _fractions(amount, f"{path}.resources.{side}")
    seen: set[str] = set()
    for index, variable in enumerate(container.get("env") or ()):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        hides = variable.get("valueFrom") is not None or value == reference or reference not in value
        if name in seen and hides:
            yield f'{path}.env[{index}]: hides previous definition of "{name}", which may be dropped when using apply'
        seen.add(name)


def _ports(containers: Sequence[tuple[str, Obj]]) -> Iterator[str]:
    ports = [(f"{at}.ports[{i}]", port) for at, c in containers for i, port in enumerate(c.get("ports") or ())]
    for number, (at, port) in enumerate(ports):
        host, address = port.get("hostPort") or 0, port.get("hostIP") or ""
        if address and not host:
            shown = (
                f"{{Name:{port.get('name', '')} HostPort:0 ContainerPort:{port.get('containerPort', 0)} "
                f"Protocol:{port.get('protocol', '')} HostIP:{address}}}"
            )
            yield f"{at}: hostIP set without hostPort: {shown}"
        for other_at, other in ports[:number]:
            if any(port.get(field) != other.get(field) for field in ("containerPort", "protocol")):
                continue
            other_host, other_address = other.get("hostPort") or 0, other.get("hostIP") or ""
            if host == other_host and address == other_address:
                yield f"{at}: duplicate port definition with {other_at}"
            elif not host or not other_host:
                yield f"{at}: overlapping port definition with {other_at}"
            elif host == other_host and bool(address) != bool(other_address):
                yield f"{at}: dangerously ambiguous port definition with {other_at}"
    named: dict[str, str] = {}
    for at, port in ports:
        if (name := port.get("name")) and (first := named.setdefault(name, at)) != at:
            rest = f"services and probes that select ports by name will use {first}"
            yield f'{at}: duplicate port name "{name}" with {first}, {rest}'


def _affinities(affinity: Obj, path: str) -> Iterator[str]:
    for kind in ("podAffinity", "podAntiAffinity"):
        terms: Obj = affinity.get(kind) or {}
        for index, term in enumerate(terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            if term.get("labelSelector") is None:
                at = f"{path}.{kind}.requiredDuringSchedulingIgnoredDuringExecution[{index}]"
                yield f"{at}.labelSelector: {NO_SELECTOR}"
        for index, weighted in enumerate(terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            if (weighted.get("podAffinityTerm") or {}).get("labelSelector") is None:
                at = f"{path}.{kind}.preferredDuringSchedulingIgnoredDuringExecution[{index}].podAffinityTerm"
                yield f"{at}.labelSelector: {NO_SELECTOR}"
