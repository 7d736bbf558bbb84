"""The device manager: plugins register at the kubelet's socket, tell of their devices, and are asked for them.

Who has which device is kept in a file, for a kubelet that starts anew. Source: pkg/kubelet/cm/devicemanager.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from navarch.kubelet.devices.wire import PLUGIN, VERSION, codec
from navarch.kubelet.dra.manager import is_claimed
from navarch.kubelet.endpoint import Endpoint, PluginError, Tree
from navarch.machinery.names import qualified_name
from navarch.machinery.quantity import Quantity
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)
HEALTHY = "Healthy"
CALL_SECONDS = 10.0
Held = dict[str, dict[str, dict[str, list[str]]]]
"""Pod uid -> container -> resource -> device ids."""


class DeviceError(Exception):
    """A container cannot have its devices."""


@dataclass(slots=True)
class Plugin:
    resource: str
    endpoint: Endpoint
    options: Tree
    devices: dict[str, bool] = field(default_factory=dict)
    """Id -> whether it is healthy."""
    task: asyncio.Task[None] | None = None


def wanted(pod: Obj, container: Obj, known: Collection[str]) -> dict[str, int]:
    """How many of each plugin's devices a container asks for; what a claim serves is none of them."""
    limits = (container.get("resources") or {}).get("limits") or {}
    names = (name for name in limits if name in known and not is_claimed(pod, container["name"], name))
    return {name: Quantity.of(limits[name]).value() for name in names}


def choose(pod: Obj, offered: Mapping[str, Mapping[str, bool]], held: Held) -> dict[str, dict[str, list[str]]]:
    """Devices for a pod's containers: container -> resource -> ids. Steps of initialisation lend theirs to those that
    come after them. Raises DeviceError."""
    taken: dict[str, set[str]] = {}
    for containers in held.values():
        for resources in containers.values():
            for name, ids in resources.items():
                taken.setdefault(name, set()).update(ids)
    made: dict[str, dict[str, list[str]]] = {}
    reusable: dict[str, list[str]] = {}
    spec = pod["spec"]
    for container, lends in [
        *((c, c.get("restartPolicy") != "Always") for c in spec.get("initContainers") or ()),
        *((c, False) for c in spec["containers"]),
    ]:
        for name, count in wanted(pod, container, offered).items():
            again = reusable.get(name, [])[:count]
            free = [id for id, healthy in sorted(offered[name].items()) if healthy and id not in taken.get(name, set())]
            if (lack := count - len(again)) > len(free):
                text = f"requested number of devices unavailable for {name}. Requested: {lack}, Available: {len(free)}"
                raise DeviceError(text)
            ids = [*again, *free[:lack]]
            made.setdefault(container["name"], {})[name] = ids
            taken.setdefault(name, set()).update(ids)
            rest = [id for id in reusable.get(name, []) if id not in ids]
            reusable[name] = [*ids, *rest] if lends else rest
    return made


