"""Which admission plugins run, how they are configured, and what the optional ones do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.support.apiserver import api_server
from tests.support.requests import send

from navarch.apiserver.admission.settings import BadSettings, Settings, configurations_of
from navarch.apiserver.request import User
from navarch.apiserver.server import ApiServer, ApiServerConfig
from navarch.cluster.access import AccessFiles, BadFile

Obj = dict[str, Any]
BASE = "/api/v1/namespaces/default"
NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
TOKENS = {"t": User("admin", groups=("system:masters",)), "u": User("plain")}


@asynccontextmanager
async def server(*enabled: str, disabled: tuple[str, ...] = (), **configurations: Obj) -> AsyncIterator[ApiServer]:
    settings = Settings(enabled=frozenset(enabled), disabled=frozenset(disabled), configurations=configurations)
    async with api_server(config=ApiServerConfig(fixed_tokens=TOKENS, admission=settings)) as made:
        await ask(made, "POST", f"{BASE}/serviceaccounts", {"metadata": {"name": "default"}})
        yield made


async def ask(made: ApiServer, method: str, url: str, body: Any = None, token: str = "t") -> tuple[int, Any]:
    headers = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
    return await send(made, method, url, body, token=token, headers=headers)


def pod(name: str = "p", **spec: Any) -> Obj:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}], **spec}}


@pytest.mark.parametrize(
    "settings, said",
    [
        (Settings(enabled=frozenset(("Nonesuch",))), 'enable-admission-plugins plugin "Nonesuch" is unknown'),
        (Settings(disabled=frozenset(("Nonesuch",))), 'disable-admission-plugins plugin "Nonesuch" is unknown'),
        (
            Settings(enabled=frozenset(("Priority",)), disabled=frozenset(("Priority",))),
            "[Priority] in enable-admission-plugins and disable-admission-plugins overlapped",
        ),
        (Settings(configurations={"PodSecurity": {"defaults": {"enforce": "x"}}}), "must be one of"),
        (Settings(enabled=frozenset(("EventRateLimit",))), "limits: Required value"),
    ],
)
async def test_settings_that_make_no_server(settings: Settings, said: str) -> None:
    with pytest.raises(BadSettings) as caught:
        async with api_server(config=ApiServerConfig(admission=settings)):
            pass
    assert said in str(caught.value)


def test_a_configuration_file_may_lead_to_others(tmp_path: Path) -> None:
    (tmp_path / "rates.yaml").write_text("kind: Configuration\nlimits: [{type: Server, qps: 1, burst: 1}]\n")
    text = b"""
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- {name: EventRateLimit, path: rates.yaml}
- {name: PodSecurity, configuration: {kind: PodSecurityConfiguration, defaults: {enforce: baseline}}}
"""
    found = configurations_of(text, tmp_path)
    assert found["EventRateLimit"]["limits"][0]["type"] == "Server"
    assert found["PodSecurity"]["defaults"] == {"enforce": "baseline"}
    (tmp_path / "admission.yaml").write_bytes(text)
    applied = AccessFiles(admission=tmp_path / "admission.yaml").applied(ApiServerConfig())
    assert applied.admission.configurations == found
    (tmp_path / "admission.yaml").write_text("kind: Other\n")
    with pytest.raises(BadFile, match="no AdmissionConfiguration"):
        AccessFiles(admission=tmp_path / "admission.yaml").applied(ApiServerConfig())


async def test_pod_security_defaults_and_exemptions() -> None:
    configuration = {"defaults": {"enforce": "baseline"}, "exemptions": {"namespaces": ["free"]}}
    async with server(PodSecurity=configuration) as made:
        await ask(made, "POST", "/api/v1/namespaces", {"metadata": {"name": "free"}})
        await ask(made, "POST", "/api/v1/namespaces/free/serviceaccounts", {"metadata": {"name": "default"}})
        assert (await ask(made, "POST", f"{BASE}/pods", pod(hostPID=True)))[0] == 403
        assert (await ask(made, "POST", "/api/v1/namespaces/free/pods", pod(hostPID=True)))[0] == 201


async def test_a_disabled_plugin_does_not_run() -> None:
    async with server(disabled=("DefaultTolerationSeconds",)) as made:
        _, answer = await ask(made, "POST", f"{BASE}/pods", pod())
        assert "tolerations" not in answer["spec"]


async def test_images_are_always_pulled() -> None:
    async with server("AlwaysPullImages") as made:
        _, answer = await ask(made, "POST", f"{BASE}/pods", pod())
        assert answer["spec"]["containers"][0]["imagePullPolicy"] == "Always"


async def test_external_addresses_are_denied() -> None:
    async with server("DenyServiceExternalIPs") as made:
        spec = {"ports": [{"port": 80}], "externalIPs": ["192.0.2.1"]}
        status, answer = await ask(made, "POST", f"{BASE}/services", {"metadata": {"name": "s"}, "spec": spec})
        assert status == 403
        assert answer["message"].endswith("Use of external IPs is denied by admission control")


async def test_events_are_limited_by_namespace() -> None:
    event = {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "reason": "r", "message": "m"}
    rates = {"limits": [{"type": "Namespace", "qps": 1, "burst": 2}, {"type": "User", "qps": 1, "burst": 100}]}
    async with server("EventRateLimit", EventRateLimit=rates) as made:
        codes: list[int] = []
        for index in range(3):
            body = {"metadata": {"name": f"e{index}", "namespace": "default"}, **event}
            status, answer = await ask(made, "POST", f"{BASE}/events", body)
            codes.append(status)
        assert codes == [201, 201, 429]
        assert "limit reached on type Namespace for key default" in answer["message"]


async def test_who_may_block_an_owners_deletion() -> None:
    async with server("OwnerReferencesPermissionEnforcement") as made:
        role = {"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]}
        subject = {"kind": "User", "name": "plain", "apiGroup": "rbac.authorization.k8s.io"}
        reference = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
        rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
        await ask(made, "POST", f"{rbac}/roles", role)
        await ask(
            made,
            "POST",
            f"{rbac}/rolebindings",
            {"metadata": {"name": "b"}, "subjects": [subject], "roleRef": reference},
        )
        _, owner = await ask(made, "POST", f"{BASE}/secrets", {"metadata": {"name": "o"}})
        owned = {"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": owner["metadata"]["uid"]}
        for blocks, code in ((False, 201), (True, 403)):
            body = {"metadata": {"name": f"c{code}", "ownerReferences": [{**owned, "blockOwnerDeletion": blocks}]}}
            status, answer = await ask(made, "POST", f"{BASE}/configmaps", body, "u")
            assert status == code
        assert "refers to a resource you can't set finalizers on" in answer["message"]


async def test_namespaces_choose_nodes() -> None:
    async with server("PodNodeSelector") as made:
        note = {"metadata": {"annotations": {"scheduler.alpha.kubernetes.io/node-selector": "env=test"}}}
        await ask(made, "PATCH", BASE, note)
        _, answer = await ask(made, "POST", f"{BASE}/pods", pod())
        assert answer["spec"]["nodeSelector"] == {"env": "test"}
        assert (await ask(made, "POST", f"{BASE}/pods", pod("q", nodeSelector={"env": "live"})))[0] == 403


async def test_namespaces_come_with_what_is_in_them() -> None:
    async with server("NamespaceAutoProvision") as made:
        url = "/api/v1/namespaces/new/configmaps"
        assert (await ask(made, "POST", f"{url}?dryRun=All", {"metadata": {"name": "a"}}))[0] == 404
        assert (await ask(made, "POST", url, {"metadata": {"name": "a"}}))[0] == 201
        assert (await ask(made, "GET", "/api/v1/namespaces/new"))[1]["status"] == {"phase": "Active"}
        assert (await ask(made, "DELETE", "/api/v1/namespaces/other/configmaps/a"))[0] == 404
        assert (await ask(made, "GET", "/api/v1/namespaces/other"))[0] == 404


async def test_namespaces_say_what_pods_tolerate() -> None:
    wide: Obj = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    five: Obj = {"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5}
    any_a: Obj = {"key": "a", "operator": "Exists"}
    configuration: Obj = {"default": [five], "whitelist": [any_a, wide, {"operator": "Exists", "effect": "NoExecute"}]}
    async with server("PodTolerationRestriction", PodTolerationRestriction=configuration) as made:

        async def tolerated(name: str, *tolerations: Obj, **container: Any) -> Any:
            body = pod(name, tolerations=list(tolerations))
            body["spec"]["containers"][0] |= container
            status, answer = await ask(made, "POST", f"{BASE}/pods", body)
            if status != 201:
                return status, answer["message"]
            return [t for t in answer["spec"]["tolerations"] if t.get("key", "") not in NODE_TAINTS]

        assert await tolerated("p") == [five]
        assert await tolerated("q", any_a) == [any_a]
        requests = {"requests": {"cpu": "1"}}
        assert await tolerated("r", {**five, "tolerationSeconds": 3}, resources=requests) == [five, wide]
        why = "pod tolerations (possibly merged with namespace default tolerations) conflict with its {} whitelist"
        assert await tolerated("s", {"key": "b", "operator": "Exists"}) == (500, why.format("cluster"))
        notes = {"defaultTolerations": "", "tolerationsWhitelist": orjson.dumps([any_a]).decode()}
        annotations = {f"scheduler.alpha.kubernetes.io/{key}": value for key, value in notes.items()}
        await ask(made, "PATCH", BASE, {"metadata": {"annotations": annotations}})
        assert await tolerated("t", any_a) == (500, why.format("namespace"))
        exists = orjson.dumps([{"operator": "Exists"}]).decode()
        annotations["scheduler.alpha.kubernetes.io/tolerationsWhitelist"] = exists
        await ask(made, "PATCH", BASE, {"metadata": {"annotations": annotations}})
        assert await tolerated("u", any_a) == [any_a]


async def test_bound_pods_get_their_nodes_zone_and_resizes_must_fit_it() -> None:
    async with server() as made:
        labels = {"topology.kubernetes.io/zone": "z", "other": "x"}
        allocatable = {"cpu": "1", "memory": "1Gi", "pods": "10"}
        node = {
            "metadata": {"name": "n", "labels": labels},
            "status": {"allocatable": allocatable, "capacity": allocatable},
        }
        await ask(made, "POST", "/api/v1/nodes", node)
        await ask(made, "POST", f"{BASE}/pods", pod())
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
        assert (await ask(made, "POST", f"{BASE}/pods/p/binding", binding))[0] == 201
        _, bound = await ask(made, "GET", f"{BASE}/pods/p")
        assert bound["metadata"]["labels"] == {"topology.kubernetes.io/zone": "z"}


async def test_only_bound_claims_of_a_class_that_allows_it_grow() -> None:
    async with server() as made:
        classes = "/apis/storage.k8s.io/v1/storageclasses"
        for name, grows in (("rigid", False), ("elastic", True)):
            body = {"metadata": {"name": name}, "provisioner": "p", "allowVolumeExpansion": grows}
            await ask(made, "POST", classes, body)
        for name in ("rigid", "elastic"):
            spec = {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": name,
                "volumeName": "v",
                "resources": {"requests": {"storage": "1Gi"}},
            }
            url = f"{BASE}/persistentvolumeclaims"
            _, claim = await ask(made, "POST", url, {"metadata": {"name": name}, "spec": spec})
            grown = {"spec": {"resources": {"requests": {"storage": "2Gi"}}}}
            assert (await ask(made, "PATCH", f"{url}/{name}", grown))[0] == 422  # not bound yet
            claim["status"] = {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
            assert (await ask(made, "PUT", f"{url}/{name}/status", claim))[0] == 200
            assert (await ask(made, "PATCH", f"{url}/{name}", grown))[0] == (403 if name == "rigid" else 200)


async def test_what_is_limited_needs_a_quota_that_covers_it() -> None:
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    limited = [
        {"resource": "persistentvolumeclaims", "matchContains": [".storageclass.storage.k8s.io/requests.storage"]},
        {"resource": "pods", "matchScopes": [scope]},
    ]
    async with server(ResourceQuota={"limitedResources": limited}) as made:
        high = {"metadata": {"name": "high"}, "value": 5}
        await ask(made, "POST", "/apis/scheduling.k8s.io/v1/priorityclasses", high)
        assert (await ask(made, "POST", f"{BASE}/pods", pod("plain")))[0] == 201
        status, answer = await ask(made, "POST", f"{BASE}/pods", pod(priorityClassName="high"))
        assert status == 403
        assert answer["message"].endswith("insufficient quota to match these scopes: [{PriorityClass In [high]}]")
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claims = f"{BASE}/persistentvolumeclaims"
        assert (await ask(made, "POST", claims, {"metadata": {"name": "a"}, "spec": spec}))[0] == 201
        gold = {"metadata": {"name": "b"}, "spec": {**spec, "storageClassName": "gold"}}
        status, answer = await ask(made, "POST", claims, gold)
        name = "gold.storageclass.storage.k8s.io/requests.storage"
        assert status == 403 and answer["message"].endswith(f"insufficient quota to consume: {name}")
        quota = {"metadata": {"name": "q"}, "spec": {"hard": {name: "5Gi"}}}
        _, quota = await ask(made, "POST", f"{BASE}/resourcequotas", quota)
        quota["status"] = {"hard": {name: "5Gi"}, "used": {name: "0"}}
        await ask(made, "PUT", f"{BASE}/resourcequotas/q/status", quota)
        assert (await ask(made, "POST", claims, gold))[0] == 201
