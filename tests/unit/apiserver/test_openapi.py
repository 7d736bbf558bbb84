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
    assert set(paths) == {"api/v1", "apis/apps/v1", "apis/extensions/v1beta1"}
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


def test_schemas_are_upstreams() -> None:
    schemas = orjson.loads(openapi.v3_document("apps", "v1", KINDS))["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]
    assert deployment["x-kubernetes-group-version-kind"] == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    assert "enum" not in deployment["properties"]["kind"]
    containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["type"] == "array" and containers["x-kubernetes-patch-merge-key"] == "name"
    assert schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]["format"] == "int-or-string"


def test_retired_versions_are_described_from_their_fields() -> None:
    schemas = orjson.loads(openapi.v3_document("extensions", "v1beta1", KINDS))["components"]["schemas"]
    assert "rollbackTo" in schemas["io.k8s.api.extensions.v1beta1.DeploymentSpec"]["properties"]


def test_v2_holds_everything_in_one_document() -> None:
    document = orjson.loads(orjson.dumps(openapi.v2_tree(KINDS)))
    known = {f"#/definitions/{name}" for name in document["definitions"]}
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
