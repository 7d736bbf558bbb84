"""An autoscaler through a day's load, with the whole control plane on virtual time: in seconds of test time."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import pytest

from navarch.api.metrics.samples import Sample, Use
from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.client.resources import DEPLOYMENTS
from navarch.controllers import objects
from navarch.machinery.types import GroupResource, Key, Obj
from navarch.sim import virtual
from navarch.testing.inside import api_server, control_plane
from navarch.testing.options import Options

AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers")
NS, HOUR = "default", 3600.0
LEAST, MOST, TARGET = 2, 40, 60


def load(at: float) -> float:
    """Cores in use, by the time of day: little at night, 8 in the afternoon, more for ten minutes of noon."""
    hours = at / HOUR
    day = 4 * (1 - math.cos(2 * math.pi * (hours - 6) / 16)) if 6 <= hours <= 22 else 0.0
    return 0.2 + day + (2 if 12 <= hours < 12.17 else 0)


class Busy:
    """Pods that share the load: what their kubelets tell of it."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._begins = server.world.now()
        self._spent: dict[str, tuple[float, float]] = {}

    def ready(self) -> list[Obj]:
        pods = self._server.registries[GroupResource("", "pods")].cache.range(NS)
        return [entry.obj for entry in pods if objects.is_ready(entry.obj) and not objects.is_deleting(entry.obj)]

    async def sample(self, node: Obj) -> Sample:
        now, ready = self._server.world.now(), self.ready()
        sample = Sample(now, Use(0.0, 0.0))
        for pod in ready:
            meta = pod["metadata"]
            if pod["spec"]["nodeName"] != node["metadata"]["name"]:
                continue
            started = objects.time_of(pod["status"]["startTime"])
            spent, until = self._spent.get(meta["uid"], (0.0, started))
            spent += min(1.0, load(now - self._begins) / len(ready)) * (now - until)
            self._spent[meta["uid"]] = spent, now
            sample.pods[Key(NS, meta["name"])] = {"c": Use(spent, 2**20, started)}
        return sample


def deployment() -> Obj:
    labels = {"app": "web"}
    container = {"name": "c", "image": "app:1", "resources": {"requests": {"cpu": "1"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": LEAST, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}


def autoscaler() -> Obj:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": TARGET}}
    slowly = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}
    spec: Obj = {"scaleTargetRef": reference, "minReplicas": LEAST, "maxReplicas": MOST}
    spec |= {"metrics": [{"type": "Resource", "resource": cpu}], "behavior": {"scaleDown": slowly}}
    return {"metadata": {"name": "web"}, "spec": spec}


async def a_day() -> tuple[list[tuple[float, int]], Any]:
    """(time of day, pods) for every minute; and the autoscaler at the end."""
    options = Options(controllers=True, scheduler=True, nodes=1)
    async with api_server(world=virtual.VirtualWorld(1)) as server, control_plane(server, options):
        client, busy = server.system, Busy(server)
        server.usage.source = busy.sample
        await client.create(DEPLOYMENTS, deployment(), NS)
        await client.create(AUTOSCALERS, autoscaler(), NS)
        seen: list[tuple[float, int]] = []
        for minute in range(24 * 60):
            seen.append((minute * 60.0, len(busy.ready())))
            await asyncio.sleep(60)
        return seen, await client.get(AUTOSCALERS, "web", NS)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_day_of_load_is_followed_up_and_down() -> None:
    seen, found = virtual.run(a_day())
    counts = [count for _, count in seen]
    assert {count for at, count in seen if 1 * HOUR < at < 6 * HOUR} == {LEAST}
    assert counts[-1] == LEAST
    peak = load(12.1 * HOUR) / (TARGET / 100)
    assert peak <= max(counts) <= 1.3 * peak
    served = [count >= load(at) for at, count in seen[5:]]
    assert sum(served) / len(served) > 0.99, "minutes in which the pods could carry the load"
    steps = [after - before for before, after in itertools.pairwise(counts)]
    assert min(steps) >= -2, "it never loses more than two pods a minute"
    status = found["status"]
    assert status["currentReplicas"] == status["desiredReplicas"] == LEAST
    active = objects.condition_of(status, "ScalingActive") or {}
    assert (active["status"], active["reason"]) == ("True", "ValidMetricFound")
