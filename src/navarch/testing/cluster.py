"""`Cluster`: an API server on loopback for as long as a `with` lasts. What is heavy is imported when one starts."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from navarch.testing.options import Options

if TYPE_CHECKING:
    import asyncio

    from navarch.testing.client import Client

T = TypeVar("T")
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class Cluster:
    """A real API server, with an address, an authority and an administrator of its own; the memory store under it. No
    root, no container, no network but loopback. It is there on entering the `with`, and gone after it.

    With `nodes`, controllers and scheduler run too unless they are refused: pods get ready on hollow nodes. Pods need a
    service account, which controllers make. With `beside`, all runs in a process of its own instead of a thread of this
    one: slower to start, but it shares no interpreter with the test.
    """

    def __init__(
        self,
        *,
        controllers: bool | None = None,
        scheduler: bool | None = None,
        nodes: int = 0,
        beside: bool = False,
    ) -> None:
        whole = nodes > 0
        self._options = Options(
            controllers=whole if controllers is None else controllers,
            scheduler=whole if scheduler is None else scheduler,
            nodes=nodes,
        )
        self._beside = beside
        self._users = 0
        self._home: tempfile.TemporaryDirectory[str] | None = None
        self._client: Client | None = None
        self._thread: _Thread | None = None
        self._process: subprocess.Popen[str] | None = None

    @property
    def directory(self) -> Path:
        """The cluster's own; gone with it."""
        if self._home is None:
            raise RuntimeError("the cluster runs only within `with`")
        return Path(self._home.name)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.directory / "kubeconfig"

    @property
    def ca(self) -> Path:
        """The authority's certificate (PEM)."""
        return self.directory / "ca.crt"

    @property
    def url(self) -> str:
        return (self.directory / "url").read_text()

    @property
    def client(self) -> Client:
        """A small blocking client, the administrator's."""
        if self._client is None:
            from navarch.client.http import HttpClient
            from navarch.testing.client import Client

            admin = self.directory / "admin.crt", self.directory / "admin.key"
            self._client = Client(HttpClient(self.url, ca=self.ca, certificate=admin), self.ask)
        return self._client

    def kubeconfig_for(self, user: str, *groups: str) -> Path:
        """A kubeconfig by which a client is `user` and in `groups`. It may nothing until RBAC says so."""
        from navarch.cluster.certificates import Authority
        from navarch.testing.files import write_kubeconfig

        authority = Authority(self.ca.read_bytes(), (self.directory / "ca.key").read_bytes())
        self._users += 1
        path = self.directory / f"kubeconfig-{self._users}"
        write_kubeconfig(path, self.url, authority.pem, authority.client(user, *groups))
        return path

    def ask(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something on the cluster's event loop, and waits for it."""
        if self._thread is None:
            work.close()
            raise RuntimeError("the cluster runs only within `with`")
        return self._thread.ask(work)

    # -- life

    def __enter__(self) -> Cluster:
        self._home = tempfile.TemporaryDirectory(prefix="navarch-")
        collecting = gc.isenabled()
        gc.disable()  # what a start makes is there to stay: passes over everything would take as long as all the rest
        try:
            if self._beside:
                self._process = _start_beside(self.directory, self._options)
            self._thread = _Thread(None if self._beside else (self.directory, self._options))
        except BaseException:
            self._end()
            raise
        finally:
            if collecting:
                gc.enable()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        client, self._client = self._client, None
        thread, self._thread = self._thread, None
        process, self._process = self._process, None
        home, self._home = self._home, None
        try:
            if client and thread:
                thread.ask(client.close())
            if thread:
                thread.stop()
        finally:
            if process:
                _stop_beside(process)
            if home:
                home.cleanup()


class _Thread:
    """An event loop in a thread: the cluster's, or only its client's."""

    def __init__(self, served: tuple[Path, Options] | None) -> None:
        """Returns when the cluster is ready; raises what kept it from that."""
        self._served = served
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="navarch-testing", daemon=True)
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise TimeoutError(f"the cluster did not start within {START_SECONDS:.0f} s")
        if self._failure is not None:
            raise self._failure

    def ask(self, work: Coroutine[Any, Any, T]) -> T:
        import asyncio

        assert self._loop
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def stop(self) -> None:
        if self._loop and self._told and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told.set)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        import asyncio

        import uvloop

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._live())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._started.set()

    async def _live(self) -> None:
        import asyncio

        self._loop = asyncio.get_running_loop()
        self._told = asyncio.Event()
        if self._served is None:
            self._started.set()
            await self._told.wait()
            return
        from navarch.testing.inside import served

        async with served(*self._served):
            self._started.set()
            await self._told.wait()


def _start_beside(directory: Path, options: Options) -> subprocess.Popen[str]:
    """Returns when it is ready. It ends when its standard input does: it cannot outlive the test."""
    words = [str(directory), str(options.nodes)]
    words += [name for name in ("controllers", "scheduler") if getattr(options, name)]
    process = subprocess.Popen(
        [sys.executable, "-m", "navarch.testing.beside", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        _stop_beside(process)
        raise RuntimeError(f"the cluster's process ended with {process.returncode}")
    return process


def _stop_beside(process: subprocess.Popen[str]) -> None:
    assert process.stdin and process.stdout
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
