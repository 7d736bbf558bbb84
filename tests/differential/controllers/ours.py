"""Scenarios on our own control plane: one process, no sockets, virtual time (so that waiting costs nothing)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.differential.controllers.play import Cluster
from tests.differential.controllers.scenario import Scenario

from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.client.interface import Client
from navarch.cluster.certificates import Authority
from navarch.cluster.config import ClusterConfig
from navarch.cluster.controlplane import ControlPlane
from navarch.sim import virtual
from navarch.testing.inside import api_server


def play(scenarios: Sequence[Scenario]) -> dict[str, Any]:
    return virtual.run(_play(scenarios))


async def _play(scenarios: Sequence[Scenario]) -> dict[str, Any]:
    config = ApiServerConfig(fairness=False)
    async with api_server(world=virtual.VirtualWorld(1), config=config) as server:
        plane, authority = ControlPlane(server), Authority.new("scenarios")
        await plane.start(ClusterConfig(), authority.pem.decode(), signing=(authority.pem, authority.key_pem))
        cluster = Cluster(_admin(server, "scenarios"), server.world, lambda name: _admin(server, name))
        await cluster.start()
        server.usage.source = cluster.nodes.use.sample
        try:
            return await cluster.play(scenarios, len(scenarios))
        finally:
            await cluster.stop()
            await plane.stop()


def _admin(server: ApiServer, manager: str) -> Client:
    return server.client(User("admin", groups=("system:masters", "system:authenticated")), manager)
