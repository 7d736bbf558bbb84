"""The container runtime, through the CRI: a thin client over gRPC with our own codec.

Answers are trees with the interface's field names; absent fields are zero values and left out. Every call has a time-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from navarch.kubelet.cri_tables import CRI, EVENTS
from navarch.kubelet.runtime_state import POD_UID
from navarch.machinery.protobuf import Tables

RUNTIME, IMAGES = "/runtime.v1.RuntimeService/", "/runtime.v1.ImageService/"
SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
CALL_SECONDS = 30.0
START_SECONDS = 120.0
"""Starting and stopping what may take long: sandboxes and containers."""
PULL_SECONDS = 1800.0

Tree = dict[str, Any]
cri_codec = Tables(CRI)
event_codec = Tables(EVENTS)


class CriError(Exception):
    """The runtime refused or did not answer. `code` is gRPC's name for it (NOT_FOUND, UNAVAILABLE ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def not_found(self) -> bool:
        return self.code == "NOT_FOUND"

    @property
    def retry(self) -> float:
        """Seconds after which another try makes sense: soon where the runtime was not there at all."""
        return 1.0 if self.code == "UNAVAILABLE" else 10.0


class Cri:
    """One runtime's socket. `async with connect(path) as cri`."""

    def __init__(self, socket: Path) -> None:
        import grpc.aio

        options = [("grpc.max_receive_message_length", 64 << 20)]
        self._channel = grpc.aio.insecure_channel(f"unix://{socket}", options=options)
        self._calls: dict[str, Any] = {}

    async def __aenter__(self) -> Cri:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def _call(self, service: str, method: str, request: Tree, seconds: float = CALL_SECONDS) -> Tree:
        import grpc
        import grpc.aio

        call = self._calls.get(method)
        if call is None:
            reader = partial(_decode, f"{method}Response")
            writer = partial(cri_codec.encode, f"{method}Request")
            call = self._channel.unary_unary(service + method, request_serializer=writer, response_deserializer=reader)
            self._calls[method] = call
        try:
            return await call(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise CriError(error.code().name, error.details() or error.code().name) from None

    # -- the runtime

    async def version(self) -> Tree:
        return await self._call(RUNTIME, "Version", {"version": "v1"}, 5.0)

    async def conditions(self) -> dict[str, Tree]:
        """RuntimeReady and NetworkReady: {type: {status, reason, message}}."""
        answer = await self._call(RUNTIME, "Status", {}, 5.0)
        return {c["type"]: c for c in answer.get("status", {}).get("conditions", [])}

    # -- sandboxes

    async def run_sandbox(self, config: Tree) -> str:
        """The new sandbox's id."""
        return (await self._call(RUNTIME, "RunPodSandbox", {"config": config}, START_SECONDS))["pod_sandbox_id"]

    async def stop_sandbox(self, sandbox: str) -> None:
        await self._call(RUNTIME, "StopPodSandbox", {"pod_sandbox_id": sandbox}, START_SECONDS)

    async def remove_sandbox(self, sandbox: str) -> None:
        await self._call(RUNTIME, "RemovePodSandbox", {"pod_sandbox_id": sandbox}, START_SECONDS)

    async def sandboxes(self, uid: str = "") -> list[Tree]:
        """All of them, or those of one pod."""
        filter_ = {"filter": {"label_selector": {POD_UID: uid}}} if uid else {}
        return (await self._call(RUNTIME, "ListPodSandbox", filter_)).get("items", [])

    async def sandbox_status(self, sandbox: str) -> Tree:
        return (await self._call(RUNTIME, "PodSandboxStatus", {"pod_sandbox_id": sandbox}))["status"]

    # -- containers

    async def create_container(self, sandbox: str, config: Tree, sandbox_config: Tree) -> str:
        request = {"pod_sandbox_id": sandbox, "config": config, "sandbox_config": sandbox_config}
        return (await self._call(RUNTIME, "CreateContainer", request, START_SECONDS))["container_id"]

    async def start_container(self, container: str) -> None:
        await self._call(RUNTIME, "StartContainer", {"container_id": container}, START_SECONDS)

    async def stop_container(self, container: str, grace_seconds: int) -> None:
        request = {"container_id": container, "timeout": grace_seconds}
        await self._call(RUNTIME, "StopContainer", request, START_SECONDS + grace_seconds)

    async def update_container(self, container: str, linux: Tree) -> None:
        """Other resources (LinuxContainerResources) for a container that runs."""
        await self._call(RUNTIME, "UpdateContainerResources", {"container_id": container, "linux": linux})

    async def remove_container(self, container: str) -> None:
        await self._call(RUNTIME, "RemoveContainer", {"container_id": container}, START_SECONDS)

    async def containers(self, uid: str = "") -> list[Tree]:
        """All of them, or those of one pod."""
        filter_ = {"filter": {"label_selector": {POD_UID: uid}}} if uid else {}
        return (await self._call(RUNTIME, "ListContainers", filter_)).get("containers", [])

    async def container_status(self, container: str) -> Tree:
        return (await self._call(RUNTIME, "ContainerStatus", {"container_id": container}))["status"]

    async def writable_layer(self, container: str) -> Tree:
        """The FilesystemUsage of what a container has written to its own file system."""
        answer = await self._call(RUNTIME, "ContainerStats", {"container_id": container})
        return answer.get("stats", {}).get("writable_layer", {})

    async def reopen_log(self, container: str) -> None:
        await self._call(RUNTIME, "ReopenContainerLog", {"container_id": container})

    async def exec_sync(self, container: str, command: list[str], seconds: int) -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr). Raises CriError DEADLINE_EXCEEDED when it took longer."""
        request = {"container_id": container, "cmd": command, "timeout": seconds}
        answer = await self._call(RUNTIME, "ExecSync", request, seconds + 5.0)
        return answer.get("exit_code", 0), answer.get("stdout", b""), answer.get("stderr", b"")

    # -- streams: the URL of the runtime's own streaming server

    async def exec_url(self, container: str, command: list[str], streams: Mapping[str, bool]) -> str:
        request = {"container_id": container, "cmd": command, **streams}
        return (await self._call(RUNTIME, "Exec", request))["url"]

    async def attach_url(self, container: str, streams: Mapping[str, bool]) -> str:
        return (await self._call(RUNTIME, "Attach", {"container_id": container, **streams}))["url"]

    async def port_forward_url(self, sandbox: str, ports: list[int]) -> str:
        return (await self._call(RUNTIME, "PortForward", {"pod_sandbox_id": sandbox, "port": ports}))["url"]

    # -- images

    async def pull_image(self, image: str, auth: Tree | None = None) -> str:
        """The image's reference in the runtime."""
        request: Tree = {"image": {"image": image}}
        if auth:
            request["auth"] = auth
        return (await self._call(IMAGES, "PullImage", request, PULL_SECONDS))["image_ref"]

    async def image(self, image: str) -> Tree | None:
        """What the runtime has under a name; None where it has nothing."""
        return (await self._call(IMAGES, "ImageStatus", {"image": {"image": image}})).get("image")

    async def images(self) -> list[Tree]:
        return (await self._call(IMAGES, "ListImages", {})).get("images", [])

    async def remove_image(self, image: str) -> None:
        await self._call(IMAGES, "RemoveImage", {"image": {"image": image}})

    # -- events

    async def exits(self) -> AsyncIterator[str]:
        """Container (or sandbox) ids as their processes exit. Raises CriError when the stream breaks."""
        import grpc.aio

        call = self._channel.unary_stream(
            SUBSCRIBE,
            request_serializer=partial(event_codec.encode, "SubscribeRequest"),
            response_deserializer=partial(event_codec.decode, "Envelope"),
        )({"filters": ['topic=="/tasks/exit",namespace=="k8s.io"', 'topic=="/tasks/oom",namespace=="k8s.io"']})
        try:
            async for envelope in call:
                kind = "TaskOOM" if envelope.get("topic") == "/tasks/oom" else "TaskExit"
                event = event_codec.decode(kind, envelope["event"]["value"])
                if event.get("id", event["container_id"]) == event["container_id"]:  # not an exec's exit
                    yield event["container_id"]
        except grpc.aio.AioRpcError as error:
            raise CriError(error.code().name, error.details() or "") from None
        finally:
            call.cancel()


def connect(socket: Path) -> Cri:
    """A client for the runtime at a unix socket."""
    return Cri(socket)


async def wait_until_ready(cri: Cri, seconds: float) -> None:
    """Returns when the runtime answers. Raises CriError where it does not in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            await cri.version()
            return
        except CriError:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.02)


def _decode(message: str, data: bytes) -> Tree:
    return cri_codec.decode(message, data) if message in CRI else {}
