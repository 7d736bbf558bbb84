"""Schemas of built-in kinds."""

from __future__ import annotations

import pytest

from navarch.api import schemas
from navarch.api.schemas import schema


def test_every_message_has_a_schema() -> None:
    for package, messages in schemas.wire().items():
        for message in messages:
            assert schema(f"{package}.{message}").type in ("object", "list", "any")


def test_a_schema_is_compiled_once_and_may_be_recursive() -> None:
    props = schema("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    assert props.fields["not"].schema is props
    assert schema(props.name) is props


def test_merge_rules_of_containers_and_their_ports() -> None:
    spec = schema("io.k8s.api.core.v1.PodSpec")
    containers = spec.fields["containers"]
    assert (containers.patch_strategy, containers.patch_merge_key) == (("merge",), "name")
    assert containers.schema.list_type == "map" and containers.schema.list_map_keys == ("name",)
    assert containers.schema.items
    ports = containers.schema.items.fields["ports"].schema
    assert ports.list_map_keys == ("containerPort", "protocol")
    assert ports.items and ports.items.fields["protocol"].default == "TCP"


def test_embedded_structs_are_fields_of_the_parent() -> None:
    volume = schema("io.k8s.api.core.v1.Volume")
    assert {"name", "emptyDir", "configMap"} <= volume.fields.keys()
    assert "volumeSource" not in volume.fields


def test_a_retired_version_takes_the_rules_of_the_current_one() -> None:
    old = schema("io.k8s.api.extensions.v1beta1.DeploymentSpec")
    assert old.fields["strategy"].patch_strategy == ("retainKeys",)
    assert "rollbackTo" in old.fields


def test_presence_follows_go() -> None:
    spec = schema("io.k8s.api.apps.v1.DeploymentSpec")
    assert spec.fields["replicas"].presence == "pointer"
    assert spec.fields["minReadySeconds"].presence == "omitempty"
    assert spec.fields["strategy"].presence == "always"


def test_unknown_names_are_a_key_error() -> None:
    with pytest.raises(KeyError):
        schema("io.k8s.api.core.v1.Nothing")
