"""The kubelet's edge: follows the node's pods, gives each a worker, and looks after what nobody else does."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from navarch.client import resources
from navarch.client.informer import InformerFactory
from navarch.client.interface import Client
from navarch.kubelet import eviction, machine
from navarch.kubelet.admission import Refusal, admit, is_static, shortfalls
from navarch.kubelet.cgroups import Cgroups
from navarch.kubelet.context import Context, KubeletConfig
from navarch.kubelet.cri import Cri, wait_until_ready
from navarch.kubelet.devices.manager import DeviceManager
from navarch.kubelet.dns_config import NodeDns, read_resolv_conf
from navarch.kubelet.dra.manager import ClaimManager
from navarch.kubelet.images import ImageManager
from navarch.kubelet.parts import ContainerMounts, Probes, RunHook, Volumes
from navarch.kubelet.pod_worker import PodWorker
from navarch.kubelet.pressure import Pressure
from navarch.kubelet.registration import Registration
from navarch.kubelet.relist import RuntimeCache
from navarch.kubelet.runtime_state import CONTAINER_NAME, GRACE, POD_NAME, POD_NAMESPACE, POD_UID, Container, PodRuntime
from navarch.kubelet.sources import Sources
from navarch.kubelet.static_pods import MIRROR, Mirrors, StaticPods, is_mirror
from navarch.kubelet.status_writer import StatusWriter
from navarch.kubelet.upkeep import IMAGE_SECONDS, LOG_SECONDS, Upkeep
from navarch.kubelet.volumes.manager import remove
from navarch.machinery.clock import World
from navarch.machinery.types import Obj, key_of

log = logging.getLogger(__name__)

PREEMPTED = ("Preempting", "Preempted in order to admit critical pod")
DISRUPTED = "Pod was preempted by Kubelet to accommodate a critical pod."
RUNTIME_SECONDS = 60.0
HOUSEKEEPING_SECONDS = 30.0
MIRROR_RETRY_SECONDS = 1.0
Recorder = Callable[[Obj, str, str, str], None]


class Kubelet:
    """`start()` returns once the node is registered and its pods are known. A stop leaves pods running.

    It is made in two steps: its neighbours (volumes, probes) need what it offers (`sources.look`, `wake`)."""

    def __init__(self, config: KubeletConfig, cri: Cri, client: Client, world: World, emit: Recorder) -> None:
        self.config, self.cri = config, cri
        self._world, self._client, self._emit = world, client, emit
        self._workers: dict[str, PodWorker] = {}
        self.cache = RuntimeCache(cri, self._runtime_changed, self._container_ended)
        self.terminations: Counter[tuple[str, str, str]] = Counter()
        """(container type, exit code, reason) -> how many have ended so."""
        self.sources = Sources(client, world, self._source_changed)
        self.registration: Registration | None = None
        self._informers = InformerFactory(client, world)
        node = f"spec.nodeName={config.node_name}"
        self._pods = self._informers.informer(resources.PODS, field_selector=node)
        self._services = self._informers[resources.SERVICES]
        own = f"metadata.name={config.node_name}"
        self._node = self._informers.informer(resources.NODES, field_selector=own)
        self._context: Context | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._cidr = ""
        self._mirrors = Mirrors(client)
        self._static: StaticPods | None = None
        self._loose: set[asyncio.Task[None]] = set()
        self.claims: ClaimManager | None = None
        """Set by who puts the kubelet together, before `connect`."""
        self.devices = DeviceManager(config.root / "device-plugins", self.status_changed, self.wake)
        self.volumes_in_use: Callable[[], Sequence[str]] = tuple
        """Attached volumes that pods have; set by who mounts them."""
        self._upkeep: Upkeep | None = None
        self._pressure: Pressure | None = None

    def connect(self, volumes: Volumes, mounts: ContainerMounts, probes: Probes, run_hook: RunHook) -> None:
        """The other parts of the node. Before `start`."""
        config = self.config
        self._context = Context(
            config=config,
            world=self._world,
            cri=self.cri,
            cache=self.cache,
            volumes=volumes,
            probes=probes,
            run_hook=run_hook,
            container_mounts=mounts,
            images=ImageManager(self.cri, self._world, self._emit, config.loaded_images),
            cgroups=Cgroups(config.cgroup),
            sources=self.sources,
            services=self._services,
            node=self._node,
            writer=StatusWriter(self._client, self._world),
            emit=self._emit,
            dns=self._node_dns(),
            memory=machine.meminfo().get("MemTotal", 0),
            starts=asyncio.Semaphore(config.starts_at_once),
            devices=self.devices,
            claims=self.claims,
            neighbours=self._neighbours,
            freed=self._freed,
        )
        self._upkeep = upkeep = Upkeep(self._context)
        self._pressure = Pressure(
            self._context, self._living, lambda: upkeep.images(self.pods(), short=True), self.status_changed
        )

    def _node_dns(self) -> NodeDns:
        config = self.config
        try:
            text = config.resolv_conf.read_text()
        except OSError:
            text = ""
        return NodeDns(*read_resolv_conf(text), config.cluster_dns, config.cluster_domain)

    # -- living

    async def start(self) -> None:
        context = self.context
        for folder in (self.config.root / "pods", self.config.log_root, self.config.log_links):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        await wait_until_ready(self.cri, RUNTIME_SECONDS)
        context.cgroups.prepare()
        if self._pressure:
            self._pressure.observe()
        await self.cache.relist()
        self.registration = Registration(
            self.config,
            self.cri,
            self._client,
            self._world,
            self._emit,
            pressures=self._held,
            volumes_in_use=self.volumes_in_use,
            devices=self.devices.amounts,
        )
        await self.registration.start()
        self._node.add_handler(self._node_changed)
        self._informers.start()
        await self._informers.wait_synced()
        self._pods.add_handler(self._pod_changed)
        if self.config.manifests:
            self._static = StaticPods(self.config.manifests, self.config.node_name, self._world, self._static_pods)
            self._static.start()
        self._end_orphans()
        await self.devices.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self.cache.run()), loop.create_task(self._housekeeping())]
        self._tasks.append(loop.create_task(self._keep_up()))
        if self._pressure:
            self._tasks.append(loop.create_task(self._pressure.run()))

    async def stop(self) -> None:
        if self._static:
            await self._static.stop()
        for task in [*self._tasks, *self._loose]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()))
        await self._informers.stop()
        await self.sources.stop()
        await self.devices.stop()
        if self.registration:
            await self.registration.stop()
        if self._context:
            await self._context.writer.stop()

    @property
    def context(self) -> Context:
        if self._context is None:
            raise RuntimeError("connect() comes before everything else")
        return self._context

    # -- what the node's server and other parts ask

    @property
    def name(self) -> str:
        return self.config.node_name

    def pods(self) -> Sequence[Obj]:
        """The node's pods, each with the newest status."""
        return [{**worker.pod, "status": worker.status} for worker in self._workers.values()]

    def active(self) -> Sequence[Obj]:
        """Those of them that are not over."""
        return [{**worker.pod, "status": worker.status} for worker in self._living()]

    def runtime(self, uid: str) -> PodRuntime:
        return self.cache.get(uid)

    def allocatable(self) -> Mapping[str, Any]:
        """What the node has for pods, by resource."""
        return self.context.allocatable()

    async def ensure_image(self, pod: Obj, source: Obj) -> str:
        """Makes sure of the image that a volume shows. Raises ImageError."""
        wanted = {"image": source.get("reference", ""), "imagePullPolicy": source.get("pullPolicy", "IfNotPresent")}
        secrets = self.sources.pull_secrets(pod)
        return await self.context.images.ensure(wanted, pod, pod["metadata"]["uid"], secrets, lambda: None)

    def wake(self, uid: str) -> None:
        """A probe's verdict on one of the pod's containers has changed."""
        if worker := self._workers.get(uid):
            worker.wake()

    def reasons(self, uid: str) -> Sequence[str]:
        """Why the kubelet does what it does (or nothing) for a pod."""
        worker = self._workers.get(uid)
        return worker.reasons if worker else ()

    # -- changes

    def _node_changed(self, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            return
        if self.registration:
            self.registration.observed(new)
        cidr = new.get("spec", {}).get("podCIDR", "")
        if cidr and cidr != self._cidr:
            self._cidr = cidr
            self.config.pod_cidr_known(cidr)
            if self.registration:
                self.registration.look()

    def _pod_changed(self, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is None and is_mirror(old):
            self._mirror_gone(old)
            return
        replaced = old is not None and (new is None or old["metadata"]["uid"] != new["metadata"]["uid"])
        if old is not None and replaced and (worker := self._workers.get(old["metadata"]["uid"])):
            worker.gone()
        if new is None:
            return
        if is_mirror(new):
            self._mirror_changed(new)
            return
        worker = self._workers.get(new["metadata"]["uid"])
        if worker is None:
            self._add(new)
            return
        rewritten = self.context.writer.observed(new)
        before = worker.pod
        self.sources.use(new)
        if rewritten or _spec_changed(before, new):
            worker.update(new)
        else:
            worker.pod = new

    def _add(self, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        failure = None
        over = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        known = self.cache.get(uid).sandboxes or over or "deletionTimestamp" in pod["metadata"]
        if not known:
            failure = self._admit(pod)
            if failure:
                self._emit(pod, "Warning", failure.reason, failure.message)
        self.sources.use(pod)
        worker = self._workers[uid] = PodWorker(self.context, pod, self._finished, failure=failure)
        worker.start()

    def _admit(self, pod: Obj) -> Refusal | None:
        node = self._node.get("", self.config.node_name) or {}
        if refused := eviction.refusal(pod, self._held()):
            return refused
        sysctls = self.config.allowed_unsafe_sysctls
        failure = admit(pod, self._active(), node, sysctls)
        if failure is None:
            why = self.devices.admit(pod, [each["metadata"]["uid"] for each in self._active()])
            return Refusal("UnexpectedAdmissionError", why) if why else None
        if not eviction.is_critical(pod):
            return failure
        lacks = shortfalls(pod, self._active(), node)
        ended = eviction.victims(pod, lacks, self._active()) if lacks else None
        if not ended:
            return failure
        for victim in ended:
            self._emit(victim, "Warning", *PREEMPTED)
            self._workers[victim["metadata"]["uid"]].fail(*PREEMPTED, disruption=DISRUPTED)
        return admit(pod, self._active(), node, sysctls)

    def _held(self) -> Collection[str]:
        """The conditions of shortage that hold."""
        return self._pressure.conditions if self._pressure else ()

    def _living(self) -> Iterable[PodWorker]:
        return [worker for worker in self._workers.values() if not worker.terminal and not worker.is_gone]

    def status_changed(self) -> None:
        """Something that the node's status tells of is other than before."""
        if self.registration:
            self.registration.look()

    # -- static pods

    def _static_pods(self, pods: dict[str, Obj]) -> None:
        for uid, worker in self._workers.items():
            if is_static(worker.pod) and uid not in pods and not worker.is_gone:
                if worker.shown_as:
                    self._spawn(self._mirrors.delete(worker.shown_as))
                worker.gone()
        for uid, pod in pods.items():
            if uid not in self._workers:
                self._add(pod)
            if mirror := self._pods.get(*key_of(pod)):
                self._mirror_changed(mirror)
            else:
                self._spawn(self._mirror(pod))

    def _mirror_changed(self, mirror: Obj) -> None:
        """A mirror whose static pod is no more is deleted, as is one that somebody wants to delete (it comes again); the
        others show their pod's status."""
        if "deletionTimestamp" in mirror["metadata"]:
            self._spawn(self._mirrors.delete(mirror))
            return
        worker = self._workers.get(mirror["metadata"]["annotations"][MIRROR])
        if worker and not worker.is_gone:
            worker.mirrored(mirror)
        elif self._static is not None:
            self._spawn(self._mirrors.delete(mirror))

    def _mirror_gone(self, mirror: Obj) -> None:
        worker = self._workers.get(mirror["metadata"]["annotations"][MIRROR])
        if worker and not worker.is_gone:
            worker.mirrored(None)
            self._spawn(self._mirror(worker.pod))

    async def _mirror(self, pod: Obj) -> None:
        while (worker := self._workers.get(pod["metadata"]["uid"])) and not worker.is_gone:
            if worker.shown_as or await self._mirrors.create(pod, self.registration.node if self.registration else {}):
                return
            await self._world.sleep(MIRROR_RETRY_SECONDS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)

    def _active(self) -> Iterable[Obj]:
        return [worker.sizes.seen(worker.pod) for worker in self._workers.values() if not worker.terminal]

    def _neighbours(self, uid: str) -> Sequence[Obj]:
        others = [worker for worker in self._workers.values() if worker.uid != uid and not worker.terminal]
        return [worker.sizes.seen(worker.pod) for worker in others]

    def _freed(self) -> None:
        """Resizes that had to wait may have room now."""
        for worker in self._workers.values():
            if worker.sizes.deferred:
                worker.wake()

    def _finished(self, uid: str) -> None:
        self._workers.pop(uid, None)
        self.devices.forget(uid)
        self._freed()

    def _runtime_changed(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker:
            worker.wake()
        elif self._tasks:
            self._end_orphan(uid)

    def _container_ended(self, uid: str, run: Container) -> None:
        spec = worker.pod["spec"] if (worker := self._workers.get(uid)) else {}
        kinds = {"initContainers": "init_container", "ephemeralContainers": "ephemeral_container"}
        named = (kind for field, kind in kinds.items() if any(c["name"] == run.name for c in spec.get(field) or ()))
        reason = run.reason or ("Error" if run.exit_code else "Completed")
        self.terminations[next(named, "container"), str(run.exit_code), reason] += 1

    def _source_changed(self, uid: str) -> None:
        if worker := self._workers.get(uid):
            worker.refresh()

    # -- what nobody knows

    def _end_orphans(self) -> None:
        for uid in self.cache.uids():
            if uid not in self._workers:
                self._end_orphan(uid)

    def _end_orphan(self, uid: str) -> None:
        """Ends a pod that runs and that the API does not have: it was deleted while the kubelet was away."""
        known = self.cache.labels.get(uid)
        runtime = self.cache.get(uid)
        if known is None or not (runtime.sandboxes or runtime.containers):
            return
        names = known["labels"]
        containers = [{"name": name} for name in runtime.containers] or [{"name": names.get(CONTAINER_NAME, "")}]
        pod: Obj = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": names.get(POD_NAME, ""),
                "namespace": names.get(POD_NAMESPACE, ""),
                "uid": names.get(POD_UID, uid),
            },
            "spec": {
                "containers": containers,
                "terminationGracePeriodSeconds": int(known["annotations"].get(GRACE, 30)),
            },
        }
        worker = self._workers[uid] = PodWorker(self.context, pod, self._finished, gone=True)
        worker.start()

    async def _keep_up(self) -> None:
        """Logs are kept short; images that nobody uses make room."""
        upkeep, images_at = self._upkeep or Upkeep(self.context), 0.0
        while True:
            await self._world.sleep(LOG_SECONDS)
            try:
                await upkeep.logs(self._workers.values())
                if self._world.now() - images_at >= IMAGE_SECONDS:
                    images_at = self._world.now()
                    await upkeep.images(self.pods())
            except Exception:
                log.exception("upkeep")

    async def _housekeeping(self) -> None:
        """Folders, volumes and cgroups of pods that are no more."""
        while True:
            await self._world.sleep(HOUSEKEEPING_SECONDS)
            context = self.context
            known = set(self._workers)
            try:
                for uid in context.volumes.orphans(known):
                    await context.volumes.unmount(uid)
                    await asyncio.to_thread(remove, self.config.pod_root(uid))
                for folder in self.config.log_root.iterdir():
                    if folder.name.rpartition("_")[2] not in known:
                        await asyncio.to_thread(shutil.rmtree, folder, True)
                for link in self.config.log_links.iterdir() if self.config.log_links else ():
                    if link.is_symlink() and not link.exists():
                        link.unlink(missing_ok=True)
                for uid in context.cgroups.orphans(known):
                    context.cgroups.remove(uid)
            except Exception:
                log.exception("housekeeping")


def _spec_changed(before: Obj, after: Obj) -> bool:
    """Whether a worker has to act on a newer object (its own status coming back is no reason)."""
    if before["spec"] != after["spec"]:
        return True
    old, new = before["metadata"], after["metadata"]
    names = ("deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "generation")
    if any(old.get(name) != new.get(name) for name in names):
        return True
    gates = {gate["conditionType"] for gate in after["spec"].get("readinessGates") or []}
    return bool(gates) and _conditions(before, gates) != _conditions(after, gates)


def _conditions(pod: Obj, names: set[str]) -> list[tuple[str, str]]:
    return [(c["type"], c["status"]) for c in pod.get("status", {}).get("conditions") or [] if c["type"] in names]
