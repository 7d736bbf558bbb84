"""Defaults of pod specs, as upstream's core/v1 defaulting sets them. All functions change their argument in place."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from navarch.machinery.types import Obj

CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
DEFAULT_MODE = 0o644
MAX_REPOSITORY = 255
PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
VOLUME_MODES = ("secret", "configMap", "downwardAPI", "projected")
GATED_PROJECTIONS = ("clusterTrustBundle", "podCertificate")
"""Dropped, as upstream does while ClusterTrustBundleProjection and PodCertificateRequest are closed; so is `stopSignal`."""
_SCALAR_VOLUME_DEFAULTS: dict[str, Obj] = {
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def default_template(template: Obj) -> None:
    """A pod template: `spec` is made where it is missing."""
    default_spec(template.setdefault("spec", {}))


def default_spec(spec: Obj) -> None:
    """What a pod spec gets in a pod and in a template alike."""
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes") or ():
        _volume(volume)
    for field in CONTAINER_LISTS:
        for container in spec.get(field) or ():
            _container(container)


def default_pod_spec(spec: Obj) -> None:
    """What only a Pod's own spec gets, after `default_spec`: requests from limits, service links, host ports."""
    for container in _runnable(spec):
        resources = container.get("resources")
        if resources and (limits := resources.get("limits")):
            resources["requests"] = {**limits, **(resources.get("requests") or {})}
    if spec.get("resources"):
        from navarch.api.podspec.resources import default_pod_level

        default_pod_level(spec)
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True
    if spec.get("hostNetwork"):
        default_host_ports(spec)


def default_host_ports(spec: Obj) -> None:
    """On the host's network a container port is a host port."""
    for container in _runnable(spec):
        for port in container.get("ports") or ():
            if not port.get("hostPort"):
                port["hostPort"] = port.get("containerPort", 0)


def _runnable(spec: Obj) -> Iterator[Obj]:
    yield from spec.get("containers") or ()
    yield from spec.get("initContainers") or ()


@lru_cache(4096)
def pull_policy(image: str) -> str:
    """`Always` for an image of the tag `latest`, named or implied; an unreadable name is not of that tag."""
    name, at, _ = image.partition("@")
    host, slash, path = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost" or host.lower() != host):
        path = name
    head, _, last = path.rpartition("/")
    repository, colon, tag = last.partition(":")
    if not repository or head.lower() != head or repository.lower() != repository or " " in name:
        return "IfNotPresent"
    if len(path.removesuffix(f":{tag}") if colon else path) > MAX_REPOSITORY:
        return "IfNotPresent"
    latest = tag == "latest" if colon else not at
    return "Always" if latest else "IfNotPresent"


def _container(container: Obj) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    if container.get("resources") is None:
        container["resources"] = {}
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for env in container.get("env") or ():
        if source := env.get("valueFrom"):
            _field_ref(source)
            if (key := source.get("fileKeyRef")) and key.get("optional") is None:
                key["optional"] = False
    for name in PROBES:
        if (probe := container.get(name)) is not None:
            _probe(probe)
    if lifecycle := container.get("lifecycle"):
        if lifecycle.pop("stopSignal", None) is not None and not lifecycle:
            del container["lifecycle"]
        for handler in lifecycle.values():
            _http_get(handler)


def _probe(probe: Obj) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(field):
            probe[field] = value
    _http_get(probe)
    if (grpc := probe.get("grpc")) is not None and grpc.get("service") is None:
        grpc["service"] = ""


def _http_get(handler: Obj) -> None:
    if (get := handler.get("httpGet")) is not None:
        if not get.get("path"):
            get["path"] = "/"
        if not get.get("scheme"):
            get["scheme"] = "HTTP"


def _field_ref(source: Obj) -> None:
    if (ref := source.get("fieldRef")) is not None and not ref.get("apiVersion"):
        ref["apiVersion"] = "v1"


def _volume(volume: Obj) -> None:
    if not any(key != "name" and value is not None for key, value in volume.items()):
        volume["emptyDir"] = {}
        return
    for kind in VOLUME_MODES:
        if (source := volume.get(kind)) is not None and source.get("defaultMode") is None:
            source["defaultMode"] = DEFAULT_MODE
    if (source := volume.get("downwardAPI")) is not None:
        _downward_items(source)
    if (source := volume.get("projected")) is not None:
        _projected(source)
    if (source := volume.get("image")) is not None and not source.get("pullPolicy"):
        source["pullPolicy"] = pull_policy(source.get("reference") or "")
    if claim := (volume.get("ephemeral") or {}).get("volumeClaimTemplate"):
        claim_spec = claim.setdefault("spec", {})
        if claim_spec.get("volumeMode") is None:
            claim_spec["volumeMode"] = "Filesystem"
    default_sources(volume)


def default_sources(holder: Obj) -> None:
    """Of a pod's volume or a PersistentVolume's spec: the defaults of those sources that have the same in both."""
    if (source := holder.get("hostPath")) is not None and source.get("type") is None:
        source["type"] = ""
    for kind, values in _SCALAR_VOLUME_DEFAULTS.items():
        if (source := holder.get(kind)) is not None:
            for field, value in values.items():
                if source.get(field) is None or (kind != "azureDisk" and source[field] == ""):
                    source[field] = value


def _downward_items(source: Obj) -> None:
    for item in source.get("items") or ():
        _field_ref(item)


def _projected(projected: Obj) -> None:
    for source in projected.get("sources") or ():
        for name in GATED_PROJECTIONS:
            source.pop(name, None)
        if (downward := source.get("downwardAPI")) is not None:
            _downward_items(downward)
        if (token := source.get("serviceAccountToken")) is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = 3600
