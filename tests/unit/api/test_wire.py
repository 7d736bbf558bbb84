"""The protobuf form of built-in types, against answers recorded from a kube-apiserver 1.36."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from navarch.api import wire
from navarch.api.schemas import schema
from navarch.machinery.decode import normalise
from navarch.machinery.protobuf import MAGIC, seal, unseal

RECORDED = orjson.loads((Path(__file__).parent / "wire_recorded.json").read_bytes())
BY_PATH = pytest.mark.parametrize("record", RECORDED, ids=[record["path"] for record in RECORDED])


def without_type_of_claims(tree: Any) -> Any:
    """Claim templates carry their kind in JSON only: defaulting puts it there."""
    for claim in tree.get("spec", {}).get("volumeClaimTemplates", ()):
        claim.pop("kind", None)
        claim.pop("apiVersion", None)
    return tree


@BY_PATH
def test_a_message_decodes_to_the_json_of_the_same_object(record: dict[str, Any]) -> None:
    api_version, kind, message = unseal(base64.b64decode(record["protobuf"]))
    definition = wire.definition_of(api_version, kind)
    tree = {"kind": kind, "apiVersion": api_version, **wire.decode(definition, message)}
    unknown: list[str] = []
    assert normalise(schema(definition), tree, unknown) == without_type_of_claims(record["json"])
    assert not unknown


@BY_PATH
def test_the_json_encodes_to_the_very_bytes(record: dict[str, Any]) -> None:
    body = base64.b64decode(record["protobuf"])
    definition = wire.definition_of(record["json"]["apiVersion"], record["json"]["kind"])
    assert wire.encode_body(definition, record["json"]) == body


@BY_PATH
def test_every_truncation_is_a_value_error_or_a_shorter_object(record: dict[str, Any]) -> None:
    _, _, message = unseal(base64.b64decode(record["protobuf"]))
    definition = wire.definition_of(record["json"]["apiVersion"], record["json"]["kind"])
    for end in range(0, len(message), 41):
        try:
            assert isinstance(wire.decode(definition, message[:end]), dict)
        except ValueError:
            pass


def test_deep_nesting_is_refused() -> None:
    node = b""
    for _ in range(400):
        node = b"\xe2\x01" + _length(node) + node  # field 28, `not`
    with pytest.raises(ValueError, match="nested too deep"):
        wire.decode("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps", node)


def _length(data: bytes) -> bytes:
    value, out = len(data), bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_a_body_without_the_magic_is_no_envelope() -> None:
    with pytest.raises(ValueError, match="expected prefix"):
        unseal(b"{}")
    assert seal("v1", "Pod", b"x").startswith(MAGIC)
    assert unseal(seal("v1", "Pod", b"x")) == ("v1", "Pod", b"x")


def test_unknown_kinds_have_no_definition() -> None:
    with pytest.raises(ValueError, match='no kind "Nothing" is registered'):
        wire.definition_of("v1", "Nothing")


def test_times_of_the_first_years_have_four_digits():
    """Go's zero time plus two seconds, as conformance tests send it."""

    spec = {"acquireTime": "0001-01-01T00:00:02.000000Z"}
    definition = "io.k8s.api.coordination.v1.Lease"

    decoded = wire.decode(definition, wire.encode(definition, {"metadata": {"name": "l"}, "spec": spec}))
    assert decoded["spec"]["acquireTime"] == spec["acquireTime"]
