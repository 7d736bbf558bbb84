"""LimitRanger through the API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.apiserver.server import ApiServer
from navarch.client.interface import Resource
from navarch.machinery.errors import StatusError

Obj = dict[str, Any]
PODS, RANGES, CLAIMS, ACCOUNTS = (
    Resource("", "v1", plural, kind)
    for plural, kind in (
        ("pods", "Pod"),
        ("limitranges", "LimitRange"),
        ("persistentvolumeclaims", "PersistentVolumeClaim"),
        ("serviceaccounts", "ServiceAccount"),
    )
)


@asynccontextmanager
async def server(*limits: Obj) -> AsyncIterator[ApiServer]:
    async with api_server() as made:
        await made.system.create(ACCOUNTS, {"metadata": {"name": "default"}}, "default")
        await made.system.create(RANGES, {"metadata": {"name": "r"}, "spec": {"limits": list(limits)}}, "default")
        yield made


async def make(made: ApiServer, resources: Obj, **spec: Any) -> Obj:
    container = {"name": "c", "image": "i", "resources": resources}
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [container], **spec}}
    return await made.system.create(PODS, pod, "default")


async def test_containers_get_what_they_do_not_name() -> None:
    limit = {"type": "Container", "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    async with server(limit) as made:
        pod = await make(made, {"requests": {"memory": "2Mi"}}, initContainers=[{"name": "i", "image": "i"}])
        assert pod["spec"]["containers"][0]["resources"] == {
            "limits": {"cpu": "500m", "memory": "1Gi"},
            "requests": {"cpu": "100m", "memory": "2Mi"},
        }
        assert pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
            "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c; "
            "cpu, memory request for init container i; cpu, memory limit for init container i"
        )


CONTAINER = {"type": "Container", "min": {"cpu": "100m"}, "max": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "2"}}


@pytest.mark.parametrize(
    "limit, resources, said",
    [
        (
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {"limits": {"memory": "2Gi"}},
            "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
        ),
        (CONTAINER, {"limits": {"cpu": "2"}}, "maximum cpu usage per Container is 1, but limit is 2"),
        (
            CONTAINER,
            {"limits": {"cpu": "1"}, "requests": {"cpu": "50m"}},
            "[minimum cpu usage per Container is 100m, but request is 50m, cpu max limit to request ratio per Container "
            "is 2, but provided ratio is 20.000000]",
        ),
        (
            {"type": "Pod", "min": {"memory": "1Mi"}},
            {},
            "minimum memory usage per Pod is 1Mi.  No request is specified",
        ),
    ],
)
async def test_bounds(limit: Obj, resources: Obj, said: str) -> None:
    async with server(limit) as made:
        with pytest.raises(StatusError) as caught:
            await make(made, resources)
        assert caught.value.code == 403
        assert caught.value.message == f'pods "p" is forbidden: {said}'


async def test_claims() -> None:
    limit = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    async with server(limit) as made:
        for size, code in (("512Mi", 403), ("1Gi", 0), ("3Gi", 403)):
            spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
            try:
                await made.system.create(CLAIMS, {"metadata": {"name": "c"}, "spec": spec}, "default")
                assert not code
            except StatusError as error:
                assert error.code == code and "PersistentVolumeClaim is" in error.message
