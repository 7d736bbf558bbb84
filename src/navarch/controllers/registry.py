"""All controllers, and running them together: one cache per resource, one identity per controller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from navarch.api.features import NONE, WORKLOADS, Features
from navarch.client.informer import InformerFactory
from navarch.client.interface import Client, Resource
from navarch.client.resources import RESOURCE_QUOTAS
from navarch.controllers.accounts import RootCaPublisher, ServiceAccountController
from navarch.controllers.aggregation import ClusterRoleAggregationController
from navarch.controllers.attributesclasses import AttributesClassProtectionController
from navarch.controllers.autoscaling.controller import AutoscalingController
from navarch.controllers.bootstrap import BootstrapSigner, TokenCleaner
from navarch.controllers.certificates.approving import ApprovingController
from navarch.controllers.certificates.authority import CertificateAuthority
from navarch.controllers.certificates.cleaning import CleaningController
from navarch.controllers.certificates.signing import SigningController
from navarch.controllers.cronjob.controller import CronJobController
from navarch.controllers.daemonset.controller import DaemonSetController
from navarch.controllers.deployment.controller import DeploymentController
from navarch.controllers.devicetaints import DeviceTaintEvictionController
from navarch.controllers.disruption import DisruptionController, StaleDisruptionController
from navarch.controllers.endpoints.legacy import EndpointsController
from navarch.controllers.endpoints.mirroring import EndpointSliceMirroringController
from navarch.controllers.endpoints.slices import EndpointSliceController
from navarch.controllers.gc.collector import GarbageCollector
from navarch.controllers.job.controller import JobController
from navarch.controllers.job.expiry import JobExpiryController
from navarch.controllers.job.orphans import JobOrphanController
from navarch.controllers.namespaces import NamespaceController
from navarch.controllers.nodes.eviction import TaintEvictionController
from navarch.controllers.nodes.ipam import NodeIpamController
from navarch.controllers.nodes.lifecycle import NodeLifecycleController
from navarch.controllers.nodes.podgc import PodGcController
from navarch.controllers.nodes.ttl import TtlController
from navarch.controllers.podgroups import PodGroupProtectionController
from navarch.controllers.policytypes import PolicyTypeController
from navarch.controllers.protection import ClaimProtectionController, VolumeProtectionController
from navarch.controllers.quotas import QuotaController
from navarch.controllers.replicaset import REPLICATION_CONTROLLER, ReplicaSetController
from navarch.controllers.resourceclaims import PodClaimsController, ResourceClaimController
from navarch.controllers.servicecidrs import ServiceCidrController
from navarch.controllers.statefulset.controller import StatefulSetController
from navarch.controllers.tokens import LegacyTokenCleaner, Sign, TokensController
from navarch.controllers.volumes.attach import AttachDetachController
from navarch.controllers.volumes.binder import BinderController
from navarch.controllers.volumes.ephemeral import EphemeralVolumeController
from navarch.controllers.volumes.expand import ExpandController
from navarch.controlloop.loop import ControllerLoop, Why
from navarch.machinery.clock import World
from navarch.machinery.types import Key, Obj

AUTOSCALER = "horizontal-pod-autoscaler"
POLICY_STATUS = "validatingadmissionpolicy-status-controller"
MANAGER_USER = "system:kube-controller-manager"
"""Reads the caches that all controllers share."""
Identity = Callable[[str], Client]
"""user name -> a client that acts as that user."""
Pair = tuple[bytes, bytes]
"""A certificate and its key, PEM."""


class Config(Protocol):
    """What the controllers need of the cluster's configuration (ClusterConfig has it)."""

    @property
    def pod_cidr(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A controller, whom it acts as (a service account of kube-system, or a user), and how many keys it works on at once."""

    controller: Any
    account: str
    concurrency: int = 5


def all_controllers(
    config: Config,
    client_for: Identity,
    world: World,
    root_ca: str,
    sign: Sign | None = None,
    signing: Pair | None = None,
    features: Features = NONE,
) -> list[Entry]:
    """`root_ca`: the cluster CA's certificate (PEM) that every namespace gets a copy of; "" publishes none. `sign` makes
    the tokens that live in secrets; None: nobody fills them. `signing`: what certificates are signed with; None: nobody
    signs any."""
    entries = [
        Entry(ReplicaSetController(), "replicaset-controller"),
        Entry(ReplicaSetController(REPLICATION_CONTROLLER), "replication-controller"),
        Entry(DeploymentController(), "deployment-controller"),
        Entry(StatefulSetController(), "statefulset-controller"),
        Entry(DaemonSetController(), "daemon-set-controller"),
        Entry(JobController(), "job-controller"),
        Entry(JobOrphanController(), "job-controller"),
        Entry(JobExpiryController(), "ttl-after-finished-controller"),
        Entry(CronJobController(world), "cronjob-controller"),
        Entry(EndpointSliceController(), "endpointslice-controller"),
        Entry(EndpointSliceMirroringController(), "endpointslicemirroring-controller"),
        Entry(EndpointsController(), "endpoint-controller"),
        Entry(NamespaceController(world, client_for(account_user("namespace-controller"))), "namespace-controller", 10),
        Entry(ServiceAccountController(), "service-account-controller", 1),
        Entry(TokensController(client_for(MANAGER_USER), sign, root_ca), MANAGER_USER),
        Entry(LegacyTokenCleaner(), "legacy-service-account-token-cleaner", 1),
        Entry(ApprovingController(client_for(account_user("certificate-controller"))), "certificate-controller", 1),
        Entry(CleaningController(), "certificate-controller", 1),
        Entry(BootstrapSigner(), "bootstrap-signer", 1),
        Entry(TokenCleaner(), "token-cleaner", 1),
        Entry(NodeLifecycleController(world), "node-controller", 8),
        Entry(TaintEvictionController(), "node-controller", 8),
        Entry(TtlController(), "ttl-controller"),
        Entry(NodeIpamController(config.pod_cidr), "node-controller", 1),
        Entry(PodGcController(world, client_for(account_user("pod-garbage-collector"))), "pod-garbage-collector", 5),
        Entry(ClusterRoleAggregationController(), "clusterrole-aggregation-controller", 1),
        Entry(ServiceCidrController(), "service-cidrs-controller", 1),
        Entry(BinderController(client_for(account_user("persistent-volume-binder"))), "persistent-volume-binder", 1),
        Entry(EphemeralVolumeController(), "ephemeral-volume-controller"),
        Entry(AttachDetachController(world), "attachdetach-controller"),
        Entry(ExpandController(), "expand-controller", 1),
        Entry(PodClaimsController(), "resource-claim-controller"),
        Entry(
            ResourceClaimController(client_for(account_user("resource-claim-controller"))), "resource-claim-controller"
        ),
        Entry(DeviceTaintEvictionController(), "device-taint-eviction-controller"),
        Entry(ClaimProtectionController(), "pvc-protection-controller"),
        Entry(VolumeProtectionController(), "pv-protection-controller", 1),
        Entry(AttributesClassProtectionController(), "volumeattributesclass-protection-controller", 1),
        Entry(DisruptionController(client_for(account_user("disruption-controller"))), "disruption-controller"),
        Entry(StaleDisruptionController(), "disruption-controller", 1),
        Entry(AutoscalingController(client_for(account_user(AUTOSCALER)), world), AUTOSCALER),
        Entry(PolicyTypeController(client_for(account_user(POLICY_STATUS))), POLICY_STATUS, 1),
    ]
    if signing is not None:
        entries.append(Entry(SigningController(CertificateAuthority(*signing)), "certificate-controller"))
    if features.has(WORKLOADS):
        entries.append(Entry(PodGroupProtectionController(), "podgroup-protection-controller"))
    if root_ca:
        entries.append(Entry(RootCaPublisher(root_ca), "root-ca-cert-publisher", 1))
    return entries


def account_user(account: str) -> str:
    """The user that a service account of kube-system is; a user's own name stays what it is."""
    return account if account.startswith("system:") else f"system:serviceaccount:kube-system:{account}"


class Running:
    """The running controllers."""

    def __init__(
        self, loops: Sequence[ControllerLoop[Any]], collector: GarbageCollector, informers: InformerFactory
    ) -> None:
        self.loops = {loop.name: loop for loop in loops}
        self.collector = collector
        self.informers = informers

    @property
    def idle(self) -> bool:
        """No key waits or is worked on (those that wait for a time to come do not count)."""
        return self.collector.queue.idle and all(loop.queue.idle for loop in self.loops.values())

    def why(self, controller: str, key: Key) -> Why | None:
        """The reasons of a controller's last decision about a key."""
        loop = self.loops.get(controller)
        return loop.why(key) if loop else None

    def metrics(self) -> dict[str, dict[str, float]]:
        """Counters by controller: reconciles, errors, conflicts, seconds of deciding, queue adds and depth."""
        return {
            name: {
                "reconciles": loop.metrics.reconciles,
                "errors": loop.metrics.errors,
                "conflicts": loop.metrics.conflicts,
                "seconds": loop.metrics.seconds,
                "adds": loop.queue.adds,
                "depth": len(loop.queue),
            }
            for name, loop in self.loops.items()
        }

    async def stop(self) -> None:
        await asyncio.gather(*(loop.stop() for loop in self.loops.values()), self.collector.stop())
        await self.informers.stop()


async def run(
    client_for: Identity,
    world: World,
    config: Config,
    *,
    root_ca: str = "",
    sign: Sign | None = None,
    signing: Pair | None = None,
    features: Features = NONE,
) -> Running:
    """Starts every controller; returns when all caches are filled."""
    informers = InformerFactory(client_for(MANAGER_USER), world)
    collector = GarbageCollector(client_for(account_user("generic-garbage-collector")), informers, world)
    loops = [
        ControllerLoop(
            entry.controller,
            client_for(account_user(entry.account)),
            informers,
            world,
            concurrency=entry.concurrency,
        )
        for entry in all_controllers(config, client_for, world, root_ca, sign, signing, features)
    ]
    quotas = QuotaController(collector)
    loops.append(ControllerLoop(quotas, client_for(account_user("resourcequota-controller")), informers, world))
    queue, counted = loops[-1].queue, informers[RESOURCE_QUOTAS]

    def changed(resource: Resource, old: Obj | None, new: Obj | None) -> None:
        for key in quotas.changed(resource, old, new, counted):
            queue.add(key)

    collector.listen(changed)
    running = Running(loops, collector, informers)
    informers.start()
    try:
        await asyncio.gather(*(loop.start() for loop in loops), collector.start())
    except BaseException:
        await running.stop()
        raise
    return running
