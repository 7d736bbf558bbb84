"""What objects take of quotas."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api import quota
from navarch.machinery.clock import rfc3339
from navarch.machinery.types import GroupResource, Obj

NOW = 1_790_000_000.0


def container(name: str = "c", **resources: Obj) -> Obj:
    return {"name": name, "resources": resources} if resources else {"name": name}


def pod(*containers: Obj, status: Obj | None = None, meta: Obj | None = None, **spec: Any) -> Obj:
    return {
        "metadata": {"name": "p", **(meta or {})},
        "spec": {"containers": list(containers or [container()]), **spec},
        "status": status or {},
    }


def shown(amounts: Any) -> dict[str, str]:
    return {name: str(value) for name, value in amounts.items()}


SMALL = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("found", "used"),
    [
        (pod(), {"pods": "1"}),
        (
            pod(container(**SMALL), container("d", **SMALL)),
            {
                "pods": "1",
                "cpu": "200m",
                "requests.cpu": "200m",
                "memory": "128Mi",
                "requests.memory": "128Mi",
                "limits.cpu": "2",
            },
        ),
        (
            pod(container(**SMALL), initContainers=[container(requests={"cpu": "2"})], overhead={"cpu": "1"}),
            {
                "pods": "1",
                "cpu": "3",
                "requests.cpu": "3",
                "memory": "64Mi",
                "requests.memory": "64Mi",
                "limits.cpu": "2",
            },
        ),
        (
            pod(container(**SMALL), resources={"requests": {"cpu": "4"}}),
            {
                "pods": "1",
                "cpu": "4",
                "requests.cpu": "4",
                "memory": "64Mi",
                "requests.memory": "64Mi",
                "limits.cpu": "1",
            },
        ),
        (
            pod(container(requests={"example.com/gpu": "2", "hugepages-2Mi": "4Mi"})),
            {
                "pods": "1",
                "requests.example.com/gpu": "2",
                "hugepages-2Mi": "4Mi",
                "requests.hugepages-2Mi": "4Mi",
            },
        ),
        (
            pod(
                container(requests={"cpu": "1"}),
                status={"containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "3"}}}]},
            ),
            {"pods": "1", "cpu": "3", "requests.cpu": "3"},
        ),
        (pod(container(**SMALL), status={"phase": "Succeeded"}), {}),
        (
            pod(container(**SMALL), meta={"deletionTimestamp": rfc3339(NOW - 31), "deletionGracePeriodSeconds": 30}),
            {},
        ),
        (
            pod(meta={"deletionTimestamp": rfc3339(NOW - 29), "deletionGracePeriodSeconds": 30}),
            {"pods": "1"},
        ),
    ],
)
def test_pods(found: Obj, used: dict[str, str]) -> None:
    assert shown(quota.pod_usage(found, NOW)) == {"count/pods": "1", **used}


@pytest.mark.parametrize(
    ("spec", "ports", "balancers"),
    [
        ({"ports": [{"port": 1}]}, "0", "0"),
        ({"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}, "2", "0"),
        ({"type": "LoadBalancer", "ports": [{"port": 1}]}, "1", "1"),
        (
            {
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"port": 1}, {"port": 2, "nodePort": 30000}],
            },
            "1",
            "1",
        ),
    ],
)
def test_services(spec: Obj, ports: str, balancers: str) -> None:
    used = shown(quota.service_usage({"metadata": {}, "spec": spec}, NOW))
    assert (used["services.nodeports"], used["services.loadbalancers"], used["services"]) == (ports, balancers, "1")


def test_claims_count_for_their_storage_class_too() -> None:
    spec = {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}
    used = shown(quota.claim_usage({"metadata": {}, "spec": spec}, NOW))
    assert used == {
        "persistentvolumeclaims": "1",
        "count/persistentvolumeclaims": "1",
        "requests.storage": "2",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "2",
    }
    grown = {"metadata": {}, "spec": spec, "status": {"allocatedResources": {"storage": "3Gi"}}}
    assert str(quota.claim_usage(grown, NOW)["requests.storage"]) == "3Gi"


def test_device_claims_count_the_worst_case_of_each_class() -> None:
    requests = [
        {"exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
        {
            "firstAvailable": [
                {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 4},
                {"deviceClassName": "nic", "allocationMode": "All"},
            ]
        },
    ]
    used = shown(quota.device_usage({"spec": {"devices": {"requests": requests}}}, NOW))
    assert used == {
        "count/resourceclaims.resource.k8s.io": "1",
        "gpu.deviceclass.resource.k8s.io/devices": "6",
        "nic.deviceclass.resource.k8s.io/devices": "32",
    }


ELSEWHERE = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}


@pytest.mark.parametrize(
    ("requirement", "found", "met"),
    [
        ({"scopeName": "Terminating"}, pod(activeDeadlineSeconds=5), True),
        ({"scopeName": "Terminating"}, pod(), False),
        ({"scopeName": "NotTerminating"}, pod(), True),
        ({"scopeName": "BestEffort"}, pod(), True),
        ({"scopeName": "BestEffort"}, pod(container(**SMALL)), False),
        ({"scopeName": "NotBestEffort"}, pod(container(**SMALL)), True),
        ({"scopeName": "PriorityClass"}, pod(priorityClassName="high"), True),
        ({"scopeName": "PriorityClass"}, pod(), False),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}, pod(priorityClassName="high"), True),
        ({"scopeName": "PriorityClass", "operator": "In", "values": ["low"]}, pod(priorityClassName="high"), False),
        ({"scopeName": "PriorityClass", "operator": "NotIn", "values": ["low"]}, pod(), True),
        ({"scopeName": "PriorityClass", "operator": "DoesNotExist"}, pod(), True),
        ({"scopeName": "CrossNamespacePodAffinity"}, pod(affinity=ELSEWHERE), True),
        ({"scopeName": "CrossNamespacePodAffinity"}, pod(), False),
        ({"scopeName": "VolumeAttributesClass"}, pod(), False),
    ],
)
def test_scopes_of_pods(requirement: Obj, found: Obj, met: bool) -> None:
    evaluator = quota.SPECIAL[quota.PODS]
    bound = {"spec": {"scopeSelector": {"matchExpressions": [{"operator": "Exists", **requirement}]}}}
    assert quota.covers(bound, evaluator, found) == met


def test_a_quota_counts_what_is_served_and_leaves_the_rest_alone() -> None:
    hard = ["count/deployments.apps", "count/widgets.example.com", "configmaps", "pods", "requests.cpu"]
    there: dict[GroupResource, list[Obj]] = {
        GroupResource("apps", "deployments"): [{}, {}],
        GroupResource("", "configmaps"): [{}],
        quota.PODS: [pod(container(**SMALL)), pod(container(**SMALL), activeDeadlineSeconds=1)],
    }
    plain: Obj = {"spec": {}}
    assert shown(quota.counted(plain, hard, there.get, NOW)) == {
        "count/deployments.apps": "2",
        "configmaps": "1",
        "pods": "2",
        "requests.cpu": "200m",
    }
    scoped: Obj = {"spec": {"scopes": ["Terminating"]}}
    used = shown(quota.counted(scoped, hard, there.get, NOW))
    assert used == {"count/deployments.apps": "0", "configmaps": "0", "pods": "1", "requests.cpu": "100m"}


def test_what_containers_must_name() -> None:
    found = pod(container("a", **SMALL), container("b"), initContainers=[container("i", limits={"memory": "1"})])
    hard = ["limits.cpu", "requests.memory", "pods", "requests.ephemeral-storage"]
    assert quota.missing(found, hard) == "must specify limits.cpu for: b,i; requests.memory for: b,i"
    assert quota.missing(found, ["pods"]) == ""
    assert quota.missing({**found, "spec": {**found["spec"], "resources": {"limits": {"cpu": "1"}}}}, hard) == ""
