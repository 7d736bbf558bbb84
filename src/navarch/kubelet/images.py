"""Getting a container's image: pull policy, credentials, back-off, and the events that tell of it.

An image that was loaded by hand is never pulled: no registry could refresh it, so `Always` is content with it.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import orjson

from navarch.kubelet.backoff import Backoff
from navarch.kubelet.cri import Cri, CriError
from navarch.kubelet.env import decoded
from navarch.kubelet.parts import Emit
from navarch.machinery.clock import World
from navarch.machinery.types import Obj

DEFAULT_REGISTRY = "docker.io"
DOCKER_CONFIG = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}
PULLS_AT_ONCE = 5
_PART = r"[A-Za-z0-9]+(?:(?:\.|_|__|-+)[A-Za-z0-9]+)*"
REFERENCE = re.compile(
    rf"(?P<path>(?:{_PART}(?::[0-9]+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>[A-Za-z0-9+._-]+:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
"""The grammar of image names (distribution's reference package)."""


class ImageError(Exception):
    """A container cannot start for want of its image; `reason` is the waiting reason that its status shows."""

    def __init__(self, reason: str, message: str, retry: float) -> None:
        super().__init__(message)
        self.reason, self.message, self.retry = reason, message, retry


def normalised(image: str) -> str:
    """The whole name the runtime knows an image by. Raises ValueError for what is no image name.

    `nginx` is docker.io/library/nginx:latest."""
    match = REFERENCE.fullmatch(image)
    if match is None:
        raise ValueError(image)
    path, tag, digest = match["path"], match["tag"], match["digest"]
    host, slash, rest = path.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = DEFAULT_REGISTRY, path if slash else f"library/{path}"
    if rest != rest.lower():
        raise ValueError(image)
    return f"{host}/{rest}@{digest}" if digest else f"{host}/{rest}:{tag or 'latest'}"


def credentials(image: str, secrets: Iterable[Obj]) -> list[dict[str, Any]]:
    """The CRI's AuthConfigs that the pull secrets hold for an image's registry."""
    whole = normalised(image)
    found: list[dict[str, Any]] = []
    for secret in secrets:
        key = DOCKER_CONFIG.get(secret.get("type", ""))
        data = (secret.get("data") or {}).get(key or "")
        if not key or not data:
            continue
        try:
            config = orjson.loads(decoded(data))
        except (ValueError, orjson.JSONDecodeError):
            continue
        entries = config.get("auths") or {} if key == ".dockerconfigjson" else config
        found += [_auth(entry) for server, entry in entries.items() if _serves(server, whole)]
    return found


def _serves(server: str, image: str) -> bool:
    place = server.removeprefix("https://").removeprefix("http://").rstrip("/")
    if place in ("index.docker.io/v1", "index.docker.io", "registry-1.docker.io"):
        place = DEFAULT_REGISTRY
    return image == place or image.startswith(f"{place}/")


def _auth(entry: Mapping[str, Any]) -> dict[str, Any]:
    user, password = entry.get("username", ""), entry.get("password", "")
    if not user and entry.get("auth"):
        user, _, password = base64.b64decode(entry["auth"]).decode(errors="replace").partition(":")
    return {"username": user, "password": password, "identity_token": entry.get("identitytoken", "")}


class ImageManager:
    """`loaded` answers the whole names of images that were loaded by hand."""

    def __init__(self, cri: Cri, world: World, emit: Emit, loaded: Callable[[], Collection[str]]) -> None:
        self._cri, self._world, self._emit, self._loaded = cri, world, emit, loaded
        self._backoff = Backoff()
        self._raised: dict[str, float] = {}
        self._errors: dict[str, str] = {}
        self._pulls: dict[str, asyncio.Task[str]] = {}
        self._limit = asyncio.Semaphore(PULLS_AT_ONCE)

    async def ensure(
        self, container: Obj, regarding: Obj, pod_uid: str, secrets: Iterable[Obj], pulling: Callable[[], None]
    ) -> str:
        """The runtime's reference of the container's image, pulled where need be; `pulling` is called before a pull,
        which may take long. Raises ImageError."""
        image: str = container.get("image", "")
        try:
            whole = normalised(image)
        except ValueError:
            message = f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}"'
            self._emit(regarding, "Warning", "InspectFailed", message)
            raise ImageError("InvalidImageName", message, 300.0) from None
        policy = container.get("imagePullPolicy", "IfNotPresent")
        present = await self._present(whole, image, regarding)
        by_hand = whole in self._loaded()
        if present and (policy != "Always" or by_hand):
            self._emit(regarding, "Normal", "Pulled", f'Container image "{image}" already present on machine')
            return present
        if policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            self._emit(regarding, "Warning", "ErrImageNeverPull", message)
            raise ImageError("ErrImageNeverPull", message, 10.0)
        pulling()
        return await self._pull(image, whole, regarding, f"{pod_uid}_{image}", secrets)

    def forget(self, pod_uid: str) -> None:
        self._backoff.forget(f"{pod_uid}_")
        for table in (self._errors, self._raised):
            for key in [k for k in table if k.startswith(f"{pod_uid}_")]:
                del table[key]

    async def _present(self, whole: str, image: str, regarding: Obj) -> str:
        try:
            found = await self._cri.image(whole)
        except CriError as error:
            message = f'Failed to inspect image "{image}": {error}'
            self._emit(regarding, "Warning", "InspectFailed", message)
            raise ImageError("ImageInspectError", message, error.retry) from None
        return found["id"] if found else ""

    async def _pull(self, image: str, whole: str, regarding: Obj, key: str, secrets: Iterable[Obj]) -> str:
        now = self._world.now()
        if wait := self._backoff.remaining(key, self._raised.get(key, 0.0), now):
            message = f'Back-off pulling image "{image}"'
            self._emit(regarding, "Normal", "BackOff", message)
            if key in self._errors:
                message = f"{message}: {self._errors[key]}"
            raise ImageError("ImagePullBackOff", message, wait)
        self._errors.pop(key, None)
        self._emit(regarding, "Normal", "Pulling", f'Pulling image "{image}"')
        try:
            reference = await self._shared_pull(whole, credentials(image, secrets))
        except CriError as error:
            self._emit(regarding, "Warning", "Failed", f'Failed to pull image "{image}": {error}')
            self._backoff.failed(key, self._world.now())
            self._raised[key] = self._world.now()
            self._errors[key] = f"ErrImagePull: {error}"
            raise ImageError("ErrImagePull", str(error), self._backoff.delay(key)) from None
        took = self._world.now() - now
        size = ((await self._cri.image(whole)) or {}).get("size", 0)
        text = f'Successfully pulled image "{image}" in {took:.3f}s ({took:.3f}s including waiting). '
        self._emit(regarding, "Normal", "Pulled", f"{text}Image size: {size} bytes.")
        return reference

    async def _shared_pull(self, whole: str, auths: list[dict[str, Any]]) -> str:
        """One pull for all that want the same image without credentials of their own."""
        if auths:
            return await self._pull_with(whole, auths)
        task = self._pulls.get(whole)
        if task is None:
            task = self._pulls[whole] = asyncio.create_task(self._pull_with(whole, [{}]))
            task.add_done_callback(lambda done: self._pulled(whole, done))
        return await asyncio.shield(task)

    def _pulled(self, whole: str, done: asyncio.Task[str]) -> None:
        self._pulls.pop(whole, None)
        if not done.cancelled():
            done.exception()  # who asked for it may be gone: then nobody else looks

    async def _pull_with(self, whole: str, auths: list[dict[str, Any]]) -> str:
        async with self._limit:
            failure: CriError | None = None
            for auth in auths:
                try:
                    return await self._cri.pull_image(whole, auth or None)
                except CriError as error:
                    failure = error
            assert failure
            raise failure
