"""Bodies into trees: JSON, strict validation, and Go's form of an object. Messages as kube-apiserver 1.36 answered them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from navarch.api.schemas import schema
from navarch.machinery.decode import duplicate_keys, normalise, parse_json, strict_error, strict_errors
from navarch.machinery.errors import StatusError
from navarch.machinery.scalars import Mismatch

POD = "io.k8s.api.core.v1.Pod"
DEPLOYMENT = "io.k8s.api.apps.v1.Deployment"
SECRET = "io.k8s.api.core.v1.Secret"
LEASE = "io.k8s.api.coordination.v1.Lease"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nul", b"NaN", b'{"a":Infinity}', b'{"a":1,}', b'"\\ud800"', b"1" * 5000, b"[" * 10_001],
)
def test_what_is_no_json_is_a_400(body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        parse_json(body, "Pod")
    assert caught.value.code == 400
    assert caught.value.message.startswith(
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: "
    )


def test_nesting_is_bounded_so_that_what_is_read_can_be_written() -> None:
    assert orjson.dumps(parse_json(b"[" * 200 + b"]" * 200))
    with pytest.raises(StatusError, match="exceeded max depth"):
        parse_json(b"[" * 201 + b"]" * 201)


@pytest.mark.parametrize(
    ("definition", "body", "why"),
    [
        (
            DEPLOYMENT,
            b'{"spec":{"replicas":"x"}}',
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            DEPLOYMENT,
            b'{"spec":{"replicas":1.5}}',
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            DEPLOYMENT,
            b'{"spec":{"replicas":99999999999}}',
            "json: cannot unmarshal number 99999999999 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            POD,
            b'{"metadata":{"labels":{"a":1}}}',
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            POD,
            b'{"metadata":{"labels":["a"]}}',
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            POD,
            b'{"metadata":{"creationTimestamp":"x"}}',
            'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
        ),
        (
            POD,
            b'{"spec":{"containers":[{"image":5}]}}',
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            POD,
            b'{"spec":{"containers":{}}}',
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            POD,
            b'{"spec":{"containers":[{"resources":{"limits":{"cpu":"1x"}}}]}}',
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (SECRET, b'{"data":{"a":"%%"}}', "illegal base64 data at input byte 0"),
        (
            SECRET,
            b'{"data":5}',
            "json: cannot unmarshal number into Go struct field Secret.data of type map[string][]uint8",
        ),
    ],
)
def test_a_wrong_type_is_a_400_in_gos_words(definition: str, body: bytes, why: str) -> None:
    kind = definition.rpartition(".")[2]
    with pytest.raises(StatusError) as caught:
        normalise(schema(definition), parse_json(body))
    assert caught.value.code == 400
    assert caught.value.message == f'{kind} in version "v1" cannot be handled as a {kind}: {why}'


@pytest.mark.parametrize(
    ("definition", "tree", "why"),
    [
        (POD, {"metadata": {"labels": "x"}}, "cannot restore map from string"),
        (POD, {"metadata": {"labels": {"a": 1}}}, "cannot convert int64 to string"),
        (POD, {"metadata": {"labels": {"a": True}}}, "unrecognized type: string"),
        (POD, {"metadata": {"creationTimestamp": 5}}, "json: cannot unmarshal number into Go value of type string"),
        (POD, {"spec": []}, "cannot restore struct from: slice"),
        (POD, {"spec": {"containers": {}}}, "cannot restore slice from map"),
        (DEPLOYMENT, {"spec": {"replicas": "x"}}, "unrecognized type: int32"),
        (DEPLOYMENT, {"spec": {"replicas": 1.5}}, "cannot convert float64 to int32"),
        (DEPLOYMENT, {"spec": {"paused": 1}}, "unrecognized type: bool"),
        (
            DEPLOYMENT,
            {"spec": {"strategy": {"rollingUpdate": {"maxSurge": {}}}}},
            "json: cannot unmarshal object into Go value of type int32",
        ),
        (SECRET, {"data": {"a": "%%"}}, "error decoding from json: illegal base64 data at input byte 0"),
        (SECRET, {"data": {"a": ["x"]}}, "unrecognized type: uint8"),
    ],
)
def test_a_wrong_type_in_a_patched_object_has_other_words(definition: str, tree: Any, why: str) -> None:
    with pytest.raises(StatusError) as caught:
        normalise(schema(definition), tree)
    assert isinstance(caught.value.__cause__, Mismatch)
    assert caught.value.__cause__.restoring() == why


def test_unknown_fields_are_pruned_and_named() -> None:
    unknown: list[str] = []
    body = b'{"foo":{},"spec":{"x":1,"containers":[{"name":"a"},{"name":"b","baz":1,"env":[{"Name":"c"}]}]}}'
    tree = normalise(schema(POD), parse_json(body), unknown)
    assert unknown == ["foo", "spec.x", "spec.containers[1].baz", "spec.containers[1].env[0].Name"]
    assert tree["spec"] == {
        "containers": [{"name": "a", "resources": {}}, {"name": "b", "env": [{"name": ""}], "resources": {}}]
    }


def test_presence_is_gos() -> None:
    body = (
        b'{"metadata":{"labels":{},"creationTimestamp":null},"spec":{"replicas":0,"minReadySeconds":0,"paused":false}}'
    )
    assert normalise(schema(DEPLOYMENT), parse_json(body)) == {
        "metadata": {},
        "spec": {"replicas": 0, "template": {"metadata": {}, "spec": {"containers": None}}, "strategy": {}},
        "status": {},
    }


def test_nulls_are_as_if_absent() -> None:
    tree = normalise(schema(POD), parse_json(b'{"spec":{"containers":[null],"nodeSelector":{"a":null}},"status":null}'))
    assert tree["spec"] == {"containers": [{"name": "", "resources": {}}], "nodeSelector": {"a": ""}}
    assert tree["status"] == {}


def test_times_and_bytes_get_their_canonical_text() -> None:
    body = b'{"metadata":{"creationTimestamp":"2026-01-02T03:04:05.6+02:00"},"spec":{"renewTime":"2026-01-02T03:04:05.1234567Z"}}'
    lease = normalise(schema(LEASE), parse_json(body))
    assert lease["metadata"]["creationTimestamp"] == "2026-01-02T01:04:05Z"
    assert lease["spec"]["renewTime"] == "2026-01-02T03:04:05.123456Z"
    secret = normalise(schema(SECRET), parse_json(b'{"data":{"a":"aGVs\\nbG8="}}'))
    assert secret["data"] == {"a": "aGVsbG8="}


def test_quantities_are_written_as_go_writes_them() -> None:
    limits = {"cpu": 0.5, "memory": "1024Mi", "a.b/c": 2, "d": " 1 "}
    tree = normalise(schema("io.k8s.api.core.v1.ResourceRequirements"), {"limits": limits})
    assert tree == {"limits": {"cpu": "500m", "memory": "1Gi", "a.b/c": "2", "d": "1"}}


def test_schemas_within_a_crd_are_walked_in_both_forms() -> None:
    props = schema("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
    unknown: list[str] = []
    normalise(props, {"items": {"foo": 1}, "additionalProperties": False, "default": {"any": None}}, unknown)
    normalise(props, {"items": [{"type": "string"}, {"bar": 1}]}, unknown)
    assert unknown == ["items.foo", "items[1].bar"]


DUPLICATED = b'{"metadata":{"name":"a","name":"b"},"metadata":{},"spec":{"containers":[{"name":"a","name":"a"}]}}'


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (DUPLICATED, ["metadata.name", "metadata", "spec.containers[0].name"]),
        (DUPLICATED.replace(b":", b" :\n"), ["metadata.name", "metadata", "spec.containers[0].name"]),
        (b'{"a":{"b":":8080\\":"},"c":"\\u0022:"}', []),
        (b'{"a":"\\u0022:","a":1}', ["a"]),
        (b'{"a":1,"\\u0061":2}', ["a"]),
        (b'{"a":1,"a":2,"a":3}', ["a"]),
    ],
)
def test_duplicate_keys_are_found(body: bytes, paths: list[str]) -> None:
    assert duplicate_keys(body) == paths
    assert duplicate_keys(body, parse_json(body)) == paths


def test_strict_errors_read_as_upstreams() -> None:
    messages = strict_errors(["spec.foo"], ['duplicate field "metadata.name"'])
    assert messages == ['unknown field "spec.foo"', 'duplicate field "metadata.name"']
    assert strict_error(schema(POD), {}, messages).message == (
        'Pod in version "v1" cannot be handled as a Pod: '
        'strict decoding error: unknown field "spec.foo", duplicate field "metadata.name"'
    )


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    body = b'{"a":"\xff\xfe","a":"x\xff"}'
    assert parse_json(body) == {"a": "x\ufffd"}
    assert duplicate_keys(body) == ["a"]
