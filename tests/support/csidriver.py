"""A CSI driver for tests: it registers as real ones do, and its volumes are folders that are bound where they are wanted."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from navarch.kubelet.csi.wire import STAGE, codec
from navarch.kubelet.volumes import mounting

Tree = dict[str, Any]


class Driver:
    """`folder` has its sockets (the registration's in `registry`) and its volumes. `asked` is what it was asked."""

    def __init__(self, name: str, folder: Path, registry: Path, capabilities: tuple[int, ...] = (STAGE,)) -> None:
        self.name, self._folder, self._registry, self._capabilities = name, folder, registry, capabilities
        self.limit = 7
        """Volumes that the node may have."""
        self.refuses: dict[str, grpc.StatusCode] = {}
        """Method -> how it is refused."""
        self.asked: list[tuple[str, Tree]] = []
        self.registered: Tree | None = None
        self._servers: list[Any] = []

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._registry.mkdir(parents=True, exist_ok=True)
        await self._serve("csi.v1.Node", self._folder / "csi.sock")
        await self._serve("pluginregistration.Registration", self._registry / f"{self.name}-reg.sock")

    async def stop(self) -> None:
        for server in self._servers:
            await server.stop(None)
        (self._registry / f"{self.name}-reg.sock").unlink(missing_ok=True)

    def requests(self, method: str) -> list[Tree]:
        return [request for name, request in self.asked if name == method]

    async def _serve(self, service: str, socket: Path) -> None:
        methods = {
            name.removesuffix("Request"): grpc.unary_unary_rpc_method_handler(
                partial(self._answer, name.removesuffix("Request")),
                request_deserializer=partial(codec.decode, name),
                response_serializer=partial(codec.encode, f"{name.removesuffix('Request')}Response"),
            )
            for name in METHODS[service]
        }
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        server.add_insecure_port(f"unix://{socket}")
        await server.start()
        self._servers.append(server)

    async def _answer(self, method: str, request: Tree, context: Any) -> Tree:
        self.asked.append((method, request))
        if method in self.refuses:
            await context.abort(self.refuses[method], "it is refused")
        match method:
            case "GetInfo":
                return {"type": "CSIPlugin", "name": self.name, "endpoint": str(self._folder / "csi.sock")}
            case "NotifyRegistrationStatus":
                self.registered = request
            case "NodeGetInfo":
                zone = {"segments": {f"topology.{self.name}/zone": "a"}}
                return {"node_id": "id-1", "max_volumes_per_node": self.limit, "accessible_topology": zone}
            case "NodeGetCapabilities":
                return {"capabilities": [{"rpc": {"type": each}} for each in self._capabilities]}
            case "NodePublishVolume":
                if request["volume_id"] == "broken":
                    await context.abort(grpc.StatusCode.INTERNAL, "the disk is broken")
                self._bind(request["volume_id"], Path(request["target_path"]))
            case "NodeUnpublishVolume":
                mounting.unmount_below(Path(request["target_path"]))
                os.rmdir(request["target_path"])
            case _:
                pass
        return {}

    def _bind(self, volume: str, target: Path) -> None:
        own = self._folder / "volumes" / volume
        own.mkdir(parents=True, exist_ok=True)
        target.mkdir(exist_ok=True)
        if not mounting.mounts_below(target):
            mounting.bind(str(own), target)


METHODS = {
    "pluginregistration.Registration": ("GetInfoRequest", "NotifyRegistrationStatusRequest"),
    "csi.v1.Node": (
        "NodeGetInfoRequest",
        "NodeGetCapabilitiesRequest",
        "NodeStageVolumeRequest",
        "NodeUnstageVolumeRequest",
        "NodePublishVolumeRequest",
        "NodeUnpublishVolumeRequest",
        "NodeExpandVolumeRequest",
    ),
}
