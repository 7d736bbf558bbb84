"""PodSecurity through the API server. The texts are those of a real kube-apiserver 1.36."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.apiserver import api_server
from tests.support.requests import exchange, send

from navarch.api.podsecurity.levels import DEFAULT, Standard, modes_of
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig

Obj = dict[str, Any]
CONFIG = ApiServerConfig(fixed_tokens={"t": User("admin", groups=("system:masters",))})
LABEL = "pod-security.kubernetes.io/"
NAMESPACE = "/api/v1/namespaces/guarded"


@asynccontextmanager
async def guarded(**labels: str) -> AsyncIterator[ApiServer]:
    async with api_server(config=CONFIG) as server:
        named = {LABEL + mode.replace("_", "-"): value for mode, value in labels.items()}
        body = {"metadata": {"name": "guarded", "labels": named}}
        assert (await send(server, "POST", "/api/v1/namespaces", body, token="t"))[0] == 201
        await send(server, "POST", f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": "default"}}, token="t")
        yield server


def pod(name: str = "p", security: Obj | None = None, pod_security: Obj | None = None, **spec: Any) -> Obj:
    container: Obj = {"name": "c", "image": "i"}
    if security is not None:
        container["securityContext"] = security
    if pod_security is not None:
        spec["securityContext"] = pod_security
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


HARDENED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
VERDICTS: list[tuple[str, str, Obj, str]] = [
    ("baseline", "latest", pod(), ""),
    ("restricted", "latest", pod(security=HARDENED), ""),
    (
        "restricted",
        "latest",
        pod(),
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")',
    ),
    ("restricted", "v1.0", pod(pod_security={"runAsNonRoot": True}), ""),
    (
        "baseline",
        "latest",
        pod(security={"privileged": True}, hostNetwork=True, hostPID=True),
        'host namespaces (hostNetwork=true, hostPID=true), privileged (container "c" must not set '
        "securityContext.privileged=true)",
    ),
    (
        "baseline",
        "latest",
        pod(security={"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}}),
        'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)',
    ),
    (
        "baseline",
        "v1.20",
        pod(pod_security={"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]}),
        "forbidden sysctls (net.ipv4.tcp_rmem)",
    ),
    ("baseline", "v1.99", pod(pod_security={"sysctls": [{"name": "net.ipv4.tcp_rmem", "value": "1"}]}), ""),
    (
        "restricted",
        "latest",
        pod(security=HARDENED, volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
        'restricted volume types (volume "v" uses restricted volume type "hostPath")',
    ),
]


@pytest.mark.parametrize("level, version, asked, why", VERDICTS)
async def test_verdicts(level: str, version: str, asked: Obj, why: str) -> None:
    async with guarded(enforce=level, enforce_version=version) as server:
        status, answer = await send(server, "POST", f"{NAMESPACE}/pods", asked, token="t")
        if not why:
            assert status == 201
        else:
            assert status == 403
            assert answer["message"] == f'pods "p" is forbidden: violates PodSecurity "{level}:{version}": {why}'


async def test_warnings_do_not_refuse_and_reach_the_makers_of_pods() -> None:
    async with guarded(warn="baseline") as server:
        said = 'would violate PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'
        template = {"metadata": {"labels": {"a": "b"}}, "spec": pod(hostNetwork=True)["spec"]}
        deployment = {
            "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        }
        url = "/apis/apps/v1/namespaces/guarded/deployments"
        for where, body in ((f"{NAMESPACE}/pods", pod(hostNetwork=True)), (url, deployment)):
            answer = await exchange(server, "POST", where, body, token="t")
            assert answer.status == 201
            assert ("Warning", f'299 - "{said.replace(chr(34), chr(92) + chr(34))}"') in list(answer.headers)


async def test_enforcement_warns_makers_and_judges_later_containers() -> None:
    async with guarded(enforce="baseline") as server:
        assert (await send(server, "POST", f"{NAMESPACE}/pods", pod(), token="t"))[0] == 201
        bad = {"name": "e", "image": "i", "securityContext": {"privileged": True}}
        headers = {"content-type": "application/strategic-merge-patch+json"}
        change = {"spec": {"ephemeralContainers": [bad]}}
        url = f"{NAMESPACE}/pods/p/ephemeralcontainers"
        status, answer = await send(server, "PATCH", url, change, token="t", headers=headers)
        assert status == 403 and 'privileged (container "e"' in answer["message"]
        labels = {"metadata": {"labels": {"x": "y"}}}
        assert (await send(server, "PATCH", f"{NAMESPACE}/pods/p", labels, token="t", headers=headers))[0] == 200


async def test_a_stricter_label_tells_of_pods_that_break_it() -> None:
    async with guarded() as server:
        for name in ("q", "p", "r"):
            await send(server, "POST", f"{NAMESPACE}/pods", pod(name, hostNetwork=name != "r"), token="t")
        headers = {"content-type": "application/merge-patch+json"}
        change = {"metadata": {"labels": {f"{LABEL}enforce": "baseline"}}}
        answer = await exchange(server, "PATCH", NAMESPACE, change, token="t", headers=headers)
        warnings = [value.replace(chr(92), "") for name, value in answer.headers if name == "Warning"]
        assert answer.status == 200
        assert warnings == [
            '299 - "existing pods in namespace "guarded" violate the new PodSecurity enforce level "baseline:latest""',
            '299 - "p (and 1 other pod): host namespaces"',
        ]


async def test_labels_that_mean_nothing_are_refused() -> None:
    async with api_server(config=CONFIG) as server:
        body = {"metadata": {"name": "n", "labels": {f"{LABEL}enforce": "most", f"{LABEL}warn-version": "1.2"}}}
        status, answer = await send(server, "POST", "/api/v1/namespaces", body, token="t")
        assert status == 422
        assert {cause["field"] for cause in answer["details"]["causes"]} == {
            f"metadata.labels[{LABEL}enforce]",
            f"metadata.labels[{LABEL}warn-version]",
        }


def test_warnings_follow_enforcement() -> None:
    modes, errs = modes_of({f"{LABEL}enforce": "restricted", f"{LABEL}enforce-version": "v1.30"})
    assert not errs and modes.warn == Standard("restricted", 30) and modes.audit == DEFAULT.audit
