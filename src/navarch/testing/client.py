"""A small blocking client for tests. It knows resources by what the server serves, custom ones included.

A resource is named as kubectl has it: plural, singular, kind or short name, with `.group` where that is needed. Namespaced
objects are in `default` unless said otherwise. Failures raise `navarch.machinery.errors.StatusError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import orjson
import yaml

from navarch.client.http import HttpClient
from navarch.client.interface import PatchType, Resource
from navarch.machinery.errors import StatusError
from navarch.machinery.types import Obj

T = TypeVar("T")
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
DEFAULT = "default"
PAUSE_SECONDS = 0.02


class Ask(Protocol):
    def __call__(self, work: Coroutine[Any, Any, T]) -> T: ...


class Client:
    """Made by `Cluster.client`."""

    def __init__(self, http: HttpClient, ask: Ask) -> None:
        self._http = http
        self._ask = ask
        self._known: dict[str, Resource] = {}

    async def close(self) -> None:
        await self._http.close()

    # -- verbs

    def get(self, resource: str, name: str, namespace: str = DEFAULT, *, subresource: str = "") -> Obj:
        return self._ask(self._http.get(self.resource(resource), name, namespace, subresource=subresource))

    def list(self, resource: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Sequence[Obj]:
        """Of all namespaces unless one is named; `labels` and `fields` are selectors."""
        found = self._http.list(self.resource(resource), namespace, label_selector=labels, field_selector=fields)
        return self._ask(found).items

    def create(self, obj: Obj, namespace: str = "") -> Obj:
        return self._ask(self._http.create(self._of(obj), obj, _namespace(obj, namespace)))

    def update(self, obj: Obj, *, subresource: str = "") -> Obj:
        return self._ask(self._http.update(self._of(obj), obj, _namespace(obj, ""), subresource=subresource))

    def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str = DEFAULT,
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Obj:
        sent = self._http.patch(self.resource(resource), name, patch, namespace, type=type, subresource=subresource)
        return self._ask(sent)

    def delete(self, resource: str, name: str, namespace: str = DEFAULT) -> Obj:
        return self._ask(self._http.delete(self.resource(resource), name, namespace))

    def apply(self, manifest: str | Obj | Sequence[Obj], namespace: str = "", *, manager: str = "test") -> list[Obj]:
        """Server-side apply, by force, of objects or YAML; what each has become."""
        return [self._apply(obj, namespace, manager) for obj in _objects(manifest)]

    def _apply(self, obj: Obj, namespace: str, manager: str) -> Obj:
        name = obj["metadata"]["name"]
        where = _namespace(obj, namespace)
        sent = self._http.patch(self._of(obj), name, obj, where, type="apply", field_manager=manager, force=True)
        return self._ask(sent)

    def raw(self, method: str, path: str, body: Any = None) -> Any:
        """Any path; JSON in, JSON or text out."""
        return self._ask(self._http.raw(method, path, body=body))

    def wait(self, what: Callable[[], T], seconds: float = 20.0) -> T:
        """The first true answer of `what`, which may meanwhile be refused with 404. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        last: Any = None
        while True:
            try:
                if last := what():
                    return last
            except StatusError as error:
                if error.code != 404:
                    raise
                last = error
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s; last: {last!r}")
            time.sleep(PAUSE_SECONDS)

    # -- resources

    def resource(self, name: str) -> Resource:
        """Raises LookupError for what the server does not serve."""
        key = name.lower()
        if key not in self._known:
            self._known = self._ask(self._discover())
        try:
            return self._known[key]
        except KeyError:
            raise LookupError(f"the server has no resource {name!r}") from None

    def _of(self, obj: Obj) -> Resource:
        group, _, version = obj["apiVersion"].rpartition("/")
        return self.resource(f"{obj['kind']}.{version}.{group}")

    async def _discover(self) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        for path in ("/api", "/apis"):
            answer = await self._http.pool.request("GET", path, self._http.headers(Accept=AGGREGATED))
            for group in orjson.loads(answer.body)["items"]:
                for name, resource in _names(group):
                    found.setdefault(name, resource)
        return found


def _names(group: Obj) -> Iterator[tuple[str, Resource]]:
    """All names of a discovered group's resources, the preferred version's first."""
    own = group["metadata"].get("name", "")
    for version in group["versions"]:
        for entry in version.get("resources") or ():
            resource = Resource(own, version["version"], entry["resource"], entry["scope"] == "Namespaced")
            kind = entry.get("responseKind", {}).get("kind", "")
            for name in {entry["resource"], entry.get("singularResource", ""), kind, *entry.get("shortNames", ())}:
                if short := name.lower():
                    yield short, resource
                    yield f"{short}.{own}", resource
                    yield f"{short}.{resource.version}.{own}", resource


def _namespace(obj: Obj, namespace: str) -> str:
    return namespace or obj["metadata"].get("namespace", "") or DEFAULT


def _objects(manifest: str | Obj | Sequence[Obj]) -> Sequence[Obj]:
    if isinstance(manifest, str):
        loaded = yaml.load_all(manifest, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return [obj for obj in loaded if obj]
    return [manifest] if isinstance(manifest, dict) else manifest
