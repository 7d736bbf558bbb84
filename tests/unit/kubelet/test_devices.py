"""Device plugins: who gets which device; and a plugin that registers, tells and is asked."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from navarch.kubelet.devices.manager import DeviceError, DeviceManager, choose
from navarch.kubelet.devices.wire import codec
from navarch.kubelet.endpoint import Endpoint, PluginError

GPU = "example.com/gpu"
OFFERED = {GPU: {"a": True, "b": True, "c": False}}


def container(name: str, count: int = 0, **more: Any) -> dict[str, Any]:
    return {"name": name, "resources": {"limits": {GPU: str(count)} if count else {}}, **more}


def pod(*containers: dict[str, Any], uid: str = "u", inits: Any = ()) -> dict[str, Any]:
    return {"metadata": {"uid": uid}, "spec": {"containers": list(containers), "initContainers": list(inits)}}


def test_a_container_gets_healthy_devices_that_nobody_has() -> None:
    assert choose(pod(container("c", 2)), OFFERED, {}) == {"c": {GPU: ["a", "b"]}}
    held = {"other": {"c": {GPU: ["a"]}}}
    assert choose(pod(container("c", 1), container("d")), OFFERED, held) == {"c": {GPU: ["b"]}}
    with pytest.raises(DeviceError, match=f"unavailable for {GPU}. Requested: 2, Available: 1"):
        choose(pod(container("c", 2)), OFFERED, held)


def test_steps_of_initialisation_lend_their_devices() -> None:
    made = choose(pod(container("c", 2), inits=[container("i", 2)]), OFFERED, {})
    assert made == {"i": {GPU: ["a", "b"]}, "c": {GPU: ["a", "b"]}}
    sidecar = container("s", 1, restartPolicy="Always")
    assert choose(pod(container("c", 1), inits=[sidecar]), OFFERED, {}) == {"s": {GPU: ["a"]}, "c": {GPU: ["b"]}}


class Plugin:
    """A device plugin as they are: a server with a socket beside the kubelet's."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked = folder, list[tuple[str, Any]]()
        self.devices = [{"ID": "a", "health": "Healthy"}, {"ID": "b", "health": "Unhealthy"}]
        self.changed = asyncio.Event()
        self._server = grpc.aio.server()

    async def start(self) -> None:
        handlers = {
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(
                self._list,
                request_deserializer=partial(codec.decode, "Empty"),
                response_serializer=partial(codec.encode, "ListAndWatchResponse"),
            ),
            "Allocate": grpc.unary_unary_rpc_method_handler(
                self._allocate,
                request_deserializer=partial(codec.decode, "AllocateRequest"),
                response_serializer=partial(codec.encode, "AllocateResponse"),
            ),
        }
        service = grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", handlers)
        self._server.add_generic_rpc_handlers((service,))
        self._server.add_insecure_port(f"unix://{self.folder / 'gpu.sock'}")
        await self._server.start()
        await self.register(GPU)

    async def register(self, name: str) -> None:
        kubelet = Endpoint(self.folder / "kubelet.sock", codec)
        request = {"version": "v1beta1", "endpoint": "gpu.sock", "resource_name": name}
        try:
            await kubelet.call("/v1beta1.Registration/", "Register", request, gets="Empty")
        finally:
            await kubelet.close()

    async def stop(self) -> None:
        await self._server.stop(None)

    async def _list(self, request: Any, context: Any) -> AsyncIterator[Any]:
        while True:
            yield {"devices": self.devices}
            await self.changed.wait()
            self.changed.clear()

    async def _allocate(self, request: Any, context: Any) -> Any:
        ids = request["container_requests"][0]["devices_ids"]
        self.asked.append(ids)
        spec = {"container_path": "/dev/gpu", "host_path": "/dev/null", "permissions": "rw"}
        mount = {"container_path": "/lib/gpu", "host_path": "/opt/gpu", "read_only": True}
        return {"container_responses": [{"envs": {"GPU": ",".join(ids)}, "devices": [spec], "mounts": [mount]}]}


async def until(what: Any) -> None:
    for _ in range(200):
        if what():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not within 4 s")


async def test_a_plugins_devices_are_counted_given_and_taken_back() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dev-"))  # a socket's path is short
    manager = DeviceManager(folder, lambda: None)
    await manager.start()
    plugin = Plugin(folder)
    await plugin.start()
    try:
        await until(lambda: manager.amounts() == {GPU: (2, 1)})
        assert manager.admit(pod(container("c", 1), uid="first"), []) == ""
        given = await manager.of(pod(uid="first"), "c")
        assert given["envs"] == {"GPU": "a"} and given["devices"][0]["host_path"] == "/dev/null"
        assert given["mounts"] == [{"container_path": "/lib/gpu", "host_path": "/opt/gpu", "readonly": True}]
        again = DeviceManager(folder, lambda: None)  # a kubelet that starts anew knows who has what
        assert again._held == {"first": {"c": {GPU: ["a"]}}}
        why = manager.admit(pod(container("c", 1), uid="second"), ["first"])
        assert why.startswith("Allocate failed due to requested number of devices unavailable")
        plugin.devices[1]["health"] = "Healthy"
        plugin.changed.set()
        await until(lambda: manager.amounts() == {GPU: (2, 2)})
        assert manager.admit(pod(container("c", 1), uid="second"), ["first"]) == ""
        manager.forget("first")
        assert manager.admit(pod(container("c", 1), uid="third"), ["second"]) == ""
        with pytest.raises(PluginError, match="the ResourceName cpu is invalid"):
            await plugin.register("cpu")
        await plugin.stop()
        await until(lambda: manager.amounts() == {GPU: (0, 0)})
    finally:
        await manager.stop()
        shutil.rmtree(folder)
