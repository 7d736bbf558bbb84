"""Static pods: manifests in a folder of the node, run without the API server, and shown there as mirror pods.

Source of the rules: upstream's config/file source and mirror client. A changed manifest is another pod; a mirror that
somebody deletes is made again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from navarch.api.core.pod import MIRROR, defaults, validate
from navarch.api.podspec.resources import qos_class
from navarch.client.interface import Client
from navarch.client.resources import PODS
from navarch.kubelet.admission import STATIC_SOURCE
from navarch.kubelet.inotify import FolderWatch
from navarch.machinery import trees
from navarch.machinery.clock import World, rfc3339
from navarch.machinery.decode import parse_yaml
from navarch.machinery.errors import FieldErrors, StatusError
from navarch.machinery.types import Obj

log = logging.getLogger(__name__)

HASH = "kubernetes.io/config.hash"
SEEN = "kubernetes.io/config.seen"
RELIST_SECONDS = 20.0
MANIFEST_LIMIT = 1 << 20


def static_pod(manifest: bytes, node: str, now: float) -> Obj:
    """The pod that a manifest stands for on a node. Raises ValueError, saying what is wrong with it."""
    try:
        tree = parse_yaml(manifest)
    except StatusError as error:
        raise ValueError(error.message) from None
    if not isinstance(tree, dict) or tree.get("kind") != "Pod" or tree.get("apiVersion") != "v1":
        raise ValueError("no Pod of v1")
    pod: Obj = trees.copy(tree)
    meta = pod.setdefault("metadata", {})
    if not meta.get("name"):
        raise ValueError("the pod has no name")
    uid = meta.get("uid") or hashlib.md5(manifest + node.encode(), usedforsecurity=False).hexdigest()
    meta |= {"name": f"{meta['name']}-{node}", "namespace": meta.get("namespace") or "default", "uid": uid}
    annotations = {**(meta.get("annotations") or {}), HASH: uid, SEEN: rfc3339(now), STATIC_SOURCE: "file"}
    meta["annotations"] = annotations
    spec = pod.setdefault("spec", {})
    spec["nodeName"] = node
    spec["tolerations"] = [*(spec.get("tolerations") or []), {"operator": "Exists", "effect": "NoExecute"}]
    try:
        defaults(pod)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the spec is no pod's: {error}") from None
    errs = FieldErrors()
    validate(pod, errs)
    if errs:
        raise ValueError("; ".join(map(str, errs.items)))
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    return pod


def mirror_of(pod: Obj, node: Obj) -> Obj:
    """The pod in the API that shows a static one."""
    mirror: Obj = trees.copy(pod)
    meta = mirror["metadata"]
    meta.pop("uid")
    meta["annotations"][MIRROR] = meta["annotations"][HASH]
    meta["ownerReferences"] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "name": node["metadata"]["name"],
            "uid": node["metadata"]["uid"],
            "controller": True,
        }
    ]
    mirror.pop("status", None)
    return mirror


def is_mirror(pod: Obj) -> bool:
    return MIRROR in (pod["metadata"].get("annotations") or {})


class StaticPods:
    """`changed(pods)` is called with the pods of the folder, by uid, whenever they are others."""

    def __init__(self, folder: Path, node: str, world: World, changed: Callable[[dict[str, Obj]], None]) -> None:
        self._folder, self._node, self._world, self._changed = folder, node, world, changed
        self._pods: dict[str, Obj] = {}
        self._problems: dict[str, str] = {}
        self._poke = asyncio.Event()
        self._watch: FolderWatch | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The folder's pods are told of before this returns."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._watch = FolderWatch(self._folder, self._poke.set)
        self._look()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._watch is not None:
            self._watch.close()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poke.wait(), RELIST_SECONDS)
            self._poke.clear()
            self._look()

    def _look(self) -> None:
        found = self.read()
        if found.keys() != self._pods.keys():
            self._pods = found
            self._changed(found)

    def read(self) -> dict[str, Obj]:
        """The folder's pods by uid; a bad manifest is told of once."""
        found: dict[str, Obj] = {}
        for path in sorted(self._folder.iterdir()):
            if path.name.startswith(".") or not path.is_file():
                continue
            try:
                if path.stat().st_size > MANIFEST_LIMIT:
                    raise ValueError("the manifest is too long")
                pod = static_pod(path.read_bytes(), self._node, self._world.now())
                uid = pod["metadata"]["uid"]
                found[uid] = self._pods.get(uid, pod)
                self._problems.pop(path.name, None)
            except (ValueError, OSError) as error:
                if self._problems.get(path.name) != str(error):
                    self._problems[path.name] = str(error)
                    log.error("static pod %s: %s", path, error)
        return found


class Mirrors:
    """Keeps a static pod's mirror in the API."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(self, pod: Obj, node: Obj) -> bool:
        try:
            await self._client.create(PODS, mirror_of(pod, node), pod["metadata"]["namespace"])
        except StatusError as error:
            if error.code != 409:
                log.warning("mirror of static pod %s refused: %s", pod["metadata"]["name"], error.message)
            return error.code == 409
        except (ConnectionError, OSError):
            return False
        return True

    async def delete(self, mirror: Obj) -> None:
        meta = mirror["metadata"]
        with suppress(StatusError, ConnectionError, OSError):
            await self._client.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"], grace_period_seconds=0)
