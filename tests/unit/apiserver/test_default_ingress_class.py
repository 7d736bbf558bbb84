"""Which class an Ingress gets that names none."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.apiserver import api_server

from navarch.client.interface import Resource

GROUP = "networking.k8s.io"
CLASSES = Resource(GROUP, "v1", "ingressclasses", namespaced=False)
INGRESSES = Resource(GROUP, "v1", "ingresses")
DEFAULT = {"ingressclass.kubernetes.io/is-default-class": "true"}


def ingress_class(name: str, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": annotations or {}}, "spec": {"controller": "example.com/c"}}


@pytest.mark.parametrize(
    ("classes", "spec", "annotations", "expected"),
    [
        ({"a": {}}, {}, {}, None),
        ({"a": {}, "b": DEFAULT}, {}, {}, "b"),
        ({"a": {}, "b": DEFAULT}, {"ingressClassName": "a"}, {}, "a"),
        ({"b": DEFAULT}, {}, {"kubernetes.io/ingress.class": "a"}, None),
    ],
)
async def test_it_gets_the_default_one_unless_it_names_one(
    classes: dict[str, dict[str, str]], spec: dict[str, Any], annotations: dict[str, str], expected: str | None
) -> None:
    async with api_server() as server:
        for name, marks in classes.items():
            await server.system.create(CLASSES, ingress_class(name, marks))
        backend = {"service": {"name": "s", "port": {"number": 80}}}
        wanted = {"metadata": {"name": "i", "annotations": annotations}, "spec": {"defaultBackend": backend, **spec}}
        made = await server.system.create(INGRESSES, wanted, "default")
        assert made["spec"].get("ingressClassName") == expected
