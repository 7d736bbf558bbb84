"""Workloads, pod groups and pods of them: what a kube-apiserver 1.36.2 with every feature of theirs on answered to the same
requests, in this order (pod_groups.json); and nothing of it where the features are off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.api import features
from navarch.api.features import Features
from navarch.apiserver.admission.settings import Settings
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.machinery.types import Obj

RECORDED: list[dict[str, Any]] = orjson.loads(Path(__file__).with_name("pod_groups.json").read_bytes())
ALL = features.parse("AllAlpha=true", "api/all=true")
WITHOUT = frozenset(("ServiceAccount", "TaintNodesByCondition"))
PASSING = ("uid", "creationTimestamp", "resourceVersion", "managedFields")


def config(on: Features) -> ApiServerConfig:
    tokens = {"t": User("admin", groups=("system:masters",))}
    return ApiServerConfig(features=on, fixed_tokens=tokens, admission=Settings(disabled=WITHOUT))


def shown(answer: Obj) -> Obj:
    if answer["kind"] == "Status":
        causes = (answer.get("details") or {}).get("causes") or []
        told = [[cause.get("reason"), cause.get("field")] for cause in causes]
        return {"code": answer["code"], "message": answer["message"], "causes": told}
    if answer["kind"] == "Pod":
        return {"sg": answer["spec"].get("schedulingGroup")}
    for field in PASSING:
        answer["metadata"].pop(field, None)
    return {"obj": answer}


async def ask(server: ApiServer, method: str, path: str, body: Obj | None = None) -> Obj:
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    return (await send(server, method, path, body, token="t", headers={"content-type": kind}))[1]


async def test_they_are_answered_as_a_real_api_server_answers() -> None:
    async with api_server(config=config(ALL)) as server:
        for case in RECORDED:
            answer = await ask(server, case["method"], case["path"], case["body"])
            assert shown(answer) == case["answer"], case["name"]


async def test_without_the_features_there_are_none_and_pods_are_of_no_group() -> None:
    async with api_server(config=config(features.NONE)) as server:
        path = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups"
        assert (await ask(server, "GET", path))["code"] == 404
        pod = {"containers": [{"name": "c", "image": "x"}], "schedulingGroup": {"podGroupName": "a"}}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": pod}
        answer = await ask(server, "POST", "/api/v1/namespaces/default/pods", made)
        assert "schedulingGroup" not in answer["spec"]
        meta = {"name": "j", "namespace": "default"}
        job = {"template": {"spec": {**pod, "restartPolicy": "Never"}}}
        made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": job}
        answer = await ask(server, "POST", "/apis/batch/v1/namespaces/default/jobs", made)
        assert "schedulingGroup" not in answer["spec"]["template"]["spec"]


async def test_fields_of_features_that_are_off_are_dropped() -> None:
    async with api_server(config=config(features.parse("GenericWorkload=true", "api/alpha=true"))) as server:
        path = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups"
        more = {"disruptionMode": "PodGroup", "priority": 5, "schedulingConstraints": {"topology": [{"key": "a"}]}}
        spec = {"schedulingPolicy": {"basic": {}}, **more}
        group = {"apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"name": "g"}}
        answer = await ask(server, "POST", path, {**group, "spec": spec})
        assert answer["spec"] == {"podGroupTemplateRef": None, "schedulingPolicy": {"basic": {}}}


def test_features_need_others() -> None:
    with pytest.raises(ValueError, match="GangScheduling is enabled, but depends on features that are disabled"):
        features.parse("GangScheduling=true")
    with pytest.raises(ValueError, match="unrecognized feature gate: Gangs"):
        features.parse("Gangs=true")
    with pytest.raises(ValueError, match="cannot be switched off"):
        features.parse("", "apps/v1=false")
    assert features.parse("AllAlpha=true,WorkloadWithJob=false").on == frozenset(features.NEEDS) - {"WorkloadWithJob"}
