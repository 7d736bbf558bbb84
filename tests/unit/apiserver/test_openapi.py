"""The OpenAPI documents, as their clients read them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from navarch.api.kind import SCALE, Kind, Subresource, Version, status_of
from navarch.apiserver import openapi

KINDS = [
    Kind(
        kind="Pod",
        plural="pods",
        versions=[Version(group="", version="v1", definition="io.k8s.api.core.v1.Pod")],
        subresources=(
            status_of("Pod"),
            Subresource(name="log", kind="Pod", verbs=("get",)),
            Subresource(name="exec", kind="PodExecOptions", verbs=("create", "get")),
            Subresource(name="proxy", kind="PodProxyOptions", verbs=("create", "delete", "get", "patch", "update")),
            Subresource(name="eviction", kind="Eviction", verbs=("create",), group="policy", version="v1"),
        ),
    ),
    Kind(
        kind="Deployment",
        plural="deployments",
        versions=[
            Version(group="apps", version="v1", definition="io.k8s.api.apps.v1.Deployment"),
            Version(group="extensions", version="v1beta1", definition="io.k8s.api.extensions.v1beta1.Deployment"),
        ],
        subresources=(status_of("Deployment"), SCALE),
    ),
]
DEPLOYMENTS = "/apis/apps/v1/namespaces/{namespace}/deployments"


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(references(value) for value in node))
    return set()


def test_the_index_has_every_group_version_and_its_hash_follows_the_kinds() -> None:
    paths = orjson.loads(openapi.v3_index(KINDS))["paths"]
    versions = {"api/v1", "apis/apps/v1", "apis/extensions/v1beta1"}
    others = {
        ".well-known/openid-configuration",
        "api",
        "apis",
        "apis/apps",
        "apis/extensions",
        "openid/v1/jwks",
        "version",
    }
    assert set(paths) == versions | others
    assert all(openapi.v3_other(path, KINDS) for path in others) and openapi.v3_other("apis/none", KINDS) is None
    assert paths["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")
    fewer = orjson.loads(openapi.v3_index(KINDS[1:]))["paths"]
    assert fewer["apis/apps/v1"] == paths["apis/apps/v1"]


@pytest.mark.parametrize("gv", [("", "v1"), ("apps", "v1"), ("extensions", "v1beta1")])
def test_every_reference_of_a_v3_document_leads_somewhere(gv: tuple[str, str]) -> None:
    document = orjson.loads(openapi.v3_document(*gv, KINDS))
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references(document) <= known
    assert document["paths"]


def test_documents_hold_no_empty_lists_of_parameters() -> None:
    for document in (orjson.loads(openapi.v3_document("apps", "v1", KINDS)), openapi.v2_tree(KINDS)):
        for path in document["paths"].values():
            operations = [value for value in path.values() if isinstance(value, dict)]
            assert [] not in [holder.get("parameters") for holder in (path, *operations)]


def test_patch_says_that_it_validates_fields_and_of_which_kind() -> None:
    document = orjson.loads(openapi.v3_document("apps", "v1", KINDS))
    patch = document["paths"][DEPLOYMENTS + "/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {"fieldValidation", "dryRun", "force"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert "application/apply-patch+yaml" in patch["requestBody"]["content"]
    scale = document["paths"][DEPLOYMENTS + "/{name}/scale"]["get"]
    assert scale["x-kubernetes-group-version-kind"]["kind"] == "Scale"


def names(holder: Any) -> set[str]:
    return {parameter["name"] for parameter in holder.get("parameters", ())}


def test_tunnels_and_logs_have_their_options() -> None:
    paths = orjson.loads(openapi.v3_document("", "v1", KINDS))["paths"]
    pod = "/api/v1/namespaces/{namespace}/pods/{name}"
    run = paths[f"{pod}/exec"]["post"]
    assert run["operationId"] == "connectCoreV1PostNamespacedPodExec" and run["x-kubernetes-action"] == "connect"
    assert run["x-kubernetes-group-version-kind"]["kind"] == "PodExecOptions"
    assert names(run) == {"command", "container", "stderr", "stdin", "stdout", "tty"}
    assert set(run["responses"]) == {"200", "401"} and set(run["responses"]["200"]["content"]) == {"*/*"}
    proxy = paths[f"{pod}/proxy/{{path}}"]
    assert set(proxy) == {"delete", "get", "head", "options", "patch", "post", "put", "parameters"}
    assert proxy["head"]["operationId"] == "connectCoreV1HeadNamespacedPodProxyWithPath"
    log = paths[f"{pod}/log"]["get"]
    assert {"follow", "tailLines"} <= names(log) and "pretty" in names(paths[f"{pod}/log"])
    assert log["responses"]["200"]["content"]["text/plain"]["schema"] == {"type": "string"}
    gone = paths[pod]["delete"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert gone == {"$ref": "#/components/schemas/io.k8s.api.core.v1.Pod"}


def test_what_is_deprecated_or_of_no_kind_has_its_paths() -> None:
    paths = orjson.loads(openapi.v3_document("apps", "v1", KINDS))["paths"]
    ids = {path: found["get"]["operationId"] for path, found in paths.items() if "/watch/" in path}
    assert ids == {
        DEPLOYMENTS.replace("/v1/", "/v1/watch/"): "watchAppsV1NamespacedDeploymentList",
        DEPLOYMENTS.replace("/v1/", "/v1/watch/") + "/{name}": "watchAppsV1NamespacedDeployment",
        "/apis/apps/v1/watch/deployments": "watchAppsV1DeploymentListForAllNamespaces",
    }
    assert paths["/apis/apps/v1/"]["get"]["operationId"] == "getAppsV1APIResources"
    widget = Kind(
        kind="W",
        plural="ws",
        namespaced=False,
        typed_items=True,
        versions=[Version(group="a.b.io", version="v1", definition="W")],
    )
    custom = orjson.loads(openapi.v3_document("a.b.io", "v1", [widget]))["paths"]
    assert not [path for path in custom if "/watch/" in path or path.endswith("/v1/")]
    listed = custom["/apis/a.b.io/v1/ws"]["get"]
    assert (listed["operationId"], listed["tags"]) == ("listABIoV1W", ["aBIo_v1"])


def test_v2_writes_parameters_once_but_those_that_old_clients_look_for() -> None:
    tree = openapi.v2_tree(KINDS)
    known = {f"#/parameters/{name}": parameter for name, parameter in tree["parameters"].items()}
    patch = tree["paths"][DEPLOYMENTS + "/{name}"]["patch"]["parameters"]
    assert {one["name"] for one in patch if "name" in one} == {"body", "dryRun", "fieldValidation"}
    assert {known[one["$ref"]]["name"] for one in patch if "$ref" in one} == {"fieldManager", "force"}


def test_schemas_are_upstreams() -> None:
    schemas = orjson.loads(openapi.v3_document("apps", "v1", KINDS))["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    assert "enum" not in deployment["properties"]["kind"]
    assert schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["restartPolicy"]["enum"] == [
        "Always",
        "Never",
        "OnFailure",
    ]
    port = schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]
    assert (port["protocol"]["default"], port["containerPort"]["default"], "default" in port["hostIP"]) == (
        "TCP",
        0,
        False,
    )
    assert deployment["properties"]["spec"]["default"] == {}
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["items"] == {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}
    assert containers["type"] == "array" and containers["x-kubernetes-patch-merge-key"] == "name"
    assert schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"


def test_retired_versions_are_described_from_their_fields() -> None:
    schemas = orjson.loads(openapi.v3_document("extensions", "v1beta1", KINDS))["components"]["schemas"]
    assert "rollbackTo" in schemas["io.k8s.api.extensions.v1beta1.DeploymentSpec"]["properties"]


def test_v2_holds_everything_in_one_document() -> None:
    document = orjson.loads(orjson.dumps(openapi.v2_tree(KINDS)))
    known = {f"#/definitions/{name}" for name in document["definitions"]}
    known |= {f"#/parameters/{name}" for name in document["parameters"]}
    assert references(document) <= known
    assert document["swagger"] == "2.0"
    assert document["definitions"]["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["type"] == "string"
    assert document["paths"][DEPLOYMENTS]["post"]["x-kubernetes-action"] == "post"


def test_given_definitions_describe_custom_resources() -> None:
    widget = Kind(
        kind="Widget", plural="widgets", versions=[Version(group="x.io", version="v1", definition="io.x.v1.Widget")]
    )
    extra = {"io.x.v1.Widget": {"type": "object", "properties": {"spec": {"type": "string"}}}}
    document = orjson.loads(openapi.v3_document("x.io", "v1", [widget], extra))
    assert document["components"]["schemas"]["io.x.v1.Widget"]["properties"] == {"spec": {"type": "string"}}
    assert openapi.v3_index([widget], {("x.io", "v1"): "1"}) != openapi.v3_index([widget], {("x.io", "v1"): "2"})
