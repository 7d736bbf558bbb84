"""Starting a pod's sandbox and its containers: the edge that carries out what a plan says is to start."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from navarch.kubelet.container_config import ContainerInputs, container_config, sandbox_config
from navarch.kubelet.context import Context, container_ref
from navarch.kubelet.cri import CriError, Tree
from navarch.kubelet.devices.manager import DeviceError
from navarch.kubelet.dns_config import dns_config, hostname, hosts_file
from navarch.kubelet.dra.cdi import CdiError
from navarch.kubelet.dra.manager import ClaimError
from navarch.kubelet.env import ConfigError, environment, expand, service_variables
from navarch.kubelet.images import ImageError
from navarch.kubelet.pod_actions import Start
from navarch.machinery.types import Obj

RETRY_SECONDS = 10.0


class StartError(Exception):
    """A container or sandbox did not start. `reason` is what the container waits for; `retry` when to try again."""

    def __init__(self, reason: str, message: str, retry: float = RETRY_SECONDS) -> None:
        super().__init__(message)
        self.reason, self.message, self.retry = reason, message, retry


class Slot:
    """A pod's turn among those that are being started. Given back while it waits for something slow."""

    def __init__(self, limit: asyncio.Semaphore) -> None:
        self._limit = limit
        self._held = False

    async def take(self) -> None:
        if not self._held:
            await self._limit.acquire()
            self._held = True

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._limit.release()


