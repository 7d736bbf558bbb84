"""Who has which devices, for agents on the node: the kubelet's PodResourcesLister on its own socket.

Source: k8s.io/kubelet/pkg/apis/podresources/v1, pkg/kubelet/apis/podresources. No container has CPUs or memory of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from navarch.kubelet.devices.manager import DeviceManager
from navarch.kubelet.dra.manager import ClaimError, ClaimManager
from navarch.kubelet.endpoint import Tree
from navarch.kubelet.pod_actions import is_sidecar
from navarch.machinery.protobuf import Tables
from navarch.machinery.types import Obj

SERVICE = "v1.PodResourcesLister"
MESSAGES: dict[str, str] = {
    "AllocatableResourcesRequest": "",
    "AllocatableResourcesResponse": "devices=1:[]ContainerDevices",
    "CDIDevice": "name=1:string",
    "ClaimResource": "cdi_devices=1:[]CDIDevice driver_name=2:string pool_name=3:string device_name=4:string share_id=5:string?",
    "ContainerDevices": "resource_name=1:string device_ids=2:[]string",
    "ContainerResources": "name=1:string devices=2:[]ContainerDevices dynamic_resources=5:[]DynamicResource",
    "DynamicResource": "claim_name=2:string claim_namespace=3:string claim_resources=4:[]ClaimResource",
    "GetPodResourcesRequest": "pod_name=1:string pod_namespace=2:string",
    "GetPodResourcesResponse": "pod_resources=1:PodResources",
    "ListPodResourcesRequest": "",
    "ListPodResourcesResponse": "pod_resources=1:[]PodResources",
    "PodResources": "name=1:string namespace=2:string containers=3:[]ContainerResources",
}
codec = Tables(MESSAGES)
Pods = Callable[[], Sequence[Obj]]


class PodResources:
    """`folder` gets the socket; `active` answers the node's pods that are not over."""

    def __init__(self, folder: Path, active: Pods, devices: DeviceManager, claims: ClaimManager | None) -> None:
        self._folder, self._active, self._devices, self._claims = folder, active, devices, claims
        self._server: Any = None

    async def start(self) -> None:
        import grpc
        import grpc.aio

        methods: dict[str, tuple[str, str, Callable[[Tree, Any], Awaitable[Tree]]]] = {
            "List": ("ListPodResourcesRequest", "ListPodResourcesResponse", self._list),
            "Get": ("GetPodResourcesRequest", "GetPodResourcesResponse", self._get),
            "GetAllocatableResources": (
                "AllocatableResourcesRequest",
                "AllocatableResourcesResponse",
                self._allocatable,
            ),
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                answer,
                request_deserializer=partial(codec.decode, gets),
                response_serializer=partial(codec.encode, sends),
            )
            for name, (gets, sends, answer) in methods.items()
        }
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        socket = self._folder / "kubelet.sock"
        socket.unlink(missing_ok=True)
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        self._server.add_insecure_port(f"unix://{socket}")
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def _list(self, request: Tree, context: Any) -> Tree:
        return {"pod_resources": [self._of(pod) for pod in self._active()]}

    async def _get(self, request: Tree, context: Any) -> Tree:
        name, namespace = request.get("pod_name", ""), request.get("pod_namespace", "")
        for pod in self._active():
            if (pod["metadata"]["name"], pod["metadata"]["namespace"]) == (name, namespace):
                return {"pod_resources": self._of(pod)}
        import grpc

        await context.abort(grpc.StatusCode.UNKNOWN, f"pod {name} in namespace {namespace} not found")
        return {}

    async def _allocatable(self, request: Tree, context: Any) -> Tree:
        offered = self._devices.healthy()
        return {"devices": [_device(name, id) for name, ids in sorted(offered.items()) for id in ids]}

    def _of(self, pod: Obj) -> Tree:
        meta, spec = pod["metadata"], pod["spec"]
        lasting = [*(c for c in spec.get("initContainers") or () if is_sidecar(c)), *spec["containers"]]
        containers = [self._container(pod, container) for container in lasting]
        return {"name": meta["name"], "namespace": meta["namespace"], "containers": containers}

    def _container(self, pod: Obj, container: Obj) -> Tree:
        held = self._devices.held(pod["metadata"]["uid"], container["name"])
        return {
            "name": container["name"],
            "devices": [_device(name, id) for name, ids in sorted(held.items()) for id in ids],
            "dynamic_resources": list(self._dynamic(pod, container)),
        }

    def _dynamic(self, pod: Obj, container: Obj) -> Iterator[Tree]:
        """The claims of a container, each with its devices."""
        if self._claims is None:
            return
        try:
            found = self._claims.claimed(pod, container)
        except ClaimError:  # its claims are still to be made
            return
        for prepared, devices in found:
            resources = [
                {
                    "cdi_devices": [{"name": id} for id in device.get("cdi_device_ids") or ()],
                    "driver_name": driver,
                    **{field: device[field] for field in ("pool_name", "device_name", "share_id") if device.get(field)},
                }
                for driver, device in devices
            ]
            yield {
                "claim_name": prepared.name,
                "claim_namespace": prepared.namespace,
                "claim_resources": resources,
            }


def _device(resource: str, id: str) -> Tree:
    return {"resource_name": resource, "device_ids": [id]}
