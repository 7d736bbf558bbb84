"""Retired versions: what they say otherwise, and that nothing is lost on the way."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.api import scheme
from navarch.apiserver import codec
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServerConfig
from navarch.machinery.types import GroupVersion

PATH = {"path": "/a", "pathType": "ImplementationSpecific"}
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    (
        "extensions/v1beta1",
        "Ingress",
        {
            "spec": {
                "backend": {"serviceName": "s", "servicePort": "http"},
                "rules": [{"http": {"paths": [{**PATH, "backend": {"serviceName": "t", "servicePort": 80}}]}}],
            }
        },
        {
            "spec": {
                "defaultBackend": {"service": {"name": "s", "port": {"name": "http"}}},
                "rules": [
                    {
                        "http": {
                            "paths": [{**PATH, "backend": {"service": {"name": "t", "port": {"number": 80}}}}],
                        }
                    }
                ],
            }
        },
    ),
    (
        "discovery.k8s.io/v1beta1",
        "EndpointSlice",
        {
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": ["10.0.0.1"],
                    "nodeName": "n",
                    "topology": {"topology.kubernetes.io/zone": "z", "kubernetes.io/hostname": "n", "rack": "r"},
                }
            ],
        },
        {
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z", "deprecatedTopology": {"rack": "r"}}
            ],
        },
    ),
    (
        "flowcontrol.apiserver.k8s.io/v1beta2",
        "PriorityLevelConfiguration",
        {"spec": {"type": "Limited", "limited": {"assuredConcurrencyShares": 7, "lendablePercent": 0}}},
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 7, "lendablePercent": 0}}},
    ),
    (
        "flowcontrol.apiserver.k8s.io/v1beta3",
        "PriorityLevelConfiguration",
        {
            "metadata": {"annotations": {"flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares": ""}},
            "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
        },
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}},
    ),
    (
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        {
            "metadata": {
                "annotations": {
                    "autoscaling.alpha.kubernetes.io/metrics": '[{"type":"Pods","pods":{"metricName":"a\\u0026b",'
                    '"targetAverageValue":"100m"}},{"type":"Object","object":{"target":{"kind":"K","name":"k"},'
                    '"metricName":"m","targetValue":"0","averageValue":"3"}}]',
                    "autoscaling.alpha.kubernetes.io/behavior": '{"ScaleUp":{"StabilizationWindowSeconds":0,'
                    '"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":60}],'
                    '"Tolerance":"100m"},"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Max",'
                    '"Policies":[{"Type":"Percent","Value":100,"PeriodSeconds":15}],"Tolerance":null}}',
                    "autoscaling.alpha.kubernetes.io/current-metrics": '[{"type":"Resource","resource":{"name":"cpu",'
                    '"currentAverageUtilization":7,"currentAverageValue":"7m"}}]',
                    "autoscaling.alpha.kubernetes.io/conditions": '[{"type":"AbleToScale","status":"True",'
                    '"lastTransitionTime":"2026-01-01T00:00:00Z"}]',
                }
            },
            "spec": {"targetCPUUtilizationPercentage": 50, "maxReplicas": 3},
            "status": {"currentReplicas": 0, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 7},
        },
        {
            "spec": {
                "minReplicas": 1,
                "metrics": [
                    {
                        "pods": {
                            "metric": {"name": "a&b"},
                            "target": {"type": "AverageValue", "averageValue": "100m"},
                        }
                    },
                    {
                        "object": {
                            "describedObject": {"kind": "K", "name": "k"},
                            "target": {"type": "AverageValue", "value": None, "averageValue": "3"},
                        }
                    },
                    {"resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                ],
                "behavior": {
                    "scaleUp": {"policies": [{"type": "Pods", "value": 4, "periodSeconds": 60}], "tolerance": "100m"}
                },
            },
            "status": {
                "currentMetrics": [{"resource": {"current": {"averageUtilization": 7, "averageValue": "7m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True"}],
            },
        },
    ),
    (
        "autoscaling/v2beta1",
        "HorizontalPodAutoscaler",
        {
            "spec": {
                "maxReplicas": 3,
                "metrics": [
                    {"type": "External", "external": {"metricName": "m", "metricSelector": {}, "targetValue": "5"}},
                    {
                        "type": "ContainerResource",
                        "containerResource": {"name": "memory", "container": "c", "targetAverageUtilization": 60},
                    },
                ],
            },
            "status": {
                "currentMetrics": [
                    {"type": "Object", "object": {"target": {"kind": "K"}, "metricName": "m", "currentValue": "2"}}
                ]
            },
        },
        {
            "spec": {
                "metrics": [
                    {"external": {"metric": {"name": "m", "selector": {}}, "target": {"type": "Value", "value": "5"}}},
                    {"containerResource": {"container": "c", "target": {"averageUtilization": 60}}},
                ]
            },
            "status": {"currentMetrics": [{"object": {"metric": {"name": "m"}, "current": {"value": "2"}}}]},
        },
    ),
    (
        "autoscaling/v2beta2",
        "HorizontalPodAutoscaler",
        {
            "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/scale-up-tolerance": "50m"}},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Max"}}},
        },
        {"spec": {"behavior": {"scaleUp": {"tolerance": "50m"}, "scaleDown": {"selectPolicy": "Max"}}}},
    ),
    (
        "policy/v1beta1",
        "PodDisruptionBudget",
        {"spec": {"selector": {}}},
        {
            "spec": {
                "selector": {
                    "matchExpressions": [
                        {"key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "Exists"}
                    ]
                }
            }
        },
    ),
]


def contains(tree: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(tree, dict) and all(contains(tree.get(key), value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(tree, list) and len(tree) == len(part) and all(map(contains, tree, part))
    return tree == part


@pytest.mark.parametrize(
    ("served", "name", "old", "new"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_there_and_back(served: str, name: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    group, _, version = served.rpartition("/")
    kind = next(k for k in scheme.kinds() if k.kind == name and any(v.group == group for v in k.versions))
    spoken = next(v for v in kind.versions if v.gv == GroupVersion(group, version))
    sent = {"apiVersion": served, "kind": name, **copy.deepcopy(old)}
    obj = codec.decode_object(kind, spoken, sent, "Strict", [])
    assert contains(obj, new), obj
    assert not (obj["metadata"].get("annotations") or {})
    assert contains(codec.from_hub(kind, spoken, obj), old)


def test_every_retired_version_says_what_to_use_instead() -> None:
    for kind in scheme.kinds():
        for version in kind.versions[1:]:
            if "beta" in version.version:
                assert f"{version.gv} {kind.kind} is deprecated in v1." in version.deprecation, version


async def test_retired_versions_are_told_in_aggregated_discovery_only() -> None:
    """So kubectl finds them by their full names, and clients that search by plain names find nothing twice."""
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with api_server(
        config=ApiServerConfig(fixed_tokens={"root": User("root", groups=("system:masters",))})
    ) as server:
        _, old = await send(server, "GET", "/apis", token="root")
        listed = {group["name"]: [v["version"] for v in group["versions"]] for group in old["groups"]}
        assert listed["apps"] == ["v1"]
        assert listed["autoscaling"] == ["v2", "v1"]
        assert "extensions" not in listed
        _, whole = await send(server, "GET", "/apis", token="root", headers={"accept": accept})
        found = {item["metadata"]["name"]: [v["version"] for v in item["versions"]] for item in whole["items"]}
        assert found["apps"] == ["v1", "v1beta2", "v1beta1"]
        assert found["extensions"] == ["v1beta1"]
        for path in ("/apis/extensions", "/apis/extensions/v1beta1", "/apis/apps/v1beta1"):
            assert (await send(server, "GET", path, token="root"))[0] == 200
