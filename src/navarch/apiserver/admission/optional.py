"""Plugins that are off unless --enable-admission-plugins names them. Sources: plugin/pkg/admission (alwayspullimages,
antiaffinity, deny, extendedresourcetoleration, namespace/autoprovision, namespace/exists, network/denyserviceexternalips,
podnodeselector)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from navarch.api.podspec.resources import amounts
from navarch.api.resourcenames import is_extended
from navarch.apiserver.admission.chain import PODS, BasePlugin, aggregated, creates_pod, refuse
from navarch.apiserver.admission.interface import AdmissionRequest
from navarch.apiserver.watchcache import CacheSet
from navarch.client import resources
from navarch.client.interface import Client
from navarch.machinery import errors
from navarch.machinery.errors import FieldErrors, StatusError
from navarch.machinery.types import GroupResource, Obj

NAMESPACES, SERVICES = GroupResource("", "namespaces"), GroupResource("", "services")
HOSTNAME = "kubernetes.io/hostname"
SELECTOR = "scheduler.alpha.kubernetes.io/node-selector"
CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


class AlwaysAdmit(BasePlugin):
    name = "AlwaysAdmit"

    def concerns(self, request: AdmissionRequest) -> bool:
        return False


class AlwaysDeny(BasePlugin):
    name = "AlwaysDeny"

    async def admit(self, request: AdmissionRequest) -> None:
        raise refuse(request, "admission control is denying all modifications")

    async def validate(self, request: AdmissionRequest) -> None:
        raise refuse(request, "admission control is denying all modifications")


class NamespaceAutoProvision(BasePlugin):
    """A namespace comes with the first object in it."""

    name = "NamespaceAutoProvision"

    def __init__(self, caches: CacheSet, client: Callable[[], Client]) -> None:
        self._namespaces, self._client = caches[NAMESPACES], client

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.kind.namespaced and request.operation == "CREATE"

    async def admit(self, request: AdmissionRequest) -> None:
        name = request.namespace
        if request.dry_run or not name or self._namespaces.get("", name) is not None:
            return
        try:
            await self._client().create(resources.NAMESPACES, {"metadata": {"name": name}})
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise refuse(request, error.message) from None


class NamespaceExists(BasePlugin):
    name = "NamespaceExists"

    def __init__(self, caches: CacheSet) -> None:
        self._namespaces = caches[NAMESPACES]

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.kind.namespaced

    async def validate(self, request: AdmissionRequest) -> None:
        if request.namespace and self._namespaces.get("", request.namespace) is None:
            raise errors.not_found(NAMESPACES, request.namespace)


class AlwaysPullImages(BasePlugin):
    """Images are pulled with the pod's own credentials, though the node may have them."""

    name = "AlwaysPullImages"

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == PODS and not request.subresource and request.operation in ("CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        if _brings_images(request):
            spec = request.object["spec"]
            for _, container in _containers(spec):
                container["imagePullPolicy"] = "Always"
            for volume in spec.get("volumes") or ():
                if (image := volume.get("image")) is not None:
                    volume["image"] = {**image, "pullPolicy": "Always"}

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        if not _brings_images(request):
            return
        errs = FieldErrors()
        for path, container in _containers(request.object["spec"]):
            if container.get("imagePullPolicy") != "Always":
                errs.not_supported(f"{path}.imagePullPolicy", container.get("imagePullPolicy", ""), ["Always"])
        if errs:
            error = refuse(request, "")
            error.message = aggregated(refuse(request, str(item)).message for item in errs.items)
            raise error


def _containers(spec: Obj) -> Iterator[tuple[str, Obj]]:
    for field in CONTAINERS:
        for index, container in enumerate(spec.get(field) or ()):
            yield f"spec.{field}[{index}]", container


def _brings_images(request: AdmissionRequest) -> bool:
    if request.old is None or request.object is None:
        return True
    old = {container.get("image") for _, container in _containers(request.old["spec"])}
    return any(container.get("image") not in old for _, container in _containers(request.object["spec"]))


class LimitPodHardAntiAffinityTopology(BasePlugin):
    """Nobody may keep others from whole zones."""

    name = "LimitPodHardAntiAffinityTopology"

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == PODS and not request.subresource and request.operation in ("CREATE", "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        affinity = (request.object["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
        for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            key = term.get("topologyKey", "")
            if key != HOSTNAME:
                why = f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key {HOSTNAME} is allowed"
                raise errors.forbidden(PODS, request.object["metadata"].get("name", ""), why)


class ExtendedResourceToleration(BasePlugin):
    """Pods that ask for a device's resource tolerate the taint of nodes kept for it."""

    name = "ExtendedResourceToleration"

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == PODS and not request.subresource and request.operation in ("CREATE", "UPDATE")

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object["spec"]
        names = {
            name
            for field in ("containers", "initContainers")
            for container in spec.get(field) or ()
            for name in amounts((container.get("resources") or {}).get("requests"))
            if is_extended(name)
        }
        tolerations: list[Obj] = spec.get("tolerations") or []
        for name in sorted(names):
            wanted = {"key": name, "operator": "Exists", "effect": "NoSchedule"}
            if wanted not in tolerations:
                tolerations = [*tolerations, wanted]
        if tolerations:
            spec["tolerations"] = tolerations


class DenyServiceExternalIPs(BasePlugin):
    name = "DenyServiceExternalIPs"

    def concerns(self, request: AdmissionRequest) -> bool:
        return request.resource == SERVICES and not request.subresource and request.operation in ("CREATE", "UPDATE")

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        new = set(request.object["spec"].get("externalIPs") or ())
        old = set(((request.old or {}).get("spec") or {}).get("externalIPs") or ())
        if new - old:
            raise refuse(request, "Use of external IPs is denied by admission control")


class PodNodeSelector(BasePlugin):
    """Pods get their namespace's node selector. `selectors` are the cluster's: by namespace, what its pods may choose;
    `clusterDefaultNodeSelector` for namespaces that name none."""

    name = "PodNodeSelector"

    def __init__(self, caches: CacheSet, selectors: Mapping[str, str]) -> None:
        self._namespaces = caches[NAMESPACES]
        self._selectors = selectors

    def concerns(self, request: AdmissionRequest) -> bool:
        return creates_pod(request)

    async def admit(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        spec = request.object["spec"]
        wanted, own = self._wanted(request), spec.get("nodeSelector") or {}
        self._check(request, wanted, own)
        if wanted:
            spec["nodeSelector"] = {**wanted, **own}

    async def validate(self, request: AdmissionRequest) -> None:
        assert request.object is not None
        own: Obj = request.object["spec"].get("nodeSelector") or {}
        self._check(request, self._wanted(request), own)
        allowed = _labels(self._selectors.get(request.namespace, ""))
        if allowed and any(allowed.get(key) != value for key, value in own.items()):
            self._refuse(request, "pod node label selector labels conflict with its namespace whitelist")

    def _wanted(self, request: AdmissionRequest) -> dict[str, str]:
        entry = self._namespaces.get("", request.namespace)
        annotations = (entry.obj["metadata"].get("annotations") or {}) if entry is not None else {}
        return _labels(annotations.get(SELECTOR, self._selectors.get("clusterDefaultNodeSelector", "")))

    def _check(self, request: AdmissionRequest, wanted: Mapping[str, str], own: Obj) -> None:
        if any(own.get(key, value) != value for key, value in wanted.items()):
            self._refuse(request, "pod node label selector conflicts with its namespace node label selector")

    def _refuse(self, request: AdmissionRequest, why: str) -> None:
        assert request.object is not None
        raise errors.forbidden(PODS, request.object["metadata"].get("name", ""), why)


def _labels(text: str) -> dict[str, str]:
    """`a=b,c=d`."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {key.strip(): value.strip() for key, _, value in pairs}
