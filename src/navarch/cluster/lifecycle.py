"""`up`, `down` and `status` of a cluster on this machine."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import time
import urllib.request
from collections.abc import Callable, Generator
from typing import Any

import orjson

from navarch.cluster import kubeconfig, pki, preload, processes, runtime, teardown
from navarch.cluster.config import ClusterConfig
from navarch.cluster.state import ClusterError
from navarch.images.debian import PackageError

READY_TIMEOUT = 60.0
"""Seconds that each part gets to come up before `up` gives up on it."""


class Progress:
    """A line for each step: what, and how long it took."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    @contextlib.contextmanager
    def step(self, what: str) -> Generator[list[str]]:
        """Append to the yielded list what is to stand behind the step."""
        started = time.monotonic()
        notes: list[str] = []
        try:
            yield notes
        except BaseException:
            self.say(f"  x {what}")
            raise
        note = f": {'; '.join(notes)}" if notes else ""
        self.say(f"  * {what}{note} ({time.monotonic() - started:.1f} s)")


class AdminApi:
    """The few questions `up` and `status` ask the API server, with the admin's certificate."""

    def __init__(self, config: ClusterConfig) -> None:
        admin = pki.paths(config)
        context = ssl.create_default_context(cafile=str(admin.ca_cert))
        context.load_cert_chain(str(admin.admin.cert), str(admin.admin.key))
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        self._server = f"https://127.0.0.1:{config.api_port}"

    def get(self, path: str) -> Any:
        """The decoded JSON answer; raises OSError (which urllib's errors are)."""
        with self._opener.open(self._server + path, timeout=5) as answer:
            data = answer.read()
        return orjson.loads(data) if data[:1] in b"{[" else data.decode()

    def ready(self) -> bool:
        with contextlib.suppress(OSError):
            return self.get("/readyz") == "ok"
        return False

    def nodes_ready(self) -> bool:
        with contextlib.suppress(OSError):
            nodes = self.get("/api/v1/nodes")["items"]
            return bool(nodes) and all(_condition(node, "Ready") for node in nodes)
        return False


def up(config: ClusterConfig, progress: Progress) -> None:
    """Brings the cluster up, or what is missing of it; changes nothing of one that runs."""
    with progress.step("sandbox image"):
        preload.archive(config, "pause", runtime.PAUSE_IMAGE)
    with progress.step("certificates and configuration"):
        pki.ensure(config)
        runtime.write_configuration(config)
    with progress.step("control plane ready"):
        processes.start_supervisor(config)
        api = AdminApi(config)
        _wait(api.ready, config, processes.CONTROL_PLANE)
    with progress.step("node ready"):
        _wait(api.nodes_ready, config, processes.NODE)
    with progress.step("images for a start") as notes:
        notes.append(_example_images(config))
    with progress.step("kubeconfig") as notes:
        path = kubeconfig.add_to_user_file(config, pki.admin_kubeconfig(config))
        notes.append(f"context {kubeconfig.context_name(config)} in {path}")


def down(config: ClusterConfig, progress: Progress, keep_data: bool = False) -> None:
    """Takes everything of the cluster off the machine; with `keep_data` all but its state, which `up` resumes."""
    with progress.step("processes and containers ended"):
        teardown.stop_processes(config)
    with progress.step("network, cgroups and files removed"):
        teardown.remove_network(config)
        teardown.remove_cgroups(config)
        shutil.rmtree(config.run, ignore_errors=True)
        if not keep_data:
            kubeconfig.remove_from_user_file(config)
            shutil.rmtree(config.state, ignore_errors=True)


def status(config: ClusterConfig) -> dict[str, str]:
    """Part -> how it is, in words."""
    found: dict[str, str] = {}
    for name in (processes.SUPERVISOR, processes.CONTAINERD, processes.CONTROL_PLANE, processes.NODE):
        process = processes.process(config, name)
        found[name] = f"running (pid {process.pid})" if process else "not running"
    api = AdminApi(config)
    found["API server"] = f"ready at https://127.0.0.1:{config.api_port}" if api.ready() else "not answering"
    with contextlib.suppress(OSError):
        for node in api.get("/api/v1/nodes")["items"]:
            found[f"node {node['metadata']['name']}"] = "Ready" if _condition(node, "Ready") else "NotReady"
    return found


def _example_images(config: ClusterConfig) -> str:
    """Makes sure that `nginx` and `busybox` can be run; says where they come from."""
    missing = {
        recipe: name
        for recipe, name in preload.EXAMPLE_IMAGES.items()
        if not any(known.endswith(f"/{name}") for known in preload.loaded(config))
    }
    if not missing:
        return "nginx and busybox are loaded (built from this distribution's packages)"
    if preload.registry_reachable(config):
        return "nginx and busybox come from the image registry, which can be reached"
    try:
        for recipe, name in missing.items():
            preload.load(config, preload.archive(config, recipe, name))
    except PackageError as error:
        return f"no image registry can be reached, and building images failed ({error}); use `navarch image load FILE`"
    return "no image registry can be reached: nginx and busybox were built from this distribution's packages"


def _wait(ready: Callable[[], bool], config: ClusterConfig, part: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    delay = 0.02
    while not ready():
        if time.monotonic() > deadline:
            tail = processes.log_tail(config, part)
            raise ClusterError(
                f"the {part} did not become ready in {READY_TIMEOUT:.0f} s; its log ({config.logs}/{part}.log) ends:\n{tail}"
            )
        time.sleep(delay)
        delay = min(delay * 1.5, 0.25)


def _condition(obj: dict[str, Any], name: str) -> bool:
    return any(c["type"] == name and c["status"] == "True" for c in obj.get("status", {}).get("conditions", []))