T = TypeVar("T")


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """A cancellation takes effect only after the work: what the runtime has half made would be lost sight of."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


class Starter:
    """Starts what belongs to one pod."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def sandbox_config(self, pod: Obj, attempt: int) -> Tree:
        context = self._context
        host_network = bool(pod["spec"].get("hostNetwork"))
        host, _ = hostname(pod, context.config.cluster_domain)
        return sandbox_config(
            pod,
            attempt,
            hostname="" if host_network else host,
            dns=dns_config(pod, context.dns),
            log_directory=str(context.config.pod_logs(pod)),
            root=context.config.cgroup,
        )

    def prepare(self, pod: Obj) -> None:
        """The pod's folders and cgroup. Raises StartError."""
        config = self._context.config
        root = config.pod_root(pod["metadata"]["uid"])
        try:
            for folder in (root / "containers", root / "volumes", config.pod_logs(pod)):
                folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            self._context.cgroups.ensure(pod)
        except OSError as error:
            message = f"error making pod data directories: {error}"
            self._context.emit(pod, "Warning", "Failed", message)
            raise StartError("ContainerCreating", message) from None

    async def mount(self, pod: Obj) -> Mapping[str, Any]:
        """The pod's volumes. Raises StartError."""
        await self._context.sources.ready(pod["metadata"]["uid"])
        await self._prepare_claims(pod)
        try:
            return await self._context.volumes.mount(pod)
        except (asyncio.CancelledError, MemoryError):
            raise
        except Exception as error:
            self._context.emit(pod, "Warning", "FailedMount", str(error))
            raise StartError("ContainerCreating", "", 2.0) from error

    async def _prepare_claims(self, pod: Obj) -> None:
        if self._context.claims is None:
            return
        try:
            await self._context.claims.prepare(pod)
        except ClaimError as error:
            text = f"Failed to prepare dynamic resources: {error}"
            self._context.emit(pod, "Warning", "FailedPrepareDynamicResources", text)
            raise StartError("ContainerCreating", "", 2.0) from None

    async def sandbox(self, pod: Obj, attempt: int, slot: Slot) -> str:
        """The id of a new, ready sandbox. Raises StartError."""
        context, uid = self._context, pod["metadata"]["uid"]
        if pod["spec"].get("hostUsers") is False:  # never silently in the host's: the pod counts on being apart
            why = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
            context.emit(pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {why}")
            raise StartError("ContainerCreating", why)
        await slot.take()
        try:
            id = await unbroken(context.cri.run_sandbox(self.sandbox_config(pod, attempt)))
            await context.cache.refresh_sandbox(uid, id)
        except CriError as error:
            message = f"Failed to create pod sandbox: {error}"
            context.emit(pod, "Warning", "FailedCreatePodSandBox", message)
            raise StartError("ContainerCreating", "", 2.0) from None
        return id

    async def container(
        self, pod: Obj, item: Start, volumes: Mapping[str, Any], sandbox: str, ip: str, slot: Slot
    ) -> None:
        """Creates and starts a container's next run, and runs its postStart hook. Raises StartError."""
        context = self._context
        spec, uid = item.spec, pod["metadata"]["uid"]
        regarding = container_ref(pod, spec)
        secrets = context.sources.pull_secrets(pod)
        try:
            image = await context.images.ensure(spec, regarding, uid, secrets, slot.give_back)
        except ImageError as error:
            context.emit(regarding, "Warning", "Failed", f"Error: {error.reason}")
            raise StartError(error.reason, error.message, error.retry) from None
        try:
            config = await self._config(pod, item, volumes, image, ip)
        except (ConfigError, OSError) as error:
            context.emit(regarding, "Warning", "Failed", f"Error: {error}")
            raise StartError("CreateContainerConfigError", str(error)) from None
        attempt = context.cache.get(uid).sandboxes[0].attempt
        await slot.take()
        try:
            around = self.sandbox_config(pod, attempt)
            id = await unbroken(context.cri.create_container(sandbox, config, around))
        except CriError as error:
            context.emit(regarding, "Warning", "Failed", f"Error: {error}")
            raise StartError("CreateContainerError", str(error), error.retry) from None
        context.cache.expect(uid, id)
        context.emit(regarding, "Normal", "Created", "Container created")
        try:
            await unbroken(context.cri.start_container(id))
        except CriError as error:
            await context.cache.refresh_container(uid, id)
            context.emit(regarding, "Warning", "Failed", f"Error: {error}")
            raise StartError("RunContainerError", str(error), 0.0) from None
        await context.cache.refresh_container(uid, id)
        self._link_log(pod, spec["name"], item.attempt, id)
        context.emit(regarding, "Normal", "Started", "Container started")
        if handler := (spec.get("lifecycle") or {}).get("postStart"):
            slot.give_back()
            await self._post_start(handler, pod, spec, id, ip)

    def _link_log(self, pod: Obj, container: str, attempt: int, id: str) -> None:
        config, meta = self._context.config, pod["metadata"]
        if config.log_links is None:
            return
        link = config.log_links / f"{meta['name']}_{meta['namespace']}_{container}-{id}.log"
        with suppress(OSError):
            link.symlink_to(config.pod_logs(pod) / container / f"{attempt}.log")

    async def _post_start(self, handler: Obj, pod: Obj, container: Obj, id: str, ip: str) -> None:
        context = self._context
        try:
            await context.run_hook(handler, pod, container, id, ip, context.cri)
        except (asyncio.CancelledError, MemoryError):
            raise
        except Exception as error:
            regarding = container_ref(pod, container)
            context.emit(regarding, "Warning", "FailedPostStartHook", "PostStartHook failed")
            context.emit(regarding, "Normal", "Killing", "FailedPostStartHook")
            await context.cri.stop_container(id, max(pod["spec"].get("terminationGracePeriodSeconds") or 0, 2))
            await context.cache.refresh_container(pod["metadata"]["uid"], id)
            raise StartError("PostStartHookError", str(error), 0.0) from error

    async def _config(self, pod: Obj, item: Start, volumes: Mapping[str, Any], image: str, ip: str) -> Tree:
        context, spec = self._context, item.spec
        meta = pod["metadata"]
        namespace = meta["namespace"]
        links = pod["spec"].get("enableServiceLinks", True)
        services = service_variables(context.services.list(), namespace, links)
        status = {"hostIP": context.config.node_ip, "hostIPs": [{"ip": context.config.node_ip}]}
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]} if ip else {}
        seen = {**pod, "status": {**pod.get("status", {}), **status}}

        def look(kind: str, name: str) -> Obj | None:
            return context.sources.look(kind, namespace, name)

        places = {name: Path(volume.path) for name, volume in volumes.items()}
        values = environment(spec, seen, services, look, context.allocatable(), places)
        if _must_not_be_root(pod, spec):
            await self._check_not_root(image, spec)
        mounts = [*context.container_mounts(seen, spec, volumes, lambda text: expand(text, values))]
        try:
            given = await context.devices.of(pod, spec["name"])
            claimed = context.claims.of(pod, spec) if context.claims else {}
        except (DeviceError, ClaimError, CdiError) as error:
            raise ConfigError(str(error)) from None
        values |= {**given["envs"], **claimed.get("envs", {})}
        mounts += [*given["mounts"], *claimed.get("mounts", ())]
        mounts += self._own_mounts(pod, item, [m.get("container_path", "") for m in mounts], ip)
        logs = context.config.pod_logs(pod) / spec["name"]
        logs.mkdir(parents=True, exist_ok=True)
        inputs = ContainerInputs(
            image_ref=image,
            environment=values,
            mounts=mounts,
            devices=[*_devices(spec, volumes), *given["devices"], *claimed.get("devices", ())],
            annotations=given["annotations"],
            attempt=item.attempt,
            log_path=f"{spec['name']}/{item.attempt}.log",
            memory_capacity=context.memory,
            target=self._target(pod, spec),
        )
        return container_config(pod, spec, inputs)

    def _target(self, pod: Obj, container: Obj) -> str:
        """The running container whose processes an ephemeral container is to see. Raises ConfigError."""
        name = container.get("targetContainerName")
        if not name:
            return ""
        last = self._context.cache.get(pod["metadata"]["uid"]).latest(name)
        if last is None or not last.running:
            raise ConfigError(f'unable to find target container "{name}"')
        return last.id

    async def _check_not_root(self, image: str, container: Obj) -> None:
        """runAsNonRoot without a user of its own: the image's user decides. Raises ConfigError."""
        found = await self._context.cri.image(image) or {}
        if found.get("username"):
            name = found["username"]
            raise ConfigError(
                f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
            )
        if (found.get("uid") or {}).get("value", 0) == 0:
            raise ConfigError("container has runAsNonRoot and image will run as root")

    def _own_mounts(self, pod: Obj, item: Start, taken: list[str], ip: str) -> list[Tree]:
        """/etc/hosts and the termination message's file."""
        config = self._context.config
        root = config.pod_root(pod["metadata"]["uid"])
        mounts: list[Tree] = []
        if "/etc/hosts" not in taken:
            path = root / "etc-hosts"
            _write(path, self._hosts(pod, ip))
            mounts.append({"container_path": "/etc/hosts", "host_path": str(path)})
        if message := item.spec.get("terminationMessagePath"):
            path = root / "containers" / item.spec["name"] / str(item.attempt)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            path.chmod(0o666)
            mounts.append({"container_path": message, "host_path": str(path)})
        return mounts

    def _hosts(self, pod: Obj, ip: str) -> str:
        domain = self._context.config.cluster_domain
        if not pod["spec"].get("hostNetwork"):
            return hosts_file(pod, [ip] if ip else [], domain)
        try:
            own = Path("/etc/hosts").read_text()
        except OSError:
            own = ""
        aliases = hosts_file(pod, [], domain).partition("# Entries added by HostAliases.")
        return f"# Kubernetes-managed hosts file (host network).\n{own}{aliases[1]}{aliases[2]}"


def _devices(container: Obj, volumes: Mapping[str, Any]) -> list[Tree]:
    """The block devices that a container is given. Raises ConfigError."""
    found: list[Tree] = []
    for device in container.get("volumeDevices") or ():
        volume = volumes.get(device["name"])
        if volume is None:
            raise ConfigError(f'cannot find volume "{device["name"]}" to pass into container "{container["name"]}"')
        permissions = "r" if volume.read_only else "mrw"
        found.append({"container_path": device["devicePath"], "host_path": volume.path, "permissions": permissions})
    return found


def _must_not_be_root(pod: Obj, container: Obj) -> bool:
    shared, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}

    def effective(name: str) -> Any:
        return own[name] if own.get(name) is not None else shared.get(name)

    return bool(effective("runAsNonRoot")) and effective("runAsUser") is None


def _write(path: Path, text: str) -> None:
    """In place: containers have the file itself mounted. Never through a link."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        path.unlink()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(handle, "w") as file:
        file.write(text)
