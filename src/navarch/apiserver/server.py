"""The API server, put together: store, caches, registries, admission, authorization, and the HTTP routes over them."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from navarch import __version__
from navarch.api.kind import Kind
from navarch.api.scheme import kinds
from navarch.apiserver import bootstrap
from navarch.apiserver.admission.chain import Chain
from navarch.apiserver.admission.plugins import standard_plugins
from navarch.apiserver.auth.interface import Attributes, Authorizer
from navarch.apiserver.discovery import Check, Discovery, health, index, not_found, version_info
from navarch.apiserver.filters.request_info import request_info
from navarch.apiserver.inprocess import InProcessClient
from navarch.apiserver.negotiate import dump, is_pretty
from navarch.apiserver.operations import Operations
from navarch.apiserver.ownership import Ownership
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.special import registry_for, virtual_resources
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.request import Request, Response, User
from navarch.apiserver.rest import Rest, error_response
from navarch.apiserver.watchcache import CacheSet
from navarch.machinery import errors
from navarch.machinery.clock import World
from navarch.machinery.errors import StatusError
from navarch.machinery.types import GroupResource
from navarch.store.interface import Store

SYSTEM = User("system:apiserver", groups=("system:masters", "system:authenticated"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServerConfig:
    """What an API server must be told. Everything has a default that suits a test."""

    service_cidr: str = "10.96.0.0/16"
    node_port_range: tuple[int, int] = (30000, 32767)
    """First and last."""
    advertise_address: str = "127.0.0.1"
    """Where the `kubernetes` service leads: this server's address as pods reach it."""
    advertise_port: int = 6443
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    """The issuer of service account tokens."""
    token_key_pem: bytes = b""
    """PEM of the private key that signs service account tokens; empty: a new one for this server's life."""


class ApiServer:
    """One API server over one store. `start` before use, `stop` after."""

    def __init__(
        self,
        store: Store,
        world: World,
        config: ApiServerConfig = ApiServerConfig(),
        authorizer: Authorizer | None = None,
    ) -> None:
        self.store = store
        self.world = world
        self.config = config
        self.kinds: tuple[Kind, ...] = kinds()
        self.caches = CacheSet(store, self.kinds)
        self.admission = Chain(standard_plugins(self.caches, world))
        self.operations = Operations(self.caches, self.admission, Ownership(world))
        self.registries: dict[GroupResource, Registry] = {
            cache.kind.group_resource: registry_for(cache.kind, cache, self) for cache in self.caches
        }
        self._virtual: dict[tuple[GroupResource, str], Virtual] = virtual_resources(self)
        self._authorizer = authorizer
        self.embedded = bool(getattr(store, "embedded", True))
        """Whether the store's events arrive before its commits return: the caches are then always fresh."""
        self._rest = Rest(self)
        self._groups = self._rest.groups()
        self._discovery = Discovery(self.kinds, f"{config.advertise_address}:{config.advertise_port}")
        self._started = False
        self.checks: dict[str, Check] = {
            "ping": lambda: True,
            "etcd": lambda: self._started,
            "poststarthook/start-system-namespaces-controller": lambda: self._started,
        }
        self.system = InProcessClient(self, SYSTEM)
        """The server's own client: may do everything."""

    async def start(self) -> None:
        """Loads the caches and makes sure of the objects that every cluster has."""
        await self.caches.start()
        for registry in self.registries.values():
            registry.start()
        await bootstrap.ensure(self)
        self._started = True

    async def stop(self) -> None:
        self.caches.stop()

    # -- what the edges use

    def client(self, user: User) -> InProcessClient:
        """A client in this process that acts as `user`."""
        return InProcessClient(self, user)

    async def current(self) -> int:
        """A linearizable read point: the caches show at least this revision."""
        return self.caches.revision if self.embedded else await self.caches.fresh()

    def virtual(self, resource: GroupResource, subresource: str) -> Virtual | None:
        """The handler of a subresource that is an object of its own kind."""
        return self._virtual.get((resource, subresource))

    def authorize(self, attributes: Attributes) -> None:
        """Raises 403 unless the user may."""
        if "system:masters" in attributes.user.groups:
            return
        if self._authorizer is None:
            raise errors.forbidden(
                GroupResource(attributes.group, attributes.resource), attributes.name, "no authorizer"
            )
        decision = self._authorizer.authorize(attributes)
        if decision.allowed:
            return
        raise denied(attributes, decision.reason)

    def handle_as(self, request: Request) -> Response | Awaitable[Response]:
        """Answers a request whose user is known: authorization, then the resource or path it names. Failures become
        their Status."""
        try:
            request.info = request_info(request)
            self.authorize(attributes_of(request))
            answer = self.dispatch(request)
        except StatusError as err:
            return error_response(err)
        return answer if isinstance(answer, Response) else _awaited(answer)

    handle = handle_as

    def dispatch(self, request: Request) -> Response | Awaitable[Response]:
        """Routes an authorized request. Raises StatusError, at once or when awaited."""
        info = request.info
        if info.is_resource and (info.group, info.version) in self._groups:
            return self._rest.handle(request, info)
        parts = request.segments()
        match parts:
            case []:
                return Response(200, dump(index(self._paths()), is_pretty(request)))
            case ["version"]:
                return Response(200, dump(version_info(__version__), is_pretty(request)))
            case ["livez" | "readyz" | "healthz", *_]:
                return health(request, parts, self.checks)
            case ["api" | "apis", *_] if len(parts) <= 3:
                return self._discovery.handle(request, parts) or not_found()
            case _:
                return not_found()

    def _paths(self) -> list[str]:
        paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/readyz", "/version"]
        for group in self._discovery.groups():
            paths.append(f"/apis/{group}")
            paths.extend(f"/apis/{group}/{version}" for version in self._discovery.versions(group))
        return paths


async def _awaited(answer: Awaitable[Response]) -> Response:
    try:
        return await answer
    except StatusError as err:
        return error_response(err)


def attributes_of(request: Request) -> Attributes:
    """What authorization is asked about a request."""
    info = request.info
    return Attributes(
        request.user,
        info.verb,
        info.is_resource,
        info.path,
        info.group,
        info.version,
        info.resource,
        info.subresource,
        info.namespace,
        info.name,
    )


def denied(attributes: Attributes, reason: str) -> errors.StatusError:
    """The 403 of authorization, in upstream's words."""
    user, verb = attributes.user.name, attributes.verb
    if not attributes.is_resource:
        why = f'User "{user}" cannot {verb} path "{attributes.path}"'
        return errors.forbidden(GroupResource("", ""), "", why + (f": {reason}" if reason else ""))
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    where = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    why = f'User "{user}" cannot {verb} resource "{resource}" in API group "{attributes.group}" {where}'
    return errors.forbidden(
        GroupResource(attributes.group, attributes.resource), attributes.name, why + (f": {reason}" if reason else "")
    )