class DeviceManager:
    """`folder` is where plugins look for the kubelet. `changed` is called when the node has more or fewer devices, `ill` for
    pods (by uid) whose devices are not as they were."""

    def __init__(
        self, folder: Path, changed: Callable[[], None], ill: Callable[[str], None] = lambda uid: None
    ) -> None:
        self._folder, self._changed, self._ill = folder, changed, ill
        self._plugins: dict[str, Plugin] = {}
        self._gone: set[str] = set()
        """Resources whose plugin has left: shown as none."""
        self._held: Held = {}
        self._server: Any = None
        with suppress(OSError, ValueError):
            self._held = orjson.loads(self._file.read_bytes())

    @property
    def _file(self) -> Path:
        return self._folder / "kubelet_internal_checkpoint"

    async def start(self) -> None:
        import grpc
        import grpc.aio

        self._folder.mkdir(parents=True, exist_ok=True)
        for socket in self._folder.glob("*.sock"):  # plugins see by this that they are to register again
            socket.unlink()
        handler = grpc.unary_unary_rpc_method_handler(
            self._register,
            request_deserializer=partial(codec.decode, "RegisterRequest"),
            response_serializer=partial(codec.encode, "Empty"),
        )
        self._server = grpc.aio.server()
        service = grpc.method_handlers_generic_handler(f"{VERSION}.Registration", {"Register": handler})
        self._server.add_generic_rpc_handlers((service,))
        self._server.add_insecure_port(f"unix://{self._folder / 'kubelet.sock'}")
        await self._server.start()

    async def stop(self) -> None:
        for plugin in self._plugins.values():
            if plugin.task is not None:
                plugin.task.cancel()
            await plugin.endpoint.close()
        if self._server is not None:
            await self._server.stop(None)

    def amounts(self) -> dict[str, tuple[int, int]]:
        """Resource -> (how many there are, how many of them are healthy)."""
        found: dict[str, tuple[int, int]] = {}
        for name in self._gone:
            found[name] = (0, 0)
        for name, plugin in self._plugins.items():
            found[name] = (len(plugin.devices), sum(plugin.devices.values()))
        return found

    # -- plugins

    async def _register(self, request: Tree, context: Any) -> Tree:
        import grpc

        name = request.get("resource_name", "")
        if request.get("version") != VERSION:
            text = f"requested API version {request.get('version')} is not supported by kubelet. Supported: [{VERSION}]"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        if "/" not in name or qualified_name(name) or name.partition("/")[0].endswith("kubernetes.io"):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the ResourceName {name} is invalid")
        endpoint = request.get("endpoint", "")
        if not endpoint or "/" in endpoint:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the endpoint {endpoint} is invalid")
        before = self._plugins.pop(name, None)
        if before is not None:
            if before.task is not None:
                before.task.cancel()
            await before.endpoint.close()
        plugin = Plugin(name, Endpoint(self._folder / endpoint, codec), request.get("options") or {})
        self._plugins[name] = plugin
        self._gone.discard(name)
        plugin.task = asyncio.get_running_loop().create_task(self._follow(plugin))
        log.info("device plugin of %s is registered", name)
        return {}

    async def _follow(self, plugin: Plugin) -> None:
        try:
            stream = plugin.endpoint.stream(PLUGIN, "ListAndWatch", {}, sends="Empty", gets="ListAndWatchResponse")
            async for answer in stream:
                devices = {each["ID"]: each.get("health") == HEALTHY for each in answer.get("devices") or ()}
                if devices != plugin.devices:
                    plugin.devices = devices
                    self._changed()
                    for uid in self.holders(plugin.resource):
                        self._ill(uid)
        except PluginError as error:
            log.info("device plugin of %s: %s", plugin.resource, error)
        if self._plugins.get(plugin.resource) is plugin:
            del self._plugins[plugin.resource]
            self._gone.add(plugin.resource)
            await plugin.endpoint.close()
            self._changed()

    # -- devices

    def admit(self, pod: Obj, active: Iterable[str]) -> str:
        """Sets a pod's devices aside; why it cannot have them, or "". `active`: uids of pods that are not over."""
        uid = pod["metadata"]["uid"]
        if uid in self._held:
            return ""
        living = set(active)
        held = {other: containers for other, containers in self._held.items() if other in living}
        offered = {name: plugin.devices for name, plugin in self._plugins.items()}
        offered |= {name: {} for name in self._gone}
        try:
            made = choose(pod, offered, held)
        except DeviceError as error:
            return f"Allocate failed due to {error}, which is unexpected"
        self._held = {**held, uid: made} if made else held
        self._keep()
        return ""

    def forget(self, uid: str) -> None:
        if self._held.pop(uid, None) is not None:
            self._keep()

    def status(self, uid: str, container: str) -> list[Obj]:
        """`allocatedResourcesStatus` of a container: how its devices are. Those of a plugin that is away count as well."""
        made: list[Obj] = []
        for name, ids in self._held.get(uid, {}).get(container, {}).items():
            known = self._plugins[name].devices if name in self._plugins else {}
            states = [("Healthy" if known.get(id, True) else "Unhealthy", id) for id in sorted(ids)]
            made.append({"name": name, "resources": [{"resourceID": id, "health": state} for state, id in states]})
        return made

    def held(self, uid: str, container: str) -> Mapping[str, Sequence[str]]:
        """Resource -> ids of a container's devices."""
        return self._held.get(uid, {}).get(container, {})

    def healthy(self) -> dict[str, list[str]]:
        """Resource -> ids of the devices that there are and that are well."""
        return {name: sorted(id for id, well in p.devices.items() if well) for name, p in self._plugins.items()}

    def holders(self, resource: str) -> list[str]:
        """Uids of the pods that have devices of a resource."""
        return [uid for uid, containers in self._held.items() if any(resource in each for each in containers.values())]

    def _keep(self) -> None:
        with suppress(OSError):
            self._file.write_bytes(orjson.dumps(self._held))

    async def of(self, pod: Obj, container: str) -> Tree:
        """What a container is given with its devices: `envs`, `mounts`, `devices` and `annotations` as the CRI has them.
        Raises DeviceError."""
        made: Tree = {"envs": {}, "mounts": [], "devices": [], "annotations": {}}
        for name, ids in self._held.get(pod["metadata"]["uid"], {}).get(container, {}).items():
            plugin = self._plugins.get(name)
            if plugin is None:
                raise DeviceError(f"no device plugin of {name} is registered")
            try:
                answer = await self._allocate(plugin, ids)
            except PluginError as error:
                raise DeviceError(f"device plugin of {name}: {error}") from None
            made["envs"] |= answer.get("envs") or {}
            made["annotations"] |= answer.get("annotations") or {}
            made["devices"] += answer.get("devices") or []
            made["mounts"] += [_mount(each) for each in answer.get("mounts") or ()]
        return made

    async def _allocate(self, plugin: Plugin, ids: Sequence[str]) -> Tree:
        asked = {"container_requests": [{"devices_ids": list(ids)}]}
        answer = await plugin.endpoint.call(PLUGIN, "Allocate", asked, CALL_SECONDS)
        if plugin.options.get("pre_start_required"):
            await plugin.endpoint.call(PLUGIN, "PreStartContainer", {"devices_ids": list(ids)}, CALL_SECONDS)
        return (answer.get("container_responses") or [{}])[0]


def _mount(mount: Tree) -> Tree:
    host, inside = mount.get("host_path", ""), mount.get("container_path", "")
    return {"container_path": inside, "host_path": host, "readonly": bool(mount.get("read_only"))}
