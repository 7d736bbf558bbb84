"""The API server, put together: store, caches, registries, admission, authorization, and the HTTP routes over them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from navarch import __version__
from navarch.api.features import NONE as NO_FEATURES
from navarch.api.features import Features
from navarch.api.kind import Kind
from navarch.api.scheme import kinds
from navarch.apiserver import bootstrap, servermetrics, zpages
from navarch.apiserver.admission.chain import Chain
from navarch.apiserver.admission.measures import Measures
from navarch.apiserver.admission.plugins import Parts, standard_plugins
from navarch.apiserver.admission.settings import Settings
from navarch.apiserver.aggregation.aggregator import Aggregator
from navarch.apiserver.aggregation.extensions import Extensions
from navarch.apiserver.aggregation.registering import Registering
from navarch.apiserver.audit.log import AuditLog, LogFile
from navarch.apiserver.audit.policy import Policy
from navarch.apiserver.auth.authenticators import BearerTokens, FixedTokens, TokenSource, Union
from navarch.apiserver.auth.bootstraptokens import BootstrapTokens
from navarch.apiserver.auth.configuration import Authentication
from navarch.apiserver.auth.frontproxy import FrontProxy
from navarch.apiserver.auth.interface import Attributes, Authenticator, Authorizer, Decision
from navarch.apiserver.auth.legacytokens import LAST_USED, LegacyTokens
from navarch.apiserver.auth.node import NodeAuthorizer
from navarch.apiserver.auth.rbac import RbacAuthorizer
from navarch.apiserver.auth.tokens import ServiceAccountTokens
from navarch.apiserver.auth.union import UnionAuthorizer
from navarch.apiserver.auth.x509 import ClientCertificates
from navarch.apiserver.customresources.serving import CustomResources
from navarch.apiserver.fairness.dumps import handlers
from navarch.apiserver.fairness.fairness import Fairness
from navarch.apiserver.filters.access import authorize, denied
from navarch.apiserver.filters.answers import with_statuses
from navarch.apiserver.filters.audit import Audit
from navarch.apiserver.filters.chain import Filter, build, standard_filters
from navarch.apiserver.filters.limits import MAX_READS, MAX_WRITES, InFlight
from navarch.apiserver.filters.metrics import RequestMetrics
from navarch.apiserver.filters.request_info import request_info
from navarch.apiserver.flowstatus import FlowStatuses
from navarch.apiserver.health import Step
from navarch.apiserver.inprocess import InProcessClient
from navarch.apiserver.operations import Operations, version_of
from navarch.apiserver.ownership import Ownership
from navarch.apiserver.registry.generic import Registry
from navarch.apiserver.registry.special import Carried, carried_resources, registry_for, virtual_resources
from navarch.apiserver.registry.virtual import Virtual
from navarch.apiserver.relaying import KubeletAccess, Pools
from navarch.apiserver.request import Handler, Request, Response, User
from navarch.apiserver.rest import Rest
from navarch.apiserver.routes import Routes
from navarch.apiserver.scheme import Scheme
from navarch.apiserver.services import SERVICE_NAME, Services
from navarch.apiserver.usage.scraper import Scraper, kubelets
from navarch.apiserver.watchcache import CacheSet
from navarch.apiserver.webhooks import Webhooks
from navarch.client.resources import FLOW_SCHEMAS, PRIORITY_LEVELS, SECRETS
from navarch.machinery import errors
from navarch.machinery.clock import World
from navarch.machinery.metrics import Metrics
from navarch.machinery.types import GroupResource, Obj
from navarch.store.encryption.configuration import Rules
from navarch.store.encryption.store import EncryptedStore
from navarch.store.interface import Store

MASTERS = "system:masters"
SYSTEM = User("system:apiserver", groups=(MASTERS, "system:authenticated"))
ALLOWED = Decision(True)


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
    client_ca_pem: bytes = b""
    """PEM bundle of the authorities whose client certificates name users; empty: certificates say nothing."""
    fixed_tokens: Mapping[str, User] = field(default_factory=dict[str, User])
    """Bearer tokens that the composition root hands out."""
    kubelets: KubeletAccess | None = None
    """How nodes are reached for logs, exec and the like; None: without a certificate, which real ones refuse."""
    authentication: Authentication = field(default_factory=Authentication)
    """Who else is believed: OpenID Connect issuers, front proxies, a webhook; and what anonymous users may ask."""
    audit: tuple[Policy, LogFile] | None = None
    """What is logged of requests, and where; None: nothing."""
    encryption: Rules = ()
    """How values are encrypted in the store, by prefix of their keys."""
    fairness: bool = True
    """API Priority and Fairness; without it, only how many reads and writes are under way is bounded."""
    max_reads: int = MAX_READS
    max_writes: int = MAX_WRITES
    """Their sum is the number of seats that priority levels share."""
    proxy_client: tuple[Path, Path] | None = None
    """PEM files of the certificate and key by which extension servers know this one; None: none believes it."""
    admission: Settings = field(default_factory=Settings)
    """Which admission plugins run besides the usual ones, or not, and how they are configured."""
    features: Features = NO_FEATURES
    """Which alpha features are on, and which alpha versions are served."""
    flags: Mapping[str, str] = field(default_factory=dict[str, str])
    """The command line's options, as /flagz shows them."""
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
        self.store = store = EncryptedStore(store, config.encryption) if config.encryption else store
        self.world = world
        self.config = config
        self.features = config.features
        self.scheme = Scheme(config.features.served(kinds()))
        self.caches = CacheSet(store, self.kinds)
        services = Services(self.lookup, self.slices_of)
        self.webhooks = Webhooks(services)
        """Asks webhooks, by their clientConfig."""
        self.aggregator = Aggregator(self, Extensions(services, config.proxy_client))
        """Versions of groups that extension servers serve."""
        self._registering = Registering(self)
        self.metrics = Metrics()
        self.admission = Chain(standard_plugins(self._admission_parts()))
        self.ownership = Ownership(world)
        self.operations = Operations(self.caches, self.admission, self.ownership)
        self.registries: dict[GroupResource, Registry] = {
            cache.kind.group_resource: registry_for(cache.kind, cache, self) for cache in self.caches
        }
        self.tokens = ServiceAccountTokens(world, self.lookup, config.issuer, config.token_key_pem)
        self.bearer = BearerTokens(self._token_sources())
        self._pools = Pools(config.kubelets)
        nodes = self.caches[GroupResource("", "nodes")]
        self.usage = Scraper(kubelets(self._pools, world), lambda: (e.obj for e in nodes.range()), world)
        """What nodes and pods use."""
        self._virtual: dict[tuple[GroupResource, str], Virtual] = virtual_resources(self)
        self.rbac = RbacAuthorizer(self.caches)
        self._authorizer = authorizer or UnionAuthorizer((NodeAuthorizer(self.caches), self.rbac))
        self.embedded = bool(getattr(store, "embedded", True))
        """Whether the store's events arrive before its commits return: the caches are then always fresh."""
        self._carried: dict[tuple[GroupResource, str], Carried] = carried_resources(self, self._pools)
        self._rest = Rest(self)
        self._groups = self._rest.groups()
        self._counted: dict[tuple[str, str, str], frozenset[str]] = {}
        self.started = self.stopping = False
        self.steps: set[Step] = set()
        """What of its start is done."""
        self.components: set[str] = set()
        """Parts of the control plane that run in this process: `controller-manager`, `scheduler`."""
        self._rewriting: asyncio.Task[int] | None = None
        self._flow_statuses = FlowStatuses(self)
        self.custom = CustomResources(self)
        self._writing: set[asyncio.Task[None]] = set()
        self.routes = Routes(self)
        self.routes.extra |= zpages.handlers(world, __version__, self.routes.paths, config.flags)
        self.audit: Audit | None = self._audit()
        self.fairness: Fairness | None = self._fair()
        self.handle: Handler = self._chain()
        """Answers an HTTP request: all filters, then the resource or path it names."""
        self.handle_as: Handler = with_statuses(self._known)
        """Answers a request whose user is known: authorization, then the resource or path it names."""
        self.system_user = SYSTEM
        self.system = InProcessClient(self, SYSTEM, "kube-apiserver")
        """The server's own client: may do everything."""

    def _admission_parts(self) -> Parts:
        """What admission plugins are made of."""
        return Parts(
            self.caches,
            self.world,
            self.decide,
            self.webhooks,
            self.config.admission,
            Measures(self.metrics),
            lambda: self.system,
            self.features,
        )

    def _chain(self) -> Handler:
        for kind in self.kinds:
            self._count(kind)
        counted = RequestMetrics(self.metrics, self._counted, self._watches)
        servermetrics.add(self, counted)
        anonymous = self.config.authentication.anonymous
        authenticator = Union(self._authenticators())
        filters = standard_filters(
            self.world, authenticator, anonymous, self.decide, counted, self._limit(counted), self.audit
        )
        return build(self.dispatch, filters)

    def _limit(self, counted: RequestMetrics) -> Filter:
        """What bounds how much is under way."""
        if self.fairness is not None:
            self.fairness.measure(self.metrics, counted.in_flight)
            self.routes.extra |= handlers(self.fairness)
            return self.fairness.with_fairness
        in_flight = InFlight(self.config.max_reads, self.config.max_writes)
        in_flight.measure(counted.in_flight)
        return in_flight.with_limit

    def _fair(self) -> Fairness | None:
        config = self.config
        if not config.fairness:
            return None
        schemas, levels = (self.caches[GroupResource(r.group, r.plural)] for r in (FLOW_SCHEMAS, PRIORITY_LEVELS))
        total = config.max_reads + config.max_writes
        return Fairness(self.world, schemas, levels, self.caches.get, total)

    def _count(self, kind: Kind) -> None:
        subresources = frozenset(s.name for s in kind.subresources)
        for version in kind.versions:
            self._counted[version.group, version.version, kind.plural] = subresources

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """All that are served."""
        return self.scheme.kinds

    # -- custom kinds

    def serve(self, kind: Kind, registries: Mapping[str, Registry], storage: Registry) -> None:
        """A custom kind, from now on: registries by version, and that of the version that is stored."""
        self.registries[kind.group_resource] = storage
        self.scheme.put(kind)
        self._count(kind)
        for registry in registries.values():
            self._rest.serve(registry)
        self._groups.update((version.group, version.version) for version in kind.versions)
        self._registering.changed()

    def unserve(self, kind: Kind) -> None:
        """No more."""
        self.registries.pop(kind.group_resource, None)
        self.scheme.drop(kind)
        self._rest.unserve(kind)
        self._groups = self._rest.groups()
        self._registering.changed()
        for version in kind.versions:
            self._counted.pop((version.group, version.version, kind.plural), None)

    def _audit(self) -> Audit | None:
        if self.config.audit is None:
            return None
        policy, file = self.config.audit
        return Audit(policy, AuditLog(file, self._typed, self.world, self.metrics), self.world)

    def _typed(self, asked: Attributes) -> tuple[str, str]:
        """Kind and schema of what a request's body is."""
        resource = GroupResource(asked.group, asked.resource)
        if asked.subresource and (virtual := self._virtual.get((resource, asked.subresource))):
            return virtual.definition.rpartition(".")[2], virtual.definition
        for kind in self.kinds:
            if kind.plural == asked.resource and (version := version_of(kind, asked.group, asked.version)):
                return kind.kind, version.definition
        return "", ""

    def _authenticators(self) -> list[Authenticator]:
        """Upstream's order: front proxies, certificates, tokens."""
        found: list[Authenticator] = []
        settings = self.config.authentication
        if settings.front_proxy_ca_pem:
            found.append(FrontProxy(settings.front_proxy_ca_pem, settings.front_proxy_names, self.world))
        if self.config.client_ca_pem:
            found.append(ClientCertificates(self.config.client_ca_pem, self.world))
        return [*found, self.bearer]

    def _token_sources(self) -> list[TokenSource]:
        """Upstream's order: what is known here first, then what others must be asked for."""
        found: list[TokenSource] = [FixedTokens(dict(self.config.fixed_tokens)), self.tokens]
        found.append(LegacyTokens(self.tokens, self.lookup, self._token_used, self.world))
        found.append(BootstrapTokens(self.lookup, self.world))
        settings = self.config.authentication
        if settings.issuers:
            from navarch.apiserver.auth.oidc import OidcTokens

            found += [OidcTokens(issuer, self.world) for issuer in settings.issuers]
        if settings.webhook_kubeconfig:
            from navarch.apiserver.auth.webhook import WebhookTokens

            found.append(WebhookTokens.from_kubeconfig(settings.webhook_kubeconfig, self.world))
        return found

    def _token_used(self, secret: Obj, day: str) -> None:
        """Keeps the day in the secret, behind the request that its token was for."""
        meta = secret["metadata"]
        change = {"metadata": {"uid": meta["uid"], "labels": {LAST_USED: day}}}

        async def write() -> None:
            with suppress(errors.StatusError):
                await self.system.patch(SECRETS, meta["name"], change, meta["namespace"])

        task = asyncio.ensure_future(write())
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    def _watches(self) -> Iterator[tuple[tuple[str, str], float]]:
        for cache in self.caches:
            if watchers := cache.fanout.watchers:
                yield cache.kind.group_resource, watchers

    async def start(self) -> None:
        """Loads the caches and makes sure of the objects that every cluster has."""
        await self.caches.start()
        for registry in self.registries.values():
            registry.start()
        self.steps.add("caches")
        await bootstrap.ensure(self)
        self.steps.add("bootstrap")
        await self.custom.start()
        self.steps.add("custom")
        self._flow_statuses.start()
        self.aggregator.start()
        self._registering.start()
        self.steps.add("aggregation")
        if self.fairness is not None:
            self.fairness.start()
            self.steps.add("fairness")
        self.started = True
        if isinstance(self.store, EncryptedStore):
            self._rewriting = asyncio.create_task(self.store.rewrite())

    async def stop(self) -> None:
        self.stopping = True
        self._flow_statuses.stop()
        self.aggregator.stop()
        self._registering.stop()
        self.usage.stop()
        if self.fairness is not None:
            self.fairness.stop()
        self.custom.stop()
        if self._rewriting is not None:
            self._rewriting.cancel()
        if isinstance(self.store, EncryptedStore):
            await self.store.release()
        if self.audit is not None:
            await self.audit.log.close()
        self._pools.close()
        self.webhooks.close()
        self.caches.stop()

    # -- what the edges use

    def slices_of(self, namespace: str, service: str) -> list[Obj]:
        """A service's EndpointSlices."""
        slices = self.caches[GroupResource("discovery.k8s.io", "endpointslices")]
        return [e.obj for e in slices.range(namespace) if e.labels.get(SERVICE_NAME) == service]

    def client(self, user: User, manager: str = "") -> InProcessClient:
        """A client in this process that acts as `user`; `manager` owns what it writes (else the user's own name)."""
        return InProcessClient(self, user, manager)

    async def current(self) -> int:
        """A linearizable read point: the caches show at least this revision."""
        return self.caches.revision if self.embedded else await self.caches.fresh()

    def virtual(self, resource: GroupResource, subresource: str) -> Virtual | None:
        """The handler of a subresource that is an object of its own kind."""
        return self._virtual.get((resource, subresource))

    def carried(self, resource: GroupResource, subresource: str) -> Carried | None:
        """What carries a subresource's requests to a node, a pod or a service."""
        return self._carried.get((resource, subresource))

    def authorize(self, attributes: Attributes) -> None:
        """Raises 403 unless the user may."""
        decision = self.decide(attributes)
        if not decision.allowed:
            raise denied(attributes, decision.reason)

    def decide(self, attributes: Attributes) -> Decision:
        """Whether the user may. Masters may do anything, whatever authorizers say."""
        return ALLOWED if MASTERS in attributes.user.groups else self._authorizer.authorize(attributes)

    def _known(self, request: Request) -> Response | Awaitable[Response]:
        request.info = request_info(request)
        authorize(request, self.decide)
        return self.dispatch(request)

    def dispatch(self, request: Request) -> Response | Awaitable[Response]:
        """Routes an authorized request. Raises StatusError, at once or when awaited."""
        info = request.info
        if self.aggregator.remotes and (remote := self.aggregator.of(info)):
            return self.aggregator.carry(request, remote)
        if info.is_resource and (info.group, info.version) in self._groups:
            return self._rest.handle(request, info)
        if info.is_resource and (not info.group or any(info.group == group for group, _ in self._groups)):
            raise errors.path_not_found()
        return self.routes.handle(request)

    def lookup(self, resource: GroupResource, namespace: str, name: str) -> Obj | None:
        """An object as it is now; None where there is none."""
        registry = self.registries.get(resource)
        entry = registry.cache.get(namespace, name) if registry is not None else None
        return entry.obj if entry is not None else None
