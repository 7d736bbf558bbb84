"""Getting images onto a node without a registry: loading archives, and building the ones a beginner needs first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
from pathlib import Path

import orjson

from navarch.cluster.config import ClusterConfig
from navarch.cluster.files import write_atomically
from navarch.cluster.runtime import PAUSE_IMAGE, ctr
from navarch.images.recipes import build

DEFAULT_REGISTRY = "registry-1.docker.io"
REGISTRY_SECONDS = 2.0
EXAMPLE_IMAGES = {"busybox": "busybox:latest", "nginx": "nginx:latest"}
"""Recipe -> image name: what is built where no registry can be reached."""


def archive(config: ClusterConfig, recipe: str, name: str) -> Path:
    """The archive of a built image; built now unless an earlier `up` on this machine did."""
    path = config.images / f"{recipe}.tar"
    if not path.exists():
        build(recipe, name, path)
    return path


def load(config: ClusterConfig, path: Path) -> list[str]:
    """Imports an OCI or docker archive into the cluster's runtime; returns the names of its images.

    The names are remembered: no registry can refresh such an image, so imagePullPolicy Always is content with it."""
    printed = ctr(config, "images", "import", "--digests", str(path))
    names = [line.split()[1] for line in printed.splitlines() if line.startswith("unpacking ")]
    _remember(config, [name for name in names if name != PAUSE_IMAGE])
    return names


def load_pause(config: ClusterConfig) -> None:
    """The sandbox image must be there before the first pod."""
    present = ctr(config, "images", "list", "--quiet", f"name=={PAUSE_IMAGE}")
    if PAUSE_IMAGE not in present.split():
        load(config, archive(config, "pause", PAUSE_IMAGE))


def loaded(config: ClusterConfig) -> list[str]:
    """Names of the images that were loaded by hand."""
    try:
        return orjson.loads(config.loaded_images.read_bytes())
    except FileNotFoundError:
        return []


def _remember(config: ClusterConfig, names: list[str]) -> None:
    with open(config.state / ".images.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_atomically(config.loaded_images, orjson.dumps(sorted({*loaded(config), *names})), 0o644)


def registry_reachable(config: ClusterConfig) -> bool:
    """Whether the default image registry answers: the smallest example image is pulled, which also saves a wait later."""
    import asyncio

    from navarch.kubelet.cri import connect

    if not _other_ways(config) and not _found(DEFAULT_REGISTRY, 443, REGISTRY_SECONDS):
        return False

    async def pull() -> bool:
        async with connect(config.containerd_socket) as cri:
            try:
                await asyncio.wait_for(cri.pull_image("busybox"), 30)
                return True
            except Exception:  # whatever hinders it (no route, no name, refused): it cannot be reached
                return False

    return asyncio.run(pull())


def _other_ways(config: ClusterConfig) -> bool:
    """Whether the runtime was told of mirrors or proxies: the registry itself need not be in sight then."""
    proxies = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
    return any(name in os.environ for name in proxies) or any((config.state / "registries").glob("*"))


def _found(host: str, port: int, seconds: float) -> bool:
    """Whether a connection comes about in time. A resolver without an answer takes its own, long time: it is not waited for."""
    connected = threading.Event()

    def attempt() -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), seconds):
            connected.set()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    return connected.is_set()
